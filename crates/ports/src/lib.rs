//! Port reservations, without I/O.
//!
//! A **reservation** is a block of TCP or UDP ports that only sockets with a grant may bind. It is
//! *persistent*, until somebody deletes it, or *runtime*, for the life of one socket. Its **token**
//! opens it: whoever sends a socket together with the token gets that socket a grant. Windows calls
//! the same things `CreatePersistentTcpPortReservation` and `SIO_ACQUIRE_PORT_RESERVATION`.

mod block;
mod config;
mod input;
mod output;
mod reservation;
mod token;

pub use block::{Block, InvalidBlock};
pub use config::Config;
pub use input::{
    Admitted, Caller, Command, CommandId, Done, EffectId, EffectResult, Input, Refused, Terms,
    Wanted,
};
pub use output::{Effect, Event, Failure, Limited, Outcome, Output};
pub use reservation::{Kind, Owner, Protocol, Refusal, Reservation};
pub use token::{Id, Token};
