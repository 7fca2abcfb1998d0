//! The host does not always do what it is told.

use dhcp::v4::*;
use engine::{CommandId, EffectId, Engine as _, Refused};
use wire::dhcpv4::MessageType;

use crate::harness::*;

/// ACK received, no effect answered yet.
fn granted() -> (Host, Vec<Output>) {
    let (mut host, outputs) = Host::started(plain());
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.effects_succeed = false;
    let outputs = host.receive(&ack(&request));
    (host, outputs)
}

#[test]
fn without_the_address_there_is_no_lease() {
    let (mut host, outputs) = granted();
    let ids = effect_ids(&outputs);
    let outputs = host.effect(ids[0], Err(Refused::other("no buffer space")));
    let failure = Failure::Host(Refused::other("address: no buffer space"));
    assert_eq!(replies(&outputs), [(CommandId(1), Err(failure))]);
    assert_eq!(host.client.lease(), None);
    assert_eq!(host.client.state(), State::Init);
    // What was ordered with it is taken back.
    assert!(effects(&outputs).iter().any(|e| matches!(e, Effect::RemoveRoute(_))));
    for id in &ids[1..] {
        assert_eq!(replies(&host.effect(*id, Ok(()))), []);
    }
    assert_eq!(host.until_next(), 10.0);
    let outputs = host.next();
    assert_eq!(dhcp(&outputs)[0].options.requested_address(), Some(ADDRESS));
}

#[test]
fn without_a_route_or_name_servers_there_is() {
    let (mut host, outputs) = granted();
    let ids = effect_ids(&outputs);
    let outputs = host.effect(ids[1], Err(Refused::other("network is unreachable")));
    let reason = "route: network is unreachable".to_owned();
    assert_eq!(events(&outputs), [Event::EffectFailed { reason }]);
    host.effect(ids[2], Err(Refused::other("no resolver")));
    host.effect(ids[0], Ok(()));
    let outputs = host.effect(ids[3], Ok(()));
    assert!(matches!(replies(&outputs)[..], [(_, Ok(Outcome::Acquired { .. }))]));
}

#[test]
fn a_lease_that_is_not_on_disk_is_used_but_not_acknowledged() {
    let (mut host, outputs) = granted();
    let ids = effect_ids(&outputs);
    host.effect(ids[3], Err(Refused::other("no space left on device")));
    host.effect(ids[0], Ok(()));
    host.effect(ids[1], Ok(()));
    let outputs = host.effect(ids[2], Ok(()));
    let failure = Failure::Host(Refused::other("record of the lease: no space left on device"));
    assert_eq!(replies(&outputs), [(CommandId(1), Err(failure))]);
    assert_eq!(host.client.state(), State::Bound);
}

#[test]
fn refused_lifetimes_fail_the_renewal_and_keep_the_lease() {
    let mut host = Host::bound(plain());
    host.effects_succeed = false;
    let (id, outputs) = host.command(Command::Renew, 5);
    let outputs = host.receive(&ack(&dhcp(&outputs)[0]));
    let ids = effect_ids(&outputs);
    host.effect(ids[0], Err(Refused::other("no such device")));
    let outputs = host.effect(ids[1], Ok(()));
    assert!(matches!(&replies(&outputs)[..], [(i, Err(Failure::Host(_)))] if *i == id));
    assert_eq!(host.client.state(), State::Bound);
}

#[test]
fn results_nobody_waits_for_are_harmless() {
    let (mut host, outputs) = granted();
    let ids = effect_ids(&outputs);
    assert_eq!(host.effect(EffectId(u64::MAX), Ok(())), []);
    host.command(Command::Release, 5);
    for id in ids.iter().chain(&ids) {
        let outputs = host.effect(*id, Err(Refused::other("late")));
        assert!(replies(&outputs).is_empty() && effects(&outputs).is_empty());
    }
    assert_eq!(host.client.state(), State::Released);
}

#[test]
fn a_release_that_is_not_on_disk_says_so() {
    let mut host = Host::bound(plain());
    host.effects_succeed = false;
    let (id, outputs) = host.command(Command::Release, 5);
    assert_eq!(kinds(&outputs), [MessageType::Release]);
    let mut answered = Vec::new();
    for id in effect_ids(&outputs) {
        answered.extend(replies(&host.effect(id, Err(Refused::other("read-only")))));
    }
    assert!(matches!(&answered[..], [(i, Err(Failure::Host(_)))] if *i == id));
    assert_eq!(host.client.state(), State::Released);
}

#[test]
fn an_idle_client_is_small() {
    // A thousand of them and everything else have to fit in 16 MiB.
    assert!(size_of::<Client>() <= 1_024, "{}", size_of::<Client>());
    assert!(size_of::<Output>() <= 160, "{}", size_of::<Output>());
}

#[test]
fn idle_queues_give_their_memory_back() {
    let mut host = Host::bound(plain());
    assert_eq!(host.client.poll_output(), None);
    // Spurious calls change nothing.
    let before = host.client.poll_timeout();
    for _ in 0..3 {
        host.client.handle_timeout(host.now);
        assert_eq!(host.client.poll_output(), None);
    }
    assert_eq!(host.client.poll_timeout(), before);
}

#[test]
fn a_late_failure_of_an_old_address_does_not_touch_the_new_one() {
    let (mut host, outputs) = granted();
    let old = effect_ids(&outputs)[0];
    host.command(Command::Release, 5);
    let (_, outputs) = host.command(Command::Acquire, 30);
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.receive(&ack(&request));
    host.effect(old, Err(Refused::other("no such device")));
    assert_eq!(host.client.state(), State::Bound);
    assert!(host.client.lease().is_some());
}

#[test]
fn an_address_that_is_refused_while_the_link_is_down_waits_for_the_link() {
    let (mut host, outputs) = granted();
    let ids = effect_ids(&outputs);
    host.input(Input::Link(link(false)));
    host.effect(ids[0], Err(Refused::other("network is down")));
    assert_eq!((host.client.state(), host.client.lease()), (State::Stopped, None));
    assert_eq!(host.client.poll_timeout().map(|_| ()), None);
}

#[test]
fn a_host_name_is_set_when_it_changes() {
    let config = Config { use_host_name: true, ..plain() };
    let mut host = Host::bound(config);
    let mut renew = |name: &str| {
        let (_, outputs) = host.command(Command::Renew, 5);
        let mut ack = ack(&dhcp(&outputs)[0]);
        ack.options.set_host_name(name);
        let effects = effects(&host.receive(&ack));
        effects.into_iter().filter(|e| matches!(e, Effect::SetHostName(_))).collect::<Vec<_>>()
    };
    let set = |name: &str| vec![Effect::SetHostName(name.to_owned())];
    assert_eq!(renew("nas"), set("nas"));
    assert_eq!(renew("nas"), []);
    assert_eq!(renew("box"), set("box"));
}
