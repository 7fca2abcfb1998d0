use engine::Engine as _;
use iphelper_dhcp::v4::*;
use wire::dhcpv4::MessageType;

use crate::harness::*;

#[test]
fn four_messages_make_a_lease() {
    let (mut host, outputs) = Host::started(plain());
    assert_eq!(states(&outputs), [State::Init, State::Selecting]);
    let discover = dhcp(&outputs).remove(0);
    let outputs = host.receive(&offer(&discover));
    let [Transmit::Broadcast { source, message }] = &sends(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(*source, NOBODY);
    assert_eq!(message.xid, discover.xid);
    assert_eq!(message.options.requested_address(), Some(ADDRESS));
    assert_eq!(message.options.server_identifier(), Some(SERVER));
    let outputs = host.receive(&ack(message));
    assert_eq!(states(&outputs), [State::Bound]);
    assert!(matches!(
        effects(&outputs)[..],
        [
            Effect::AddAddress(_),
            Effect::AddRoute(_),
            Effect::SetResolver(Some(_)),
            Effect::Persist(_)
        ]
    ));
    assert!(matches!(replies(&outputs)[..], [(_, Ok(Outcome::Acquired { already: false, .. }))]));
    host.advance(seconds(20.0));
    assert_eq!(host.until_next(), 1_800.0 - 20.0);

    let (_, outputs) = host.command(Command::Renew, 10);
    assert_eq!(kinds(&outputs), [MessageType::Request]);
    let outputs = host.receive(&ack(&dhcp(&outputs)[0]));
    assert!(matches!(replies(&outputs)[..], [(_, Ok(Outcome::Renewed { via: Via::Unicast, .. }))]));

    let (_, outputs) = host.command(Command::Release, 10);
    assert_eq!(kinds(&outputs), [MessageType::Release]);
    assert!(matches!(
        replies(&outputs)[..],
        [(_, Ok(Outcome::Released { address: ADDRESS, server: SERVER }))]
    ));
    assert_eq!(host.client.state(), State::Released);
    assert_eq!(host.client.poll_timeout(), None);
}
