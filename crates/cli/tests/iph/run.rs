//! `iph port run`.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use api::ports::{Call as PortsCall, Error, GuardLevel, Kind, Reservation, ReservationReply};
use api::server::Call;
use rustix::process::{Pid, Signal, kill_process};

use crate::fake::{Answer, Fake, Said, wait_until};
use crate::port::media;

/// Two ports of the loopback that nobody has now.
fn block() -> Reservation {
    let start_port = (0..100).find_map(|_| {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port.checked_add(1)?)).ok().map(|_| port)
    });
    {
        let mut one = media();
        one.start_port = start_port.unwrap();
        one.number_of_ports = 2;
        one
    }
}

/// Lets sockets into the block, and asserts that they are sockets which are not bound.
fn doorkeeper(block: &Reservation) -> Fake {
    let block = block.clone();
    Fake::start_with(move |call, sockets| match call {
        Call::Ports(PortsCall::List(_)) => Answer::reservations(std::slice::from_ref(&block)),
        Call::Ports(PortsCall::Associate(call)) => {
            assert_eq!((Some(call.token), call.socket), (block.token, 0));
            let address = rustix::net::getsockname(&sockets[0]).unwrap();
            let address = std::net::SocketAddr::try_from(address).unwrap();
            assert_eq!(address.port(), 0, "bound already");
            Answer::one(&ReservationReply { reservation: block.clone() })
        }
        Call::Ports(PortsCall::Grant(_) | PortsCall::Revoke(_)) => {
            Answer::one(&ReservationReply { reservation: block.clone() })
        }
        other => panic!("{other:?}"),
    })
}

/// How many sockets were let in for the command: one was to try the token.
fn let_in(fake: &Fake) -> usize {
    let associated = |call: &Call| matches!(call, Call::Ports(PortsCall::Associate(_)));
    fake.calls().iter().filter(|call| associated(call)).count() - 1
}

/// `iph port run --by seccomp` of a program of Python's, in which `port` is the block's first.
fn python(fake: &Fake, block: &Reservation, program: &str) -> Command {
    let mut command = fake.command(&format!("port run --by seccomp --reservation {}", block.id));
    let prologue = format!(
        "import os, socket, sys, threading, time\nport = {}\n\
         def bind(port, family=socket.AF_INET, address='127.0.0.1'):\n    \
             one = socket.socket(family)\n    \
             one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n    \
             one.bind((address, port))\n    \
             return one\n",
        block.start_port
    );
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(["--", "python3", "-c"]).arg(format!("{prologue}{program}"));
    command
}

fn has_python() -> bool {
    Command::new("python3").arg("-c").arg("").status().is_ok_and(|status| status.success())
}

macro_rules! or_skip {
    ($condition:expr, $test:literal, $reason:literal) => {
        if !$condition {
            eprintln!(concat!("SKIPPED: ", $test, ": ", $reason));
            return;
        }
    };
}

#[test]
fn the_commands_status_and_output_are_passed_on() {
    let block = block();
    let fake = doorkeeper(&block);
    let which = format!("{}/{}-{}", block.protocol, block.start_port, block.start_port + 1);
    for (way, shell, code, out) in [
        ("--by=seccomp", "exit 7", 7, ""),
        ("--by=seccomp", "kill -9 $$", 137, ""),
        ("--by=seccomp", "cat; echo out; echo err >&2", 0, "in\nout\n"),
        // Whichever way this machine lets us.
        ("", "exit 7", 7, ""),
        ("", "echo out", 0, "out\n"),
        ("", "test $IPHELPER_PORTS = $WHICH", 0, ""),
        ("--by=seccomp", "test $IPHELPER_PORTS = $WHICH", 0, ""),
    ] {
        let line = format!("port run {way} -r {which} -- /bin/sh -c");
        let mut command = fake.command(&line);
        command.env("WHICH", &which);
        command.arg(shell).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"in\n").ok();
        let said = Said::from(child.wait_with_output().unwrap());
        assert_eq!((said.code, said.out.as_str()), (Some(code), out), "{line} {shell}: {said:?}");
        assert_eq!(said.err, if shell.contains("err") { "err\n" } else { "" });
    }
}

