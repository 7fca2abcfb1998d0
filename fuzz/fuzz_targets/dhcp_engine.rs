//! A DHCPv4 client holds what it must, whatever comes in and in whatever order.
//!
//! The script and the checks are those of the engine's own tests.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/dhcp/tests/v4/checked.rs"]
mod checked;
#[path = "../../crates/dhcp/tests/v4/script.rs"]
mod script;

fuzz_target!(|bytes: &[u8]| script::run(bytes));
