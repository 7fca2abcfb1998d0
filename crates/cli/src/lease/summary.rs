//! Leases in a table.

use api::lease::{Lease, State};

use crate::table::{Cell, Column, Table};
use crate::text::{Clock, duration, escaped};

/// One row a client.
pub(crate) fn table(leases: &[Lease], clock: &Clock) -> Table<6> {
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
        let leased = lease.address.is_some();
        let (remaining, until) = match (leased, lease.expires_at) {
            (false, _) => (String::new(), String::new()),
            (true, None) => ("for ever".to_owned(), String::new()),
            (true, Some(time)) => (duration(clock.ahead(time)), clock.brief(time)),
        };
        table.push([
            escaped(&lease.interface).into(),
            Cell::painted(state(lease), |style, text| {
                let name = text.split(',').next().unwrap_or(text);
                style.state(&State::from(name), text)
            }),
            held_address(lease).into(),
            lease
                .server
                .filter(|_| leased)
                .map(|server| server.to_string())
                .unwrap_or_default()
                .into(),
            remaining.into(),
            until.into(),
        ]);
    }
    table
}

/// `192.0.2.7/24`; the link-local address where there is no lease; nothing where there is neither.
pub(crate) fn held_address(lease: &Lease) -> String {
    match (lease.address, lease.prefix_length, lease.link_local) {
        (Some(address), Some(length), _) => format!("{address}/{length}"),
        (Some(address), None, _) => address.to_string(),
        (None, _, Some(address)) => format!("{address}/16"),
        (None, _, None) => String::new(),
    }
}

/// The state, and why nothing goes on where the link is to blame.
pub(super) fn state(lease: &Lease) -> String {
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
    use api::lease::Family;

    #[test]
    fn one_row_a_client() {
        let released =
            Lease { link_up: true, ..Lease::new("wlan0", 3, Family::Ipv4, State::Released) };
        let down = Lease::new("enp0s31f6", 4, Family::Ipv4, State::Stopped);
        let infinite = Lease { interface: "eth1".into(), expires_at: None, ..sample() };
        let alone = Lease {
            link_up: true,
            link_local: Some("169.254.7.8".parse().unwrap()),
            ..Lease::new("eth2", 5, Family::Ipv4, State::Selecting)
        };
        let leases = [sample(), released, down, infinite, alone];
        let clock = Clock::fixed("2026-11-21T12:00:00Z");
        let expected = "\
INTERFACE  STATE               ADDRESS         SERVER     REMAINING    UNTIL
eth0       bound               192.0.2.7/24    192.0.2.1  11 h 58 min  2026-11-22 01:58:00
wlan0      released
enp0s31f6  stopped, link down
eth1       bound               192.0.2.7/24    192.0.2.1  for ever
eth2       selecting           169.254.7.8/16
";
        assert_eq!(table(&leases, &clock).render(None, Style::PLAIN), expected);

        let narrow = table(&leases, &clock).render(Some(60), Style::PLAIN);
        assert!(narrow.starts_with("INTERFACE  STATE               ADDRESS         REMAINING\n"));
    }

    #[test]
    fn unknown_states_of_a_newer_daemon_are_harmless() {
        let lease = Lease {
            link_up: true,
            ..Lease::new("eth0", 2, Family::Ipv4, State::from("odd\x1b]0;x\x07"))
        };
        let text = table(&[lease], &Clock::fixed("2026-11-21T12:00:00Z"));
        let text = text.render(None, Style::PLAIN);
        assert_eq!(
            text,
            "INTERFACE  STATE               ADDRESS\neth0       odd\\u{1b}]0;x\\u{7}\n"
        );
    }
}
