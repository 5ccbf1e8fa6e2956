//! An assembler for the few BPF instructions that our programs are made of.
//!
//! Comparisons and arithmetic are of 32 bits, as every field that our programs look at. Encoding:
//! <https://docs.kernel.org/bpf/standardization/instruction-set.html>

use std::os::fd::{AsRawFd, BorrowedFd};

/// A register. `R1` holds the context when a program starts, `R0` its answer when it ends; a call
/// takes `R1` to `R5` away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reg(pub u8);

pub const R0: Reg = Reg(0);
pub const R1: Reg = Reg(1);
pub const R2: Reg = Reg(2);
pub const R3: Reg = Reg(3);
pub const R6: Reg = Reg(6);
pub const R7: Reg = Reg(7);
pub const R8: Reg = Reg(8);

/// One instruction as the kernel reads it: `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    pub code: u8,
    pub regs: u8,
    pub off: i16,
    pub imm: i32,
}

impl Insn {
    const fn new(code: u8, dst: Reg, src: Reg, off: i16, imm: u32) -> Self {
        let regs = if cfg!(target_endian = "little") { dst.0 | src.0 << 4 } else { dst.0 << 4 | src.0 };
        Self { code, regs, off, imm: imm.cast_signed() }
    }
}

/// Opcodes, by the names of the kernel's documentation.
pub mod op {
    pub const LD_IMM64: u8 = 0x18;
    pub const LDX_W: u8 = 0x61;
    pub const STX_W: u8 = 0x63;
    pub const STX_ATOMIC_DW: u8 = 0xdb;
    pub const ADD64_K: u8 = 0x07;
    pub const MOV64_X: u8 = 0xbf;
    pub const MOV32_K: u8 = 0xb4;
    pub const AND32_K: u8 = 0x54;
    pub const OR32_K: u8 = 0x44;
    pub const RSH32_K: u8 = 0x74;
    pub const TO_BE: u8 = 0xdc;
    pub const JA: u8 = 0x05;
    pub const JEQ32_K: u8 = 0x16;
    pub const JGT32_K: u8 = 0x26;
    pub const JNE32_K: u8 = 0x56;
    pub const JLT32_K: u8 = 0xa6;
    pub const CALL: u8 = 0x85;
    pub const EXIT: u8 = 0x95;
}

/// The kernel's helpers that we call.
#[derive(Debug, Clone, Copy)]
pub enum Helper {
    /// `bpf_get_local_storage(map, 0)`: the value that belongs to the group the program is attached to.
    GetLocalStorage,
    /// `bpf_get_current_uid_gid()`: in the low half the real user of who calls.
    GetCurrentUidGid,
}

impl Helper {
    pub const GET_LOCAL_STORAGE: u32 = 81;
    pub const GET_CURRENT_UID_GID: u32 = 15;

    const fn number(self) -> u32 {
        match self {
            Self::GetLocalStorage => Self::GET_LOCAL_STORAGE,
            Self::GetCurrentUidGid => Self::GET_CURRENT_UID_GID,
        }
    }
}

/// How a jump compares a register with a constant: unsigned.
#[derive(Debug, Clone, Copy)]
pub enum Cmp {
    Equal,
    NotEqual,
    Greater,
    Less,
}

/// A place in a program that jumps name before it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(usize);

/// A program that is being written. Jumps go forward only.
#[derive(Debug, Default)]
pub struct Asm {
    code: Vec<Insn>,
    jumps: Vec<(usize, Label)>,
    labels: usize,
    too_far: bool,
}

impl Asm {
    /// `dst = imm`
    pub fn mov(&mut self, dst: Reg, imm: u32) {
        self.push(op::MOV32_K, dst, R0, 0, imm);
    }

    /// `dst = src`, a pointer.
    pub fn mov_pointer(&mut self, dst: Reg, src: Reg) {
        self.push(op::MOV64_X, dst, src, 0, 0);
    }

    /// `dst += imm`, a pointer.
    pub fn advance(&mut self, dst: Reg, imm: u32) {
        self.push(op::ADD64_K, dst, R0, 0, imm);
    }

    /// `dst &= imm`
    pub fn and(&mut self, dst: Reg, imm: u32) {
        self.push(op::AND32_K, dst, R0, 0, imm);
    }

    /// `dst |= imm`
    pub fn or(&mut self, dst: Reg, imm: u32) {
        self.push(op::OR32_K, dst, R0, 0, imm);
    }

    /// `dst >>= bits`
    pub fn shift_right(&mut self, dst: Reg, bits: u32) {
        self.push(op::RSH32_K, dst, R0, 0, bits);
    }

    /// The lower 16 bits of `dst` from network order, the others zero.
    pub fn host_order16(&mut self, dst: Reg) {
        self.push(op::TO_BE, dst, R0, 0, 16);
    }

