//! Children whose calls of `bind(2)` wait for this process (`seccomp_unotify(2)`).
//!
//! ```text
//! child                     kernel                       this process
//! bind(fd, address)  ─────▶ filter stops the thread ───▶ Listener::next
//!                                                        looks, acts on the socket
//!                    ◀───── the call is carried out ◀─── Listener::resume
//! ```
//!
//! Everything the child starts inherits the filter. A supervisor that is gone makes the calls fail
//! with `ENOSYS`; it never makes them hang. No privilege is needed, because the child gives up
//! gaining any (`PR_SET_NO_NEW_PRIVS`): set-user-ID programs run without their rank.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::socket::check;
use crate::{fds, process};

/// Makes the child that `command` starts wait at each `bind(2)`.
///
/// Keep the result, and ask it for the [`Listener`] once the child runs.
pub fn supervise_binds(command: &mut Command) -> io::Result<Supervision> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let program = program();
    let request = move || {
        process::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
        let listener = install(&program)?;
        send_one(theirs.as_fd(), listener.as_fd())
    };
    // SAFETY: the closure runs between fork and exec; it makes system calls only, and allocates
    // nothing: the program was made before.
    unsafe { command.pre_exec(request) };
    Ok(Supervision { channel: ours })
}

/// The way by which the child hands the listener over.
#[derive(Debug)]
pub struct Supervision {
    channel: UnixStream,
}

impl Supervision {
    /// The listener; `None` if the child did not come that far.
    ///
    /// Ask after [`Command::spawn`], also after a failed one: with a listener, the filter was not
    /// to blame.
    pub fn listener(&self) -> io::Result<Option<Listener>> {
        let mut came = Vec::new();
        match fds::receive(&self.channel, &mut [0], &mut came) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            result => result.map(|_| came.pop().map(|fd| Listener { fd })),
        }
    }
}

/// Where calls that wait are told.
///
/// Its descriptor becomes readable when one does. When the last process under the filter has ended
/// and was waited for, it hangs up.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

/// A call of `bind(2)` that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind {
    id: u64,
    /// The thread that called, as this process sees it; 0 if it does not.
    pub thread: u32,
    /// The descriptor, a number of the caller's.
    pub descriptor: i32,
    /// Where in the caller's memory the address is.
    pub address: u64,
    /// How long the caller says the address is.
    pub length: usize,
}

impl Listener {
    /// The next call that waits. Blocks until there is one: wait for the descriptor to become
    /// readable first.
    ///
    /// `None` if the caller was killed or interrupted meanwhile; what it asked cannot be read; or
    /// it was answered here because it makes no sense.
    pub fn next(&self) -> io::Result<Option<Bind>> {
        // The kernel wants it zeroed.
        // SAFETY: seccomp_notif is plain numbers, for which all zeroes is valid.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: SECCOMP_IOCTL_NOTIF_RECV fills one seccomp_notif.
        let result = check(unsafe {
            libc::ioctl(self.fd.as_raw_fd(), NOTIF_RECV as libc::Ioctl, &raw mut call)
        });
        match result {
            Ok(_) => {}
            // The caller is gone, or a signal came.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let words = match arguments(&call.data, call.pid) {
            Ok(words) => words,
            // The kernel will find the same, and has the right error for it.
            Err(_) => {
                self.resume_id(call.id)?;
                return Ok(None);
            }
        };
        let [descriptor, address, length] = words;
        Ok(Some(Bind {
            id: call.id,
            thread: call.pid,
            descriptor: descriptor as i32,
            address,
            length: length as u32 as usize,
        }))
    }

    /// Whether the call still waits. What was read of the caller before by its number was the
    /// caller's if this holds afterwards; else the number may be another's by now.
    #[must_use]
    pub fn is_waiting(&self, call: &Bind) -> bool {
        let id = call.id;
        // SAFETY: SECCOMP_IOCTL_NOTIF_ID_VALID reads one number.
        check(unsafe {
            libc::ioctl(self.fd.as_raw_fd(), NOTIF_ID_VALID as libc::Ioctl, &raw const id)
        })
        .is_ok()
    }

    /// Has the kernel carry the call out. A caller that is gone is no error.
    ///
    /// The kernel reads the arguments anew: nothing that was read of them is a promise.
    pub fn resume(&self, call: &Bind) -> io::Result<()> {
        self.resume_id(call.id)
    }

