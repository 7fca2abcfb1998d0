//! Reservations, holders and refusals for people.

use api::ports::{Denial, Holder, Kind, Refusal, Reservation, Who};

use super::block::Block;
use crate::table::{Cell, Column, Table};
use crate::terminal::Style;
use crate::text::{Clock, escaped};

/// One row a reservation. Owner and purpose are always there: a block that nobody answers for is
/// the first complaint wherever ports are reserved.
pub(crate) fn table(reservations: &[Reservation], clock: &Clock) -> Table<8> {
    let mut table = Table::new([
        column("PROTO", 0),
        column("PORTS", 0),
        column("OWNER", 0),
        column("PURPOSE", 0),
        column("LETS IN", 2),
        column("REFUSED", 1),
        column("UNTIL", 3),
        column("ID", 4),
    ]);
    for reservation in reservations {
        let Reservation { purpose, denials, dry_run, kind, expires_at, .. } = reservation;
        let refused = match (denials, dry_run) {
            (0, false) => String::new(),
            (count, false) => count.to_string(),
            (count, true) => format!("{count} (dry run)"),
        };
        let until = match (kind, expires_at) {
            (Kind::Runtime, _) => "its socket closes".to_owned(),
            (Kind::Persistent, Some(time)) => clock.brief(*time),
            (Kind::Persistent, None) => String::new(),
        };
        table.push([
            reservation.protocol.as_str().into(),
            Cell::painted(Block::from(reservation).ports(), |style, text| style.heading(text)),
            user(&reservation.owner).into(),
            purpose.as_deref().map_or("-".into(), escaped).into(),
            admitted(reservation).join(", ").into(),
            Cell::painted(refused, |style, text| style.warning(text)),
            until.into(),
            reservation.id.to_string().into(),
        ]);
    }
    table
}

/// A heading and a line for each thing known.
pub(super) fn render(reservation: &Reservation, clock: &Clock, style: Style) -> String {
    let block = Block::from(reservation);
    let ports = match block.number_of_ports {
        1 => "1 port".to_owned(),
        count => format!("{count} ports"),
    };
    let kind = match reservation.kind {
        Kind::Persistent => "until released",
        Kind::Runtime => "until its socket closes",
    };
    let heading = format!("{} {}", block.protocol, block.ports());
    let mut text = format!("{}  {ports}, {kind}\n", style.heading(&heading));
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            text.push_str(&format!("  {name:<11}{}\n", escaped(&value)));
        }
    };
    line("Owner", Some(owner(reservation)));
    line("Purpose", Some(reservation.purpose.clone().unwrap_or_else(|| "-".to_owned())));
    line("Token", reservation.token.map(|token| token.to_string()));
    line("Id", Some(reservation.id.to_string()));
    line("Lets in", Some(admitted(reservation).join(", ")));
    line("Since", Some(clock.both(reservation.created_at)));
    line("Until", reservation.expires_at.map(|time| clock.both(time)));
    let refusal = match (reservation.dry_run, reservation.refusal) {
        (true, _) => "nobody: a dry run, which only reports",
        (false, Refusal::AccessDenied) => "strangers, with EACCES",
        (false, Refusal::AddressInUse) => "strangers, with EADDRINUSE",
        (false, Refusal::NotPermitted) => "strangers, with EPERM",
    };
    line("Refuses", Some(refusal.to_owned()));
    let low = "those let in may bind below 1024 without CAP_NET_BIND_SERVICE";
    line("Low ports", reservation.low_ports.then(|| low.to_owned()));
    let so_far = match reservation.denials {
        0 => "nobody so far".to_owned(),
        1 => "1 bind so far".to_owned(),
        count => format!("{count} binds so far"),
    };
    line("Refused", Some(so_far));
    text
}

