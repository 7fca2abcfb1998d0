//! Labs: private networks in namespaces, with everything a DHCP client meets in them.
//!
//! In reading order:
//!
//! - [`Namespace`] is a network namespace without a name, [`Lan`] an Ethernet that namespaces are
//!   plugged into. Nothing of them is left when the process ends, however it ends.
//! - [`dhcp`] is a DHCP server that misbehaves on request, [`Peer`] runs those of others.
//! - [`Link`] is a cable that loses, delays, doubles and reorders; [`Emulator`] is the same without
//!   I/O. [`Capture`] records what passes an interface.
//! - [`Process`] and [`Daemon`] run programs inside, [`StateDir`] holds their files, [`Mounts`] what
//!   they pin in the kernel, [`Cgroup`] is a control group to run them in.
//! - [`story`] is `iph lab`: it runs the daemon through a lease's life and a reservation's, and
//!   checks each step against the kernel and the wire.
//!
//! Needs root, or a user namespace ([`become_root`]).

mod capture;
mod cgroup;
mod daemon;
pub mod dhcp;
mod emulator;
mod error;
pub mod frame;
mod interfaces;
mod lan;
mod link;
mod mounts;
mod namespace;
mod peer;
mod process;
mod skip;
mod stage;
mod state;
pub mod story;
mod wait;
mod worker;

pub use capture::Capture;
pub use cgroup::Cgroup;
pub use daemon::{Daemon, Program, built};
pub use emulator::{Emulator, Impairment};
pub use error::{Error, Result};
pub use lan::{Lan, Port};
pub use link::{Direction, Link};
pub use mounts::Mounts;
pub use namespace::{Namespace, become_root};
pub use peer::{Peer, PeerConfig, PeerKind};
pub use process::Process;
pub use state::StateDir;
pub use story::{Report, Step, run, shell, tell};
pub use wait::{wait_for, wait_until};
