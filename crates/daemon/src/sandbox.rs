//! What the daemon gives up before it listens to anybody.
//!
//! Everything here is per thread, and so it comes before all threads but two, which nothing from
//! outside reaches: one starts the process that looks into others, and gives up more than this; one
//! finds the guard's places and ends. None of it is a condition for running: a kernel or container
//! that lacks it gets a line in the log.

use std::path::Path;

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _,
};
use sys::capability::{self, Capability};
use sys::syscalls;

use crate::config::Config;
use crate::leases::resolver::Choice;

/// Descriptors wanted: an interface has up to three sockets.
const DESCRIPTORS: u64 = 65_536;

/// The capabilities that leases and port reservations need. `CAP_PERFMON` is for the guard's programs
/// to know sockets of MPTCP. The host's name takes `CAP_SYS_ADMIN`, which is kept only where the
/// configuration takes names from servers.
pub(crate) fn needed_capabilities(config: &Config) -> Vec<Capability> {
    let mut keep = vec![
        Capability::NetAdmin,
        Capability::NetRaw,
        Capability::NetBindService,
        Capability::Bpf,
        Capability::Perfmon,
    ];
    let sections = config.interfaces.iter().map(|section| &section.settings);
    if sections.chain([&config.defaults]).any(|settings| settings.use_host_name) {
        keep.push(Capability::SysAdmin);
    }
    keep
}

/// Keeps these capabilities and gives up all others for good.
pub(crate) fn drop_capabilities(keep: &[Capability]) {
    if let Err(error) = capability::drop_to(keep) {
        tracing::warn!("capabilities could not be given up: {error}");
    }
}

/// How many descriptors the process may have open.
pub(crate) fn descriptor_limit() -> usize {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(DESCRIPTORS);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Gives up the system calls that neither the daemon nor the programs it runs have a use for. After
/// [`drop_capabilities`]. As a service it has fewer left: those that the unit lists.
pub(crate) fn deny_foreign_calls() {
    if let Err(error) = syscalls::deny_foreign() {
        tracing::debug!("system calls are not restricted: {error}");
    }
}

/// Lets the process open as many descriptors as it may.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(DESCRIPTORS).min(DESCRIPTORS);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!("the limit of open files stays as it is: {error}");
        }
    }
}

/// Allows writing beneath the folders of the state, the socket, the guard's pins and the resolver's
/// file alone, and the kernel's parameters of the network.
///
/// Programs inherit it, and `resolvconf` writes files of its own: with that back end nothing is
/// restricted.
pub(crate) fn restrict_files(
    state_dir: &Path,
    socket: &Path,
    choice: &Choice,
    pins: Option<&Path>,
) {
    if matches!(choice, Choice::Resolvconf(_)) {
        return;
    }
    let mut folders = vec![state_dir, Path::new("/dev/null"), Path::new("/proc/sys/net")];
    folders.extend(socket.parent());
    folders.extend(pins);
    if let Choice::File(file) = choice
        && let Some(folder) = file.parent()
    {
        // Only what is there can be allowed. If it cannot be made, writing tells.
        let _ = std::fs::create_dir_all(folder);
        folders.push(folder);
    }
    match restrict(&folders) {
        Ok(()) => {}
        Err(error) => tracing::debug!("files are not restricted: {error}"),
    }
}

fn restrict(folders: &[&Path]) -> Result<(), landlock::RulesetError> {
    let writing = AccessFs::from_write(ABI::V3);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(writing)?
        .create()?;
    for folder in folders {
        // One that is not there yet cannot be allowed, and writing to it fails; it is told then.
        let Ok(fd) = PathFd::new(folder) else { continue };
        let access =
            if folder.is_dir() { writing } else { AccessFs::WriteFile | AccessFs::Truncate };
        ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
    }
    ruleset.restrict_self()?;
    Ok(())
}
