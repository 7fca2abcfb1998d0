//! The machines and the connection against a kernel that follows a script.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in helpers of tests, where a panic is a failed test"
)]

#[path = "support/bytes.rs"]
mod bytes;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{attribute, message};
use iphelper_netlink::address::{self, Address};
use iphelper_netlink::kernel::*;
use iphelper_netlink::link::{self, Link};
use iphelper_netlink::{
    Change, Connection, Dump, Error, Event, Events, Family, Monitor, Progress, Reason, Received,
    Request, Transport,
};
use proptest::prelude::*;

/// One thing the kernel does when it is read from.
enum Act {
    Send(Vec<u8>),
    /// A datagram longer than the buffer.
    Truncate(usize),
    Overrun,
    Fail(io::ErrorKind),
}

/// Plays its script; the sequence numbers of the script count from the first request.
#[derive(Default)]
struct Kernel {
    script: VecDeque<Act>,
    /// Requests as they came: type, flags, sequence number.
    requests: Vec<(u16, u16, u32)>,
}

impl Kernel {
    fn new(script: impl IntoIterator<Item = Act>) -> Self {
        Self { script: script.into_iter().collect(), requests: Vec::new() }
    }
}

impl Transport for Kernel {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        for message in iphelper_netlink::Messages::new(datagram) {
            let message = message.unwrap();
            self.requests.push((message.kind, message.flags, message.sequence));
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], _: Option<Duration>) -> io::Result<Received> {
        match self.script.pop_front() {
            Some(Act::Send(datagram)) if datagram.len() <= buffer.len() => {
                buffer[..datagram.len()].copy_from_slice(&datagram);
                Ok(Received::Datagram(datagram.len()))
            }
            Some(Act::Send(datagram)) => Ok(Received::Truncated(datagram.len())),
            Some(Act::Truncate(length)) => Ok(Received::Truncated(length)),
            Some(Act::Overrun) => Ok(Received::Overrun),
            Some(Act::Fail(kind)) => Err(kind.into()),
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// An address of interface 2 whose last byte is `last`, with attributes nobody knows around it.
fn row(flags: u16, sequence: u32, last: u8) -> Vec<u8> {
    let mut payload = vec![AF_INET, 24, 0, 0, 2, 0, 0, 0];
    payload.extend(attribute(0x3fff, b"unknown"));
    payload.extend(attribute(IFA_LOCAL, &[192, 0, 2, last]));
    payload.extend(attribute(900, &[]));
    message(RTM_NEWADDR, flags | NLM_F_MULTI, sequence, &payload)
}

fn done(flags: u16, sequence: u32) -> Vec<u8> {
    message(NLMSG_DONE, flags | NLM_F_MULTI, sequence, &[0; 4])
}

fn refusal(sequence: u32, code: i32, text: Option<&str>) -> Vec<u8> {
    let mut payload = (-code).to_ne_bytes().to_vec();
    payload.extend([0; 16]);
    let mut flags = NLM_F_CAPPED;
    if let Some(text) = text {
        flags |= NLM_F_ACK_TLVS;
        payload.extend(attribute(NLMSGERR_ATTR_MSG, text.as_bytes()));
        payload.extend(attribute(NLMSGERR_ATTR_OFFS, &40_u32.to_ne_bytes()));
    }
    message(NLMSG_ERROR, flags, sequence, &payload)
}

fn send(parts: &[Vec<u8>]) -> Act {
    Act::Send(parts.concat())
}

fn dump(script: impl IntoIterator<Item = Act>) -> (Result<Vec<u8>, Error>, Kernel) {
    let mut kernel = Kernel::new(script);
    let result = {
        let mut connection = Connection::new(&mut kernel);
        connection.set_attempts(3);
        connection.dump::<Address>(&address::dump(Family::Ipv4, None))
    };
    let last = |row: Address| match row.address {
        std::net::IpAddr::V4(address) => address.octets()[3],
        std::net::IpAddr::V6(_) => panic!(),
    };
    (result.map(|rows| rows.into_iter().map(last).collect()), kernel)
}

impl Transport for &mut Kernel {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        (**self).send(datagram)
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Option<Duration>) -> io::Result<Received> {
        (**self).receive(buffer, timeout)
    }
}

#[test]
fn a_quiet_dump_is_read_once() {
    let script = [send(&[row(0, 1, 1), row(0, 1, 2)]), send(&[row(0, 1, 3)]), send(&[done(0, 1)])];
    let (rows, kernel) = dump(script);
    assert_eq!(rows.unwrap(), [1, 2, 3]);
    assert_eq!(kernel.requests, [(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1)]);
}

#[test]
fn a_torn_dump_is_read_again_to_the_end() {
    // The flag may stand on any message, also on the last alone.
    for torn in 0..3 {
        let flag = |index| if index == torn { NLM_F_DUMP_INTR } else { 0 };
        let (rows, kernel) = dump([
            send(&[row(flag(0), 1, 1), row(flag(1), 1, 1)]),
            send(&[done(flag(2), 1)]),
            send(&[row(0, 2, 7)]),
            send(&[done(0, 2)]),
        ]);
        assert_eq!(rows.unwrap(), [7]);
        let sequences: Vec<u32> = kernel.requests.iter().map(|request| request.2).collect();
        // The second request waits for the first one's end: the kernel would answer EBUSY.
        assert_eq!(sequences, [1, 2]);
    }
}

#[test]
fn a_dump_that_is_torn_every_time_is_an_error() {
    let torn = |sequence| send(&[row(NLM_F_DUMP_INTR, sequence, 1), done(0, sequence)]);
    let (rows, kernel) = dump([torn(1), torn(2), torn(3), torn(4)]);
    assert!(matches!(rows, Err(Error::Inconsistent { attempts: 3 })));
    assert_eq!(kernel.requests.len(), 3);
}

#[test]
fn a_table_that_never_rests_is_gathered() {
    let torn = |sequence, last| send(&[row(NLM_F_DUMP_INTR, sequence, last), done(0, sequence)]);
    let gather = |script: Vec<Act>| {
        let mut kernel = Kernel::new(script);
        let mut rows = Vec::new();
        Connection::new(&mut kernel)
            .gather::<Address>(&address::dump(Family::Ipv4, None), |visit| match visit {
                iphelper_netlink::Visit::Row(row) => rows.push(row.address.to_string()),
                iphelper_netlink::Visit::Restart => rows.clear(),
            })
            .unwrap();
        (rows, kernel.requests.len())
    };
    // The first five are thrown away, the next three are one table.
    let (rows, requests) = gather((1..=9).map(|n| torn(n, n as u8)).collect());
    assert_eq!(rows, ["192.0.2.6", "192.0.2.7", "192.0.2.8"]);
    assert_eq!(requests, 8);
    // One that is whole is enough, and what was lost is not gathered.
    let whole = send(&[row(0, 8, 8), done(0, 8)]);
    let script = (1..=6).map(|n| torn(n, n as u8)).chain([Act::Overrun, torn(7, 7), whole]);
    let (rows, requests) = gather(script.collect());
    assert_eq!((rows, requests), (vec!["192.0.2.8".to_string()], 8));
}

#[test]
fn what_was_lost_is_read_again() {
    for loss in [Act::Overrun, Act::Truncate(50_000)] {
        let (rows, kernel) = dump([
            send(&[row(0, 1, 1)]),
            loss,
            send(&[row(0, 1, 2), done(0, 1)]),
            send(&[row(0, 2, 1), row(0, 2, 2), row(0, 2, 3), done(0, 2)]),
        ]);
        assert_eq!(rows.unwrap(), [1, 2, 3]);
        assert_eq!(kernel.requests.len(), 2);
    }
}

#[test]
fn an_end_that_was_lost_is_not_waited_for() {
    let (rows, _) = dump([
        send(&[row(0, 1, 1)]),
        Act::Truncate(40_000),
        Act::Fail(io::ErrorKind::WouldBlock),
        send(&[row(0, 2, 1), done(0, 2)]),
    ]);
    assert_eq!(rows.unwrap(), [1]);
}

#[test]
fn a_message_longer_than_the_buffer_fits_the_second_time() {
    let mut payload = vec![AF_INET, 24, 0, 0, 2, 0, 0, 0];
    payload.extend(attribute(IFA_LOCAL, &[192, 0, 2, 9]));
    payload.extend(attribute(0x3fff, &[0; 50_000]));
    let long = |sequence| message(RTM_NEWADDR, NLM_F_MULTI, sequence, &payload);
    let (rows, _) =
        dump([send(&[long(1)]), send(&[done(0, 1)]), send(&[long(2)]), send(&[done(0, 2)])]);
    assert_eq!(rows.unwrap(), [9]);
    let (rows, _) = dump([Act::Truncate(1 << 30)]);
    assert!(matches!(rows, Err(Error::Malformed { .. })));
}

#[test]
fn answers_to_other_requests_are_passed_over() {
    let (rows, _) = dump([
        send(&[row(NLM_F_DUMP_INTR, 900, 9), done(0, 900)]),
        send(&[refusal(901, 22, None)]),
        send(&[row(0, 1, 1), row(0, 0, 8), row(0, 1, 2)]),
        send(&[done(0, 1)]),
    ]);
    assert_eq!(rows.unwrap(), [1, 2]);
}

#[test]
fn a_refused_dump_carries_the_kernels_words() {
    let (rows, _) = dump([send(&[refusal(1, 22, Some("Invalid data after dump header"))])]);
    let error = rows.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::InvalidValue));
    let Error::Refused(refusal) = error else { panic!() };
    assert_eq!(refusal.message.as_deref(), Some("Invalid data after dump header"));
    assert_eq!(refusal.offset, Some(40));

    // A dump that fails half-way says so in its end mark, with text after the code.
    let mut payload = (-13_i32).to_ne_bytes().to_vec();
    payload.extend(attribute(NLMSGERR_ATTR_MSG, b"no\0"));
    let end = message(NLMSG_DONE, NLM_F_MULTI | NLM_F_ACK_TLVS, 1, &payload);
    let (rows, _) = dump([send(&[row(0, 1, 1), end])]);
    let error = rows.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::NotPermitted));
    assert!(error.to_string().ends_with(": no"), "{error}");
}

