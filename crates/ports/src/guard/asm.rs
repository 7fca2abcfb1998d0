//! A small assembler: the instructions the guard needs, with labels.

use super::instruction::{Condition, Instruction, Operation, Register, Width, code};
use super::maps::Map;
use super::programs::{Hook, Program};

/// A place to jump to, which may be given before or after the jumps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label(usize);

/// The kernel's functions a program may call, with their numbers (`enum bpf_func_id` of
/// `linux/bpf.h`); arguments in registers 1 to 5, the result in register 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Helper {
    /// (map, &key) -> &value or null.
    MapLookup = 1,
    /// (map, &key) -> 0 or -errno.
    MapDelete = 3,
    /// () -> process << 32 | thread.
    CurrentProcess = 14,
    /// () -> group << 32 | user, of the initial user namespace.
    CurrentUser = 15,
    /// (&buffer, length): fills the buffer with the thread's name.
    CurrentName = 16,
    /// () -> id.
    CurrentCgroup = 80,
    /// (context, &buffer, length, flags) -> length or -errno.
    SysctlName = 101,
    /// (map, socket, &initial value or null, flags) -> &value or null.
    SocketStorage = 107,
    /// (context) -> cookie.
    NetworkCookie = 122,
    /// (level) -> id, or 0 when the group is not that deep.
    CurrentAncestorCgroup = 123,
    /// () -> nanoseconds since boot, suspend included.
    BootTime = 125,
    /// (map, &data, length, flags) -> 0 or -errno.
    RingOutput = 130,
    /// (result): what the system call returns when the program refuses.
    SetResult = 187,
    /// (socket) -> its MPTCP socket or null.
    MptcpSocket = 196,
}

/// Collects instructions; every method appends one, except where it says otherwise.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<Instruction>,
    /// Where each label is, once it has been placed.
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label that is placed later.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Puts the label before the next instruction.
    pub(super) fn place(&mut self, label: Label) {
        let here = self.code.len();
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = Some(here);
        }
    }

    /// A label before the next instruction.
    pub(super) fn here(&mut self) -> Label {
        let label = self.label();
        self.place(label);
        label
    }

    pub(super) fn constant(&mut self, to: Register, number: i32) {
        self.compute_constant(Operation::Move, to, number);
    }

    /// A 64-bit constant: two places.
    pub(super) fn constant_64(&mut self, to: Register, number: u64) {
        self.push(code::LOAD_CONSTANT, to as u8, 0, 0, number as u32 as i32);
        self.push(0, 0, 0, 0, (number >> 32) as i32);
    }

    /// The address of a map: two places. Until the map has a descriptor, its number stands in.
    pub(super) fn map(&mut self, to: Register, map: Map) {
        self.push(code::LOAD_CONSTANT, to as u8, code::MAP, 0, map as i32);
        self.push(0, 0, 0, 0, 0);
    }

    pub(super) fn copy(&mut self, to: Register, from: Register) {
        self.compute(Operation::Move, to, from);
    }

    /// The address of a place on the stack: two instructions.
    pub(super) fn stack_address(&mut self, to: Register, offset: i16) {
        self.copy(to, Register::Stack);
        self.compute_constant(Operation::Add, to, offset.into());
    }

    pub(super) fn compute(&mut self, operation: Operation, to: Register, by: Register) {
        self.push(code::ARITHMETIC | code::REGISTER | operation as u8, to as u8, by as u8, 0, 0);
    }

    pub(super) fn compute_constant(&mut self, operation: Operation, to: Register, by: i32) {
        self.push(code::ARITHMETIC | operation as u8, to as u8, 0, 0, by);
    }

    /// On the low 32 bits; the high ones become 0.
    pub(super) fn compute_32(&mut self, operation: Operation, to: Register, by: Register) {
        self.push(code::ARITHMETIC_32 | code::REGISTER | operation as u8, to as u8, by as u8, 0, 0);
    }

    /// Host order to network order and back, of 16 bits; the others become 0.
    pub(super) fn swap_16(&mut self, register: Register) {
        self.push(code::TO_BIG_ENDIAN, register as u8, 0, 0, 16);
    }

    pub(super) fn load(&mut self, width: Width, to: Register, base: Register, offset: i16) {
        self.push(code::LOAD | width as u8, to as u8, base as u8, offset, 0);
    }

    pub(super) fn store(&mut self, width: Width, base: Register, offset: i16, from: Register) {
        self.push(code::STORE | width as u8, base as u8, from as u8, offset, 0);
    }

    pub(super) fn store_constant(
        &mut self,
        width: Width,
        base: Register,
        offset: i16,
        number: i32,
    ) {
        self.push(code::STORE_CONSTANT | width as u8, base as u8, 0, offset, number);
    }

    /// Adds to memory at once, whatever other processors do.
    pub(super) fn atomic_add(&mut self, width: Width, base: Register, offset: i16, by: Register) {
        let opcode = code::ATOMIC | width as u8;
        self.push(opcode, base as u8, by as u8, offset, code::ATOMIC_ADD);
    }

    /// Stores a register in memory if memory is what register 0 is; register 0 becomes what memory
    /// was. Linux 5.12.
    pub(super) fn compare_exchange(
        &mut self,
        width: Width,
        base: Register,
        offset: i16,
        new: Register,
    ) {
        let opcode = code::ATOMIC | width as u8;
        self.push(opcode, base as u8, new as u8, offset, code::COMPARE_EXCHANGE);
    }

    pub(super) fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(code::JUMP, 0, 0, -1, 0);
    }

    pub(super) fn jump_if(&mut self, left: Register, condition: Condition, right: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(code::JUMP | condition as u8, left as u8, 0, -1, right);
    }

    pub(super) fn jump_if_register(
        &mut self,
        left: Register,
        condition: Condition,
        right: Register,
        to: Label,
    ) {
        self.jumps.push((self.code.len(), to));
        let opcode = code::JUMP | code::REGISTER | condition as u8;
        self.push(opcode, left as u8, right as u8, -1, 0);
    }

    /// Jumps when the program has been here some eight million times; with it a loop may be as long
    /// as it wants. Linux 6.9.
    pub(super) fn may_jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(code::MAY_GOTO, 0, 0, -1, 0);
    }

    pub(super) fn call(&mut self, helper: Helper) {
        self.push(code::CALL, 0, 0, 0, helper as i32);
    }

    /// Ends the program with this result: two instructions.
    pub(super) fn exit(&mut self, result: i32) {
        self.constant(Register::R0, result);
        self.push(code::EXIT, 0, 0, 0, 0);
    }

    /// The program. A jump to a label that was never placed goes to itself, which both the tests'
    /// checks and the kernel refuse.
    pub(super) fn finish(mut self, hook: Hook) -> Program {
        for (from, to) in &self.jumps {
            let to = self.labels.get(to.0).copied().flatten();
            if let (Some(instruction), Some(to)) = (self.code.get_mut(*from), to) {
                // Programs are far shorter than 32768 instructions.
                instruction.offset = (to as isize - *from as isize - 1) as i16;
            }
        }
        Program::new(hook, self.code)
    }

    fn push(&mut self, opcode: u8, destination: u8, source: u8, offset: i16, immediate: i32) {
        self.code.push(Instruction { opcode, destination, source, offset, immediate });
    }
}
