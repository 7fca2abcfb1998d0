//! Capabilities (`capabilities(7)`): asking for them and giving them up.
//!
//! They belong to a *thread*. A program drops them before it starts any other, so that every later
//! thread is born without. One that is to keep more than the rest is started before, and drops the
//! others itself.

use std::io;

use crate::socket::check;

/// The capabilities iphelper knows by name, with the kernel's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Read files and search directories whatever their mode is.
    DacReadSearch = 2,
    /// Bind to ports below 1024.
    NetBindService = 10,
    /// Configure the network.
    NetAdmin = 12,
    /// Raw and packet sockets.
    NetRaw = 13,
    /// Look into other processes: their descriptors and namespaces.
    SysPtrace = 19,
    /// Mounts, namespaces and much else.
    SysAdmin = 21,
    /// Watch what the kernel does. BPF programs get more of its functions, and cheaper checks.
    Perfmon = 38,
    /// Load BPF programs.
    Bpf = 39,
}

/// The last capability number asked about: the two words of the kernel's sets have 64 bits.
const NUMBERS: u32 = 64;
/// Change the bounding set.
const CAP_SETPCAP: u64 = 1 << 8;
/// Two words of 32 capabilities for each set (`_LINUX_CAPABILITY_VERSION_3`).
const VERSION_3: u32 = 0x2008_0522;

/// Whether the calling thread can use this capability now.
pub fn is_effective(capability: Capability) -> io::Result<bool> {
    Ok(effective()? & 1 << capability as u32 != 0)
}

/// Keeps these capabilities of those the calling thread has, and gives up all others for good:
/// effective, permitted, inheritable, ambient and bounding sets are cut, and programs run later
/// gain nothing (`PR_SET_NO_NEW_PRIVS`).
///
/// The bounding set is cut only with `CAP_SETPCAP`; without it, no-new-privileges says the same.
pub fn drop_to(keep: &[Capability]) -> io::Result<()> {
    let wanted = keep.iter().fold(0_u64, |set, capability| set | 1 << *capability as u32);
    let sets = Sets::read()?;
    if sets.effective & CAP_SETPCAP != 0 {
        for number in (0..NUMBERS).filter(|number| wanted & 1 << number == 0) {
            match prctl(libc::PR_CAPBSET_DROP, number.into(), 0) {
                // Numbers beyond the kernel's last capability.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
                result => result?,
            }
        }
    }
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0)?;
    let kept = sets.permitted & wanted;
    Sets { effective: kept, permitted: kept, inheritable: 0 }.write()?;
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
}

/// The calling thread's effective set, bit N for capability number N.
pub fn effective() -> io::Result<u64> {
    Ok(Sets::read()?.effective)
}

#[derive(Debug, Clone, Copy)]
struct Sets {
    effective: u64,
    permitted: u64,
    inheritable: u64,
}

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl Sets {
    fn read() -> io::Result<Self> {
        let mut header = Header { version: VERSION_3, pid: 0 };
        let mut words = [Word::default(); 2];
        // SAFETY: capget(2) with version 3 reads one header and writes two data words.
        let result =
            unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
        check(result as libc::c_int)?;
        let [low, high] = words;
        let join = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        Ok(Self {
            effective: join(low.effective, high.effective),
            permitted: join(low.permitted, high.permitted),
            inheritable: join(low.inheritable, high.inheritable),
        })
    }

    fn write(self) -> io::Result<()> {
        let mut header = Header { version: VERSION_3, pid: 0 };
        let words = [0, 32].map(|shift| Word {
            effective: (self.effective >> shift) as u32,
            permitted: (self.permitted >> shift) as u32,
            inheritable: (self.inheritable >> shift) as u32,
        });
        // SAFETY: capset(2) with version 3 reads one header and two data words.
        let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
        check(result as libc::c_int)?;
        Ok(())
    }
}

fn prctl(operation: libc::c_int, one: libc::c_ulong, two: libc::c_ulong) -> io::Result<()> {
    let zero: libc::c_ulong = 0;
    // SAFETY: the operations of prctl(2) used here take numbers only.
    check(unsafe { libc::prctl(operation, one, two, zero, zero) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    }

    #[test]
    fn effective_is_what_proc_says() {
        assert_eq!(effective().unwrap(), status("CapEff"));
    }

    #[test]
    fn dropping_keeps_exactly_what_was_asked_for() {
        if effective().unwrap() & CAP_SETPCAP == 0 {
            eprintln!("SKIPPED: dropping_keeps_exactly_what_was_asked_for: needs CAP_SETPCAP");
            return;
        }
        let before = effective().unwrap();
        std::thread::spawn(|| {
            drop_to(&[Capability::NetRaw, Capability::NetBindService]).unwrap();
            let kept = 1 << 13 | 1 << 10;
            assert!(is_effective(Capability::NetRaw).unwrap());
            assert!(!is_effective(Capability::NetAdmin).unwrap());
            assert_eq!(
                ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"].map(status),
                [kept, kept, 0, kept, 0]
            );
            assert_eq!(status("NoNewPrivs"), 1);
            // Giving up more works without CAP_SETPCAP, and nothing comes back.
            drop_to(&[Capability::NetRaw, Capability::NetAdmin]).unwrap();
            assert_eq!(effective().unwrap(), 1 << 13);
        })
        .join()
        .unwrap();
        assert_eq!(effective().unwrap(), before, "only the other thread dropped them");
    }
}
