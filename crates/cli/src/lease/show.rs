//! One lease, with all that is known of it.

use std::fmt::Display;

use api::Time;
use api::lease::Lease;

use super::summary::{held_address, state};
use crate::terminal::Style;
use crate::text::{Clock, escaped};

/// A heading and one line for each thing known.
pub(super) fn render(lease: &Lease, clock: &Clock, style: Style) -> String {
    lines(lease, lease.address.is_some(), clock, style)
}

/// The same of parameters alone: the address is no server's, and nothing of it ends.
pub(super) fn render_parameters(lease: &Lease, clock: &Clock, style: Style) -> String {
    lines(lease, false, clock, style)
}

fn lines(lease: &Lease, leased: bool, clock: &Clock, style: Style) -> String {
    let mut text = format!(
        "{}  {}\n",
        style.heading(&escaped(&lease.interface)),
        style.state(&lease.state, &state(lease))
    );
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            text.push_str(&format!("  {name:<19}{}\n", escaped(&value)));
        }
    };
    line("Hardware address", lease.hardware_address.clone());
    line("Address", lease.address.map(|_| held_address(lease)));
    line("Broadcast", shown(lease.broadcast));
    line("Link-local", lease.link_local.map(|address| format!("{address}/16")));
    line("Server", shown(lease.server));
    line("Obtained", moment(lease.obtained_at, clock));
    if leased {
        line("Renews", moment(lease.renew_at, clock));
        line("Rebinds", moment(lease.rebind_at, clock));
        let expires = moment(lease.expires_at, clock).unwrap_or_else(|| "never".to_owned());
        line("Expires", Some(expires));
    }
    let routes = lease.routes.iter().map(|route| match route.gateway {
        Some(gateway) => format!("{} via {gateway}", route.destination),
        None => format!("{} on the link", route.destination),
    });
    let metric = lease.metric.map(|metric| format!(" (metric {metric})")).unwrap_or_default();
    let routes = joined(routes);
    line("Routes", routes.map(|routes| format!("{routes}{metric}")));
    line("Name servers", joined(lease.dns.iter()));
    line("Domain", lease.domain_name.clone());
    line("Search domains", joined(lease.domain_search.iter()));
    line("Time servers", joined(lease.ntp.iter()));
    line("MTU", shown(lease.mtu));
    line("Host name", lease.host_name.clone());
    line("Captive portal", lease.captive_portal.clone());
    line("Client identifier", lease.client_identifier.clone());
    text
}

fn moment(time: Option<Time>, clock: &Clock) -> Option<String> {
    time.map(|time| clock.both(time))
}

fn shown(value: Option<impl Display>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn joined(values: impl Iterator<Item = impl Display>) -> Option<String> {
    let values: Vec<_> = values.map(|value| value.to_string()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::tests::sample;
    use api::lease::{Family, State};

    #[test]
    fn everything_known_is_a_line() {
        let expected = r"eth0  bound
  Hardware address   02:00:00:00:00:01
  Address            192.0.2.7/24
  Broadcast          192.0.2.255
  Server             192.0.2.1
  Obtained           2026-11-21 13:58:00 (2 min ago)
  Renews             2026-11-21 19:58:00 (in 5 h 58 min)
  Rebinds            2026-11-22 00:28:00 (in 10 h 28 min)
  Expires            2026-11-22 01:58:00 (in 11 h 58 min)
  Routes             0.0.0.0/0 via 192.0.2.1, 198.51.100.0/24 on the link (metric 1026)
  Name servers       192.0.2.53, 192.0.2.54
  Domain             example.org\u{1b}[2J
  Search domains     example.org, \u{202e}gro
  Time servers       192.0.2.123
  MTU                1400
  Host name          host
  Captive portal     https://portal.example.org/
  Client identifier  ff:00:00:00:01:00:04:aa:bb
";
        let clock = Clock::fixed("2026-11-21T12:00:00Z");
        assert_eq!(render(&sample(), &clock, Style::PLAIN), expected);
    }

    #[test]
    fn parameters_alone_do_not_end() {
        let clock = Clock::fixed("2026-11-21T12:00:00Z");
        let informed = Lease { expires_at: None, ..sample() };
        let text = render_parameters(&informed, &clock, Style::PLAIN);
        assert!(text.contains("  Name servers  "), "{text}");
        assert!(!text.contains("Expires") && !text.contains("Renews"), "{text}");
        assert!(render(&informed, &clock, Style::PLAIN).contains("Expires            never"));
    }

    #[test]
    fn nothing_is_said_about_what_is_not_there() {
        let lease = Lease::new("eth0", 2, Family::Ipv4, State::Stopped);
        let clock = Clock::fixed("2026-11-21T12:00:00Z");
        assert_eq!(render(&lease, &clock, Style::PLAIN), "eth0  stopped, link down\n");
    }
}
