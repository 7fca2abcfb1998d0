//! Port reservations: a host whose ports are kept by the daemon, and strangers who want them.

mod auto;
mod bind0;
mod cli;
mod denials;
mod fallback;
mod grants;
mod guard;
mod kill;
mod locked;
mod permissions;
mod persist;
mod places;
mod rules;
mod runtime;
mod shortage;
mod sockets;
mod store;
