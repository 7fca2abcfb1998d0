use core::fmt;

/// One instruction (`struct bpf_insn` of `linux/bpf.h`, RFC 9669 section 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instruction {
    /// Class, operation and kind of the operand.
    pub opcode: u8,
    /// Register written to, or the base of a store: 0 to 10.
    pub destination: u8,
    /// Register read: 0 to 10. Says in calls and in 64-bit constants what the number means.
    pub source: u8,
    /// Distance of a jump from the next instruction, or of memory from its base.
    pub offset: i16,
    /// The constant.
    pub immediate: i32,
}

/// Registers by the roles the calling convention gives them (RFC 9669 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Register {
    /// Results of calls, and of the program.
    R0,
    /// First argument; 1 to 5 are lost in a call.
    R1,
    R2,
    R3,
    R4,
    /// 6 to 9 survive calls.
    R6 = 6,
    R7,
    R8,
    R9,
    /// End of the stack, which grows down.
    Stack,
}

/// Width of a memory access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Width {
    /// 32 bits.
    Word = 0x00,
    /// 64 bits.
    Double = 0x18,
}

/// A comparison of unsigned 64-bit numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Condition {
    Equal = 0x10,
    /// The jump is taken when the left side is greater than or equal to the right one.
    AtLeast = 0x30,
    /// The jump is taken when both have a bit in common.
    AnyBit = 0x40,
    NotEqual = 0x50,
    Less = 0xa0,
}

/// An operation whose left side takes the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    Add = 0x00,
    Subtract = 0x10,
    And = 0x50,
    ShiftRight = 0x70,
    Negate = 0x80,
    Modulo = 0x90,
    Move = 0xb0,
}

/// Instruction classes and modifiers, as `linux/bpf_common.h` and `linux/bpf.h` have them.
pub(super) mod code {
    pub(in super::super) const LOAD_CONSTANT: u8 = 0x18;
    pub(in super::super) const LOAD: u8 = 0x61;
    pub(in super::super) const STORE_CONSTANT: u8 = 0x62;
    pub(in super::super) const STORE: u8 = 0x63;
    pub(in super::super) const ATOMIC: u8 = 0xc3;
    pub(in super::super) const ARITHMETIC_32: u8 = 0x04;
    pub(in super::super) const ARITHMETIC: u8 = 0x07;
    pub(in super::super) const TO_BIG_ENDIAN: u8 = 0xdc;
    pub(in super::super) const JUMP: u8 = 0x05;
    pub(in super::super) const CALL: u8 = 0x85;
    pub(in super::super) const EXIT: u8 = 0x95;
    pub(in super::super) const MAY_GOTO: u8 = 0xe5;
    /// The right side is a register.
    pub(in super::super) const REGISTER: u8 = 0x08;
    pub(in super::super) const ATOMIC_ADD: i32 = 0x00;
    pub(in super::super) const COMPARE_EXCHANGE: i32 = 0xf1;
    /// Source of a 64-bit constant that is the descriptor of a map.
    pub(in super::super) const MAP: u8 = 1;
}

impl Instruction {
    /// As the kernel reads it.
    pub fn to_bytes(self) -> [u8; 8] {
        let registers = if cfg!(target_endian = "little") {
            self.source << 4 | self.destination
        } else {
            self.destination << 4 | self.source
        };
        let [offset_0, offset_1] = self.offset.to_ne_bytes();
        let [immediate_0, immediate_1, immediate_2, immediate_3] = self.immediate.to_ne_bytes();
        [
            self.opcode,
            registers,
            offset_0,
            offset_1,
            immediate_0,
            immediate_1,
            immediate_2,
            immediate_3,
        ]
    }

    /// How many places it takes: 2 for a 64-bit constant, whose second half is in the next place.
    pub fn places(self) -> usize {
        if self.opcode == code::LOAD_CONSTANT { 2 } else { 1 }
    }

    /// The distance of a jump from the next instruction; `None` for one that goes on.
    pub fn jump(self) -> Option<i16> {
        let class = self.opcode & 0x07;
        let is_jump = matches!(class, 0x05 | 0x06);
        (is_jump && !matches!(self.opcode, code::CALL | code::EXIT)).then_some(self.offset)
    }
}

/// In the notation of the kernel's verifier, or nearly.
impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { opcode, destination, source, offset, immediate } = *self;
        let right = |f: &mut fmt::Formatter<'_>| {
            if opcode & code::REGISTER != 0 {
                write!(f, "r{source}")
            } else {
                write!(f, "{immediate}")
            }
        };
        let memory = |f: &mut fmt::Formatter<'_>, base: u8| {
            let kind = match opcode & 0x18 {
                0x18 => "u64",
                0x10 => "u8",
                _ => "u32",
            };
            write!(f, "*({kind} *)(r{base} {offset:+})")
        };
        match opcode {
            code::LOAD_CONSTANT if source == code::MAP => {
                write!(f, "r{destination} = map {immediate}")
            }
            code::LOAD_CONSTANT => write!(f, "r{destination} = {:#x} ll", immediate as u32),
            0x00 => write!(f, "     {:#x}", immediate as u32),
            code::CALL => write!(f, "call {immediate}"),
            code::EXIT => f.write_str("exit"),
            code::MAY_GOTO => write!(f, "may_goto {offset:+}"),
            code::JUMP => write!(f, "goto {offset:+}"),
            code::TO_BIG_ENDIAN => write!(f, "r{destination} = be{immediate} r{destination}"),
            _ => match opcode & 0x07 {
                0x01 => {
                    write!(f, "r{destination} = ")?;
                    memory(f, source)
                }
                0x02 => {
                    memory(f, destination)?;
                    write!(f, " = {immediate}")
                }
                0x03 if opcode & 0xe0 == 0xc0 => {
                    let name = match immediate {
                        code::ATOMIC_ADD => "lock add",
                        code::COMPARE_EXCHANGE => "r0 = lock cmpxchg",
                        _ => "lock ?",
                    };
                    write!(f, "{name} ")?;
                    memory(f, destination)?;
                    write!(f, ", r{source}")
                }
                0x03 => {
                    memory(f, destination)?;
                    write!(f, " = r{source}")
                }
                0x05 => {
                    let sign = match opcode & 0xf0 {
                        0x10 => "==",
                        0x30 => ">=",
                        0x40 => "&",
                        0x50 => "!=",
                        0xa0 => "<",
                        _ => "?",
                    };
                    write!(f, "if r{destination} {sign} ")?;
                    right(f)?;
                    write!(f, " goto {offset:+}")
                }
                class => {
                    let letter = if class == 0x04 { 'w' } else { 'r' };
                    let sign = match opcode & 0xf0 {
                        0x00 => "+=",
                        0x10 => "-=",
                        0x40 => "|=",
                        0x50 => "&=",
                        0x70 => ">>=",
                        0x80 => return write!(f, "{letter}{destination} = -{letter}{destination}"),
                        0x90 => "%=",
                        0xb0 => "=",
                        _ => "?=",
                    };
                    write!(f, "{letter}{destination} {sign} ")?;
                    right(f)
                }
            },
        }
    }
}

impl fmt::Debug for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