/// One row a socket; `reservations` are those there are, to say whose a port is.
pub(super) fn holders(holders: &[Holder], reservations: &[Reservation]) -> Table<9> {
    let mut table = Table::new([
        column("PROTO", 0),
        column("PORT", 0),
        column("ADDRESS", 2),
        column("STATE", 1),
        column("PROGRAM", 0),
        column("PID", 0),
        column("USER", 0),
        column("UNIT", 3),
        column("RESERVED", 0),
    ]);
    for holder in holders {
        let nobody = Who::default();
        let who = holder.who.as_ref();
        let known = who.unwrap_or(&nobody);
        let reserved = holder.reservation.map(|id| {
            let found = reservations.iter().find(|reservation| reservation.id == id);
            let block = found.map_or(format!("#{id}"), |found| Block::from(found).ports());
            // Without a grant it may be there by its user or control group, or from before.
            match holder.granted {
                true => format!("{block}, let in"),
                false => block,
            }
        });
        table.push([
            holder.protocol.as_str().into(),
            holder.port.to_string().into(),
            holder.address.to_string().into(),
            escaped(&holder.state).into(),
            known.program.as_deref().map(escaped).unwrap_or_default().into(),
            known.pid.map(|pid| pid.to_string()).unwrap_or_default().into(),
            who.map(user).unwrap_or_default().into(),
            place(known).into(),
            reserved.unwrap_or_default().into(),
        ]);
    }
    table
}

/// A line.
pub(super) fn denial(denial: &Denial, clock: &Clock, style: Style) -> String {
    let kind = match denial.dry_run {
        true => "would be",
        false => "refused",
    };
    let missed = match denial.suppressed {
        0 => String::new(),
        1 => "; 1 more before it".to_owned(),
        count => format!("; {count} more before it"),
    };
    let port = format!("{} {}", denial.protocol, denial.port);
    format!(
        "{}  {} {port:<9}  {}, of {}{missed}\n",
        clock.brief(denial.time),
        style.warning(&format!("{kind:<8}")),
        escaped(&who(&denial.who)),
        Block::from(denial).ports(),
    )
}

/// Users and control groups that bind without a token.
fn admitted(reservation: &Reservation) -> Vec<String> {
    let users = reservation.users.iter().map(|number| match sys::credentials::user_name(*number) {
        Ok(Some(name)) => format!("user {}", escaped(&name)),
        _ => format!("user {number}"),
    });
    let cgroups = reservation.cgroups.iter().map(|cgroup| escaped(cgroup).into_owned());
    users.chain(cgroups).collect()
}

/// `nginx (4711), user www-data, nginx.service`, as far as it is known. Not escaped.
pub(super) fn who(who: &Who) -> String {
    let user = match (&who.user, who.uid) {
        (Some(name), _) => format!("user {name}"),
        (None, uid) => format!("uid {uid}"),
    };
    let process = match (&who.program, who.pid) {
        (Some(program), Some(pid)) => Some(format!("{program} ({pid})")),
        (Some(program), None) => Some(program.clone()),
        (None, Some(pid)) => Some(format!("process {pid}")),
        (None, None) => None,
    };
    let place = Some(place(who)).filter(|place| !place.is_empty());
    process.into_iter().chain([user]).chain(place).collect::<Vec<_>>().join(", ")
}

/// Whose it is: a user's, or a running program's where it lives no longer than that. Not escaped.
pub(super) fn owner(reservation: &Reservation) -> String {
    let known = &reservation.owner;
    match reservation.kind {
        Kind::Runtime => who(known),
        Kind::Persistent => who(&{
            let mut who = Who::user(known.uid);
            who.user = known.user.clone();
            who
        }),
    }
}

/// The user's name, or number.
pub(crate) fn user(who: &Who) -> String {
    match &who.user {
        Some(name) => escaped(name).into_owned(),
        None => who.uid.to_string(),
    }
}

/// The unit, or the control group where there is none.
fn place(who: &Who) -> String {
    let root = |cgroup: &&String| cgroup.as_str() != "/";
    let place = who.unit.as_ref().or(who.cgroup.as_ref().filter(root));
    place.map(|place| escaped(place).into_owned()).unwrap_or_default()
}

