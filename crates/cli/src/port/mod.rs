//! `iph port`.

mod block;
mod hints;
pub(crate) mod options;
mod run;
mod shown;
mod status;
mod watch;

use api::ports::{
    Create, Delete, Grant, Holders, List, Lookup, Refusal, Reservation, ReservationReply, Revoke,
    StatusReply,
};

use self::block::Block;
use self::options::{Admitted, Port, Reserve};
use crate::exit::{Exit, Failure};
use crate::session::Session;
use crate::text::{Clock, escaped};

pub(crate) use self::shown::table;
pub(crate) use self::status::{counts, enforcement, weakness};

pub(crate) fn run(session: &mut Session, command: Port) -> Result<Exit, Failure> {
    carry_out(session, command).map_err(|failure| match failure {
        Failure::Error(report)
            if report.exit == Exit::Unreachable && status::is_daemon_gone(session) =>
        {
            Failure::Error(report).hint(
                "What was reserved stays so without the daemon; `iph port purge` takes it out of \
                 the kernel.",
            )
        }
        failure => failure,
    })
}

fn carry_out(session: &mut Session, command: Port) -> Result<Exit, Failure> {
    match command {
        Port::List { watch: true, .. } | Port::Watch => watch::events(session)?,
        Port::List { protocol, watch: false } => list(session, &List { protocol })?,
        Port::Reserve(asked) => reserve(session, asked)?,
        Port::Release { block, kill } => release(session, (&block).try_into()?, kill)?,
        Port::Lookup { block } => lookup(session, (&block).try_into()?)?,
        Port::Holders { protocol, start, count, reserved } => {
            let words = [protocol, start, count];
            holders(session, &whose(&words, reserved)?)?;
        }
        Port::Denials { follow, recent } => watch::denials(session, follow, recent)?,
        Port::Grant { block, admitted } => grant(session, (&block).try_into()?, admitted)?,
        Port::Revoke { block, admitted } => revoke(session, (&block).try_into()?, admitted)?,
        Port::Run(asked) => return run::run(session, asked),
        Port::Status => status::show(session)?,
        Port::Purge { state_dir } => status::purge(session, state_dir)?,
    }
    Ok(Exit::Success)
}

fn list(session: &mut Session, asked: &List) -> Result<(), Failure> {
    let reservations = session.list(asked)?;
    if session.printer.is_json() {
        return Ok(session.printer.json_lines(&reservations)?);
    }
    if reservations.is_empty() {
        session.printer.note("No ports are reserved.");
        session.printer.hint("`iph port reserve PROTO START COUNT --purpose TEXT` reserves some.");
    } else {
        let (width, style) = (session.printer.width(), session.printer.style());
        let text = table(&reservations, &Clock::system()).render(width, style);
        session.printer.print(&text)?;
    }
    warn_of_weakness(session);
    Ok(())
}

/// Says so where what was listed is not enforced as it should be.
fn warn_of_weakness(session: &mut Session) {
    // An older daemon, or one that ended just now: the list was had all the same.
    let Ok(StatusReply { guard, .. }) = session.ask(&api::ports::Status {}) else { return };
    if let Some(sentence) = weakness(&guard) {
        session.printer.note(&escaped(&sentence));
        session.printer.hint("`iph port status` says what it cannot do, and what would help.");
    }
}

fn reserve(session: &mut Session, asked: Reserve) -> Result<(), Failure> {
    let Block { protocol, start_port, number_of_ports } = (&asked.block).try_into()?;
    let call = Create {
        purpose: asked.purpose,
        owner: asked.owner,
        lifetime: asked.lifetime.map(|lifetime| lifetime.as_secs_f64()),
        refusal: asked.refusal.map(Refusal::from),
        dry_run: asked.dry_run.then_some(true),
        low_ports: asked.low_ports.then_some(true),
        users: some(asked.admitted.users),
        cgroups: some(asked.admitted.cgroups),
        ..Create::new(protocol, start_port, number_of_ports)
    };
    let reply = session.wait(&call)?;
    conclude(session, &reply, "Reserved")?;
    warn_of_weakness(session);
    Ok(())
}

