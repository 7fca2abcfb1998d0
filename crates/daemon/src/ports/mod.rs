//! The one owner of all port reservations.

mod command;
pub mod guard;
pub mod scan;
pub mod sysctl;

use tokio::sync::mpsc;

pub use command::{Following, Handle};

use command::Request;

/// All reservations, and what it takes to enforce them.
#[derive(Debug)]
pub struct Ports {
    requests: mpsc::UnboundedReceiver<Request>,
}

impl Ports {
    /// Reservations, and the way to them.
    pub fn new() -> (Self, Handle) {
        let (handle, requests) = Handle::new();
        (Self { requests }, handle)
    }

    /// Serves until nobody asks any more.
    pub async fn run(&mut self) {
        while let Some(request) = self.requests.recv().await {
            // Whoever asks is told that nothing is served.
            drop(request);
        }
    }
}
