//! One lease, with all that is known of it.

use std::fmt::Display;

use api::Time;
use api::lease::LeaseInfo;

use super::summary::state;
use crate::terminal::Style;
use crate::text::{Clock, escaped};

/// A heading and one line for each thing known.
pub(super) fn render(lease: &LeaseInfo, clock: &Clock, style: Style) -> String {
    let mut text = format!(
        "{}  {}\n",
        style.heading(&escaped(&lease.interface)),
        style.state(&lease.state, &state(lease))
    );
    for (name, value) in lines(lease, clock) {
        text.push_str(&format!("  {name:<19}{}\n", escaped(&value)));
    }
    text
}

/// What is known, by what it is called, in the order it is shown.
fn lines(lease: &LeaseInfo, clock: &Clock) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            lines.push((name.to_owned(), value));
        }
    };
    line("Hardware address", lease.hardware_address.clone());
    for binding in &lease.bindings {
        let name = if binding.prefix.is_some() { "Prefix" } else { "Address" };
        line(name, Some(binding.to_string()));
        line("Broadcast", text(binding.broadcast));
        let preferred =
            binding.preferred_until.filter(|_| binding.preferred_until != binding.expires_at);
        line("Preferred until", moment(preferred, clock));
        let expires = moment(binding.expires_at, clock).unwrap_or_else(|| "never".to_owned());
        line("Expires", Some(expires));
    }
    line("Link-local", lease.link_local.map(|address| format!("{address}/16")));
    line("Server", text(lease.server.as_ref()));
    line("Obtained", moment(lease.obtained_at, clock));
    line("Renews", moment(lease.renew_at, clock));
    line("Rebinds", moment(lease.rebind_at, clock));
    let metric = lease.metric.map(|metric| format!(" (metric {metric})")).unwrap_or_default();
    let routes = joined(&lease.routes);
    line("Routes", routes.map(|routes| format!("{routes}{metric}")));
    line("Name servers", joined(&lease.dns));
    line("Domain", lease.domain_name.clone());
    line("Search domains", joined(&lease.domain_search));
    line("Time servers", joined(&lease.ntp));
    line("MTU", text(lease.mtu));
    line("Host name", lease.host_name.clone());
    line("Captive portal", lease.captive_portal.clone());
    for option in &lease.options {
        let value = option.text.as_ref().unwrap_or(&option.data);
        let name = option.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        line(&format!("Option {}", option.code), Some(format!("{name}{value}")));
    }
    line("Client identifier", lease.client_identifier.clone());
    lines
}

fn moment(time: Option<Time>, clock: &Clock) -> Option<String> {
    time.map(|time| clock.both(time))
}

fn text(value: Option<impl Display>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn joined(values: &[impl Display]) -> Option<String> {
    let values: Vec<_> = values.iter().map(ToString::to_string).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::tests::sample;
    use api::lease::{Binding, Family, State};

    #[test]
    fn everything_known_is_a_line() {
        let expected = r"eth0  bound
  Hardware address   02:00:00:00:00:01
  Address            192.0.2.7/24
  Broadcast          192.0.2.255
  Expires            2026-11-22 01:58:00 (in 11 h 58 min)
  Server             192.0.2.1
  Obtained           2026-11-21 13:58:00 (2 min ago)
  Renews             2026-11-21 19:58:00 (in 5 h 58 min)
  Rebinds            2026-11-22 00:28:00 (in 10 h 28 min)
  Routes             0.0.0.0/0 via 192.0.2.1, 198.51.100.0/24 on the link (metric 1026)
  Name servers       192.0.2.53, 192.0.2.54
  Domain             example.org\u{1b}[2J
  Search domains     example.org, \u{202e}gro
  Time servers       192.0.2.123
  MTU                1400
  Host name          host
  Captive portal     https://portal.example.org/
  Option 66          tftp-server-name: pxe\u{1b}.example
  Option 224         01:02
  Client identifier  ff:00:00:00:01:00:04:aa:bb
";
        let clock = Clock::fixed("2026-11-21T12:00:00Z");
        assert_eq!(render(&sample(), &clock, Style::PLAIN), expected);
    }

    #[test]
    fn parameters_alone_do_not_end() {
        let clock = Clock::fixed("2026-11-21T12:00:00Z");
        let mut informed = sample();
        informed.bindings[0].expires_at = None;
        informed.bindings[0].preferred_until = None;
        let text = render(&informed, &clock, Style::PLAIN);
        assert!(text.contains("Expires            never"), "{text}");
        informed.bindings.clear();
        let text = render(&informed, &clock, Style::PLAIN);
        assert!(text.contains("  Name servers  ") && !text.contains("Expires"), "{text}");
    }

    #[test]
    fn each_binding_has_its_own_times() {
        let clock = Clock::fixed("2026-11-21T12:00:00Z");
        let mut lease = sample();
        lease.bindings[0].preferred_until = Some("2026-11-21T13:00:00Z".parse().unwrap());
        lease.bindings.push(Binding::of_prefix("2001:db8:7::/48".parse().unwrap()));
        let text = render(&lease, &clock, Style::PLAIN);
        let expected = "\
  Preferred until    2026-11-21 15:00:00 (in 1 h)
  Expires            2026-11-22 01:58:00 (in 11 h 58 min)
  Prefix             2001:db8:7::/48
  Expires            never
";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn nothing_is_said_about_what_is_not_there() {
        let lease = LeaseInfo::new("eth0", 2, Family::Ipv4, State::Stopped);
        let clock = Clock::fixed("2026-11-21T12:00:00Z");
        assert_eq!(render(&lease, &clock, Style::PLAIN), "eth0  stopped, link down\n");
    }
}
