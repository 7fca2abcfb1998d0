//! Before a kernel parameter is written: is it the list of reserved ports?
//!
//! The kernel tells programs of this kind nothing about network namespaces, so writes in others are
//! reported too; and it runs them before the write, so the daemon looks more than once.

use super::super::asm::{Assembler, Helper};
use super::super::features::Features;
use super::super::instruction::{Condition, Register, Width};
use super::super::layout::{event, kind};
use super::steps::{self, place};
use super::{Hook, Program};
use Register::{R0, R1, R2, R3, R4, R6, Stack};

/// `struct bpf_sysctl`: whether it is a write (u32).
const WRITE: i16 = 0;

const NAME: &[u8; 32] = b"net/ipv4/ip_local_reserved_ports";
/// Room for the name, the zero byte behind it, and what makes it a multiple of 8: within an event.
const ROOM: i16 = 40;
/// The name stands where the event does later.
const BUFFER: i16 = place::EVENT;

const ALLOW: i32 = 1;

pub(super) fn assemble(features: Features) -> Program {
    let mut asm = Assembler::default();
    let leave = asm.label();
    asm.copy(R6, R1);
    asm.load(Width::Word, R1, R6, WRITE);
    asm.jump_if(R1, Condition::Equal, 0, leave);

    // Without CAP_PERFMON the kernel wants to see every byte written that it may read.
    steps::clear_event(&mut asm);
    asm.copy(R1, R6);
    asm.stack_address(R2, BUFFER);
    asm.constant(R3, ROOM.into());
    asm.constant(R4, 0);
    asm.call(Helper::SysctlName);
    // Longer names give an error, shorter ones another length.
    asm.jump_if(R0, Condition::NotEqual, NAME.len() as i32, leave);
    for (offset, part) in (BUFFER..).step_by(8).zip(NAME.as_chunks::<8>().0) {
        asm.load(Width::Double, R1, Stack, offset);
        asm.constant_64(R2, u64::from_ne_bytes(*part));
        asm.jump_if_register(R1, Condition::NotEqual, R2, leave);
    }

    steps::clear_event(&mut asm);
    asm.store_constant(
        Width::Word,
        Stack,
        place::EVENT + event::KIND,
        kind::RESERVED_PORTS_WRITTEN,
    );
    asm.call(Helper::BootTime);
    asm.store(Width::Double, Stack, place::EVENT + event::AT, R0);
    steps::caller(&mut asm, features);
    steps::submit(&mut asm);

    asm.place(leave);
    asm.exit(ALLOW);
    asm.finish(Hook::Sysctl)
}
