//! DHCP client engines, without I/O.
//!
//! [`v4::Client`] is one DHCPv4 client for one interface: the states of RFC 2131 together with
//! address conflict detection (RFC 5227), the link-local fallback (RFC 3927) and the detection of
//! a network it already knows (RFC 4436). It keeps the contract of [`engine::Engine`]: packets,
//! commands and the results of earlier effects go in, effects come out, and `now` and the
//! randomness are handed in.

mod batches;
mod commands;
mod exchange;
pub mod v4;
