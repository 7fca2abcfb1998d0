//! Giving up system calls (`seccomp(2)`).
//!
//! A filter holds for the calling thread, and for all threads and programs it starts from then on. It
//! cannot be taken off, and takes `PR_SET_NO_NEW_PRIVS` or `CAP_SYS_ADMIN`. What it does not let
//! through fails with `EPERM`; so do calls in the manner of other architectures, which have other
//! numbers.

use std::io;

use crate::seccomp::{give, load, skip_unless};
use crate::socket::check;

/// What [`look_only`] lets through.
const LOOKING: &[libc::c_long] = &[
    // Files, and what is in folders; opening them has a rule of its own.
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_fcntl,
    // Processes, their sockets, and what a map holds for one.
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_bpf,
    libc::SYS_capget,
    // Answers.
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_write,
    libc::SYS_writev,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    // Threads and time.
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_prctl,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_restart_syscall,
    libc::SYS_getrandom,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_delete,
    // Signals and the end.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What [`deny_foreign`] denies.
const FOREIGN: &[libc::c_long] = &[
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // The kernel itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    // What attacks on the kernel go through.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_personality,
    libc::SYS_mknodat,
];

/// Leaves the calls of a program that reads files, asks sockets of others (`pidfd_getfd(2)`) and BPF
/// maps, and answers on descriptors that it has; with what the C library and threads take. It opens
/// no file for writing, no socket, and runs no program.
pub fn look_only() -> io::Result<()> {
    install(&program(LOOKING, libc::SECCOMP_RET_ALLOW, DENY))
}

/// Gives up calls that change the machine rather than its network, look into other processes, or open
/// parts of the kernel that a daemon has no use for. Most of them take privilege besides.
pub fn deny_foreign() -> io::Result<()> {
    install(&program(FOREIGN, DENY, libc::SECCOMP_RET_ALLOW))
}

/// What fails with `EPERM`.
const DENY: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

/// `AUDIT_ARCH_*`, linux/audit.h; `None` where it is not known here, and nothing can be filtered.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else if cfg!(target_arch = "riscv64") {
    Some(0xc000_00f3)
} else {
    None
};
/// The bit that marks calls of x32, whose numbers are otherwise those of x86-64
/// (`__X32_SYSCALL_BIT`).
const X32: u32 = 0x4000_0000;
/// Offsets in `struct seccomp_data`, linux/seccomp.h.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// The lower half of the third argument, in which `openat(2)` has its flags.
const FLAGS: u32 = if cfg!(target_endian = "little") { 32 } else { 36 };
/// Flags of who wants more than to read.
const TO_WRITE: i32 =
    libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;

fn program(calls: &[libc::c_long], for_these: u32, for_others: u32) -> Vec<libc::sock_filter> {
    let mut code = vec![load(ARCH)];
    // Each test is followed by what is skipped if it fails.
    if let Some(native) = ARCHITECTURE {
        code.push(skip_unless(native, 1));
        code.push(jump(libc::BPF_JA, 1, 0));
    }
    code.push(give(DENY));
    code.push(load(NUMBER));
    if cfg!(target_arch = "x86_64") {
        code.extend([jump(libc::BPF_JGE, X32, 1), give(DENY)]);
    }
    if for_others == DENY {
        code.extend([skip_unless(libc::SYS_openat as u32, 4), load(FLAGS)]);
        code.extend([jump(libc::BPF_JSET, TO_WRITE as u32, 1), give(DENY)]);
        code.push(give(libc::SECCOMP_RET_ALLOW));
    }
    for call in calls {
        code.extend([skip_unless(*call as u32, 1), give(for_these)]);
    }
    code.push(give(for_others));
    code
}

/// Goes on if the test holds, else jumps over `count` instructions; `JA` jumps over `value` of them.
fn jump(test: u32, value: u32, count: u8) -> libc::sock_filter {
    let code = (libc::BPF_JMP | test | libc::BPF_K) as u16;
    libc::sock_filter { code, jt: 0, jf: count, k: value }
}

fn install(program: &[libc::sock_filter]) -> io::Result<()> {
    if ARCHITECTURE.is_none() {
        return Err(io::Error::from_raw_os_error(libc::ENOSYS));
    }
    let filter = libc::sock_fprog {
        len: program.len() as libc::c_ushort,
        // The kernel only reads it.
        filter: program.as_ptr().cast_mut(),
    };
    let flags: libc::c_ulong = 0;
    // SAFETY: seccomp(2) reads the program, which outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter)
    };
    check(result as libc::c_int)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{capability, process};

    /// Runs on a thread of its own, which ends with its filter.
    fn filtered(filter: fn() -> io::Result<()>, then: fn()) {
        let work = move || {
            process::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).unwrap();
            filter().unwrap();
            then();
        };
        std::thread::spawn(work).join().unwrap();
    }

    fn refused(result: io::Result<impl std::fmt::Debug>) -> bool {
        result.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
    }

    #[test]
    fn only_what_is_allowed_works() {
        filtered(look_only, || {
            std::fs::read("/proc/self/comm").unwrap();
            std::thread::spawn(|| ()).join().unwrap();
            assert!(process::PidFd::open(std::process::id()).is_ok());
            assert!(capability::effective().is_ok());
            assert!(refused(std::net::UdpSocket::bind("127.0.0.1:0")));
            assert!(refused(std::fs::create_dir("/proc/none")));
            assert!(refused(std::fs::File::create("/proc/self/comm")));
            let both = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
            assert!(refused(both));
            assert!(refused(std::process::Command::new("/bin/true").status()));
        });
    }

    #[test]
    fn what_is_denied_fails_and_all_else_works() {
        filtered(deny_foreign, || {
            assert!(refused(crate::namespace::unshare(crate::namespace::Kinds::NETWORK)));
            let own = process::PidFd::open(std::process::id()).unwrap();
            assert!(refused(own.descriptor(0)));
            assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_ok());
            assert!(std::process::Command::new("/bin/true").status().unwrap().success());
        });
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn calls_of_x32_are_none() {
        filtered(deny_foreign, || {
            let number = libc::SYS_unshare | libc::c_long::from(X32);
            // SAFETY: whatever it were, it is given no pointers.
            let result = unsafe { libc::syscall(number, 0) };
            assert!(refused(check(result as libc::c_int)));
        });
    }
}
