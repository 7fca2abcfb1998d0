//! When a socket's last descriptor is closed: its port is free, and its runtime reservation over.
//!
//! Only sockets of our network namespace have state, so nothing else tells them apart.

use super::super::asm::{Assembler, Helper};
use super::super::features::Features;
use super::super::instruction::{Condition, Register, Width};
use super::super::layout::{event, kind, socket};
use super::super::maps::Map;
use super::steps::{self, State, place};
use super::{Hook, Program};
use Register::{R0, R1, R2, R6, R8, Stack};

const ALLOW: i32 = 1;

pub(super) fn assemble(features: Features) -> Program {
    let mut asm = Assembler::default();
    let (leave, uncounted) = (asm.label(), asm.label());
    asm.copy(R6, R1);
    asm.copy(R2, R6);
    steps::state(&mut asm, State::Existing, leave);
    asm.copy(R8, R0);

    asm.load(Width::Word, R1, R8, socket::COUNTED);
    asm.jump_if(R1, Condition::Equal, 0, uncounted);
    asm.store_constant(Width::Word, R8, socket::COUNTED, 0);
    steps::uncount(&mut asm);
    asm.place(uncounted);

    // A reservation without a row is none; the daemon tidies up what else there is of it.
    asm.load(Width::Double, R1, R8, socket::OWNED);
    asm.jump_if(R1, Condition::Equal, 0, leave);
    asm.store(Width::Double, Stack, place::ID, R1);
    asm.map(R1, Map::Reservations);
    asm.stack_address(R2, place::ID);
    asm.call(Helper::MapDelete);
    if features.contains(Features::EVENTS) {
        // Released before its socket was closed: nothing is news.
        asm.jump_if(R0, Condition::NotEqual, 0, leave);
        steps::clear_event(&mut asm);
        asm.load(Width::Double, R1, Stack, place::ID);
        asm.store(Width::Double, Stack, place::EVENT + event::RESERVATION, R1);
        asm.store_constant(Width::Word, Stack, place::EVENT + event::KIND, kind::RELEASED);
        asm.call(Helper::BootTime);
        asm.store(Width::Double, Stack, place::EVENT + event::AT, R0);
        steps::submit(&mut asm);
    }

    asm.place(leave);
    asm.exit(ALLOW);
    asm.finish(Hook::Release)
}
