//! A plain server of the zlink crate: `GetInfo` and a `Status` as small as iphelperd's.

use std::error::Error;

use serde::{Deserialize, Serialize};
use zlink::tokio::unix;
use zlink::{Server, introspect, service};

#[derive(Debug, Clone, Serialize, Deserialize, introspect::Type)]
struct Status {
    version: String,
    pid: u32,
    since: String,
    config_file: String,
    state_dir: String,
    resolver: String,
    interfaces: u32,
    leases: u32,
    problems: Vec<String>,
}

struct Daemon;

#[service(
    interface = "org.iphelper.Daemon",
    vendor = "Bench",
    product = "zlink",
    version = "1",
    url = "https://example.org"
)]
impl Daemon {
    async fn status(&self) -> Status {
        Status {
            version: "0.1.0".into(),
            pid: std::process::id(),
            since: "2026-11-21T11:58:00.000Z".into(),
            config_file: "/etc/iphelper/iphelper.toml".into(),
            state_dir: "/var/lib/iphelper".into(),
            resolver: "none".into(),
            interfaces: 1,
            leases: 1,
            problems: Vec::new(),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: zlink SOCKET")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = unix::bind(&path)?;
        println!("ready");
        Ok(Server::new(listener, Daemon).run().await?)
    })
}