#[test]
fn an_uncapped_refusal_quotes_the_request_before_its_text() {
    let mut payload = (-17_i32).to_ne_bytes().to_vec();
    // The quoted request: 16 bytes of header that say 23, 7 bytes of payload, padding.
    payload.extend(23_u32.to_ne_bytes());
    payload.extend([0; 20]);
    payload.extend(attribute(NLMSGERR_ATTR_MSG, b"there"));
    let answer = message(NLMSG_ERROR, NLM_F_ACK_TLVS, 1, &payload);
    let mut kernel = Kernel::new([Act::Send(answer)]);
    let error = Connection::new(&mut kernel).request(&link::delete(1)).unwrap_err();
    assert!(error.to_string().ends_with("there"), "{error}");
    // A quoted length that lies finds no text, and nothing worse.
    for length in [0_u32, 24, 4000, u32::MAX] {
        payload[4..8].copy_from_slice(&length.to_ne_bytes());
        let answer = message(NLMSG_ERROR, NLM_F_ACK_TLVS, 1, &payload);
        let mut kernel = Kernel::new([Act::Send(answer)]);
        let error = Connection::new(&mut kernel).request(&link::delete(1)).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::AlreadyExists));
    }
}

#[test]
fn silence_and_failures_end() {
    assert!(matches!(dump([]).0, Err(Error::TimedOut)));
    assert!(matches!(dump([send(&[row(0, 1, 1)])]).0, Err(Error::TimedOut)));
    let (rows, _) = dump([Act::Fail(io::ErrorKind::BrokenPipe)]);
    assert!(matches!(rows, Err(Error::Io(_))));
    let (rows, _) = dump([Act::Send(vec![9; 5])]);
    assert!(matches!(rows, Err(Error::Malformed { kind: 0, offset: 0, .. })));
    let mut lying = row(0, 1, 1);
    lying.extend(row(0, 1, 2));
    let second = lying.len() / 2;
    lying[second] = 0xff;
    let (rows, _) = dump([Act::Send(lying)]);
    let Err(Error::Malformed { kind, offset, .. }) = rows else { panic!() };
    assert_eq!((kind, offset), (RTM_NEWADDR, second));
    let short = message(RTM_NEWADDR, NLM_F_MULTI, 1, &[2, 24]);
    let (rows, _) = dump([Act::Send(short)]);
    assert!(matches!(rows, Err(Error::Malformed { kind: RTM_NEWADDR, .. })));
}

