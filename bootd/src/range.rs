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
    let spec = asked.and_then(|it| it.trim().strip_prefix("bytes="));
    let Some((first, last)) = spec.and_then(|it| it.split_once('-')) else {
        return Range::Whole;
    };
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(start), _) if start >= size => Range::Unsatisfiable,
        (Ok(start), Ok(end)) if end < start => Range::Whole,
        (Ok(start), Ok(end)) => Range::Part {
            start,
            len: end.min(size - 1) - start + 1,
        },
        (Ok(start), Err(_)) if last.trim().is_empty() => Range::Part {
            start,
            len: size - start,
        },
        (Err(_), Ok(0)) if first.trim().is_empty() => Range::Unsatisfiable,
        (Err(_), Ok(count)) if first.trim().is_empty() && size > 0 => {
            let len = count.min(size);
            Range::Part {
                start: size - len,
                len,
            }
        }
        _ => Range::Whole,
    }
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
        ];
        for (asked, expected) in cases {
            assert_eq!(choose(asked, 10), expected, "{asked:?}");
        }
        assert_eq!(choose(Some("bytes=0-"), 0), Range::Unsatisfiable);
    }
}
