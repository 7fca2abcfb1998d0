use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

use sys::namespace;
use sys::process::CommandExt as _;

use crate::Mounts;
use crate::error::{Context as _, Error, Result};

/// A network namespace without a name.
///
/// It lives as long as this value, or something inside it does: a socket, an interface's other end
/// does not count. There is nothing to delete, also after a `SIGKILL`.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
    connection: Mutex<Connection>,
    mounts: Option<Arc<Mounts>>,
}

/// Requests to the kernel, in one namespace.
pub(crate) type Connection = netlink::Connection<sys::netlink::Socket>;

impl Namespace {
    /// A new one, with the loopback up.
    ///
    /// Fails with [`Error::Unavailable`] without the privilege; an ordinary user gets it from a
    /// user namespace (`unshare --user --map-root-user`, or [`become_root`]).
    pub fn new() -> Result<Self> {
        let fd = namespace::in_new_network(namespace::current_network)
            .map_err(|error| Error::Unavailable(format!("network namespaces need root ({error})")))?
            .context("network namespace")?;
        let this = Self::of(fd)?;
        this.set_up("lo")?;
        Ok(this)
    }

    /// A new one in which the kernel does nothing about IPv6 by itself, for quiet wires.
    pub fn without_ipv6() -> Result<Self> {
        let this = Self::new()?;
        for which in ["all", "default"] {
            this.set_parameter(&format!("net/ipv6/conf/{which}/disable_ipv6"), "1")?;
        }
        Ok(this)
    }

    fn of(fd: OwnedFd) -> Result<Self> {
        let connection = namespace::in_network(fd.as_fd(), Connection::open)
            .context("entering a network namespace")?
            .context("netlink")?;
        Ok(Self { fd, connection: Mutex::new(connection), mounts: None })
    }

    /// Programs started inside from now on find these mounts there. More namespaces may share them.
    pub fn set_mounts(&mut self, mounts: Arc<Mounts>) {
        self.mounts = Some(mounts);
    }

    /// The mounts that programs find inside, if they are not those of this process.
    pub fn mounts(&self) -> Option<&Arc<Mounts>> {
        self.mounts.as_ref()
    }

    pub(crate) fn with_connection<T>(&self, work: impl FnOnce(&mut Connection) -> T) -> T {
        // A panic elsewhere leaves at worst an answer unread, which the next request skips.
        work(&mut self.connection.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `work` inside, on a thread of its own, and waits for it. Sockets and descriptors that
    /// it returns stay inside. A panic goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        namespace::in_network(self.fd.as_fd(), work).context("entering a network namespace")
    }

    /// Starts a program inside, which is killed when this process ends, however that happens.
    pub fn spawn(&self, mut command: Command) -> Result<Child> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.in_network(self.descriptor()?);
        if let Some(mounts) = &self.mounts {
            command.in_mounts(mounts.descriptor()?);
        }
        command.die_with_parent();
        spawn_from_lasting_thread(command).context(name)
    }

    /// Another descriptor of it.
    pub fn descriptor(&self) -> Result<OwnedFd> {
        self.fd.try_clone().context("network namespace")
    }

    /// Sets a kernel parameter of the namespace, such as `net/ipv4/conf/all/rp_filter`.
    pub fn set_parameter(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{name}");
        self.run(|| std::fs::write(&path, value))?.context(path)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes this process root of a user namespace of its own, if it is not root yet, so that it may
/// make the other kinds.
///
/// Only a process of one thread can: call it first.
pub fn become_root() -> Result<()> {
    use namespace::Kinds;
    if sys::process::is_root() {
        return Ok(());
    }
    let (user, group) = (sys::process::effective_user(), sys::process::effective_group());
    namespace::unshare(Kinds::USER).and_then(|()| namespace::map_root(user, group)).map_err(
        |error| Error::Unavailable(format!("a lab needs root or user namespaces ({error})")),
    )
}

/// The parent-death signal comes when the *thread* that started the child ends, so children are
/// started by one that never does.
fn spawn_from_lasting_thread(command: Command) -> std::io::Result<Child> {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Option<mpsc::Sender<Order>>> = OnceLock::new();

    let gone = || std::io::Error::other("the thread that starts children is gone");
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        let run = move || {
            for (mut command, reply) in orders {
                let _ = reply.send(command.spawn());
            }
        };
        thread::Builder::new().name("spawner".into()).spawn(run).ok().map(|_| sender)
    });
    let (reply, answer) = mpsc::channel();
    spawner.as_ref().ok_or_else(gone)?.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