#[test]
fn acknowledgements_find_their_requests_in_any_order() {
    let requests: Vec<Request> = (1..=4).map(link::delete).collect();
    let ack = |sequence| message(NLMSG_ERROR, NLM_F_CAPPED, sequence, &[0; 20]);
    let mut kernel = Kernel::new([
        send(&[ack(4), refusal(2, 19, None), ack(77)]),
        send(&[ack(1), ack(1)]),
        Act::Overrun,
        send(&[ack(3)]),
    ]);
    let outcomes = Connection::new(&mut kernel).request_all(&requests);
    let refused: Vec<bool> = outcomes.iter().map(Result::is_err).collect();
    assert_eq!(refused, [false, true, false, false]);
    assert!(kernel.requests.iter().all(|request| request.1 & NLM_F_ACK != 0));
}

#[test]
fn requests_without_an_answer_say_so() {
    let requests: Vec<Request> = (1..=3).map(link::delete).collect();
    let ack = message(NLMSG_ERROR, NLM_F_CAPPED, 2, &[0; 20]);
    let mut kernel = Kernel::new([Act::Send(ack)]);
    let outcomes = Connection::new(&mut kernel).request_all(&requests);
    assert!(matches!(outcomes.as_slice(), [Err(Error::TimedOut), Ok(()), Err(Error::NoAnswer)]));
    let acknowledged = message(NLMSG_ERROR, NLM_F_CAPPED, 1, &[0; 20]);
    let mut kernel = Kernel::new([Act::Send(acknowledged)]);
    let error = Connection::new(&mut kernel).one::<Link>(&link::by_index(1)).unwrap_err();
    assert!(matches!(error, Error::NoAnswer));
}

