//! What a board says of itself in its SMBIOS (DMTF DSP0134): texts that its maker wrote, or did
//! not.

/// Longest text of each kind in the verify protocol, in bytes; longer ones are cut.
pub const MAX_PRODUCT: u8 = 48;
/// See [`MAX_PRODUCT`].
pub const MAX_VENDOR: u8 = 28;
/// See [`MAX_PRODUCT`].
pub const MAX_SERIAL: u8 = 24;
/// See [`MAX_PRODUCT`].
pub const MAX_CHASSIS: u8 = 24;
/// See [`MAX_PRODUCT`].
pub const MAX_SLOT: u8 = 16;

/// What a board says of itself; a text that it does not say is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Smbios {
    /// Product name (type 1).
    pub product: String,
    /// Manufacturer (type 1).
    pub vendor: String,
    /// Serial number (type 1).
    pub serial: String,
    /// Serial number of the chassis (type 3).
    pub chassis: String,
    /// Where in the chassis the board sits (type 2, "Location in Chassis").
    pub slot: String,
}

/// What makers leave in the place of a text, in lower case. Seen on boards; the list is for those
/// that many machines have in common, for a rule must not take one machine for another. What it
/// lacks does no harm but that.
const PLACEHOLDERS: [&str; 27] = [
    "to be filled by o.e.m.",
    "to be filled by o.e.m",
    "default string",
    "default",
    "none",
    "not specified",
    "not applicable",
    "not available",
    "not present",
    "n/a",
    "unknown",
    "unspecified",
    "undefined",
    "empty",
    "invalid",
    "o.e.m.",
    "oem",
    "system product name",
    "system manufacturer",
    "system serial number",
    "chassis serial number",
    "serial number",
    "part component",
    "type2 - board chassis location",
    "base board chassis location",
    "0123456789",
    "123456789",
];

/// The text without white space around it; empty where it is none that a maker meant: a
/// placeholder, no letter or digit, nothing but zeros, or three or more times the same character.
/// (`11` may be a slot.)
#[must_use]
pub fn meant(text: &str) -> &str {
    let text = text.trim();
    let same = |least: usize| {
        let mut chars = text.chars();
        let first = chars.next();
        chars.all(|it| Some(it) == first) && text.chars().count() >= least
    };
    let is_none = !text.contains(char::is_alphanumeric)
        || text.starts_with('0') && same(1)
        || same(3)
        || text.contains(char::is_control)
        || PLACEHOLDERS.iter().any(|it| it.eq_ignore_ascii_case(text));
    if is_none { "" } else { text }
}

/// Type of the structure that describes a board (DSP0134, section 7.3).
const BASEBOARD: u8 = 2;
/// Type of the last structure (section 7.45).
const END_OF_TABLE: u8 = 127;
/// Where in a baseboard structure the number of the text "Location in Chassis" stands.
const LOCATION_IN_CHASSIS: usize = 0x0a;

/// Where in the chassis the machine sits: what the first board says that says it. Empty if none
/// does.
///
/// `table` is the structure table, as in `/sys/firmware/dmi/tables/DMI`, or one structure of it.
#[must_use]
pub fn slot(table: &[u8]) -> &str {
    structures(table)
        .filter(|it| it.kind == BASEBOARD)
        .map(|it| meant(it.text(LOCATION_IN_CHASSIS)))
        .find(|it| !it.is_empty())
        .unwrap_or_default()
}

/// A structure of the table (section 6.1).
struct Structure<'a> {
    kind: u8,
    /// Its formatted area, with its header.
    fields: &'a [u8],
    /// Its texts, each with a zero after it.
    texts: &'a [u8],
}

impl<'a> Structure<'a> {
    /// The text whose number stands at `place`; empty where there is none.
    fn text(&self, place: usize) -> &'a str {
        let number = self.fields.get(place).copied().map_or(0, usize::from);
        let mut texts = self.texts.split(|byte| *byte == 0);
        let text = number.checked_sub(1).and_then(|it| texts.nth(it));
        std::str::from_utf8(text.unwrap_or_default()).unwrap_or_default()
    }
}

