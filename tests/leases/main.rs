//! Leases: a host with the daemon, a link and a DHCP server.

mod acquire;
mod coexistence;
mod conflict;
mod expire;
mod interference;
mod links;
mod lossy;
mod malformed;
mod many;
mod monitor;
mod refuse;
mod release;
mod renew;
mod resolved;
mod restart;
mod routes;
mod servers;
mod store;
