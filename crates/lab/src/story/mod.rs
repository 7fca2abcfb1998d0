//! `iph lab`: the life of a lease, and of a block of ports, for real.
//!
//! Each step is one line, and is printed only after it has been checked: against the answer of the
//! daemon, the client's kernel, the servers' books and the packets on the wire.

mod ports;

use std::fmt;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

use api::client::{CallError, Client};
use api::lease::{self, Acquire, LeaseInfo, Release, Renew, Server, Via};
use sys::namespace::{self, Kinds};
use sys::process::CommandExt as _;
use wire::dhcpv4::{MessageType, OptionCode};

use crate::dhcp::{BindingState, DhcpServer};
use crate::error::{Context as _, Error, Result};
use crate::stage::{
    FIRST, FIRST_POOL, INTERFACE, LEASE_TIME, PREFIX_LENGTH, SECOND, SECOND_POOL, Stage, Tables,
};
use crate::{Daemon, wait_for, wait_until};

/// The most any one thing may take that is not waiting by a rule of the protocol.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a renewal from a dead server is waited for.
const DEAD_SERVER_WAIT: Duration = Duration::from_secs(1);
/// After a DECLINE a client waits ten seconds (RFC 2131 section 3.1 step 5) before it starts over.
const AFTER_DECLINE: Duration = Duration::from_secs(10);

/// What a story came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Steps told, all of which held.
    pub steps: usize,
    /// How long it took.
    pub took: Duration,
}

/// A step that held.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Step<'a> {
    /// Which, from 1.
    pub number: usize,
    /// What it is called.
    pub name: &'a str,
    /// What was seen.
    pub text: &'a str,
}

/// A line.
impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, name, text } = self;
        write!(f, "{number:>2}  {name:<14} {text}")
    }
}

/// [Tells](tell) the story with a line a step.
pub fn run(program: &Path, out: &mut dyn Write) -> Result<Report> {
    tell(program, &mut |step| writeln!(out, "{step}").and_then(|()| out.flush()))
}

/// Tells the story: runs the daemon of `program` (`iph`) in a private network, and hands each step
/// out as it holds. The first that does not hold is the error.
///
/// For the main thread of a process that does nothing else, as an ordinary user one that has no
/// other thread yet: the process moves into namespaces of its own. Nothing is left of the network
/// or of its files when the process ends, however it ends.
pub fn tell(program: &Path, out: &mut Listener<'_>) -> Result<Report> {
    let start = Instant::now();
    let mut story = Story::begin(program, out)?;
    match story.tell() {
        Ok(()) => Ok(Report { steps: story.steps, took: start.elapsed() }),
        Err(error) => {
            let log = story.daemon.log();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            Err(Error::Story(format!("{error}\nthe daemon's last words:\n{}", tail.join("\n"))))
        }
    }
}

/// Hears each step.
pub type Listener<'a> = dyn FnMut(&Step<'_>) -> io::Result<()> + 'a;

/// Opens the user's shell on the client of the same network, with both servers at work and
/// `IPHELPER_SOCKET` naming the daemon's socket, and returns how the shell ended.
///
/// What is said of [`tell`] holds here too. Programs left running in the background end with the
/// shell.
pub fn shell(program: &Path, out: &mut dyn Write) -> Result<ExitStatus> {
    let stage = Stage::build()?;
    let _first = stage.start_first_server()?;
    let _second = stage.start_second_server()?;
    let daemon = stage.start_daemon(program)?;
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let hint = format!(
        "a private network: {INTERFACE} has no lease yet, DHCP servers at {FIRST} and {SECOND}\n\
         try: iph lease acquire {INTERFACE}, iph port reserve tcp 5000 20; leave with exit"
    );
    writeln!(out, "{hint}").and_then(|()| out.flush()).context("output")?;

    // The first process of a process namespace takes all others with it when it ends.
    namespace::unshare(Kinds::PID).context("process namespace")?;
    let mut command = Command::new(&shell);
    command.env("IPHELPER_SOCKET", daemon.socket());
    if let Some(directory) = program.parent() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(directories) {
            command.env("PATH", path);
        }
    }
    command.in_network(stage.client.descriptor()?).die_with_parent();
    let shell = shell.to_string_lossy().into_owned();
    let mut child = command.spawn().context(shell.clone())?;
    child.wait().context(shell)
}