const fn column(name: &'static str, expendable: u8) -> Column {
    Column { name, expendable }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::tests::{holder, sample};
    use api::ports::Protocol;

    fn clock() -> Clock {
        Clock::fixed("2026-11-21T12:00:00Z")
    }

    #[test]
    fn the_list_always_has_owner_and_purpose() {
        let bare = {
            let mut one = sample();
            one.protocol = Protocol::Udp;
            one.start_port = 53;
            one.number_of_ports = 1;
            one.kind = Kind::Runtime;
            one.owner = Who::user(4_000_000_000);
            one.purpose = None;
            one.expires_at = None;
            one.dry_run = true;
            one.users = Vec::new();
            one.cgroups = Vec::new();
            one.denials = 0;
            one
        };
        let expected = "\
PROTO  PORTS      OWNER       PURPOSE         LETS IN                                    REFUSED      UNTIL              ID
tcp    5000-5019  root        media\\u{1b}[2J  user root, user 4000000000, nginx.service  3            22:00:00           17
udp    53         4000000000  -                                                          0 (dry run)  its socket closes  17
";
        let rows = [sample(), bare];
        assert_eq!(table(&rows, &clock()).render(None, Style::PLAIN), expected);
        let narrow = table(&rows, &clock()).render(Some(20), Style::PLAIN);
        assert!(narrow.starts_with("PROTO  PORTS      OWNER       PURPOSE\n"), "{narrow}");
    }

    #[test]
    fn everything_known_is_a_line() {
        let expected = "\
tcp 5000-5019  20 ports, until released
  Owner      user root
  Purpose    media\\u{1b}[2J
  Token      12345678901234567890
  Id         17
  Lets in    user root, user 4000000000, nginx.service
  Since      2026-11-21 13:00:00 (1 h ago)
  Until      2026-11-21 22:00:00 (in 8 h)
  Refuses    strangers, with EACCES
  Low ports  those let in may bind below 1024 without CAP_NET_BIND_SERVICE
  Refused    3 binds so far
";
        assert_eq!(render(&sample(), &clock(), Style::PLAIN), expected);
    }

    #[test]
    fn holders_are_named_as_far_as_they_are_known() {
        let stranger = {
            let mut holder = holder();
            holder.granted = false;
            holder
        };
        let unknown = {
            let mut holder = holder();
            holder.port = 6000;
            holder.state = "time-wait".into();
            holder.inode = None;
            holder.who = None;
            holder.reservation = None;
            holder.granted = false;
            holder
        };
        let expected = "\
PROTO  PORT  ADDRESS  STATE      PROGRAM  PID   USER      UNIT           RESERVED
tcp    5003  ::       listen     ngi\\nnx  1234  www-data  nginx.service  5000-5019, let in
tcp    5003  ::       listen     ngi\\nnx  1234  www-data  nginx.service  5000-5019
tcp    6000  ::       time-wait
";
        let rows = [holder(), stranger, unknown];
        assert_eq!(holders(&rows, &[sample()]).render(None, Style::PLAIN), expected);
        assert!(holders(&rows, &[]).render(None, Style::PLAIN).contains("#17, let in"));
    }

    #[test]
    fn refusals_are_a_line_each() {
        let refused = {
            let mut denial =
                Denial::new(Protocol::Tcp, 5003, holder().who.unwrap(), sample().id, 5000, 20);
            denial.time = "2026-11-21T12:00:00Z".parse().unwrap();
            denial.dry_run = false;
            denial.suppressed = 0;
            denial
        };
        assert_eq!(
            denial(&refused, &clock(), Style::PLAIN),
            "14:00:00  refused  tcp 5003   ngi\\nnx (1234), user www-data, nginx.service, of \
             5000-5019\n"
        );
        let dry = {
            let mut denial = refused;
            denial.dry_run = true;
            denial.suppressed = 4;
            denial.who = Who::user(7);
            denial
        };
        assert_eq!(
            denial(&dry, &clock(), Style::PLAIN),
            "14:00:00  would be tcp 5003   uid 7, of 5000-5019; 4 more before it\n"
        );
    }
}
