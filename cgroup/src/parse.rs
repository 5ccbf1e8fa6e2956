//! The kernel's formats, from bytes. Nothing is allocated, unknown keys are passed over, and what
//! is no number is absent.

/// A file of one number: `memory.current`. `max` is absent too.
#[must_use]
pub fn number(text: &[u8]) -> Option<u64> {
    /// So many digits fit into 64 bits, whatever they are.
    const SURE: usize = 19;
    let digits = text.trim_ascii();
    let (sure, rest) = digits.split_at_checked(SURE).unwrap_or((digits, &[]));
    if sure.is_empty() {
        return None;
    }
    let mut value = 0_u64;
    for byte in sure {
        value = value.wrapping_mul(10).wrapping_add(digit(*byte)?);
    }
    for byte in rest {
        value = value.checked_mul(10)?.checked_add(digit(*byte)?)?;
    }
    Some(value)
}

fn digit(byte: u8) -> Option<u64> {
    let digit = byte.wrapping_sub(b'0');
    (digit < 10).then_some(u64::from(digit))
}

/// The `key value` lines of a flat-keyed file: `cpu.stat`, `memory.events`, `cgroup.events`.
pub fn flat_keyed(text: &[u8]) -> impl Iterator<Item = (&[u8], u64)> {
    lines(text).filter_map(|line| {
        let (key, value) = cut(line, b' ')?;
        Some((key, number(value)?))
    })
}

/// The values of some keys of a flat-keyed file, in the order of `keys`; of a key's lines the first counts.
///
/// Looks no further than the line of the last one. Quickest where `keys` stand in the kernel's order.
#[must_use]
pub fn pick<const N: usize>(text: &[u8], keys: [&[u8]; N]) -> [Option<u64>; N] {
    let mut wanted = Wanted::new(keys);
    let mut rest = text;
    while !wanted.is_complete()
        && let Some((line, after)) = next(rest, b'\n')
    {
        rest = after;
        wanted.offer(|key| line.strip_prefix(key)?.strip_prefix(b" "));
    }
    wanted.values
}

/// The `key sub=value sub=value` lines of a nested-keyed file: `io.stat`, the pressure files.
pub fn nested_keyed(text: &[u8]) -> impl Iterator<Item = (&[u8], Subkeys<'_>)> {
    lines(text).filter_map(|line| {
        let (key, subkeys) = cut(line, b' ').unwrap_or((line, &[]));
        (!key.is_empty()).then_some((key, Subkeys(subkeys)))
    })
}

/// The `sub=value` pairs of one line.
#[derive(Debug, Clone, Copy)]
pub struct Subkeys<'a>(&'a [u8]);

impl Subkeys<'_> {
    /// The value of one sub-key.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<u64> {
        let [value] = self.pick([name]);
        value
    }

    /// As [`Subkeys::get`], at once where it stands last.
    #[must_use]
    pub fn get_last(&self, name: &[u8]) -> Option<u64> {
        let last = self.0.rsplit(|byte| *byte == b' ').next()?;
        match last.strip_prefix(name).and_then(|rest| rest.strip_prefix(b"=")) {
            Some(value) => number(value),
            None => self.get(name),
        }
    }

    /// The values of some sub-keys, in the order of `names`; of one that is there twice the first
    /// counts. Quickest where `names` stand in the kernel's order.
    #[must_use]
    pub fn pick<const N: usize>(&self, names: [&[u8]; N]) -> [Option<u64>; N] {
        let mut wanted = Wanted::new(names);
        let mut rest = self.0;
        while !wanted.is_complete()
            && let Some((pair, after)) = next(rest, b' ')
        {
            rest = after;
            wanted.offer(|name| pair.strip_prefix(name)?.strip_prefix(b"="));
        }
        wanted.values
    }
}

/// Keys that are looked for, and what was found of them.
struct Wanted<'k, const N: usize> {
    keys: [&'k [u8]; N],
    values: [Option<u64>; N],
    missing: usize,
}

impl<'k, const N: usize> Wanted<'k, N> {
    fn new(keys: [&'k [u8]; N]) -> Self {
        Self { keys, values: [None; N], missing: N }
    }

    fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Takes the value that `text_of` finds for one of the keys that are still missing.
    fn offer<'t>(&mut self, text_of: impl Fn(&[u8]) -> Option<&'t [u8]>) {
        for (key, value) in self.keys.iter().zip(&mut self.values) {
            if value.is_none()
                && let Some(text) = text_of(key)
            {
                *value = number(text);
                if value.is_some() {
                    self.missing = self.missing.saturating_sub(1);
                }
                return;
            }
        }
    }
}

/// The words of a space-separated file: `cgroup.controllers`.
pub fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// What stands before the first `mark`, and what after it.
fn cut(text: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == mark)?;
    let (before, after) = text.split_at_checked(at)?;
    Some((before, after.split_first()?.1))
}

/// The text up to the first `mark` or its end, and what is left; `None` where nothing is left.
fn next(text: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    if text.is_empty() { None } else { Some(cut(text, mark).unwrap_or((text, &[]))) }
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

    #[test]
    fn picked_values_are_those_of_the_keys_whatever_their_order() {
        let text = b"high 1\noom 2\noom_kill 3\nmax x\nmax 4\noom 5\n";
        assert_eq!(pick(text, [b"max", b"oom", b"oom_k", b"oom_kill"]), [Some(4), Some(2), None, Some(3)]);
    }

    /// Lines that are often of the keys looked for, and often nearly so.
    fn keyed_text() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            4 => ("(anon|file|kernel|shmem)", any::<u64>()).prop_map(|(key, value)| format!("{key} {value}")),
            1 => "(anon|filex|kernel|shmem|file_mapped) ?(max|-1|18446744073709551616|[0-9]{1,3})?",
            1 => "[a-z ]{0,6}",
        ];
        prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn what_is_picked_is_the_first_number_of_each_key(text in keyed_text()) {
            const KEYS: [&[u8]; 4] = [b"anon", b"file", b"kernel", b"shmem"];
            let first = KEYS.map(|wanted| {
                flat_keyed(text.as_bytes()).find(|(key, _)| *key == wanted).map(|(_, value)| value)
            });
            prop_assert_eq!(pick(text.as_bytes(), KEYS), first);
        }

        #[test]
        fn a_sub_key_is_found_wherever_it_stands(
            values in prop::collection::btree_map("(total|avg10|avg60|tota|totals)", any::<u32>(), 0..5),
        ) {
            let pairs: Vec<String> = values.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            let line = format!("some{}\n", pairs.concat());
            let (_, subkeys) = nested_keyed(line.as_bytes()).next().unwrap();
            let value = values.get("total").copied().map(u64::from);
            prop_assert_eq!((subkeys.get(b"total"), subkeys.get_last(b"total")), (value, value));
        }

        #[test]
        fn a_number_is_what_the_standard_library_says(text in "[0-9]{1,22}") {
            prop_assert_eq!(number(text.as_bytes()), text.parse().ok());
        }

        #[test]
        fn any_bytes_are_parsed_without_a_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = number(&text);
            let _ = flat_keyed(&text).count();
            let _ = pick(&text, [b"usage_usec", b"a"]);
            for (_, subs) in nested_keyed(&text) {
                let _ = (subs.get(b"total"), subs.get_last(b"total"));
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