struct Story<'a> {
    out: &'a mut Listener<'a>,
    steps: usize,
    stage: Stage,
    daemon: Daemon,
    before: Tables,
}

impl<'a> Story<'a> {
    fn begin(program: &Path, out: &'a mut Listener<'a>) -> Result<Self> {
        let stage = Stage::build()?;
        let before = stage.tables()?;
        let start = Instant::now();
        let daemon = stage.start_daemon(program)?;
        let ready = milliseconds(start.elapsed());
        let mut story = Self { out, steps: 0, stage, daemon, before };
        story.step(
            "network",
            &format!(
                "servers at {FIRST} and {SECOND}, a host at {SECOND_POOL}, a client, one wire"
            ),
        )?;
        story.step("before", &story.before.to_string())?;
        story.step("daemon", &format!("iphelperd is ready after {ready}"))?;
        Ok(story)
    }

    fn tell(&mut self) -> Result<()> {
        let first = self.stage.start_first_server()?;
        self.acquire(&first)?;
        self.renew(&first)?;
        self.release(&first)?;
        self.acquire_again()?;
        drop(first);
        self.renew_from_the_dead()?;
        let second = self.stage.start_second_server()?;
        self.change_servers(&second)?;
        self.conflict(&second)?;
        self.give_back(&second)?;
        self.ports()?;
        let after = self.stage.tables()?;
        check(after == self.before, || format!("something is left: {after}"))?;
        self.step("after", &format!("{after}, as before"))
    }

    fn acquire(&mut self, server: &DhcpServer) -> Result<()> {
        let start = Instant::now();
        let reply = self.call(&Acquire { interface: INTERFACE.into(), ..Acquire::default() })?;
        let took = milliseconds(start.elapsed());
        self.expect_lease(&reply.lease, FIRST_POOL, FIRST)?;
        let messages: Vec<MessageType> =
            server.with(|server| server.seen().filter_map(|seen| seen.kind()).collect());
        let expected = [MessageType::Discover, MessageType::Request];
        check(messages == expected, || format!("the server saw {messages:?}"))?;
        self.step(
            "acquire",
            &format!("{FIRST_POOL}/{PREFIX_LENGTH} from {FIRST} after {took}, for {}", hours()),
        )?;
        let tables = self.stage.tables()?;
        self.step("tables", &tables.to_string())
    }

    fn renew(&mut self, server: &DhcpServer) -> Result<()> {
        self.stage.capture.clear();
        let start = Instant::now();
        let reply = self.call(&Renew { interface: INTERFACE.into(), ..Renew::default() })?;
        let took = milliseconds(start.elapsed());
        self.expect_lease(&reply.lease, FIRST_POOL, FIRST)?;
        check(reply.via == Via::Unicast, || format!("the daemon asked by {:?}", reply.via))?;
        let request = self
            .stage
            .capture
            .wait_for("the request", PATIENCE, |frame| frame.is(MessageType::Request))?;
        let everyone = request.destination.as_bytes() == [0xff; 6];
        check(!everyone, || format!("the request went to everyone: {request}"))?;
        server.wait_for("the request", PATIENCE, |server| {
            (server.count(MessageType::Request) == 2).then_some(())
        })?;
        self.step("renew", &format!("{FIRST} alone was asked, and agreed after {took}"))
    }

