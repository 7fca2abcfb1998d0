//! Steps that several programs share.
//!
//! Registers keep their meaning through a whole program: 6 the context, 7 the index of the port,
//! 8 the socket or its state, 9 the reservation's row. 0 to 5 hold what the step in hand needs.
//!
//! The kernel does not look at a program's stack in any other way than through pointers handed to
//! it, so the places below are ours to choose.

use super::super::TABLE;
use super::super::asm::{Assembler, Helper, Label};
use super::super::features::Features;
use super::super::instruction::{Condition, Operation, Register, Width};
use super::super::layout::{EVENT_LENGTH, event, row};
use super::super::maps::Map;
use Register::{R0, R1, R2, R3, R4, R6, R7, R9, Stack};

/// Places on the stack.
pub(super) mod place {
    use super::EVENT_LENGTH;

    /// Index of a port (u32): key of the tables of ports.
    pub(in super::super) const INDEX: i16 = -8;
    /// Who has a grant (u64): second half of a key of users or control groups.
    pub(in super::super) const WHO: i16 = -16;
    /// Id of a reservation (u64): key of reservations, first half of a key of the other two.
    pub(in super::super) const ID: i16 = -24;
    /// Level of a control group, or the first port looked at (u64).
    pub(in super::super) const COUNTER: i16 = -32;
    /// An event.
    pub(in super::super) const EVENT: i16 = COUNTER - EVENT_LENGTH as i16;
}

const IPPROTO_TCP: i32 = 6;
const IPPROTO_UDP: i32 = 17;

/// Reports of one reservation in a second.
const REPORTS: i32 = 10;
const SECOND: i32 = 1_000_000_000;

/// Leaves for sockets of other network namespaces.
///
/// This comes behind the look at the port's owner, which is cheaper than the call, and is all that
/// most binds see of the guard.
pub(super) fn own_namespace(asm: &mut Assembler, cookie: u64, leave: Label) {
    asm.copy(R1, R6);
    asm.call(Helper::NetworkCookie);
    asm.constant_64(R1, cookie);
    asm.jump_if_register(R0, Condition::NotEqual, R1, leave);
}

/// Makes the port in register 7 (host order) an index, by the protocol at `offset` of the context.
/// Leaves for protocols that have no reservations, such as UDP-Lite.
pub(super) fn index(asm: &mut Assembler, offset: i16, leave: Label) {
    let done = asm.label();
    asm.load(Width::Word, R1, R6, offset);
    asm.jump_if(R1, Condition::Equal, IPPROTO_TCP, done);
    asm.jump_if(R1, Condition::NotEqual, IPPROTO_UDP, leave);
    asm.compute_constant(Operation::Add, R7, TABLE as i32);
    asm.place(done);
}

/// Puts the id of the reservation that the port in register 7 belongs to in its place, and leaves
/// when there is none.
pub(super) fn owner(asm: &mut Assembler, leave: Label) {
    asm.store(Width::Word, Stack, place::INDEX, R7);
    lookup(asm, Map::Owners, place::INDEX, leave);
    asm.load(Width::Double, R1, R0, 0);
    asm.jump_if(R1, Condition::Equal, 0, leave);
    asm.store(Width::Double, Stack, place::ID, R1);
}

/// Register 9 = the row of the reservation in its place. One that is missing or expired goes to
/// `gone`.
pub(super) fn row(asm: &mut Assembler, gone: Label) {
    let in_force = asm.label();
    lookup(asm, Map::Reservations, place::ID, gone);
    asm.copy(R9, R0);
    asm.load(Width::Double, R1, R9, row::EXPIRES_AT);
    asm.jump_if(R1, Condition::Equal, 0, in_force);
    asm.call(Helper::BootTime);
    asm.load(Width::Double, R1, R9, row::EXPIRES_AT);
    asm.jump_if_register(R0, Condition::AtLeast, R1, gone);
    asm.place(in_force);
}

/// Register 0 = the value of a key on the stack; a missing one goes to `missing`.
pub(super) fn lookup(asm: &mut Assembler, map: Map, key: i16, missing: Label) {
    asm.map(R1, map);
    asm.stack_address(R2, key);
    asm.call(Helper::MapLookup);
    asm.jump_if(R0, Condition::Equal, 0, missing);
}