    /// `dst = *(u32 *)(base + off)`
    pub fn load(&mut self, dst: Reg, base: Reg, off: i16) {
        self.push(op::LDX_W, dst, base, off, 0);
    }

    /// `*(u32 *)(base + off) = src`
    pub fn store(&mut self, base: Reg, off: i16, src: Reg) {
        self.push(op::STX_W, base, src, off, 0);
    }

    /// `*(u64 *)(base + off) += src`, atomically.
    pub fn atomic_add(&mut self, base: Reg, off: i16, src: Reg) {
        self.push(op::STX_ATOMIC_DW, base, src, off, 0);
    }

    /// `dst =` the map behind a descriptor.
    pub fn load_map(&mut self, dst: Reg, map: BorrowedFd<'_>) {
        const PSEUDO_MAP_FD: Reg = Reg(1);
        self.push(op::LD_IMM64, dst, PSEUDO_MAP_FD, 0, map.as_raw_fd().cast_unsigned());
        self.push(0, R0, R0, 0, 0);
    }

    /// `R0 = helper(R1, ...)`
    pub fn call(&mut self, helper: Helper) {
        self.push(op::CALL, R0, R0, 0, helper.number());
    }

    /// Ends the program.
    pub fn ret(&mut self, answer: u32) {
        self.mov(R0, answer);
        self.push(op::EXIT, R0, R0, 0, 0);
    }

    /// A place that is still to come.
    pub fn label(&mut self) -> Label {
        let label = Label(self.labels);
        self.labels = self.labels.saturating_add(1);
        label
    }

    /// Goes on at `to`.
    pub fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(op::JA, R0, R0, 0, 0);
    }

    /// Goes on at `to` where the comparison holds.
    pub fn jump_if(&mut self, reg: Reg, cmp: Cmp, imm: u32, to: Label) {
        let code = match cmp {
            Cmp::Equal => op::JEQ32_K,
            Cmp::NotEqual => op::JNE32_K,
            Cmp::Greater => op::JGT32_K,
            Cmp::Less => op::JLT32_K,
        };
        self.jumps.push((self.code.len(), to));
        self.push(code, reg, R0, 0, imm);
    }

    /// Here is where the jumps to `label` go on.
    pub fn bind(&mut self, label: Label) {
        let here = self.code.len();
        let code = &mut self.code;
        let mut too_far = false;
        self.jumps.retain(|&(at, to)| {
            if to != label {
                return true;
            }
            // The offset counts from the instruction after the jump.
            let distance = here.checked_sub(at).and_then(|n| n.checked_sub(1));
            match (distance.and_then(|n| i16::try_from(n).ok()), code.get_mut(at)) {
                (Some(off), Some(insn)) => insn.off = off,
                _ => too_far = true,
            }
            false
        });
        self.too_far |= too_far;
    }

    /// The program, or `None` where a jump goes nowhere or further than an instruction can say.
    pub fn finish(self) -> Option<Vec<Insn>> {
        (self.jumps.is_empty() && !self.too_far).then_some(self.code)
    }

    fn push(&mut self, code: u8, dst: Reg, src: Reg, off: i16, imm: u32) {
        self.code.push(Insn::new(code, dst, src, off, imm));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(insn: Insn) -> Vec<u8> {
        let Insn { code, regs, off, imm } = insn;
        [&[code, regs][..], &off.to_le_bytes(), &imm.to_le_bytes()].concat()
    }

    #[test]
    fn instructions_are_encoded_as_the_kernel_documents_them() {
        let mut asm = Asm::default();
        asm.load(R2, R1, 4);
        let next = asm.label();
        asm.jump_if(R2, Cmp::NotEqual, 0xfeed_beef, next);
        asm.store(R1, 16, R2);
        asm.ret(1);
        asm.bind(next);
        asm.host_order16(R7);
        let code: Vec<u8> = asm.finish().unwrap().into_iter().flat_map(bytes).collect();
        let expected = [
            [0x61, 0x12, 4, 0, 0, 0, 0, 0],
            [0x56, 0x02, 3, 0, 0xef, 0xbe, 0xed, 0xfe],
            [0x63, 0x21, 16, 0, 0, 0, 0, 0],
            [0xb4, 0x00, 0, 0, 1, 0, 0, 0],
            [0x95, 0x00, 0, 0, 0, 0, 0, 0],
            [0xdc, 0x07, 0, 0, 16, 0, 0, 0],
        ];
        assert_eq!(code, expected.concat());
    }

    #[test]
    fn a_jump_that_goes_nowhere_or_too_far_is_no_program() {
        let mut asm = Asm::default();
        let nowhere = asm.label();
        asm.jump(nowhere);
        assert!(asm.finish().is_none());

        let mut asm = Asm::default();
        let far = asm.label();
        asm.jump(far);
        (0..=i16::MAX.cast_unsigned()).for_each(|_| asm.mov(R0, 0));
        asm.bind(far);
        assert!(asm.finish().is_none());
    }
}
