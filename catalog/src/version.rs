//! Versions of packages, compared as dpkg does (`deb-version(7)`).
//!
//! A version is `[epoch:]upstream[-revision]`. `~` stands before everything, even the end:
//! `1.0~rc1` is older than `1.0`.

use std::cmp::Ordering;

/// Which of two versions is the older one. Any text has a place in this order.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (epoch_a, upstream_a, revision_a) = parts(a);
    let (epoch_b, upstream_b, revision_b) = parts(b);
    compare_part(epoch_a, epoch_b)
        .then_with(|| compare_part(upstream_a, upstream_b))
        .then_with(|| compare_part(revision_a, revision_b))
}

/// Epoch, upstream version and revision. What is missing counts as 0, and so does nothing at all.
fn parts(version: &str) -> (&[u8], &[u8], &[u8]) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch.as_bytes(), upstream.as_bytes(), revision.as_bytes())
}

/// Text and numbers take turns, text first.
fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !(a.is_empty() && b.is_empty()) {
        let (text_a, number_a, text_b, number_b);
        (text_a, a) = split(a, |byte| !byte.is_ascii_digit());
        (text_b, b) = split(b, |byte| !byte.is_ascii_digit());
        (number_a, a) = split(a, u8::is_ascii_digit);
        (number_b, b) = split(b, u8::is_ascii_digit);
        let order = compare_text(text_a, text_b).then_with(|| compare_number(number_a, number_b));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// The bytes at the beginning that are `of` a kind, and the rest.
fn split(bytes: &[u8], of: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !of(byte));
    bytes.split_at(end.unwrap_or(bytes.len()))
}

fn compare_text(a: &[u8], b: &[u8]) -> Ordering {
    let end = std::iter::repeat(weight(None));
    let weights = |text: &[u8]| -> Vec<u16> { text.iter().map(|it| weight(Some(*it))).collect() };
    let (a, b) = (weights(a), weights(b));
    let longer = a.len().max(b.len());
    let a = a.into_iter().chain(end.clone()).take(longer);
    a.cmp(b.into_iter().chain(end).take(longer))
}

/// `~`, the end, letters, everything else.
fn weight(byte: Option<u8>) -> u16 {
    match byte {
        Some(b'~') => 0,
        None => 1,
        Some(letter) if letter.is_ascii_alphabetic() => 1 + u16::from(letter),
        Some(other) => 0x100 + u16::from(other),
    }
}

/// Numbers of any length.
fn compare_number(a: &[u8], b: &[u8]) -> Ordering {
    let (_, a) = split(a, |byte| *byte == b'0');
    let (_, b) = split(b, |byte| *byte == b'0');
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::compare;
    use std::cmp::Ordering::{self, Equal, Greater, Less};

    /// What `dpkg --compare-versions` of Debian 12 says.
    const KNOWN: [(&str, Ordering, &str); 24] = [
        ("1.0", Equal, "1.0"),
        ("1.0", Less, "1.1"),
        ("1.9", Less, "1.10"),
        ("1.0~rc1", Less, "1.0"),
        ("1.0~~", Less, "1.0~"),
        ("1.0~~a", Less, "1.0~"),
        ("1.0", Less, "1.0a"),
        ("1.0a", Less, "1.0+b"),
        ("1.0-1", Less, "1.0-2"),
        ("1.0-1", Less, "1.0-1+b1"),
        ("1.0-1", Less, "1.0-1.1"),
        ("1.0", Less, "1.0-1"),
        ("1.0", Equal, "1.0-0"),
        ("1.0-1~bpo12+1", Less, "1.0-1"),
        ("2:1.0", Greater, "1:9.9"),
        ("0:1.0", Equal, "1.0"),
        ("1.00", Equal, "1.0"),
        ("1.0.", Greater, "1.0"),
        ("1.a", Less, "1.+"),
        ("a", Greater, "1"),
        ("3.0.15-1~deb12u1", Greater, "3.0.9-1"),
        (
            "99999999999999999999999999",
            Less,
            "100000000000000000000000000",
        ),
        ("1.2-3-4", Greater, "1.2-3"),
        ("6.1.0-13", Less, "6.1.0-21"),
    ];

    #[test]
    fn as_dpkg_does() {
        for (a, order, b) in KNOWN {
            assert_eq!(compare(a, b), order, "{a} {b}");
            assert_eq!(compare(b, a), order.reverse(), "{b} {a}");
        }
    }

    #[test]
    fn any_text_has_a_place() {
        let odd = ["", "-", ":", "~", "é1", "1é", "\0", "1:-", "a:b:c-d-e"];
        for a in odd {
            assert_eq!(compare(a, a), Equal, "{a:?}");
            for b in odd {
                assert_eq!(compare(a, b), compare(b, a).reverse(), "{a:?} {b:?}");
            }
        }
    }
}