    fn resume_id(&self, id: u64) -> io::Result<()> {
        let mut answer = libc::seccomp_notif_resp {
            id,
            val: 0,
            error: 0,
            flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        };
        // SAFETY: SECCOMP_IOCTL_NOTIF_SEND reads one seccomp_notif_resp.
        let result = check(unsafe {
            libc::ioctl(self.fd.as_raw_fd(), NOTIF_SEND as libc::Ioctl, &raw mut answer)
        });
        match result {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `SECCOMP_IOCTL_NOTIF_RECV`, `_SEND` and `_ID_VALID`, linux/seccomp.h: type `!`, numbers 0 to 2.
const NOTIF_RECV: u32 = read_write::<libc::seccomp_notif>(0);
const NOTIF_SEND: u32 = read_write::<libc::seccomp_notif_resp>(1);
const NOTIF_ID_VALID: u32 = WRITE | request::<u64>(2);

/// `_IOWR`, asm-generic/ioctl.h; MIPS, PowerPC and SPARC number the directions in their own way,
/// and [`ABIS`] has none of them.
const fn read_write<T>(number: u32) -> u32 {
    READ | WRITE | request::<T>(number)
}

const fn request<T>(number: u32) -> u32 {
    (size_of::<T>() as u32) << 16 | (b'!' as u32) << 8 | number
}

const WRITE: u32 = 1 << 30;
const READ: u32 = 2 << 30;

/// How a process may call `bind(2)`.
struct Abi {
    /// `AUDIT_ARCH_*`, linux/audit.h.
    architecture: u32,
    /// The call's numbers.
    bind: &'static [u32],
    /// `socketcall(2)`, which has the arguments in memory.
    socketcall: Option<u32>,
}

/// The architecture's own first, then those its kernel runs programs of.
#[cfg(target_arch = "x86_64")]
const ABIS: &[Abi] = &[
    // With the bit of x32 as well (__X32_SYSCALL_BIT).
    Abi { architecture: 0xc000_003e, bind: &[49, 0x4000_0000 | 49], socketcall: None },
    Abi { architecture: 0x4000_0003, bind: &[361], socketcall: Some(102) },
];
#[cfg(target_arch = "x86")]
const ABIS: &[Abi] = &[Abi { architecture: 0x4000_0003, bind: &[361], socketcall: Some(102) }];
#[cfg(target_arch = "aarch64")]
const ABIS: &[Abi] = &[
    Abi { architecture: 0xc000_00b7, bind: &[200], socketcall: None },
    Abi { architecture: 0x4000_0028, bind: &[282], socketcall: None },
];
#[cfg(target_arch = "arm")]
const ABIS: &[Abi] = &[Abi { architecture: 0x4000_0028, bind: &[282], socketcall: None }];
#[cfg(target_arch = "riscv64")]
const ABIS: &[Abi] = &[Abi { architecture: 0xc000_00f3, bind: &[200], socketcall: None }];
/// Unknown ones: nothing can be supervised, and [`supervise_binds`] has the child fail.
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "x86",
    target_arch = "aarch64",
    target_arch = "arm",
    target_arch = "riscv64"
)))]
const ABIS: &[Abi] = &[];

/// What `socketcall(2)` calls bind (`SYS_BIND`, linux/net.h).
const SYS_BIND: u32 = 2;

/// Offsets in `struct seccomp_data`, linux/seccomp.h.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = if cfg!(target_endian = "little") { 16 } else { 20 };

/// The filter: calls of bind wait, all others pass.
///
/// Each architecture is a block that is jumped over as a whole; each test in it is followed by its
/// own return.
fn program() -> Vec<libc::sock_filter> {
    let mut code = vec![load(ARCHITECTURE)];
    for abi in ABIS {
        let mut block = vec![load(NUMBER)];
        for number in abi.bind {
            block.extend([skip_unless(*number, 1), give(libc::SECCOMP_RET_USER_NOTIF)]);
        }
        if let Some(number) = abi.socketcall {
            block.extend([skip_unless(number, 3), load(FIRST_ARGUMENT)]);
            block.extend([skip_unless(SYS_BIND, 1), give(libc::SECCOMP_RET_USER_NOTIF)]);
        }
        block.push(give(libc::SECCOMP_RET_ALLOW));
        code.push(skip_unless(abi.architecture, block.len() as u8));
        code.append(&mut block);
    }
    code.push(give(libc::SECCOMP_RET_ALLOW));
    code
}

pub(crate) fn load(offset: u32) -> libc::sock_filter {
    let code = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    libc::sock_filter { code, jt: 0, jf: 0, k: offset }
}

/// Goes on if the accumulator is `value`, else jumps over `count` instructions.
pub(crate) fn skip_unless(value: u32, count: u8) -> libc::sock_filter {
    let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    libc::sock_filter { code, jt: 0, jf: count, k: value }
}

pub(crate) fn give(verdict: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: verdict }
}

