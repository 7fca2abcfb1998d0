//! Everything iphelper asks of the Linux kernel beyond `std`, and every `unsafe` line it needs.
//!
//! Each module is a thin, safe face over one kernel facility. Nothing here decides anything: the
//! logic lives in the sans-IO crates, and this crate knows none of them. Failures are
//! [`std::io::Error`], as the kernel gave them. There is no async runtime; whatever can be waited
//! for implements [`AsFd`](std::os::fd::AsFd) and, unless said otherwise, is close-on-exec and
//! non-blocking.
//!
//! | module | facility |
//! |---|---|
//! | [`packet`], [`bpf`] | link-layer sockets with classic BPF filters |
//! | [`frame`] | whole frames, for forwarders and captures |
//! | [`udp`] | UDP with the interface and addresses of each datagram |
//! | [`inet`] | what a socket is that somebody else made |
//! | [`netlink`] | netlink sockets, strict checking, loss detection |
//! | [`clock`], [`timer`], [`random`] | suspend-aware time and the kernel's randomness |
//! | [`namespace`], [`mount`], [`process`] | namespaces, private mounts, children that live in them |
//! | [`mod@fork`] | a copy of this process that does one thing |
//! | [`mountinfo`], [`cgroup`] | what is mounted where, and who is in which control group |
//! | [`ebpf`] | programs of control groups, their maps and pins |
//! | [`seccomp`], [`signals`] | children whose binds wait, and signals as a descriptor |
//! | [`syscalls`] | giving up system calls |
//! | [`credentials`], [`fds`], [`capability`] | who is on the other end, descriptor passing, privilege |
//! | [`hostname`] | the name of this host |
//! | [`memory`] | giving freed memory back |

pub mod bpf;
pub mod capability;
pub mod cgroup;
pub mod clock;
mod closer;
pub mod credentials;
pub mod ebpf;
pub mod fds;
pub mod fork;
pub mod frame;
pub mod hostname;
pub mod inet;
pub mod memory;
pub mod mount;
pub mod mountinfo;
pub mod namespace;
pub mod netlink;
pub mod packet;
pub mod process;
pub mod random;
mod reaper;
pub mod seccomp;
pub mod signals;
mod socket;
pub mod syscalls;
pub mod timer;
pub mod udp;

pub use closer::Closer;
