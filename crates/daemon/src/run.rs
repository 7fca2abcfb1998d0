//! The program: from the command line to the end.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use api::daemon::ProblemKind;
use api::server::{Limits, serve};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::access::Access;
use crate::claim::{Claim, Refused};
use crate::clock::{self, Clock};
use crate::config::ConfigError;
use crate::configuration::Configuration;
use crate::leases::resolver::{self, Choice};
use crate::leases::{self, Folder, Identity, Leases, Parts};
use crate::options::{Asked, HELP, Options};
use crate::ports::{self, Prepared};
use crate::problems::{Problems, Subject};
use crate::service::{Endpoint, Service};
use crate::store::{Lock, StoreError};
use crate::subsystem::{Inbox, Requests, Subsystem, Tenant};
use crate::supervise::Watched;
use crate::watchdog::Watchdog;
use crate::{log, processes, sandbox};

/// The command line was wrong (as `iph` has it).
const USAGE: u8 = 2;

/// Why the daemon cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Configuration(#[from] ConfigError),
    /// Another daemon serves this network namespace.
    #[error("another daemon, process {pid}, serves this network namespace")]
    NotAlone {
        /// The number of its process, as it was when that started.
        pid: u32,
    },
    /// The state directory belongs to another daemon.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The API's socket cannot be opened.
    #[error("{path}: {error}{}", in_use(error))]
    Socket {
        /// Where.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The kernel refuses what nothing works without.
    #[error("{what}: {error}{}", privilege(error))]
    Kernel {
        /// What was asked of it.
        what: &'static str,
        /// Why it refused.
        error: io::Error,
    },
    /// Part of the daemon died.
    #[error("part of the daemon died; see above")]
    Died,
}

fn in_use(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": another daemon serves there",
        _ => "",
    }
}

fn privilege(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ": CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE are needed"
        }
        _ => "",
    }
}

fn kernel(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |error| RunError::Kernel { what, error }
}

