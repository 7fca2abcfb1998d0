//! Port reservations, without I/O.
//!
//! A **reservation** is a block of TCP or UDP ports that only sockets with a grant may bind. It is
//! *persistent*, until somebody deletes it, or *runtime*, for the life of one socket. Its **token**
//! opens it: whoever sends a socket together with the token gets that socket a grant. Windows calls
//! the same things `CreatePersistentTcpPortReservation` and `SIO_ACQUIRE_PORT_RESERVATION`.
//!
//! [`Manager`] keeps the contract of [`engine::Engine`]. In reading order: `manager` takes the
//! inputs and fires the timers; `ledger` has the reservations and the rules that no two have
//! anything in common; `commands` checks what is asked for; `transaction` lists the steps each
//! takes, in an order that a crash anywhere between does no harm to; `steps` carries them out and
//! takes them back.

mod block;
mod commands;
mod config;
pub mod guard;
mod input;
mod ledger;
mod manager;
mod output;
mod reservation;
mod steps;
mod token;
mod transaction;

pub use block::{Block, InvalidBlock};
pub use config::Config;
pub use input::{
    Admitted, Caller, Command, Done, EffectError, EffectResult, Input, Terms, Unrecorded, Wanted,
};
pub use manager::Manager;
pub use output::{Effect, Event, Failure, Limited, Outcome, Output};
pub use reservation::{Kind, Owner, Protocol, Refusal, Reservation};
pub use token::{Id, Token};