/// Puts the calling thread under the filter (`seccomp(2)`). Allocates nothing.
fn install(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    if ABIS.is_empty() {
        return Err(io::Error::from_raw_os_error(libc::ENOSYS));
    }
    let filter = libc::sock_fprog {
        len: program.len() as libc::c_ushort,
        // The kernel only reads it.
        filter: program.as_ptr().cast_mut(),
    };
    let try_with = |flags: libc::c_ulong| {
        // SAFETY: seccomp(2) reads the program, which outlives the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const filter,
            )
        };
        check(fd as libc::c_int)
    };
    // Only a fatal signal interrupts a call that was taken up (Linux 5.19): Go's runtime signals
    // its threads all the time, and each call would start over.
    let patient = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE_RECV;
    let fd = match try_with(patient) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            try_with(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?
        }
        result => result?,
    };
    // SAFETY: seccomp(2) returned a new descriptor, close-on-exec, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, linux/seccomp.h.
const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;

/// A control message with one descriptor, aligned as `cmsg(3)` asks.
#[repr(C, align(8))]
struct OneDescriptor {
    header: libc::cmsghdr,
    fd: libc::c_int,
    padding: [u8; 4],
}

/// Sends a descriptor, for use between fork and exec: allocates nothing.
fn send_one(channel: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: cmsghdr is plain numbers, for which all zeroes is valid.
    let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
    header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<libc::c_int>()) as _;
    header.cmsg_level = libc::SOL_SOCKET;
    header.cmsg_type = libc::SCM_RIGHTS;
    let mut control = OneDescriptor { header, fd: fd.as_raw_fd(), padding: [0; 4] };
    let mut byte = 0_u8;
    let mut piece = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: msghdr is numbers and pointers, for which all zeroes is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<OneDescriptor>() as _;
    // SAFETY: sendmsg(2) reads the message and what it points to, all of which is alive.
    let sent =
        unsafe { libc::sendmsg(channel.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    check(sent as libc::c_int).map(drop)
}

/// Descriptor, address and length of a call of bind, from registers or from memory.
fn arguments(data: &libc::seccomp_data, thread: u32) -> io::Result<[u64; 3]> {
    let [first, second, third, ..] = data.args;
    let by_socketcall = ABIS.iter().any(|abi| {
        abi.architecture == data.arch && abi.socketcall.is_some_and(|nr| nr as i32 == data.nr)
    });
    if !by_socketcall {
        return Ok([first, second, third]);
    }
    let mut words = [0_u8; 12];
    process::read_memory(thread, second, &mut words)?;
    let word = |bytes: &[u8; 4]| u64::from(u32::from_ne_bytes(*bytes));
    match words.as_chunks::<4>().0 {
        [first, second, third] => Ok([word(first), word(second), word(third)]),
        _ => Err(io::Error::from_raw_os_error(libc::EFAULT)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::process::Child;
    use std::time::Duration;

    use super::*;
    use crate::process::{PidFd, SIGKILL};
    use crate::socket;

    const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));
    /// Has this test, started again, be the child.
    const PART: &str = "IPHELPER_SECCOMP_PART";

    /// What the child does, on the test's own thread: the exit status is the error's number.
    #[test]
    fn part() {
        let result = match std::env::var(PART).as_deref() {
            Ok("udp") => UdpSocket::bind("127.0.0.1:0").map(drop),
            Ok("grandchild") => std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "seccomp::tests::part"])
                .env(PART, "udp")
                .status()
                .map(|status| std::process::exit(status.code().unwrap_or(1))),
            Ok("threads") => {
                let one = std::thread::spawn(|| UdpSocket::bind("127.0.0.1:0").map(drop));
                let other = std::thread::spawn(|| TcpListener::bind("127.0.0.1:0").map(drop));
                one.join().unwrap().and(other.join().unwrap())
            }
            #[cfg(target_arch = "x86_64")]
            Ok("int80") => foreign::bind(361),
            #[cfg(target_arch = "x86_64")]
            Ok("int80 socketcall") => foreign::bind(102),
            _ => return,
        };
        std::process::exit(result.err().and_then(|error| error.raw_os_error()).unwrap_or(0));
    }

    /// The calls of 32-bit programs, which 64-bit ones can make as well.
    #[cfg(target_arch = "x86_64")]
    mod foreign {
        use super::*;

        pub(super) fn bind(number: u32) -> io::Result<()> {
            let socket = socket::open(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: mmap(2) makes a new mapping, which nothing else refers to.
            let low = unsafe { libc::mmap(std::ptr::null_mut(), 4096, access, flags, -1, 0) };
            assert_ne!(low, libc::MAP_FAILED);
            let low: *mut u32 = low.cast();
            let address = low as u32;
            let words = [socket.as_raw_fd() as u32, address + 16, 16, 0, libc::AF_INET as u32];
            // SAFETY: the mapping is longer than that, and nothing else refers to it.
            unsafe { std::ptr::copy_nonoverlapping(words.as_ptr(), low, words.len()) };
            let [first, second, third] = match number {
                102 => [SYS_BIND, address, 0],
                _ => [words[0], words[1], words[2]],
            };
            let result: i32;
            // SAFETY: the 32-bit entry takes its arguments in these registers; bind(2) reads the
            // 16 bytes of a mapping that stays. rbx is LLVM's own, so it is put back.
            unsafe {
                std::arch::asm!(
                    "xchg rbx, {first:r}",
                    "int 0x80",
                    "xchg rbx, {first:r}",
                    first = inout(reg) u64::from(first) => _,
                    inlateout("eax") number => result,
                    in("ecx") second,
                    in("edx") third,
                    out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                );
            }
            if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
        }
    }

    fn start(part: &str) -> (Child, Listener) {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "seccomp::tests::part"]).env(PART, part);
        command.stdout(std::process::Stdio::null());
        let supervision = supervise_binds(&mut command).unwrap();
        let child = command.spawn().unwrap();
        (child, supervision.listener().unwrap().unwrap())
    }

    /// Waits for a call.
    fn next(listener: &Listener) -> Bind {
        assert!(socket::wait(listener.as_fd(), libc::POLLIN, PATIENCE).unwrap(), "no call came");
        listener.next().unwrap().expect("a call")
    }

    /// Looks at the call as a supervisor would.
    fn look(listener: &Listener, call: &Bind) {
        let mut family = [0; 2];
        process::read_memory(call.thread, call.address, &mut family).unwrap();
        assert_eq!(u16::from_ne_bytes(family), libc::AF_INET as u16);
        assert_eq!(call.length, 16);
        let socket = PidFd::of_thread(call.thread).unwrap().descriptor(call.descriptor).unwrap();
        assert!(listener.is_waiting(call));
        let mut kind = [0; 4];
        socket::read_bytes(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TYPE, &mut kind).unwrap();
        assert!([libc::SOCK_DGRAM, libc::SOCK_STREAM].contains(&i32::from_ne_bytes(kind)));
    }

    fn ended(child: &mut Child) -> i32 {
        let process = PidFd::open(child.id()).unwrap();
        assert!(process.wait_ended(PATIENCE).unwrap(), "the child hangs");
        child.wait().unwrap().code().unwrap()
    }

    #[test]
    fn a_bind_waits_is_seen_and_goes_on() {
        for (part, calls) in [("udp", 1), ("threads", 2), ("grandchild", 1)] {
            let (mut child, listener) = start(part);
            for _ in 0..calls {
                let call = next(&listener);
                assert!(child.try_wait().unwrap().is_none());
                look(&listener, &call);
                listener.resume(&call).unwrap();
            }
            assert_eq!(ended(&mut child), 0, "{part}");
            // The last process under the filter is gone.
            assert!(socket::wait(listener.as_fd(), libc::POLLHUP, PATIENCE).unwrap(), "{part}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn programs_of_32_bits_wait_as_well() {
        for part in ["int80", "int80 socketcall"] {
            let (mut child, listener) = start(part);
            let process = PidFd::open(child.id()).unwrap();
            if !socket::wait(listener.as_fd(), libc::POLLIN, PATIENCE).unwrap()
                || process.wait_ended(Some(Duration::ZERO)).unwrap()
            {
                let status = child.wait().unwrap();
                eprintln!("SKIPPED: programs_of_32_bits_wait_as_well: {part}: {status}");
                continue;
            }
            let call = next(&listener);
            look(&listener, &call);
            listener.resume(&call).unwrap();
            assert_eq!(ended(&mut child), 0, "{part}");
        }
    }

    #[test]
    fn without_a_supervisor_a_bind_fails_and_does_not_hang() {
        let (mut child, listener) = start("udp");
        drop(listener);
        assert_eq!(ended(&mut child), libc::ENOSYS);
        // Also one that waits already.
        let (mut child, listener) = start("udp");
        next(&listener);
        drop(listener);
        assert_eq!(ended(&mut child), libc::ENOSYS);
    }

    #[test]
    fn a_caller_that_died_is_no_error() {
        let (mut child, listener) = start("udp");
        let call = next(&listener);
        process::signal(child.id(), SIGKILL).unwrap();
        child.wait().unwrap();
        assert!(!listener.is_waiting(&call));
        listener.resume(&call).unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_still_hands_the_listener_over() {
        let mut command = std::process::Command::new("/nonexistent/program");
        let supervision = supervise_binds(&mut command).unwrap();
        let error = command.spawn().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(supervision.listener().unwrap().is_some());
    }
}