#[test]
fn a_command_that_cannot_be_run() {
    let block = block();
    let fake = doorkeeper(&block);
    for by in ["seccomp", "cgroup"] {
        if by == "cgroup" && !has_control_groups() {
            continue;
        }
        let line = format!("port run --by {by} -r {}", block.id);
        let said = fake.run(&format!("{line} -- /nonexistent/program")).failure(127);
        assert!(said.starts_with("Error: /nonexistent/program cannot be run: "), "{said}");
        let said = fake.run(&format!("{line} -- /etc/passwd")).failure(126);
        assert!(said.starts_with("Error: /etc/passwd cannot be run: "), "{said}");
    }
}

#[test]
fn sockets_are_let_in_before_their_bind_goes_on() {
    or_skip!(has_python(), "sockets_are_let_in_before_their_bind_goes_on", "needs python3");
    for (program, expected) in [
        ("bind(port)", 1),
        ("a = bind(port); b = bind(port + 1)", 2),
        ("bind(port, socket.AF_INET6, '::ffff:127.0.0.1')", 1),
        // Neither another port nor another family, nor what is no socket.
        ("bind(0)\nsocket.socket(socket.AF_UNIX).bind(b'\\0iph-test-%d' % os.getpid())", 0),
        ("try: socket.socket(fileno=os.dup(0)).bind(('127.0.0.1', port))\nexcept OSError: pass", 0),
        // Threads, children, and children that outlive their parent.
        ("t = threading.Thread(target=bind, args=[port]); t.start(); t.join()", 1),
        ("if os.fork() > 0: os.wait()\nbind(port)", 2),
        (
            "if os.fork() == 0:\n  os.setsid()\n  if os.fork() > 0: os._exit(0)\n  \
             while os.getppid() == os.getsid(0): time.sleep(0.01)\n  bind(port)\n\
             else:\n  os.wait()",
            1,
        ),
    ] {
        let block = block();
        let fake = doorkeeper(&block);
        let output = python(&fake, &block, program).stdin(Stdio::null()).output().unwrap();
        Said::from(output).result();
        assert_eq!(let_in(&fake), expected, "{program}");
    }
}

#[test]
fn port_zero_is_let_in_where_that_is_asked_for() {
    or_skip!(has_python(), "port_zero_is_let_in_where_that_is_asked_for", "needs python3");
    let block = block();
    let fake = doorkeeper(&block);
    let line = format!("port run --assign --reservation {} -- python3 -c", block.id);
    let mut command = fake.command(&line);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let program = "import socket; socket.socket().bind(('127.0.0.1', 0))";
    Said::from(command.arg(program).output().unwrap()).result();
    assert_eq!(let_in(&fake), 1);
}

#[test]
fn a_block_for_as_long_as_the_command_runs() {
    or_skip!(has_python(), "a_block_for_as_long_as_the_command_runs", "needs python3");
    let block = {
        let mut one = block();
        one.kind = Kind::Runtime;
        one
    };
    let (reservation, owner) = (block.clone(), std::sync::Mutex::new(None));
    let fake = Fake::start_with(move |call, sockets| match call {
        Call::Ports(PortsCall::List(_)) => Answer::reservations(&[]),
        Call::Ports(PortsCall::Acquire(call)) => {
            assert_eq!((call.start_port, call.number_of_ports, call.socket), (None, 2, 0));
            assert_eq!(call.purpose.as_deref(), Some("python3"));
            let socket = std::os::fd::AsFd::as_fd(&sockets[0]).try_clone_to_owned().unwrap();
            *owner.lock().unwrap() = Some(socket);
            Answer::one(&ReservationReply { reservation: reservation.clone() })
        }
        Call::Ports(PortsCall::Associate(call)) => {
            assert_eq!(Some(call.token), reservation.token);
            Answer::one(&ReservationReply { reservation: reservation.clone() })
        }
        other => panic!("{other:?}"),
    });
    let mut command = fake.command("port run --acquire tcp/2 -- python3 -c");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let program = "import os, socket\n\
                   first, last = os.environ['IPHELPER_PORTS'].removeprefix('tcp/').split('-')\n\
                   socket.socket().bind(('127.0.0.1', int(first)))\n\
                   socket.socket().bind(('127.0.0.1', int(last)))";
    Said::from(command.arg(program).output().unwrap()).result();
    let associated = |call: &&Call| matches!(call, Call::Ports(PortsCall::Associate(_)));
    assert_eq!(fake.calls().iter().filter(associated).count(), 2);
}

