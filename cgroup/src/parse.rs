//! The kernel's formats, from bytes. Nothing is allocated, unknown keys are passed over, and what
//! is no number is absent.

/// A file of one number: `memory.current`. `max` is absent too.
#[must_use]
pub fn number(text: &[u8]) -> Option<u64> {
    str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

/// The `key value` lines of a flat-keyed file: `cpu.stat`, `memory.events`, `cgroup.events`.
pub fn flat_keyed(text: &[u8]) -> impl Iterator<Item = (&[u8], u64)> {
    lines(text).filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b' ')?;
        let (key, value) = line.split_at_checked(at)?;
        Some((key, number(value)?))
    })
}

/// The `key sub=value sub=value` lines of a nested-keyed file: `io.stat`, the pressure files.
pub fn nested_keyed(text: &[u8]) -> impl Iterator<Item = (&[u8], Subkeys<'_>)> {
    lines(text).filter_map(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        let key = words.next().filter(|key| !key.is_empty())?;
        Some((key, Subkeys(line)))
    })
}

/// The `sub=value` pairs of one line.
#[derive(Debug, Clone, Copy)]
pub struct Subkeys<'a>(&'a [u8]);

impl Subkeys<'_> {
    /// The value of one sub-key.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<u64> {
        let mut pairs = self.0.split(|byte| *byte == b' ');
        pairs.find_map(|pair| number(pair.strip_prefix(name)?.strip_prefix(b"=")?))
    }
}

/// The words of a space-separated file: `cgroup.controllers`.
pub fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_numbers_or_absent() {
        assert_eq!(number(b"42\n"), Some(42));
        assert_eq!(number(b"18446744073709551615\n"), Some(u64::MAX));
        for text in [&b""[..], b"max\n", b"-1\n", b"4 2\n", b"18446744073709551616", b"\xff"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn flat_lines_are_read_and_odd_ones_passed_over() {
        let stat: Vec<_> = flat_keyed(b"usage_usec 7\nnew.key x\nuser_usec 5\nlast").collect();
        assert_eq!(stat, [(&b"usage_usec"[..], 7), (&b"user_usec"[..], 5)]);
    }

    #[test]
    fn nested_lines_are_read_by_sub_key() {
        let text = b"8:0 rbytes=1 wbytes=2 rios=3 wios=4\n8:16 \nsome avg10=0.00 total=9\n";
        let lines: Vec<_> =
            nested_keyed(text).map(|(key, subs)| (key, subs.get(b"wbytes"), subs.get(b"total"))).collect();
        assert_eq!(
            lines,
            [(&b"8:0"[..], Some(2), None), (&b"8:16"[..], None, None), (&b"some"[..], None, Some(9))]
        );
    }

    #[test]
    fn a_sub_key_is_not_found_within_another() {
        let (_, subs) = nested_keyed(b"8:0 xrbytes=1 rbytesx=2 rbytes=3").next().unwrap();
        assert_eq!(subs.get(b"rbytes"), Some(3));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = number(&text);
            let _ = flat_keyed(&text).count();
            for (_, subs) in nested_keyed(&text) {
                let _ = subs.get(b"total");
            }
        }

        #[test]
        fn what_the_kernel_writes_is_what_is_read(pairs in prop::collection::vec(("[a-z_]{1,8}", any::<u64>()), 0..8)) {
            let text: Vec<u8> = pairs.iter().flat_map(|(key, value)| format!("{key} {value}\n").into_bytes()).collect();
            let read: Vec<_> = flat_keyed(&text).map(|(k, v)| (String::from_utf8(k.to_vec()).unwrap(), v)).collect();
            prop_assert_eq!(read, pairs);
        }
    }
}
