use std::io;

use crate::shortage;

const EPERM: i32 = rustix::io::Errno::PERM.raw_os_error();
const ENOSYS: i32 = rustix::io::Errno::NOSYS.raw_os_error();

/// Why there is no guard.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// There can be none on this host as it is. At least one sentence, each with what would help.
    #[error("{}", .0.join("; "))]
    NotHere(Vec<String>),
    /// Descriptors or memory ran short meanwhile, which says nothing of the host: the same may work
    /// in a moment. What an earlier daemon pinned is still there.
    #[error("{0}")]
    NotNow(String),
}

impl Unavailable {
    /// Whether it may be otherwise in a moment.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::NotNow(_))
    }

    /// BPF was asked for something.
    pub(in crate::ports) fn because(what: &str, error: &io::Error) -> Self {
        let help = match error.raw_os_error() {
            Some(EPERM) => "; CAP_BPF and CAP_NET_ADMIN of the first user namespace are needed",
            Some(ENOSYS) => "; this kernel is built without BPF",
            _ => "",
        };
        Self::of(format!("{what}: {error}{help}"), error)
    }

    /// Something failed with `error`, which `reason` has in it.
    pub(super) fn of(reason: String, error: &io::Error) -> Self {
        match shortage::is_one(error) {
            true => Self::NotNow(reason),
            false => Self::NotHere(vec![reason]),
        }
    }

    /// Both reasons, where both would have to go. What is only missing now may hide anything.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::NotHere(mut reasons), Self::NotHere(more)) => {
                reasons.extend(more);
                Self::NotHere(reasons)
            }
            (passing @ Self::NotNow(_), _) | (_, passing) => passing,
        }
    }
}