#[test]
fn what_is_refused_is_said_once_and_the_kernel_decides() {
    or_skip!(has_python(), "what_is_refused_is_said_once_and_the_kernel_decides", "needs python3");
    let block = block();
    let (answered, reservation) = (std::sync::Mutex::new(0), block.clone());
    let fake = Fake::start(move |call| match call {
        Call::Ports(PortsCall::Associate(_)) => {
            let mut answered = answered.lock().unwrap();
            *answered += 1;
            match *answered {
                1 => Answer::one(&ReservationReply { reservation: reservation.clone() }),
                2 => Answer::Close,
                _ => Answer::Ports(Error::InvalidToken),
            }
        }
        _ => Answer::reservations(std::slice::from_ref(&reservation)),
    });
    let program = "for _ in range(3): bind(port).close()";
    let said = Said::from(python(&fake, &block, program).output().unwrap());
    let port = block.start_port;
    let complaint = format!("iph: tcp port {port} stays closed: no reservation has this token\n");
    // Nobody guards the port here, so the binds work.
    assert_eq!((said.code, said.err), (Some(0), complaint));
}

#[test]
fn who_may_not_is_told_before_anything_runs() {
    let block = block();
    for (error, code) in
        [(Error::AccessDenied { needed: "uid 0".into() }, 4), (Error::InvalidToken, 1)]
    {
        let reservation = block.clone();
        let fake = Fake::start(move |call| match call {
            Call::Ports(PortsCall::List(_)) => {
                Answer::reservations(std::slice::from_ref(&reservation))
            }
            _ => Answer::Ports(error.clone()),
        });
        fake.run(&format!("port run -r {} -- echo ran", block.id)).failure(code);
    }
    let fake = doorkeeper(&block);
    let said = fake.run("port run -r tcp/1-2 -- echo ran").failure(1);
    assert!(said.contains("no reservation of exactly tcp/1-2"), "{said}");
    // The owner alone knows.
    let hidden = Fake::start(move |_| {
        Answer::reservations(&[{
            let mut one = block.clone();
            one.token = None;
            one
        }])
    });
    let said = hidden.run("port run --by seccomp -r 17 -- echo ran").failure(4);
    assert!(said.contains("known to its owner"), "{said}");
    let nowhere = crate::fake::iph("port run -r 17 --socket /nonexistent -- echo ran").output();
    Said::from(nowhere.unwrap()).failure(3);
}

#[test]
fn signals_go_to_the_command() {
    let block = block();
    let fake = doorkeeper(&block);
    let line = format!("port run --by seccomp -r {} -- /bin/sh -c", block.id);
    let mut command = fake.command(&line);
    // `wait` is interrupted by the trap, where a child in the foreground would delay it.
    command.arg("trap 'exit 42' TERM; echo ready; sleep 60 & wait; kill $!");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut ready = String::new();
    std::io::BufRead::read_line(&mut out, &mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    // The sleep goes on, as it would without iph, and iph stays for it until it is told again.
    wait_until("the shell ended", || {
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let children = std::fs::read_to_string(children).unwrap();
        let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm"));
        children.split_whitespace().all(|pid| name(pid).is_ok_and(|name| name == "sleep\n"))
    });
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let sleeping = std::fs::read_to_string(children).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(42));
    for pid in sleeping.split_whitespace() {
        kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    }
}

#[test]
fn a_command_does_not_outlive_an_iph_that_was_killed() {
    let block = block();
    let fake = doorkeeper(&block);
    let line = format!("port run --by seccomp -r {} -- /bin/sh -c", block.id);
    let mut command = fake.command(&line);
    let mut child = command.arg("echo $$; exec sleep 60").stdout(Stdio::piped()).spawn().unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut pid = String::new();
    std::io::BufRead::read_line(&mut out, &mut pid).unwrap();
    let status = format!("/proc/{}/status", pid.trim());
    assert!(Path::new(&status).exists());
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    wait_until("the command is dead", || {
        std::fs::read_to_string(&status).map_or(true, |status| status.contains("Z (zombie)"))
    });
}

