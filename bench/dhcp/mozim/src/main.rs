//! Acquires and keeps a lease on each interface named, and sets its address with `ip`.
//! SIGUSR2 releases.

use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4Lease, DhcpV4State};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

async fn keep(interface: String) {
    let mut config = DhcpV4Config::new(&interface);
    config.set_timeout_sec(300);
    let mut client = DhcpV4Client::init(config, None).await.expect("client");
    let mut release = signal(SignalKind::user_defined2()).expect("signal");
    let mut lease: Option<DhcpV4Lease> = None;
    loop {
        tokio::select! {
            state = client.run() => match state {
                Ok(DhcpV4State::Done(new)) => {
                    apply(&interface, &new).await;
                    lease = Some(*new);
                }
                Ok(_) => {}
                Err(error) => {
                    eprintln!("{interface}: {error}");
                    client.clean_up();
                }
            },
            _ = release.recv() => {
                if let Some(lease) = lease.take() {
                    client.release(&lease).await.expect("release");
                    ip(&["address", "flush", "dev", &interface]).await;
                    return;
                }
            }
        }
    }
}

async fn apply(interface: &str, lease: &DhcpV4Lease) {
    let address = format!("{}/{}", lease.yiaddr, lease.prefix_length());
    let seconds = lease.lease_time_sec.to_string();
    ip(&[
        "address", "replace", &address, "dev", interface, "valid_lft", &seconds, "preferred_lft",
        &seconds,
    ])
    .await;
}

async fn ip(arguments: &[&str]) {
    let _ = Command::new("ip").args(arguments).status().await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    std::fs::write("/run/mozim-bench.pid", std::process::id().to_string()).expect("pid file");
    futures::future::join_all(std::env::args().skip(1).map(keep)).await;
}