/// Whether to make state for a socket that has none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Existing,
    /// `BPF_SK_STORAGE_GET_F_CREATE`.
    Created,
}

/// Register 0 = the state of the socket in register 2; none goes to `none`.
pub(super) fn state(asm: &mut Assembler, state: State, none: Label) {
    asm.map(R1, Map::Sockets);
    asm.constant(R3, 0);
    asm.constant(R4, (state == State::Created).into());
    asm.call(Helper::SocketStorage);
    asm.jump_if(R0, Condition::Equal, 0, none);
}

/// Takes the port whose index is in register 1 off the count of used ones.
pub(super) fn uncount(asm: &mut Assembler) {
    let done = asm.label();
    asm.store(Width::Word, Stack, place::INDEX, R1);
    lookup(asm, Map::Used, place::INDEX, done);
    asm.load(Width::Word, R1, R0, 0);
    asm.jump_if(R1, Condition::Equal, 0, done);
    asm.constant(R1, -1);
    asm.atomic_add(Width::Word, R0, 0, R1);
    asm.place(done);
}

/// Ends with the refusal whose errno is in register 1.
pub(super) fn refuse(asm: &mut Assembler, features: Features) {
    if features.contains(Features::REFUSAL) {
        asm.compute_constant(Operation::Negate, R1, 0);
        asm.call(Helper::SetResult);
    }
    asm.exit(0);
}

/// Writes zeroes over the event on the stack: the kernel hands none of what was there before out.
pub(super) fn clear_event(asm: &mut Assembler) {
    for offset in (0..EVENT_LENGTH as i16).step_by(8) {
        asm.store_constant(Width::Double, Stack, place::EVENT + offset, 0);
    }
}

/// Fills in the caller's process and user, where the kernel tells.
pub(super) fn caller(asm: &mut Assembler, features: Features) {
    if features.contains(Features::PROCESS) {
        asm.call(Helper::CurrentProcess);
        asm.compute_constant(Operation::ShiftRight, R0, 32);
        asm.store(Width::Word, Stack, place::EVENT + event::PROCESS, R0);
    }
    asm.call(Helper::CurrentUser);
    asm.store(Width::Word, Stack, place::EVENT + event::USER, R0);
}

/// Hands the event out. Register 0 = 0, or not 0 when there is no room for it.
pub(super) fn submit(asm: &mut Assembler) {
    asm.map(R1, Map::Events);
    asm.stack_address(R2, place::EVENT);
    asm.constant(R3, EVENT_LENGTH as i32);
    asm.constant(R4, 0);
    asm.call(Helper::RingOutput);
}

/// Goes to `full` when the row in register 9 had its reports of this second, else counts one.
///
/// Two processors may both take the last one: a report too many harms nobody.
pub(super) fn limit(asm: &mut Assembler, full: Label) {
    let (same_second, room) = (asm.label(), asm.label());
    asm.call(Helper::BootTime);
    asm.store(Width::Double, Stack, place::EVENT + event::AT, R0);
    asm.load(Width::Double, R1, R9, row::WINDOW_AT);
    asm.copy(R2, R0);
    asm.compute(Operation::Subtract, R2, R1);
    asm.jump_if(R2, Condition::Less, SECOND, same_second);
    asm.store(Width::Double, R9, row::WINDOW_AT, R0);
    asm.store_constant(Width::Word, R9, row::REPORTED, 0);
    asm.place(same_second);
    asm.load(Width::Word, R1, R9, row::REPORTED);
    asm.jump_if(R1, Condition::Less, REPORTS, room);
    asm.jump(full);
    asm.place(room);
    asm.constant(R1, 1);
    asm.atomic_add(Width::Word, R9, row::REPORTED, R1);
}

/// Adds 1 to a counter of the row in register 9.
pub(super) fn count(asm: &mut Assembler, width: Width, counter: i16) {
    asm.constant(R1, 1);
    asm.atomic_add(width, R9, counter, R1);
}