/// Whether control groups can be made here.
fn has_control_groups() -> bool {
    sys::cgroup::mount().unwrap().is_some_and(|mount| {
        let probe = mount.point.join(format!("iph-test-{}", std::process::id()));
        std::fs::create_dir(&probe).and_then(|()| std::fs::remove_dir(&probe)).is_ok()
    })
}

#[test]
fn a_control_group_of_its_own_is_let_in_and_removed() {
    or_skip!(
        has_control_groups(),
        "a_control_group_of_its_own_is_let_in_and_removed",
        "needs control groups of version 2 that it may make"
    );
    let block = block();
    let fake = doorkeeper(&block);
    let line = format!("port run -r {} --by cgroup -- grep ^0:: /proc/self/cgroup", block.id);
    let mut command = fake.command(&line);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let own = Said::from(command.output().unwrap()).result();
    let own = own.trim().strip_prefix("0::").unwrap().to_owned();
    assert!(own.contains("/iph-run-"), "{own}");
    let said: Vec<_> = fake
        .calls()
        .into_iter()
        .filter_map(|call| match call {
            Call::Ports(PortsCall::Grant(call)) => Some(("grant", call.cgroups)),
            Call::Ports(PortsCall::Revoke(call)) => Some(("revoke", call.cgroups)),
            _ => None,
        })
        .collect();
    let expected = Some(vec![own.clone()]);
    assert_eq!(said, [("grant", expected.clone()), ("revoke", expected)]);
    let left = Command::new("find").args(["/sys/fs/cgroup", "-path", &format!("*{own}")]).output();
    assert_eq!(left.unwrap().stdout, b"");
}

#[test]
fn what_an_iph_left_behind_that_was_killed_is_taken_back() {
    or_skip!(
        has_control_groups(),
        "what_an_iph_left_behind_that_was_killed_is_taken_back",
        "needs control groups of version 2 that it may make"
    );
    // No process has such a number: the kernel's limit is 4,194,304.
    let own = sys::cgroup::own().unwrap().unwrap();
    let mount = sys::cgroup::mount().unwrap().unwrap();
    let below = mount.point.join(own.trim_start_matches('/'));
    let empty = below.join(format!("iph-run-{}", 4_200_000 + std::process::id() % 100_000));
    std::fs::create_dir(&empty).unwrap();
    let left = "/iph-run-4999999".to_owned();
    let block = {
        let mut one = block();
        one.cgroups = vec![left.clone(), "/other".into()];
        one
    };
    let fake = doorkeeper(&block);
    let line = format!("port run -r {} --by cgroup -- /bin/true", block.id);
    fake.run(&line).result();
    let revoked: Vec<_> = fake
        .calls()
        .into_iter()
        .filter_map(|call| match call {
            Call::Ports(PortsCall::Revoke(call)) => call.cgroups,
            _ => None,
        })
        .collect();
    assert_eq!((revoked.len(), &revoked[0]), (2, &vec![left]));
    assert!(!empty.exists());
}

#[test]
fn without_the_right_to_a_control_group_sockets_are_let_in() {
    let block = block();
    for refusal in [
        Error::AccessDenied { needed: "uid 0".into() },
        Error::GuardTooWeak { level: GuardLevel::Placeholders, reason: "no".into() },
    ] {
        let (reservation, error) = (block.clone(), refusal.clone());
        let fake = Fake::start(move |call| match call {
            Call::Ports(PortsCall::Grant(_)) => Answer::Ports(error.clone()),
            Call::Ports(PortsCall::List(_)) => {
                Answer::reservations(std::slice::from_ref(&reservation))
            }
            _ => Answer::one(&ReservationReply { reservation: reservation.clone() }),
        });
        fake.run(&format!("port run -r {} -- /bin/true", block.id)).result();
        assert_eq!(let_in(&fake), 0);
        if has_control_groups() {
            let line = format!("port run --by cgroup -r {} -- /bin/true", block.id);
            assert!(fake.run(&line).code.is_some_and(|code| code != 0));
        }
    }
}
