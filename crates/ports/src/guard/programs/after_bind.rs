//! After a socket got its port: was it let in?
//!
//! The program before the bind runs well before the kernel takes the port, and whoever is in
//! between when a port is reserved would sit on it unseen. Here the port is taken: who came before
//! the reservation is in the kernel's tables, where the daemon looks after making it, and who comes
//! after it is stopped. Binds take microseconds, so the program is not needed for long.

use super::super::asm::Assembler;
use super::super::features::Features;
use super::super::instruction::{Condition, Register, Width};
use super::super::layout::{flag, row, socket};
use super::steps::{self, State, place};
use super::{Hook, Program};
use Register::{R0, R1, R2, R6, R7, R9, Stack};

/// `struct bpf_sock`: protocol (u32), port in host order (u32).
const PROTOCOL: i16 = 12;
const PORT: i16 = 44;

const ALLOW: i32 = 1;

pub(super) fn assemble(hook: Hook, cookie: u64, features: Features) -> Program {
    let mut asm = Assembler::default();
    let (allow, stranger) = (asm.label(), asm.label());
    asm.copy(R6, R1);
    asm.load(Width::Word, R7, R6, PORT);
    steps::index(&mut asm, PROTOCOL, allow);
    steps::owner(&mut asm, allow);
    steps::own_namespace(&mut asm, cookie, allow);

    // The same reservation let it in.
    asm.copy(R2, R6);
    steps::state(&mut asm, State::Existing, stranger);
    asm.load(Width::Double, R1, R0, socket::PASSED);
    asm.load(Width::Double, R2, Stack, place::ID);
    asm.jump_if_register(R1, Condition::Equal, R2, allow);

    asm.place(stranger);
    steps::row(&mut asm, allow);
    asm.load(Width::Word, R1, R9, row::FLAGS);
    asm.jump_if(R1, Condition::AnyBit, flag::DRY_RUN, allow);
    steps::count(&mut asm, Width::Double, row::DENIALS);
    asm.load(Width::Word, R1, R9, row::ERRNO);
    steps::refuse(&mut asm, features);

    asm.place(allow);
    asm.exit(ALLOW);
    asm.finish(hook)
}
