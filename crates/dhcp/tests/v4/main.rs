//! The DHCPv4 client as its callers see it: inputs with their time, and exactly the outputs.

#![cfg(test)]

mod acquire;
mod harness;