    fn release(&mut self, server: &DhcpServer) -> Result<()> {
        let start = Instant::now();
        let reply = self.call(&Release { interface: INTERFACE.into(), ..Release::default() })?;
        let took = milliseconds(start.elapsed());
        // The contract: all is gone when the answer comes.
        let tables = self.stage.tables()?;
        check(tables == self.before, || format!("something is left: {tables}"))?;
        check(reply.server == Server::at(FIRST), || format!("released to {}", reply.server))?;
        server.wait_for("the release in the server's book", PATIENCE, |server| {
            let binding = server.bindings().get(&FIRST_POOL)?;
            (binding.state == BindingState::Released).then_some(())
        })?;
        self.step("release", &format!("{FIRST} has {FIRST_POOL} back, {tables}, after {took}"))
    }

    fn acquire_again(&mut self) -> Result<()> {
        let start = Instant::now();
        let reply = self.call(&Renew { interface: INTERFACE.into(), ..Renew::default() })?;
        let took = milliseconds(start.elapsed());
        self.expect_lease(&reply.lease, FIRST_POOL, FIRST)?;
        self.step(
            "renew",
            &format!("after a release any server will do: {FIRST_POOL} after {took}"),
        )
    }

    fn renew_from_the_dead(&mut self) -> Result<()> {
        let timeout = api::Timeout::try_from(DEAD_SERVER_WAIT).unwrap_or_default();
        let request =
            Renew { interface: INTERFACE.into(), timeout: Some(timeout), ..Renew::default() };
        let text = match self.try_call(&request)? {
            Err(error @ lease::Error::NoAnswer { .. }) => error.to_string(),
            other => return Err(Error::Story(format!("renewing from a dead server: {other:?}"))),
        };
        let tables = self.stage.tables()?;
        let expected = Tables::leased(FIRST_POOL, FIRST);
        check(tables == expected, || format!("a lease that is valid must stay: {tables}"))?;
        self.step("server dies", &format!("renew says: {text}; the lease stays in use"))
    }

    /// The dead server's lease goes, the second server gives one: of an address in use.
    fn change_servers(&mut self, second: &DhcpServer) -> Result<()> {
        self.call(&Release { interface: INTERFACE.into(), ..Release::default() })?;
        self.stage.capture.clear();
        let start = Instant::now();
        // Conflict detection goes on in the background; whether it is faster than the answer does
        // not matter here.
        let request = Acquire { interface: INTERFACE.into(), ..Acquire::default() };
        match self.try_call(&request)? {
            Ok(reply) => check(reply.lease.server == Some(Server::at(SECOND)), || {
                format!("a lease from {:?}", reply.lease.server)
            })?,
            Err(lease::Error::Conflict { .. }) => {}
            Err(error) => return Err(Error::Story(error.to_string())),
        }
        let took = milliseconds(start.elapsed());
        second.wait_for("a request to the second server", PATIENCE, |server| {
            server.seen().find(|seen| requested(&seen.message) == Some(SECOND_POOL)).map(|_| ())
        })?;
        self.step("second server", &format!("{SECOND_POOL} from {SECOND} after {took}"))
    }

    fn conflict(&mut self, second: &DhcpServer) -> Result<()> {
        second.wait_for("a decline", PATIENCE, |server| {
            let binding = server.bindings().get(&SECOND_POOL)?;
            (binding.state == BindingState::Declined).then_some(())
        })?;
        let probe = self.stage.capture.wait_for("the other host's word", PATIENCE, |frame| {
            let of_another = |arp: &wire::arp::Packet| arp.sender == SECOND_POOL;
            !frame.outgoing && frame.arp().is_some_and(of_another)
        })?;
        let client = &self.stage.client;
        wait_until("the address off the interface", PATIENCE, || {
            client.has_address(INTERFACE, SECOND_POOL).is_ok_and(|has| !has)
        })?;
        self.step(
            "conflict",
            &format!(
                "{} uses {SECOND_POOL}: declined, and off {INTERFACE}; now a wait of {} s",
                probe.source,
                AFTER_DECLINE.as_secs()
            ),
        )?;
        let next = Ipv4Addr::from_bits(SECOND_POOL.to_bits() + 1);
        let expected = Tables::leased(next, SECOND);
        wait_for("another address", AFTER_DECLINE + PATIENCE, || {
            (self.stage.tables().ok()? == expected).then_some(())
        })?;
        self.step("start over", &expected.to_string())
    }

