use std::io;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sys::ebpf::Link;

use super::load::Programs;

/// Stops binds that were on their way when their port was reserved.
///
/// The programs for that are attached only while ports are being reserved, and are not pinned. One
/// thread takes them off again; it lives as long as they are attached, and owns nothing else.
#[derive(Debug)]
pub(super) struct Latecomers {
    programs: Programs,
    cgroup: OwnedFd,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    attached: Mutex<Option<Attached>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Attached {
    links: Vec<Link>,
    until: Instant,
}

/// How long a bind may take between the programs before and after it: some microseconds, and as long
/// as its thread has to wait for a processor in between.
const ON_THEIR_WAY: Duration = Duration::from_millis(250);

impl Latecomers {
    pub(super) fn new(programs: Programs, cgroup: OwnedFd) -> Self {
        Self { programs, cgroup, shared: Arc::default() }
    }

    /// Attaches the programs for a while; if they are, for a while more.
    pub(super) fn stop(&self) -> io::Result<()> {
        let mut attached = self.shared.lock();
        let until = Instant::now() + ON_THEIR_WAY;
        if let Some(attached) = &mut *attached {
            attached.until = until;
            return Ok(());
        }
        let attach = |(hook, program): &(ports::guard::Hook, _)| {
            Link::attach(program, self.cgroup.as_fd(), hook.attach_type())
        };
        let links = self.programs.iter().map(attach).collect::<io::Result<_>>()?;
        let shared = self.shared.clone();
        let detach = move || shared.detach_in_time();
        thread::Builder::new().name("latecomers".into()).spawn(detach)?;
        *attached = Some(Attached { links, until });
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Attached>> {
        // Every change is one assignment.
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the programs off when their time is over, or somebody else has.
    fn detach_in_time(&self) {
        let mut attached = self.lock();
        while let Some(present) = &*attached {
            let rest = present.until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(attached, rest);
            attached = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
        detach(attached.take());
    }
}

fn detach(attached: Option<Attached>) {
    // Closing them does it too, some time later.
    for link in attached.into_iter().flat_map(|attached| attached.links) {
        let _ = link.detach();
    }
}

impl Drop for Latecomers {
    fn drop(&mut self) {
        detach(self.shared.lock().take());
        self.shared.changed.notify_all();
    }
}