#[test]
fn the_monitor_admits_losses_where_they_happened() {
    let kernel = Kernel::new([
        send(&[row(0, 0, 1)]),
        Act::Overrun,
        send(&[row(0, 0, 2)]),
        Act::Truncate(1 << 20),
        send(&[vec![1, 2, 3]]),
    ]);
    let mut monitor = Monitor::new(kernel);
    let mut story = Vec::new();
    while monitor
        .receive(None, |event| {
            story.push(match event {
                Event::Address(Change::Present, row) => row.address.to_string(),
                Event::Lost => "lost".into(),
                Event::Malformed(_) => "malformed".into(),
                other => format!("{other:?}"),
            });
        })
        .unwrap()
    {}
    assert_eq!(story, ["192.0.2.1", "lost", "192.0.2.2", "lost", "malformed", "lost"]);
}

#[test]
fn rows_survive_odd_attributes() {
    let mut payload = vec![0, 0, 1, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    payload.extend(attribute(IFLA_MTU, &[1]));
    payload.extend(attribute(IFLA_IFNAME, b"a-name-far-too-long-for-an-interface\0"));
    payload.extend(attribute(IFLA_ADDRESS, &[7; 40]));
    payload.extend(attribute(IFLA_STATS64, &[1; 9]));
    payload.extend(attribute(IFLA_AF_SPEC, &[3, 0, 2, 0]));
    payload.extend(attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"\xffkind\0")));
    payload.extend(attribute(IFLA_OPERSTATE, &[99]));
    payload.extend(attribute(IFLA_MASTER, &9_u32.to_ne_bytes()));
    let mut kernel = Kernel::new([Act::Send(message(RTM_NEWLINK, 0, 1, &payload))]);
    let link = Connection::new(&mut kernel).one::<Link>(&link::by_index(7)).unwrap();
    assert_eq!((link.index, link.mtu, link.master), (7, 0, Some(9)));
    assert!(link.name.is_empty() && link.hardware_address.is_empty());
    assert_eq!(link.statistics.unwrap().received_packets, 0x0101_0101_0101_0101);
    assert_eq!(link.kind.unwrap().to_string_lossy(), "\u{fffd}kind");
    assert_eq!(format!("{:?}", link.operational_state), "Other(99)");
}

