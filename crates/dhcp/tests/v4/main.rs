//! The DHCPv4 client as its callers see it: inputs with their time, and exactly the outputs.

#![cfg(test)]

extern crate iphelper_dhcp as dhcp;

mod acquire;
mod checked;
mod commands;
mod conflict;
mod dna;
mod harness;
mod host;
mod inform;
mod ipv6_only;
mod messages;
mod parameters;
mod random;
mod reboot;
mod refusals;
mod renew;
mod script;
mod settings;
mod world;
