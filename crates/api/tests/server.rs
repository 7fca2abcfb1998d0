//! The server loop, asked by our own clients and by bytes no client would send.

#![cfg(test)]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use iphelper_api::client::{AsyncClient, CallError, Client, Error};
use iphelper_api::lease::LeaseInfo;
use iphelper_api::server::Limits;
use iphelper_api::{daemon, lease, service};
use support::{Canned, DEADLINE, Server, bound, event, until};

/// Sends text with NUL for each newline and returns everything until the server closes.
fn exchange(stream: &mut UnixStream, calls: &str) -> Vec<serde_json::Value> {
    stream.write_all(&calls.replace('\n', "\0").into_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    let answers = answers.split(|byte| *byte == 0).filter(|answer| !answer.is_empty());
    answers.map(|answer| serde_json::from_slice(answer).unwrap()).collect()
}

#[test]
fn methods_answer_and_errors_are_typed() {
    let server = Server::start();
    let mut client = server.client();

    let renewed = client.call(&lease::Renew { interface: "eth0".into(), ..Default::default() });
    let renewed = renewed.unwrap();
    assert_eq!((renewed.lease, renewed.via), (bound("eth0", 2), lease::Via::Unicast));

    let error = client.call(&lease::Renew { interface: "eth1".into(), ..Default::default() });
    match error.unwrap_err() {
        CallError::Method(lease::Error::NoAnswer { interface, waited, tries }) => {
            assert_eq!((interface.as_str(), waited, tries), ("eth1", 4.5, 3));
        }
        other => panic!("{other:?}"),
    }
    match client.call(&daemon::Reload {}).unwrap_err() {
        CallError::Method(daemon::Error::InvalidConfiguration { line: Some(3), .. }) => {}
        other => panic!("{other:?}"),
    }
    let released = client.call(&lease::Release { interface: "eth0".into(), ..Default::default() });
    assert_eq!(released.unwrap().server, lease::Server::at(Ipv4Addr::new(192, 0, 2, 1)));
    assert_eq!(client.call(&daemon::Status {}).unwrap().problems.len(), 1);
    assert_eq!(client.call(&daemon::Counters::default()).unwrap().counters[0].value, 7);
}

#[test]
fn list_answers_with_all_there_are() {
    let server = Server::start();
    let mut client = server.client();
    let names = |leases: Vec<LeaseInfo>| -> Vec<String> {
        leases.into_iter().map(|lease| lease.interface).collect()
    };

    let all = client.list(&lease::List::default()).unwrap();
    assert_eq!(names(all), ["eth0", "eth1", "wlan0"]);
    let pattern = lease::List { interface: Some("eth*".into()), family: None };
    // With and without `more`.
    assert_eq!(names(client.list(&pattern).unwrap()), ["eth0", "eth1"]);
    assert_eq!(client.call(&pattern).unwrap().leases, [bound("eth0", 2), bound("eth1", 3)]);

    let nothing = lease::List { interface: Some("ppp*".into()), family: None };
    assert_eq!(client.call(&nothing).unwrap().leases, []);
    assert_eq!(client.call_more(&nothing).unwrap(), [lease::ListReply { leases: vec![] }]);
}

#[test]
fn a_long_list_comes_in_parts_to_those_who_take_more_than_one_reply() {
    let server = Server::start();
    let leases: Vec<_> = (2..502).map(|ifindex| bound(&format!("eth{ifindex}"), ifindex)).collect();
    *server.canned.leases.lock().unwrap() = leases.clone();
    let mut client = server.client();
    let replies = client.call_more(&lease::List::default()).unwrap();
    assert!(replies.len() > 10, "{}", replies.len());
    for reply in &replies {
        let length = serde_json::to_string(reply).unwrap().len();
        assert!((1..40 << 10).contains(&length), "{length}");
    }
    let listed: Vec<_> = replies.into_iter().flat_map(|reply| reply.leases).collect();
    assert!(listed == leases);

    let error = client.call(&lease::List::default()).unwrap_err();
    let expected_more =
        |error| matches!(error, CallError::Client(Error::Service(service::Error::ExpectedMore)));
    assert!(expected_more(error));
    // Nothing of the list was sent, and the connection goes on.
    assert_eq!(client.call(&daemon::Status {}).unwrap().interfaces, 3);
}

#[test]
fn changes_are_refused_to_those_who_may_not() {
    let canned = Canned { may_change: false, ..Canned::default() };
    let server = Server::with(canned, Limits::default());
    let mut stream = server.raw();
    let methods = ["Lease.Acquire", "Lease.Renew", "Lease.Release", "Lease.Inform"];
    let calls: String = methods
        .iter()
        .map(|name| {
            format!(
                "{{\"method\":\"org.iphelper.{name}\",\"parameters\":{{\"interface\":\"eth0\"}}}}\n"
            )
        })
        .chain(["{\"method\":\"org.iphelper.Daemon.Reload\"}\n".to_owned()])
        .collect();
    let answers = exchange(&mut stream, &calls);
    assert_eq!(answers.len(), 5);
    for (answer, interface) in answers.iter().zip(["Lease", "Lease", "Lease", "Lease", "Daemon"]) {
        assert_eq!(answer["error"], format!("org.iphelper.{interface}.AccessDenied"));
        assert_eq!(answer["parameters"]["needed"], "membership of group iphelper");
    }
    assert_eq!(server.client().list(&lease::List::default()).unwrap().len(), 3);
}

#[test]
fn faulty_calls_are_answered_and_the_connection_lives() {
    let server = Server::start();
    let answers = exchange(
        &mut server.raw(),
        r#"{"method":"org.iphelper.Lease.Lose"}
{"method":"org.example.Foo.Bar"}
{"method":"nodots"}
{"method":"org.iphelper.Lease.Renew"}
{"method":"org.iphelper.Lease.Renew","parameters":{"interface":"eth0","colour":"red"}}
{"method":"org.iphelper.Lease.Monitor"}
{"method":"org.iphelper.Lease.List","upgrade":true}
{"method":"org.iphelper.Lease.Renew","parameters":{"interface":"eth0"},"oneway":true}
{"method":"org.iphelper.Lease.Monitor","oneway":true,"more":true}
{"method":"org.iphelper.Daemon.Counters","unknown":"member"}
"#,
    );
    let expected = [
        ("MethodNotFound", "method", "org.iphelper.Lease.Lose"),
        ("InterfaceNotFound", "interface", "org.example.Foo"),
        ("MethodNotFound", "method", "nodots"),
        ("InvalidParameter", "parameter", "interface"),
        ("InvalidParameter", "parameter", "colour"),
        ("ExpectedMore", "", ""),
        ("MethodNotImplemented", "method", "org.iphelper.Lease.List"),
    ];
    for (answer, (error, key, value)) in answers.iter().zip(expected) {
        assert_eq!(answer["error"], format!("org.varlink.service.{error}"));
        if !key.is_empty() {
            assert_eq!(answer["parameters"][key], value);
        }
    }
    assert_eq!(answers.len(), expected.len() + 1, "{answers:#?}");
    assert_eq!(answers.last().unwrap()["parameters"]["counters"][0]["value"], 7);
}

#[test]
fn what_is_no_varlink_ends_the_connection_after_the_answers_before_it() {
    let server = Server::start();
    for garbage in ["GET / HTTP/1.1\n", "{}\n", "{\"method\":5}\n", "\n", "[]\n", "{\"method\""] {
        let calls = format!("{{\"method\":\"org.iphelper.Daemon.Counters\"}}\n{garbage}");
        assert_eq!(exchange(&mut server.raw(), &calls).len(), 1, "{garbage:?}");
    }
    let malformed = || server.statistics.connections_malformed.load(Ordering::Relaxed);
    until("all but the unfinished one are counted", || malformed() == 5);

    let mut stream = server.raw();
    let piece = [b' '; 64 << 10];
    // More than the bound without a NUL: the server hangs up while we send.
    let refused = (0..64).any(|_| stream.write_all(&piece).is_err());
    assert!(refused);
}

#[test]
fn introspection_tells_what_is_served() {
    let server = Server::start();
    let mut client = server.client();
    let info = client.call(&service::GetInfo {}).unwrap();
    assert_eq!(info.product, "iphelperd");
    for interface in &info.interfaces {
        let asked = service::GetInterfaceDescription { interface: interface.clone() };
        let description = client.call(&asked).unwrap().description;
        assert!(description.contains(&format!("interface {interface}\n")));
    }
    assert!(info.interfaces.iter().any(|interface| interface == lease::INTERFACE));
    let unknown = service::GetInterfaceDescription { interface: "org.example".into() };
    match client.call(&unknown).unwrap_err() {
        CallError::Method(service::Error::InterfaceNotFound { interface }) => {
            assert_eq!(interface, "org.example");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn monitor_starts_with_what_there_is_and_follows() {
    let server = Server::start();
    let mut events = server.monitor(Some("eth*"));
    for name in ["eth0", "eth1"] {
        let event = events.next().unwrap().unwrap().event;
        assert_eq!((event.kind, event.interface.as_deref()), (lease::EventKind::State, Some(name)));
        assert!(event.lease.is_some());
    }
    for (name, ifindex) in [("wlan0", 4), ("eth1", 3)] {
        server.canned.publish(event(lease::EventKind::Renewed, bound(name, ifindex)));
    }
    let next = events.next().unwrap().unwrap().event;
    assert_eq!((next.kind, next.interface.as_deref()), (lease::EventKind::Renewed, Some("eth1")));

    server.canned.end_subscriptions();
    match events.next().unwrap().unwrap_err() {
        CallError::Method(lease::Error::Cancelled { interface }) => {
            assert_eq!(interface.as_deref(), Some("eth*"));
        }
        other => panic!("{other:?}"),
    }
    assert!(events.next().is_none());
}

#[test]
fn a_slow_subscriber_is_resynchronised_and_delays_nobody() {
    let server = Server::start();
    let mut slow = server.monitor(None);
    let mut quick = server.monitor(None);
    for _ in 0..3 {
        quick.next().unwrap().unwrap();
    }
    until("both are subscribed", || server.canned.subscribers() == 2);

    // Far more than a socket, a buffer and the channel hold.
    let mut worst = Duration::ZERO;
    for _ in 0..4000 {
        let began = Instant::now();
        server.canned.publish(event(lease::EventKind::Renewed, bound("eth0", 2)));
        let seen = quick.next().unwrap().unwrap().event;
        assert_eq!(seen.kind, lease::EventKind::Renewed, "the quick one missed nothing");
        worst = worst.max(began.elapsed());
    }
    assert!(worst < DEADLINE / 2, "{worst:?}");
    assert_eq!(server.client().list(&lease::List::default()).unwrap().len(), 3);

    let mut seen = 0;
    loop {
        let event = slow.next().unwrap().unwrap().event;
        if event.kind == lease::EventKind::Resync {
            break;
        }
        seen += 1;
    }
    assert!(seen < 4000);
    for name in ["eth0", "eth1", "wlan0"] {
        let event = slow.next().unwrap().unwrap().event;
        assert_eq!((event.kind, event.interface.as_deref()), (lease::EventKind::State, Some(name)));
    }
    // And it follows again.
    server.canned.publish(event(lease::EventKind::Expired, bound("eth1", 3)));
    assert_eq!(slow.next().unwrap().unwrap().event.kind, lease::EventKind::Expired);
    assert_eq!(server.statistics.resynchronised.load(Ordering::Relaxed), 1);
}

#[test]
fn a_client_that_never_reads_delays_nobody() {
    let server = Server::start();
    let mut deaf = server.raw();
    deaf.set_nonblocking(true).unwrap();
    let call = b"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"org.iphelper.Lease\"}}\0";
    // Until the server's buffer, its patience with input and the socket are full.
    let mut stuck_since = Instant::now();
    while stuck_since.elapsed() < Duration::from_millis(200) {
        match deaf.write(call) {
            Ok(count) => {
                assert_ne!(count, 0);
                stuck_since = Instant::now();
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    let began = Instant::now();
    let mut client = server.client();
    for _ in 0..100 {
        client.call(&daemon::Counters::default()).unwrap();
    }
    assert!(began.elapsed() < DEADLINE / 2, "{:?}", began.elapsed());
}

#[test]
fn calls_are_answered_in_order() {
    let server = Server::start();
    let answers = exchange(
        &mut server.raw(),
        r#"{"method":"org.iphelper.Lease.Acquire","parameters":{"interface":"brief"}}
{"method":"org.varlink.service.GetInfo"}
{"method":"org.iphelper.Lease.List","more":true}
{"method":"org.iphelper.Daemon.Counters"}
"#,
    );
    let kinds: Vec<&str> = answers
        .iter()
        .map(|answer| match &answer["parameters"] {
            parameters if parameters.get("already").is_some() => "acquire",
            parameters if parameters.get("vendor").is_some() => "info",
            parameters if parameters.get("counters").is_some() => "counters",
            parameters if parameters.get("leases").is_some() => "leases",
            _ => "something else",
        })
        .collect();
    assert_eq!(kinds, ["acquire", "info", "leases", "counters"]);
}

#[test]
fn thousands_of_pipelined_calls_are_all_answered() {
    let server = Server::start();
    let mut stream = server.raw();
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for _ in 0..3000 {
            writer.write_all(b"{\"method\":\"org.varlink.service.GetInfo\"}\0").unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    sender.join().unwrap();
    assert_eq!(answers.iter().filter(|byte| **byte == 0).count(), 3000);
}

#[test]
fn a_call_ends_with_its_caller_unless_it_was_oneway() {
    let server = Server::start();
    let waiting = || server.canned.waiting.load(Ordering::SeqCst);
    let call = |interface: &str, oneway: bool| {
        format!(
            "{{\"method\":\"org.iphelper.Lease.Acquire\",\"parameters\":{{\"interface\":\
             \"{interface}\"}},\"oneway\":{oneway}}}\0"
        )
    };
    let mut stream = server.raw();
    stream.write_all(call("slow", false).as_bytes()).unwrap();
    until("the call waits", || waiting() == 1);
    drop(stream);
    until("the call ended", || waiting() == 0);

    // Sending nothing more is not leaving; closing after that is.
    let mut stream = server.raw();
    stream.write_all(call("slow", false).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    until("the call waits", || waiting() == 1);
    for _ in 0..20 {
        server.client().call(&daemon::Counters::default()).unwrap();
    }
    assert_eq!(waiting(), 1);
    drop(stream);
    until("the call ended", || waiting() == 0);

    let mut stream = server.raw();
    stream.write_all(call("brief", true).as_bytes()).unwrap();
    drop(stream);
    until("the call was carried out", || server.canned.finished.load(Ordering::SeqCst) == 1);
}

#[test]
fn subscriptions_end_with_their_subscriber() {
    let server = Server::start();
    let quiet = server.monitor(None);
    until("subscribed", || server.canned.subscribers() == 1);
    drop(quiet);
    until("unsubscribed, though nothing happened", || server.canned.subscribers() == 0);

    let mut half = server.raw();
    half.write_all(b"{\"method\":\"org.iphelper.Lease.Monitor\",\"more\":true}\0").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    until("subscribed", || server.canned.subscribers() == 1);
    server.canned.publish(event(lease::EventKind::Renewed, bound("eth0", 2)));
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    while received.iter().filter(|byte| **byte == 0).count() < 4 {
        let count = half.read(&mut piece).unwrap();
        received.extend_from_slice(&piece[..count]);
    }
    drop(half);
    until("unsubscribed", || server.canned.subscribers() == 0);
}

#[test]
fn a_fault_in_a_handler_costs_its_connection_only() {
    let server = Server::start();
    let mut other = server.client();
    let panicked =
        server.client().call(&lease::Acquire { interface: "panic".into(), ..Default::default() });
    assert!(matches!(panicked, Err(CallError::Client(Error::Closed))), "{panicked:?}");
    assert!(other.call(&daemon::Counters::default()).is_ok());
}

#[test]
fn the_end_is_told_to_subscribers_and_waits_for_calls() {
    let limits = Limits { grace: DEADLINE, ..Limits::default() };
    let mut server = Server::with(Canned::default(), limits);
    let mut events = server.monitor(None);
    for _ in 0..3 {
        events.next().unwrap().unwrap();
    }
    let idle = server.client();
    let mut busy = server.raw();
    busy.write_all(
        b"{\"method\":\"org.iphelper.Lease.Acquire\",\"parameters\":{\"interface\":\"brief\"}}\0",
    )
    .unwrap();
    let calls = || server.statistics.calls.load(Ordering::Relaxed);
    until("both calls arrived", || calls() == 2);
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < DEADLINE / 2, "{:?}", began.elapsed());

    match events.next().unwrap().unwrap_err() {
        CallError::Method(lease::Error::Cancelled { .. }) => {}
        other => panic!("{other:?}"),
    }
    let mut answer = Vec::new();
    busy.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(b"\0"), "the call in progress was answered");
    drop(idle);
    match Client::connect(server.path(), None) {
        Err(Error::Unreachable { path, .. }) => assert_eq!(path, server.path()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn calls_that_do_not_end_are_cut_off_after_the_grace() {
    let limits = Limits { grace: Duration::from_millis(100), ..Limits::default() };
    let mut server = Server::with(Canned::default(), limits);
    let mut stream = server.raw();
    stream
        .write_all(
            b"{\"method\":\"org.iphelper.Lease.Acquire\",\"parameters\":{\"interface\":\"slow\"}}\0",
        )
        .unwrap();
    until("the call waits", || server.canned.waiting.load(Ordering::SeqCst) == 1);
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < DEADLINE / 2);
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn clients_tell_what_kept_them_from_an_answer() {
    let server = Server::start();
    let missing = server.directory().join("missing");
    assert!(matches!(
        Client::connect(&missing, None),
        Err(Error::Unreachable { path, .. }) if path == missing
    ));

    let mut client = server.client();
    client.set_timeout(Some(Duration::from_millis(30)));
    let slow = lease::Acquire { interface: "slow".into(), ..Default::default() };
    let late = client.call(&slow);
    assert!(matches!(late, Err(CallError::Client(Error::TimedOut))), "{late:?}");
    let after = client.call(&daemon::Counters::default());
    assert!(matches!(after, Err(CallError::Client(Error::Broken))), "{after:?}");

    let unanswered = server.monitor(Some("ppp0"));
    let mut unanswered = unanswered;
    unanswered.set_timeout(Some(Duration::from_millis(30)));
    for _ in 0..2 {
        let late = unanswered.next().unwrap();
        assert!(matches!(late, Err(CallError::Client(Error::TimedOut))), "{late:?}");
    }
    server.canned.publish(event(lease::EventKind::Acquired, bound("ppp0", 9)));
    unanswered.set_timeout(Some(DEADLINE));
    assert_eq!(unanswered.next().unwrap().unwrap().event.interface.as_deref(), Some("ppp0"));
}

#[test]
fn what_a_faulty_server_sends_is_told_apart() {
    type Expected = fn(&Error) -> bool;
    let answers: [(&[u8], Expected); 8] = [
        (b"", |error| matches!(error, Error::Closed)),
        (b"{\"param", |error| matches!(error, Error::Closed)),
        (b"nonsense\0", |error| matches!(error, Error::Protocol(_))),
        (b"{\"parameters\":{\"counters\":5}}\0", |error| matches!(error, Error::Protocol(_))),
        (b"{\"parameters\":{\"counters\":[]},\"continues\":true}\0", |error| {
            matches!(error, Error::Protocol(_))
        }),
        (b"{\"error\":\"org.example.Strange\",\"parameters\":{\"a\":1}}\0", |error| {
            matches!(error, Error::Unknown { name, .. } if name == "org.example.Strange")
        }),
        (
            b"{\"error\":\"org.varlink.service.MethodNotImplemented\",\"parameters\":{\"method\":\"a\"}}\0",
            |error| matches!(error, Error::Service(service::Error::MethodNotImplemented { .. })),
        ),
        (b"{\"error\":\"org.varlink.service.PermissionDenied\"}\0", |error| {
            matches!(error, Error::Service(service::Error::PermissionDenied))
        }),
    ];
    for (answer, expected) in answers {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || {
            let mut call = [0; 1024];
            let _ = theirs.read(&mut call).unwrap();
            theirs.write_all(answer).unwrap();
        });
        let mut client = Client::over(ours);
        client.set_timeout(Some(DEADLINE));
        match client.call(&daemon::Counters::default()) {
            Err(CallError::Client(error)) => {
                assert!(expected(&error), "{answer:?}: {error:?}");
            }
            other => panic!("{other:?}"),
        }
        server.join().unwrap();
    }
}

#[test]
fn ten_thousand_leases_arrive_complete_and_in_order() {
    let canned = Canned::default();
    let name = |index: u32| format!("veth{index}");
    *canned.leases.lock().unwrap() = (0..10_000).map(|index| bound(&name(index), index)).collect();
    let server = Server::with(canned, Limits::default());
    // Some 9 MB: many times what the server queues at once.
    let leases = server.client().list(&lease::List::default()).unwrap();
    assert_eq!(leases.len(), 10_000);
    for (index, lease) in (0..).zip(leases) {
        assert_eq!(lease.interface, name(index));
    }
}

#[test]
fn the_asynchronous_client_does_the_same() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connect = || AsyncClient::connect(server.path(), Some(DEADLINE));
        let mut client = connect().await.unwrap();
        assert_eq!(client.list(&lease::List::default()).await.unwrap().len(), 3);
        let refused = lease::Renew { interface: "wlan0".into(), ..Default::default() };
        match client.call(&refused).await.unwrap_err() {
            CallError::Method(lease::Error::Refused { message, .. }) => {
                assert_eq!(message.as_deref(), Some("wrong network"));
            }
            other => panic!("{other:?}"),
        }
        let mut events = client.stream(&lease::Monitor::default()).await.unwrap();
        for _ in 0..3 {
            assert!(events.next().await.unwrap().is_ok());
        }

        let mut client = connect().await.unwrap();
        client.set_timeout(Some(Duration::from_millis(30)));
        let slow = lease::Acquire { interface: "slow".into(), ..Default::default() };
        let late = client.call(&slow).await;
        assert!(matches!(late, Err(CallError::Client(Error::TimedOut))), "{late:?}");
        let after = client.call(&daemon::Counters::default()).await;
        assert!(matches!(after, Err(CallError::Client(Error::Broken))), "{after:?}");

        let missing = AsyncClient::connect(server.directory().join("missing"), None).await;
        assert!(matches!(missing, Err(Error::Unreachable { .. })));
    });
}
