//! Patterns of device names, matched as `modprobe` does: `fnmatch(3)` without flags (POSIX
//! 2.13). `*` any text, `?` any character, `[a-z]` and `[!a-z]` one of a set, `\` takes the
//! next character as it is.

/// Whether all of `text` matches `pattern`. Takes at most the product of both lengths.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let [mut p, mut t] = [0, 0];
    // Where to go on after the last `*` if the rest does not match: behind it in the pattern,
    // and one character further in the text than the last time.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
            continue;
        }
        if p == pattern.len() && t == text.len() {
            return true;
        }
        if let Some(next) = text.get(t).and_then(|byte| one(pattern, p, *byte)) {
            p = next;
            t += 1;
            continue;
        }
        match star {
            Some((behind, from)) if from < text.len() => {
                [p, t] = [behind, from + 1];
                star = Some((p, t));
            }
            Some(_) | None => return false,
        }
    }
}

/// Where the pattern goes on if what stands at `at` matches `byte`.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match *pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => match set(pattern, at + 1, byte) {
            Some((true, next)) => Some(next),
            Some((false, _)) => None,
            // A bracket that is never closed stands for itself.
            None => (byte == b'[').then_some(at + 1),
        },
        b'\\' if at + 1 < pattern.len() => (pattern[at + 1] == byte).then_some(at + 2),
        literal => (literal == byte).then_some(at + 1),
    }
}

/// Whether `byte` is in the set that begins at `at`, behind its `[`, and where the pattern goes
/// on behind its `]`; none if there is no `]`.
fn set(pattern: &[u8], mut at: usize, byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    at += usize::from(negated);
    let first = at;
    let mut found = false;
    loop {
        match *pattern.get(at)? {
            // A bracket right at the beginning is one of the set.
            b']' if at > first => return Some((found != negated, at + 1)),
            low => {
                let range = pattern.get(at + 1) == Some(&b'-');
                match pattern.get(at + 2) {
                    Some(high) if range && *high != b']' => {
                        found |= (low..=*high).contains(&byte);
                        at += 3;
                    }
                    Some(_) | None => {
                        found |= low == byte;
                        at += 1;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_fnmatch_does() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("abcd", "abc", false),
            ("*", "", true),
            ("*", "a/b:c", true),
            ("a*", "ba", false),
            ("a*c", "abcbc", true),
            ("a*c", "abcb", false),
            ("a*b*c", "aXbYbZc", true),
            ("a**c", "ac", true),
            ("?", "", false),
            ("a?c", "abc", true),
            ("[abc]", "b", true),
            ("[!abc]", "b", false),
            ("[^abc]", "d", true),
            ("x[0-9]y", "x5y", true),
            ("x[0-9]y", "xay", false),
            ("[a-]", "-", true),
            ("[]a]", "]", true),
            ("[!]a]", "]", false),
            ("[abc", "[abc", true),
            ("[", "[", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            (r"\", r"\", true),
            ("*[0-9]", "abc7", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn matches_real_devices() {
        let e1000 = "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00";
        assert!(matches("pci:v00008086d0000100Esv*sd*bc*sc*i*", e1000));
        assert!(!matches("pci:v00008086d0000100Fsv*sd*bc*sc*i*", e1000));
        assert!(matches("pci:v*d*sv*sd*bc02sc00i*", e1000));
        let input = "input:b0011v0001p0001eAB41-e0,1,4,11,14,k71,72,ram4,l0,1,2,sfw";
        assert!(matches("input:b*v*p*e*-e*1,*k*71,*r*a*m*l*s*f*w*", input));
        let cpu = "cpu:type:x86,ven0000fam0006mod003F:feature:,0000,0001,0094,00C0";
        assert!(matches("cpu:type:x86,ven*fam*mod*:feature:*0094*", cpu));
    }

    #[test]
    fn does_not_take_forever() {
        let pattern = "a*".repeat(50) + "b";
        assert!(!matches(&pattern, &"a".repeat(1000)));
    }
}
