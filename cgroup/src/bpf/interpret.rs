//! An interpreter of our instructions, for tests: what a program answers, without a kernel.
#![allow(clippy::arithmetic_side_effects)]

use super::insn::{Helper, Insn, op};

/// Pointers of the programs under test; the low bits are the offset.
const CONTEXT: u64 = 1 << 32;
const STORAGE: u64 = 2 << 32;

/// What a program left.
pub struct Outcome {
    pub answer: u32,
    /// The group's local storage.
    pub storage: [u64; 8],
}

/// Runs a program of a user's on a context, which it may write to. Panics where a program does what
/// the verifier would refuse.
pub fn run(code: &[Insn], context: &mut [u8]) -> Outcome {
    run_as(1000, code, context)
}

/// The same, of any user's.
pub fn run_as(uid: u64, code: &[Insn], context: &mut [u8]) -> Outcome {
    const GID: u64 = 1000 << 32;
    let mut storage = [0_u64; 8];
    let mut reg: [Option<u64>; 11] = [None; 11];
    reg[1] = Some(CONTEXT);
    let mut pc = 0;
    loop {
        let Insn { code: opcode, regs, off, imm } = code[pc];
        let here = pc;
        let (dst, src) = (usize::from(regs & 15), usize::from(regs >> 4));
        let imm = imm.cast_unsigned();
        let get = |n: usize| reg[n].unwrap_or_else(|| panic!("r{n} is read before it is set, at {here}"));
        let low = |n: usize| u32::try_from(get(n) & 0xffff_ffff).unwrap();
        let at = |n: usize, space: u64| {
            let address = get(n).wrapping_add_signed(i64::from(off));
            assert_eq!(address >> 32, space >> 32, "the wrong kind of pointer at {here}");
            usize::try_from(address & 0xffff_ffff).unwrap()
        };
        pc += 1;
        let taken = match opcode {
            op::LDX_W => {
                let at = at(src, CONTEXT);
                let word: [u8; 4] = context[at..at + 4].try_into().unwrap();
                reg[dst] = Some(u64::from(u32::from_ne_bytes(word)));
                false
            }
            op::STX_W => {
                let at = at(dst, CONTEXT);
                context[at..at + 4].copy_from_slice(&low(src).to_ne_bytes());
                false
            }
            op::STX_ATOMIC_DW => {
                let at = at(dst, STORAGE);
                assert_eq!((at % 8, imm), (0, 0));
                storage[at / 8] += get(src);
                false
            }
            op::LD_IMM64 => {
                reg[dst] = Some(0);
                pc += 1;
                false
            }
            op::CALL => {
                reg[0] = Some(if imm == Helper::GET_CURRENT_UID_GID {
                    GID | uid
                } else {
                    assert_eq!((imm, get(2)), (Helper::GET_LOCAL_STORAGE, 0));
                    STORAGE
                });
                reg[1..6].fill(None);
                false
            }
            op::EXIT => return Outcome { answer: low(0), storage },
            op::JA => true,
            op::JEQ32_K => low(dst) == imm,
            op::JNE32_K => low(dst) != imm,
            op::JGT32_K => low(dst) > imm,
            op::JLT32_K => low(dst) < imm,
            _ => {
                reg[dst] = Some(match opcode {
                    op::MOV32_K => u64::from(imm),
                    op::MOV64_X => get(src),
                    op::ADD64_K => get(dst) + u64::from(imm),
                    op::AND32_K => u64::from(low(dst) & imm),
                    op::OR32_K => u64::from(low(dst) | imm),
                    op::RSH32_K => u64::from(low(dst) >> imm),
                    op::TO_BE if imm == 16 => u64::from(u16::try_from(low(dst) & 0xffff).unwrap().to_be()),
                    _ => panic!("no such instruction: {opcode:#x}"),
                });
                false
            }
        };
        if taken {
            pc += usize::try_from(off).expect("jumps go forward");
        }
    }
}
