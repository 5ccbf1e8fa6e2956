//! The device program: an allow-list in straight line.

use tenantry_model::tenants::{DeviceKind, DeviceRule};

use super::hook::{ALLOW, REFUSE};
use super::insn::{Asm, Cmp, Insn, R1, R2, R3};

/// `struct bpf_cgroup_dev_ctx`: `access << 16 | kind`, major, minor.
const ACCESS_AND_KIND: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;

const BLOCK: u32 = 1;
const CHAR: u32 = 2;
const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
/// Ours, beside the kernel's three: that the node is on the list at all.
const LISTED: u32 = 8;

/// What is asked must be allowed by the rules that match the node, all together.
///
/// Fields are loaded anew for each rule: the verifier then has nothing to remember from one rule
/// to the next but what is still to be allowed, and its work grows with the list and no faster.
pub fn program(rules: &[DeviceRule]) -> Option<Vec<Insn>> {
    let mut asm = Asm::default();
    asm.load(R3, R1, ACCESS_AND_KIND);
    asm.shift_right(R3, 16);
    asm.or(R3, LISTED);
    for rule in rules {
        let next = asm.label();
        asm.load(R2, R1, ACCESS_AND_KIND);
        asm.and(R2, 0xffff);
        asm.jump_if(R2, Cmp::NotEqual, kind(rule.kind), next);
        for (number, field) in [(rule.major, MAJOR), (rule.minor, MINOR)] {
            if let Some(number) = number {
                asm.load(R2, R1, field);
                asm.jump_if(R2, Cmp::NotEqual, number, next);
            }
        }
        asm.and(R3, !(access(rule) | LISTED));
        asm.bind(next);
    }
    let refuse = asm.label();
    asm.jump_if(R3, Cmp::NotEqual, 0, refuse);
    asm.ret(ALLOW);
    asm.bind(refuse);
    asm.ret(REFUSE);
    asm.finish()
}

const fn kind(kind: DeviceKind) -> u32 {
    match kind {
        DeviceKind::Block => BLOCK,
        DeviceKind::Char => CHAR,
    }
}

fn access(rule: &DeviceRule) -> u32 {
    [(rule.access.read, READ), (rule.access.write, WRITE), (rule.access.mknod, MKNOD)]
        .into_iter()
        .filter(|(allowed, _)| *allowed)
        .fold(0, |bits, (_, bit)| bits | bit)
}

#[cfg(test)]
mod tests {
    use super::super::interpret::run;
    use super::*;
    use proptest::prelude::*;
    use tenantry_model::tenants::DeviceAccess;

    fn context(kind: u32, access: u32, major: u32, minor: u32) -> Vec<u8> {
        [access << 16 | kind, major, minor].iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    /// Each asked access is granted by some rule that matches; a node on no rule is refused.
    fn reference(rules: &[DeviceRule], wanted: DeviceKind, access: u32, major: u32, minor: u32) -> bool {
        let matching: Vec<&DeviceRule> = rules
            .iter()
            .filter(|rule| rule.kind == wanted)
            .filter(|rule| rule.major.is_none_or(|n| n == major) && rule.minor.is_none_or(|n| n == minor))
            .collect();
        let granted = |bit, of: fn(&DeviceAccess) -> bool| {
            access & bit == 0 || matching.iter().any(|rule| of(&rule.access))
        };
        !matching.is_empty()
            && granted(MKNOD, |a| a.mknod)
            && granted(READ, |a| a.read)
            && granted(WRITE, |a| a.write)
    }

    fn kinds() -> impl Strategy<Value = DeviceKind> {
        prop_oneof![Just(DeviceKind::Block), Just(DeviceKind::Char)]
    }

    fn rules() -> impl Strategy<Value = Vec<DeviceRule>> {
        let number = || prop_oneof![Just(None), (0..4_u32).prop_map(Some), Just(Some(u32::MAX))];
        let rule = (kinds(), number(), number(), any::<[bool; 3]>()).prop_map(
            |(kind, major, minor, [read, write, mknod])| DeviceRule {
                kind,
                major,
                minor,
                access: DeviceAccess { read, write, mknod },
            },
        );
        prop::collection::vec(rule, 0..8)
    }

    proptest! {
        #[test]
        fn the_program_decides_as_the_rules_say(
            rules in rules(), wanted in kinds(), access in 0..8_u32, major in 0..5_u32, minor in 0..5_u32,
        ) {
            let code = program(&rules).unwrap();
            let answer = run(&code, &mut context(kind(wanted), access, major, minor)).answer;
            prop_assert_eq!(answer == ALLOW, reference(&rules, wanted, access, major, minor));
        }
    }

    #[test]
    fn two_rules_together_allow_what_neither_does() {
        let null = |read, write| DeviceRule {
            kind: DeviceKind::Char,
            major: Some(1),
            minor: Some(3),
            access: DeviceAccess { read, write, mknod: false },
        };
        let code = program(&[null(true, false), null(false, true)]).unwrap();
        assert_eq!(run(&code, &mut context(CHAR, READ | WRITE, 1, 3)).answer, ALLOW);
        assert_eq!(run(&code, &mut context(CHAR, READ | MKNOD, 1, 3)).answer, REFUSE);
        assert_eq!(run(&program(&[]).unwrap(), &mut context(CHAR, READ, 1, 3)).answer, REFUSE);
    }
}