#[test]
fn infiniband_addresses_are_whole() {
    let hardware: [u8; 20] = std::array::from_fn(|index| index as u8);
    let mut payload = vec![0, 0, 32, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    payload.extend(attribute(IFLA_ADDRESS, &hardware));
    payload.extend(attribute(IFLA_PERM_ADDRESS, &[9; 32]));
    let mut kernel = Kernel::new([Act::Send(message(RTM_NEWLINK, 0, 1, &payload))]);
    let link = Connection::new(&mut kernel).one::<Link>(&link::by_index(7)).unwrap();
    assert_eq!(link.hardware_address.as_bytes(), hardware);
    assert_eq!(link.permanent_address.unwrap().as_bytes(), [9; 32]);
    assert_eq!(link.hardware_type, 32);
}

/// Datagrams whose headers are mostly right, so that the bytes get past them.
fn datagrams() -> impl Strategy<Value = Vec<u8>> {
    let kinds =
        prop::sample::select(vec![2, 3, 16, 17, 20, 21, 24, 25, 28, 29, 58, 62, 64, 80, 81]);
    let attributes = (0_u16..70, prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(kind, payload)| attribute(kind, &payload));
    let payload = (
        prop::sample::select(vec![0_u8, 2, 7, 10, 200]),
        prop::collection::vec(any::<u8>(), 0..16),
        prop::collection::vec(attributes, 0..12),
    )
        .prop_map(|(family, fixed, attributes)| {
            [&[family][..], &fixed, &attributes.concat()].concat()
        });
    let part = (kinds, any::<u16>(), payload)
        .prop_map(|(kind, flags, payload)| message(kind, flags, 1, &payload));
    (prop::collection::vec(part, 0..5), prop::collection::vec(any::<u8>(), 0..20))
        .prop_map(|(messages, tail)| [messages.concat(), tail].concat())
}

proptest! {
    #[test]
    fn any_datagram_is_read_without_harm(datagram in datagrams()) {
        let mut count = 0;
        Events::new().handle(&datagram, |event| {
            count += 1;
            match event {
                Event::Link(_, view) => _ = <Link as iphelper_netlink::Row>::from_view(&view),
                Event::Route(_, view) => _ = view.next_hops().count(),
                _ => {}
            }
        });
        prop_assert!(count <= datagram.len() / 16 + 2);
        let mut dump = Dump::new(link::dump(), 1).limit(1);
        dump.request(&mut Vec::new());
        let _ = dump.handle(&datagram, |_| Ok(()));
    }

    #[test]
    fn rows_handed_out_are_those_of_the_last_reading(
        torn in prop::collection::vec(any::<bool>(), 0..2),
        rows in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut script = Vec::new();
        let mut sequence = 1;
        for torn in torn {
            if torn {
                script.push(send(&[row(0, sequence, 250), row(NLM_F_DUMP_INTR, sequence, 251)]));
                script.push(send(&[done(0, sequence)]));
                sequence += 1;
            }
        }
        for part in rows.chunks(7) {
            let part: Vec<_> = part.iter().map(|last| row(0, sequence, *last)).collect();
            script.push(send(&part));
        }
        script.push(send(&[done(0, sequence)]));
        prop_assert_eq!(dump(script).0.unwrap(), rows);
    }
}

#[test]
fn the_machine_alone() {
    let mut dump = Dump::new(link::dump(), u32::MAX).limit(2);
    let mut datagram = Vec::new();
    dump.request(&mut datagram);
    assert_eq!((dump.sequence(), dump.attempts()), (u32::MAX, 1));
    dump.lost();
    assert_eq!(dump.idle().unwrap(), Progress::Restart);
    dump.request(&mut datagram);
    assert_eq!(dump.sequence(), 0, "sequence numbers wrap");
    assert!(!dump.is_spoiled());
    let progress = dump.handle(&done(0, u32::MAX), |_| panic!("not a row")).unwrap();
    assert_eq!(progress, Progress::More, "an end of the first attempt");
    assert_eq!(dump.handle(&done(0, 0), |_| panic!("not a row")).unwrap(), Progress::Done);
}