/// The structures, as far as they are whole.
fn structures(mut table: &[u8]) -> impl Iterator<Item = Structure<'_>> {
    std::iter::from_fn(move || {
        let (&[kind, length, ..], true) = (table.first_chunk::<4>()?, table[0] != END_OF_TABLE)
        else {
            return None;
        };
        let (fields, rest) = table.split_at_checked(usize::from(length))?;
        // A structure shorter than its header is none, and would be read for ever.
        fields.first_chunk::<4>()?;
        let end = rest.windows(2).position(|it| it == [0, 0])?;
        table = &rest[end + 2..];
        let texts = &rest[..end];
        Some(Structure {
            kind,
            fields,
            texts,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure, as firmware writes it.
    fn structure(kind: u8, fields: &[u8], texts: &[&str]) -> Vec<u8> {
        let length = u8::try_from(fields.len() + 4).unwrap();
        let mut bytes = vec![kind, length, 0, kind];
        bytes.extend_from_slice(fields);
        for text in texts {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
        }
        bytes.extend_from_slice(&[0, 0][..2 - usize::from(!texts.is_empty())]);
        bytes
    }

    /// A board of 15 bytes whose location is text number `location`.
    fn board(location: u8, texts: &[&str]) -> Vec<u8> {
        structure(2, &[1, 2, 0, 0, 0, 9, location, 3, 0, 10, 0], texts)
    }

    fn table(structures: &[Vec<u8>]) -> Vec<u8> {
        structures.concat()
    }

    #[test]
    fn the_slot_is_what_the_board_says() {
        let system = structure(1, &[1, 2, 0, 0], &["Maker", "Product"]);
        let without_texts = structure(32, &[0; 7], &[]);
        let blade = board(3, &["Maker", "Board", " Slot 05 "]);
        let end = structure(127, &[], &[]);
        let all = [system.clone(), without_texts, blade.clone(), end.clone()];
        assert_eq!(slot(&table(&all)), "Slot 05");
        assert_eq!(slot(&blade), "Slot 05");
        // The first that says it.
        let silent = board(0, &["Maker"]);
        let unmeant = board(2, &["Maker", "Part Component"]);
        assert_eq!(slot(&table(&[silent, unmeant, blade.clone()])), "Slot 05");
        // What stands after the end is none.
        assert_eq!(slot(&table(&[system, end, blade])), "");
    }

    #[test]
    fn a_table_that_is_not_as_it_should_be_says_nothing() {
        assert_eq!(slot(&[]), "");
        // Of an older SMBIOS: too short for the field.
        assert_eq!(
            slot(&structure(2, &[1, 2, 3, 4], &["a", "b", "c", "d"])),
            ""
        );
        // A text that is not there, and one that is no text.
        assert_eq!(slot(&board(4, &["a", "b", "c"])), "");
        assert_eq!(slot(&board(1, &["\u{7f}x"])), "");
        let mut bytes = board(1, &["slot"]);
        bytes[15] = 0xff;
        assert_eq!(slot(&bytes), "");
        // Cut anywhere; lengths of zero.
        let whole = board(1, &["slot"]);
        for end in 0..whole.len() {
            assert_eq!(slot(&whole[..end]), "", "{end}");
        }
        assert_eq!(slot(&[0; 64]), "");
        assert_eq!(slot(&[2, 0, 0, 0, 0, 0, 0, 0]), "");
    }

    #[test]
    fn placeholders_are_no_texts() {
        for text in [
            "",
            " ",
            "0",
            "00",
            "To Be Filled By O.E.M.",
            "to be filled by O.E.M.",
            "Default string",
            "None",
            "Not Specified",
            "xxxxxxxx",
            "........",
            "-",
            "1111111",
            "a\u{1b}[2J",
        ] {
            assert_eq!(meant(text), "", "{text:?}");
        }
        for text in ["3", "11", "PowerEdge R640", "Dell Inc.", "007", "Ü1"] {
            assert_eq!(meant(text), text);
        }
        assert_eq!(meant(" CZ1234567 \n"), "CZ1234567");
        for text in PLACEHOLDERS {
            assert_eq!(meant(text), "");
            assert_eq!(text.to_ascii_lowercase(), text);
        }
    }
}