    fn give_back(&mut self, second: &DhcpServer) -> Result<()> {
        let reply = self.call(&Release { interface: INTERFACE.into(), ..Release::default() })?;
        check(reply.server == Server::at(SECOND), || format!("released to {}", reply.server))?;
        second.wait_for("the release", PATIENCE, |server| {
            (server.count(MessageType::Release) == 1).then_some(())
        })?;
        let [released] = &reply.bindings[..] else {
            return Err(Error::Story(format!("released {:?}", reply.bindings)));
        };
        self.step("release", &format!("{SECOND} has {released} back"))
    }

    /// Checks a lease against what the server gave, and the kernel against the lease.
    fn expect_lease(&self, lease: &LeaseInfo, address: Ipv4Addr, server: Ipv4Addr) -> Result<()> {
        let [binding] = &lease.bindings[..] else {
            return Err(Error::Story(format!("leased {:?}", lease.bindings)));
        };
        check(binding.address == Some(address.into()), || format!("leased {binding}"))?;
        let expected = Some(Server::at(server));
        check(lease.server == expected, || format!("server {:?}", lease.server))?;
        let left = binding.expires_at.map(|time| time.after(SystemTime::now()));
        // Written down to the millisecond, and read a little later.
        let slack = Duration::from_secs(5);
        check(left.is_some_and(|left| left <= LEASE_TIME && left + slack >= LEASE_TIME), || {
            format!("the lease ends in {left:?}")
        })?;
        let tables = self.stage.tables()?;
        let expected = Tables::leased(address, server);
        check(tables == expected, || format!("{tables} instead of {expected}"))?;
        let rows = self.stage.client.addresses(INTERFACE)?;
        let valid = rows.iter().find_map(|row| row.valid_seconds).unwrap_or(u32::MAX);
        check(u64::from(valid) <= LEASE_TIME.as_secs(), || {
            "the kernel would keep the address beyond the lease".to_owned()
        })
    }

    fn call<M: api::Method>(&self, request: &M) -> Result<M::Reply> {
        self.call_with(request, &[])
    }

    fn call_with<M: api::Method>(
        &self,
        request: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<M::Reply> {
        let reply = self.try_call_with(request, descriptors)?;
        reply.map_err(|error| Error::Story(format!("{}: {error}", M::NAME)))
    }

    /// The daemon's answer, or the error it gave.
    fn try_call<M: api::Method>(
        &self,
        request: &M,
    ) -> Result<std::result::Result<M::Reply, M::Error>> {
        self.try_call_with(request, &[])
    }

    fn try_call_with<M: api::Method>(
        &self,
        request: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<std::result::Result<M::Reply, M::Error>> {
        let failed = |error: &dyn std::error::Error| Error::Story(format!("{}: {error}", M::NAME));
        let timeout = Some(Duration::from_secs(40));
        let mut client =
            Client::connect(self.daemon.socket(), timeout).map_err(|error| failed(&error))?;
        match client.call_with(request, descriptors) {
            Ok(reply) => Ok(Ok(reply)),
            Err(CallError::Method(error)) => Ok(Err(error)),
            Err(CallError::Client(error)) => Err(failed(&error)),
        }
    }

    fn step(&mut self, name: &str, text: &str) -> Result<()> {
        self.steps += 1;
        (self.out)(&Step { number: self.steps, name, text }).context("output")
    }
}

fn check(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Story(otherwise())) }
}

fn requested(message: &wire::dhcpv4::Message) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = message.options.get(OptionCode::REQUESTED_ADDRESS)?.try_into().ok()?;
    Some(octets.into())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn hours() -> String {
    format!("{} h", LEASE_TIME.as_secs() / 3600)
}
