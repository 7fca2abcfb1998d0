//! Leases in a table.

use api::lease::{Binding, LeaseInfo, State};

use crate::table::{Cell, Column, Table};
use crate::text::{Clock, duration, escaped};

/// One row a client, and one more for each binding beyond the first.
pub(crate) fn table(leases: &[LeaseInfo], clock: &Clock) -> Table<6> {
    let column = |name, expendable| Column { name, expendable };
    let mut table = Table::new([
        column("INTERFACE", 0),
        column("STATE", 0),
        column("ADDRESS", 0),
        column("SERVER", 2),
        column("REMAINING", 1),
        column("UNTIL", 3),
    ]);
    for lease in leases {
        let first = [
            escaped(&lease.interface).into(),
            Cell::painted(state(lease), |style, text| {
                let name = text.split(',').next().unwrap_or(text);
                style.state(&State::from(name), text)
            }),
        ];
        let server = lease.server.as_ref().map(ToString::to_string).unwrap_or_default();
        let server = escaped(&server);
        let Some((binding, others)) = lease.bindings.split_first() else {
            let [interface, state] = first;
            let nothing = || Cell::from("");
            table.push([interface, state, held(lease).into(), nothing(), nothing(), nothing()]);
            continue;
        };
        let [interface, state] = first;
        let [held, remaining, until] = of_binding(binding, clock);
        table.push([interface, state, held, server.into(), remaining, until]);
        for binding in others {
            let [held, remaining, until] = of_binding(binding, clock);
            table.push(["".into(), "".into(), held, "".into(), remaining, until]);
        }
    }
    table
}

/// What is bound, for how long, and until when.
fn of_binding(binding: &Binding, clock: &Clock) -> [Cell; 3] {
    let (remaining, until) = match binding.expires_at {
        None => ("for ever".to_owned(), String::new()),
        Some(time) => (duration(clock.ahead(time)), clock.brief(time)),
    };
    [binding.to_string().into(), remaining.into(), until.into()]
}

/// `192.0.2.7/24`, all bindings if there are several; the link-local address where there is no
/// lease; nothing where there is neither.
pub(crate) fn held(lease: &LeaseInfo) -> String {
    match (&lease.bindings[..], lease.link_local) {
        ([], Some(address)) => format!("{address}/16"),
        (bindings, _) => bindings.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// The state, and why nothing goes on where the link is to blame.
pub(super) fn state(lease: &LeaseInfo) -> String {
    match lease.link_up {
        true => escaped(lease.state.as_str()).into_owned(),
        false => format!("{}, link down", escaped(lease.state.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::tests::sample;
    use crate::terminal::Style;
    use api::lease::{Family, Server};
    use std::net::IpAddr;

    #[test]
    fn one_row_a_client() {
        let client = |name: &str, ifindex, state| {
            let mut lease = LeaseInfo::new(name, ifindex, Family::Ipv4, state);
            lease.link_up = true;
            lease
        };
        let released = client("wlan0", 3, State::Released);
        let mut down = client("enp0s31f6", 4, State::Stopped);
        down.link_up = false;
        let mut infinite = sample();
        infinite.interface = "eth1".into();
        infinite.bindings[0].expires_at = None;
        let mut alone = client("eth2", 5, State::Selecting);
        alone.link_local = Some("169.254.7.8".parse().unwrap());
        let mut several = client("ppp0", 6, State::Bound);
        several.server = Some(Server::with_duid("00:03"));
        several.bindings = vec![
            Binding::of_address("2001:db8::7".parse::<IpAddr>().unwrap(), 128),
            Binding::of_prefix("2001:db8:7::/48".parse().unwrap()),
        ];
        let leases = [sample(), released, down, infinite, alone, several];
        let clock = Clock::fixed("2026-11-21T12:00:00Z");
        let expected = "\
INTERFACE  STATE               ADDRESS          SERVER     REMAINING    UNTIL
eth0       bound               192.0.2.7/24     192.0.2.1  11 h 58 min  2026-11-22 01:58:00
wlan0      released
enp0s31f6  stopped, link down
eth1       bound               192.0.2.7/24     192.0.2.1  for ever
eth2       selecting           169.254.7.8/16
ppp0       bound               2001:db8::7/128  00:03      for ever
                               2001:db8:7::/48             for ever
";
        assert_eq!(table(&leases, &clock).render(None, Style::PLAIN), expected);

        let narrow = table(&leases, &clock).render(Some(60), Style::PLAIN);
        assert!(narrow.starts_with("INTERFACE  STATE               ADDRESS          REMAINING\n"));
    }

    #[test]
    fn unknown_states_of_a_newer_daemon_are_harmless() {
        let mut lease = LeaseInfo::new("eth0", 2, Family::Ipv4, State::from("odd\x1b]0;x\x07"));
        lease.link_up = true;
        let text = table(&[lease], &Clock::fixed("2026-11-21T12:00:00Z"));
        let text = text.render(None, Style::PLAIN);
        assert_eq!(
            text,
            "INTERFACE  STATE               ADDRESS\neth0       odd\\u{1b}]0;x\\u{7}\n"
        );
    }
}
