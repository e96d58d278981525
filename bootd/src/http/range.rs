//! The `Range` header (RFC 9110, section 14.2), for one range of bytes.

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// All of it: no range was asked for, or one we do not serve (several at once, another
    /// unit), which a server may ignore.
    Whole,
    /// This part.
    Part {
        /// Its first byte.
        start: u64,
        /// Its length, at least 1.
        len: u64,
    },
    /// The range begins behind the end: 416.
    Unsatisfiable,
}

/// What the header `asked` means for a resource of `size` bytes.
#[must_use]
pub fn choose(asked: Option<&str>, size: u64) -> Range {
    let spec = asked.and_then(|it| it.split_once('='));
    let spec = spec.filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"));
    let Some((first, last)) = spec.and_then(|(_, range)| range.trim().split_once('-')) else {
        return Range::Whole;
    };
    match (number(first), number(last)) {
        (Some(start), Some(end)) if end < start => Range::Whole,
        (Some(start), Some(_)) if start >= size => Range::Unsatisfiable,
        (Some(start), None) if last.is_empty() && start >= size => Range::Unsatisfiable,
        (Some(start), Some(end)) => Range::Part {
            start,
            len: end.min(size - 1) - start + 1,
        },
        (Some(start), None) if last.is_empty() => Range::Part {
            start,
            len: size - start,
        },
        (None, Some(0)) if first.is_empty() => Range::Unsatisfiable,
        (None, Some(count)) if first.is_empty() && size > 0 => {
            let len = count.min(size);
            Range::Part {
                start: size - len,
                len,
            }
        }
        _ => Range::Whole,
    }
}

/// A number of digits alone. What is too large for us is behind the end of every file.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let part = |start, len| Range::Part { start, len };
        let cases = [
            (None, Range::Whole),
            (Some("bytes=0-"), part(0, 10)),
            (Some("bytes=4-"), part(4, 6)),
            (Some("bytes=4-5"), part(4, 2)),
            (Some("bytes=4-99"), part(4, 6)),
            (Some("bytes=-3"), part(7, 3)),
            (Some("bytes=-99"), part(0, 10)),
            (Some("bytes=10-"), Range::Unsatisfiable),
            (Some("bytes=-0"), Range::Unsatisfiable),
            (Some("bytes=5-4"), Range::Whole),
            (Some("bytes=0-1,3-4"), Range::Whole),
            (Some("lines=0-1"), Range::Whole),
            (Some("bytes=a-b"), Range::Whole),
            (Some("bytes=-"), Range::Whole),
            (Some("bytes=+1-2"), Range::Whole),
            (Some("bytes=20-10"), Range::Whole),
            (Some("Bytes=4-5"), part(4, 2)),
            (Some("bytes=4-99999999999999999999"), part(4, 6)),
            (Some("bytes=-99999999999999999999"), part(0, 10)),
            (Some("bytes=99999999999999999999-"), Range::Unsatisfiable),
        ];
        for (asked, expected) in cases {
            assert_eq!(choose(asked, 10), expected, "{asked:?}");
        }
        assert_eq!(choose(Some("bytes=0-"), 0), Range::Unsatisfiable);
        assert_eq!(choose(Some("bytes=-1"), 0), Range::Whole);
        let far = part((1 << 32) + 1, 2);
        assert_eq!(choose(Some("bytes=4294967297-4294967298"), 1 << 33), far);
    }
}