/// `iphelperd`, given the arguments after its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match Options::parse(arguments) {
        Ok(Asked::Run(options)) => options,
        Ok(Asked::FindProcesses) => return ExitCode::from(processes::find()),
        Ok(Asked::Help) => return say(HELP.trim_end()),
        Ok(Asked::Version) => return say(concat!("iphelperd ", env!("CARGO_PKG_VERSION"))),
        Err(error) => {
            complain(format_args!("{error}\nTry iphelperd --help."));
            return ExitCode::from(USAGE);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

/// Runs the daemon in the calling thread's network namespace, in the foreground, until it is told
/// to end.
///
/// Gives up capabilities and file access of the calling thread for good, and changes the process's
/// handling of signals and panics: call it from a process that does nothing else, and has one thread
/// where [`Options::processes`] asks for a child.
pub fn run(options: &Options) -> Result<(), RunError> {
    sys::memory::use_few_arenas();
    let result = run_to_the_end(options);
    log::finish();
    result
}

fn run_to_the_end(options: &Options) -> Result<(), RunError> {
    // First: it is to have a copy of as little as possible.
    let finder = options.processes.clone().map(processes::Prepared::new);
    let configuration = Configuration::load(options.config.as_deref(), options.log)?;
    log::start(configuration.log_level());
    // Before anything is done in the network, and to the end.
    let _claim = Claim::take(&options.state_dir).map_err(|refused| match refused {
        Refused::Taken(pid) => RunError::NotAlone { pid },
        Refused::Kernel(error) => RunError::Kernel { what: "a unix socket", error },
    })?;
    let mut problems = Problems::default();
    // Held to the end; what is written is, when the threads that write have ended.
    let _lock = match Lock::take(&options.state_dir) {
        Ok(lock) => Some(lock),
        Err(error @ StoreError::InUse(_)) => return Err(error.into()),
        Err(error) => {
            problems.raise(Subject::Part("store"), ProblemKind::StoreUnwritable, error.to_string());
            None
        }
    };
    sandbox::raise_descriptor_limit();

    let boot_id = clock::boot_id();
    let mut folder = Folder::new(&options.state_dir, &boot_id);
    let found = folder.load(Clock::read());
    let configured = configuration.watch();
    let config = configured.borrow().clone();
    let access = Access::new(configured.clone());
    let own_resolver_file = resolver::own_file(&options.socket);
    let choice = Choice::new(&config.daemon, &own_resolver_file);
    let reserved = ports::Parts {
        configured: configured.clone(),
        state_dir: options.state_dir.clone(),
        boot_id: boot_id.clone(),
        access: access.clone(),
    };
    let parts = Parts {
        identity: Identity::discover(&options.state_dir),
        configured,
        found,
        problems,
        choice: choice.clone(),
        own_resolver_file,
    };
    let (mut leases, workers) = Leases::start(parts).map_err(kernel("the network"))?;

    // The first packets are out; now for the rest, while servers think. Nothing that anybody sends
    // is read before the privileges are gone, but on threads that see nothing of it.
    let watched = Watched::default();
    let processes = finder.and_then(|finder| {
        let started = finder.start(&watched);
        started.inspect_err(|error| tracing::warn!("processes are not looked up: {error}")).ok()
    });
    let reserved =
        Prepared::new(reserved, processes.clone()).map_err(kernel("the guard's places"))?;
    sandbox::drop_capabilities(&sandbox::needed_capabilities(&config));
    sandbox::deny_foreign_calls();
    let endpoint = Endpoint::open(&options.socket)
        .map_err(|error| RunError::Socket { path: options.socket.display().to_string(), error })?;
    sandbox::restrict_files(&options.state_dir, &options.socket, &choice, reserved.bpf());
    log::write_out().map_err(kernel("threads"))?;
    let (requests, ports_inbox) = Requests::new();
    let (reservations, ports) =
        reserved.start(requests.clone(), &watched).map_err(kernel("random numbers"))?;
    leases.start_workers(workers, folder, processes, &watched).map_err(kernel("threads"))?;
    let (lease_requests, leases_inbox) = Requests::new();
    let tenants: Vec<Arc<dyn Tenant>> = vec![Arc::new(lease_requests.clone()), Arc::new(requests)];
    let service = Service::new(
        configuration.clone(),
        options.state_dir.clone(),
        leases::Handle::new(lease_requests),
        ports,
        tenants.clone(),
        access,
        watched.clone(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(kernel("the event loop"))?;
    let result = runtime.block_on(async {
        let mut tasks = Tasks::new(tenants);
        tasks.spawn(leases, leases_inbox);
        tasks.spawn(reservations, ports_inbox);
        serve_all(tasks, service, configuration, endpoint, watched).await
    });
    // Whoever waits for a neighbour to answer is gone by now.
    runtime.shutdown_background();
    tracing::info!("ended");
    result
}

/// The tenants' tasks: apart, so that none of them waits for another, nor for the calls.
struct Tasks {
    tenants: Vec<Arc<dyn Tenant>>,
    running: JoinSet<(&'static str, io::Result<()>)>,
    readies: Vec<oneshot::Receiver<()>>,
}

impl Tasks {
    fn new(tenants: Vec<Arc<dyn Tenant>>) -> Self {
        Self { tenants, running: JoinSet::new(), readies: Vec::new() }
    }

    fn spawn<S: Subsystem>(&mut self, subsystem: S, inbox: Inbox<S::Request>) {
        let (ready, readied) = oneshot::channel();
        self.readies.push(readied);
        self.running.spawn(async { (S::NAME, subsystem.run(inbox, ready).await) });
    }

    fn stop(&self) {
        self.tenants.iter().for_each(|tenant| tenant.stop());
    }

    /// The next one that ended, and how; `None` when all have. Cancel safe.
    async fn ended(&mut self) -> Option<(&'static str, io::Result<()>)> {
        match self.running.join_next().await? {
            Ok(ended) => Some(ended),
            // A panic, which has been logged.
            Err(error) => Some(("a part", Err(io::Error::other(error)))),
        }
    }
}

/// Runs everything until a signal says to end, or something ends by itself.
async fn serve_all(
    mut tasks: Tasks,
    service: Service,
    configuration: Configuration,
    endpoint: Endpoint,
    watched: Watched,
) -> Result<(), RunError> {
    let listener = endpoint.listener.try_clone().map_err(kernel("the socket"))?;
    let (ending, mut end) = watch::channel(());
    let limits = Limits::within(sandbox::descriptor_limit());
    let statistics = service.statistics();
    let server = serve(listener, Arc::new(service), limits, statistics, async move {
        // The sender's end is the word.
        let _ = end.changed().await;
    });
    let mut server = tokio::spawn(server);
    let mut signals = Signals::new().map_err(kernel("signals"))?;
    let mut watchdog = Watchdog::from_environment();
    let mut ready = std::pin::pin!(announce_ready(std::mem::take(&mut tasks.readies)));
    let mut is_announced = false;
    let mut is_ending = false;
    loop {
        tokio::select! {
            biased;
            () = &mut ready, if !is_announced => is_announced = true,
            ended = tasks.ended() => match ended {
                Some((_, Ok(()))) if is_ending => {}
                None => break,
                Some((name, Ok(()))) => {
                    tracing::error!("{name} ended by themselves");
                    return Err(RunError::Died);
                }
                Some((name, Err(error))) => {
                    tracing::error!("{name} ended: {error}");
                    return Err(RunError::Died);
                }
            },
            ended = &mut server => {
                match ended {
                    Ok(Ok(())) => tracing::error!("the server ended by itself"),
                    Ok(Err(error)) => tracing::error!("the server ended: {error}"),
                    Err(error) => tracing::error!("the server ended: {error}"),
                }
                return Err(RunError::Died);
            }
            () = watched.death() => return Err(RunError::Died),
            () = watchdog.feed() => {}
            received = signals.next() => match received {
                Received::End(name) => {
                    tracing::info!("{name}: ending");
                    let _ = sd_notify::notify(&[NotifyState::Stopping]);
                    is_ending = true;
                    tasks.stop();
                }
                Received::Reload => reload(configuration.clone()),
            },
        }
    }
    drop(ending);
    let _ = server.await;
    drop(endpoint);
    Ok(())
}

/// Says that everything is restored, when each tenant is ready: every client on record has been
/// started, and every reservation on record is in force.
async fn announce_ready(readies: Vec<oneshot::Receiver<()>>) {
    for ready in readies {
        let _ = ready.await;
    }
    // Not here: it waits for whoever reads, or does not.
    tokio::task::spawn_blocking(|| {
        // What was said on the way is read before.
        log::finish();
        // Standard output closed by whoever started us is no reason to end.
        let mut output = io::stdout().lock();
        let _ = output.write_all(b"ready\n").and_then(|()| output.flush());
    });
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

fn reload(configuration: Configuration) {
    tokio::spawn(async move {
        let mut states = vec![NotifyState::Reloading];
        states.extend(NotifyState::monotonic_usec_now());
        let _ = sd_notify::notify(&states);
        // An error is logged and kept as a problem where it happens.
        let _ = configuration.reload().await;
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    });
}

/// What signals ask for.
enum Received {
    End(&'static str),
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Cancel safe.
    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received::End("SIGTERM"),
            _ = self.interrupt.recv() => Received::End("SIGINT"),
            _ = self.hang_up.recv() => Received::Reload,
        }
    }
}

/// Prints for whoever asked. A closed pipe is success.
fn say(text: &str) -> ExitCode {
    let _ = writeln!(io::stdout(), "{text}");
    ExitCode::SUCCESS
}

/// Tells whoever started us, if they still read.
fn complain(what: impl Display) {
    log::say(&format!("iphelperd: {what}"));
    log::finish();
}