fn lookup(session: &mut Session, block: Block) -> Result<(), Failure> {
    let Block { protocol, start_port, number_of_ports } = block;
    let call = Lookup { protocol, start_port, number_of_ports };
    let reply = session.ask(&call).map_err(|error| hints::explained(session, &block, error))?;
    let text = |style| shown::render(&reply.reservation, &Clock::system(), style);
    session.tell(&reply.reservation, text)
}

fn release(session: &mut Session, block: Block, kill: bool) -> Result<(), Failure> {
    let Block { protocol, start_port, number_of_ports } = block;
    let call = Delete { protocol, start_port, number_of_ports, kill: kill.then_some(true) };
    let reply = session.wait(&call).map_err(|error| hints::explained(session, &block, error))?;
    let closed = match (kill, reply.killed) {
        (false, _) => String::new(),
        (true, 1) => ", and closed 1 socket".to_owned(),
        (true, count) => format!(", and closed {count} sockets"),
    };
    session.tell(&reply, |_| format!("Released {protocol} {}{closed}.\n", block.ports()))
}

fn grant(session: &mut Session, block: Block, admitted: Admitted) -> Result<(), Failure> {
    let Block { protocol, start_port, number_of_ports } = block;
    let (users, cgroups) = somebody(admitted)?;
    let call = Grant { protocol, start_port, number_of_ports, users, cgroups };
    let reply = session.wait(&call).map_err(|error| hints::explained(session, &block, error))?;
    conclude(session, &reply, "Changed")
}

fn revoke(session: &mut Session, block: Block, admitted: Admitted) -> Result<(), Failure> {
    let Block { protocol, start_port, number_of_ports } = block;
    let (users, cgroups) = somebody(admitted)?;
    let call = Revoke { protocol, start_port, number_of_ports, users, cgroups };
    let reply = session.wait(&call).map_err(|error| hints::explained(session, &block, error))?;
    conclude(session, &reply, "Changed")
}

fn holders(session: &mut Session, asked: &Holders) -> Result<(), Failure> {
    let holders = session.list(asked)?;
    if session.printer.is_json() {
        return Ok(session.printer.json_lines(&holders)?);
    }
    if holders.is_empty() {
        session.printer.note("Nobody sits there.");
        return Ok(());
    }
    let reservations = session.list(&List::default())?;
    let (width, style) = (session.printer.width(), session.printer.style());
    let text = shown::holders(&holders, &reservations).render(width, style);
    Ok(session.printer.print(&text)?)
}

/// The holders that are asked for, from as many words as were said.
fn whose(words: &[Option<String>; 3], reserved: bool) -> Result<Holders, Failure> {
    let reserved = reserved.then_some(true);
    let [first, start, count] = words.each_ref().map(Option::as_deref);
    match (first, start) {
        (None, _) => Ok(Holders { reserved, ..Holders::default() }),
        (Some(protocol), None) if !protocol.contains('/') => {
            let known = block::protocol(protocol).ok_or_else(|| {
                Failure::new(Exit::Usage, format!("`{protocol}` is neither tcp nor udp"))
            })?;
            Ok(Holders { protocol: Some(known), reserved, ..Holders::default() })
        }
        (Some(protocol), start) => {
            let block = Block::from_words(protocol, start, count)?;
            Ok(Holders {
                protocol: Some(block.protocol),
                start_port: Some(block.start_port),
                number_of_ports: Some(block.number_of_ports),
                reserved,
            })
        }
    }
}

/// Prints the outcome: the reservation itself, or what was done and what there is now.
fn conclude(session: &mut Session, reply: &ReservationReply, done: &str) -> Result<(), Failure> {
    let reservation: &Reservation = &reply.reservation;
    let details = |style| shown::render(reservation, &Clock::system(), style);
    session.tell(reservation, |style| format!("{done} {}", details(style)))
}

/// Users and control groups, as the API has them.
type Meant = (Option<Vec<u32>>, Option<Vec<String>>);

/// Who is meant; nobody is no answer.
fn somebody(admitted: Admitted) -> Result<Meant, Failure> {
    let Admitted { users, cgroups } = admitted;
    match (some(users), some(cgroups)) {
        (None, None) => Err(Failure::new(Exit::Usage, "nobody was named")
            .hint("Name users with --user, control groups or units with --cgroup.")),
        both => Ok(both),
    }
}

fn some<T>(values: Vec<T>) -> Option<Vec<T>> {
    (!values.is_empty()).then_some(values)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use api::ports::{Guard, GuardLevel, Holder, Id, Kind, Protocol, Token, Who};

    /// A reservation with every field, some of them hostile.
    pub(crate) fn sample() -> Reservation {
        {
            let mut one =
                Reservation::new(Id::from(17), Protocol::Tcp, 5000, 20, Kind::Persistent, {
                    let mut who = Who::user(0);
                    who.user = Some("root".into());
                    who
                });
            one.token = Some(Token::from(12_345_678_901_234_567_890));
            one.purpose = Some("media\x1b[2J".into());
            one.created_at = "2026-11-21T11:00:00Z".parse().unwrap();
            one.expires_at = Some("2026-11-21T20:00:00Z".parse().unwrap());
            one.refusal = Refusal::AccessDenied;
            one.dry_run = false;
            one.low_ports = true;
            one.users = vec![0, 4_000_000_000];
            one.cgroups = vec!["nginx.service".into()];
            one.denials = 3;
            one
        }
    }

    pub(crate) fn holder() -> Holder {
        {
            let mut holder = Holder::new(Protocol::Tcp, 5003, "::".parse().unwrap(), "listen");
            holder.inode = Some(4711);
            holder.who = Some({
                let mut who = Who::user(33);
                who.user = Some("www-data".into());
                who.pid = Some(1234);
                who.program = Some("ngi\nnx".into());
                who.unit = Some("nginx.service".into());
                who.cgroup = Some("/system.slice/nginx.service".into());
                who
            });
            holder.reservation = Some(Id::from(17));
            holder.granted = true;
            holder
        }
    }

    pub(crate) fn status() -> StatusReply {
        let guard = {
            let mut guard = Guard::new(GuardLevel::Reduced);
            guard.needed = true;
            guard.cgroup = Some("/sys/fs/cgroup".into());
            guard.covers_all = Some(true);
            guard.pinned = Some("/sys/fs/bpf/iphelper/3".into());
            guard.limits = vec!["MPTCP sockets cannot be let in.".into()];
            guard
        };
        {
            let mut status = StatusReply::new(guard);
            status.reservations = 1;
            status.runtime_reservations = 1;
            status.ports = 25;
            status.runtime_ports = Some(5);
            status.runtime_ports_limit = Some(14_116);
            status
        }
    }

    #[test]
    fn holders_of_everything_of_a_protocol_or_of_a_block() {
        let asked = |line: &str| {
            let mut words = line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned);
            whose(&[words.next(), words.next(), words.next()], false)
        };
        assert_eq!(asked("").unwrap(), Holders::default());
        let udp = Holders { protocol: Some(Protocol::Udp), ..Holders::default() };
        assert_eq!(asked("UDP").unwrap(), udp);
        let block = Holders {
            protocol: Some(Protocol::Tcp),
            start_port: Some(5000),
            number_of_ports: Some(20),
            reserved: None,
        };
        for line in ["tcp 5000 20", "tcp 5000-5019", "tcp/5000-5019"] {
            assert_eq!(asked(line).unwrap(), block, "{line}");
        }
        assert!(asked("sctp").is_err() && asked("tcp x").is_err());
    }
}
