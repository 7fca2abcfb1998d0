//! What is left in the kernel and on disk, whatever step is the last or fails.

mod machine;
mod world;

use ::ports::{Event, Failure, Input};
use api::ports::GuardLevel;
use engine::CommandId;

use crate::config::GuardChoice;
use world::World;

const EPERM: i32 = 1;
const ENOMEM: i32 = 12;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

/// Something that is changed; with the socket of the runtime reservation that is there.
type Change = fn(&mut World, CommandId);

/// Everything that goes through the enforcer, by name.
const CHANGES: [(&str, Change); 8] = [
    ("create", |world, _| world.create(6_000, 2, &[1_000, 1_001])),
    ("create in the list", |world, _| world.create(7_008, 4, &[])),
    ("delete", |world, _| world.delete(5_000, 3, false)),
    ("delete and close", |world, _| world.delete(5_000, 3, true)),
    ("admit", |world, _| world.admit(5_000, 3, 1_001)),
    ("acquire", |world, _| _ = world.acquire(6_000)),
    ("release", |world, _| world.release()),
    ("close", |world, socket| world.close(socket)),
];

/// Runs a change with a fate for each of its steps in turn, and returns how many there were.
fn each_step(
    change: Change,
    mut hit: impl FnMut(&mut World, usize),
    check: impl Fn(World, World),
) -> usize {
    for number in 0.. {
        let (before, _) = World::inhabited();
        let (mut world, socket) = World::inhabited();
        let first = world.machine.state().steps.len();
        hit(&mut world, first + number);
        change(&mut world, socket);
        let done = world.machine.state().steps.len() - first;
        check(world, before);
        if done <= number {
            return done;
        }
    }
    0
}

#[test]
fn a_daemon_killed_before_any_step_loses_nothing_and_leaves_nothing() {
    for (name, change) in CHANGES {
        let kill = |world: &mut World, at| world.machine.state_mut().kill_before = Some(at);
        let steps = each_step(change, kill, |mut world, before| {
            let answered = world.replies.pop_front();
            world.restart();
            world.settle();
            world.assert_consistent();
            // Without an answer it may have been the last step already; with one it was.
            match answered {
                Some(answer) => assert!(answer.is_ok(), "{name}: {answer:?}"),
                None if name.starts_with("create") => {
                    assert!(
                        before.starts().iter().all(|one| world.starts().contains(one)),
                        "{name}"
                    );
                }
                None => {}
            }
            // And nothing is left to do for the daemon after that.
            let left = world.machine.state().left.clone();
            world.restart();
            world.settle();
            assert_eq!(world.machine.state().left, left, "{name}");
        });
        assert!(steps > 3, "{name}: {steps}");
    }
}

#[test]
fn a_start_can_be_killed_before_any_step() {
    for number in 0.. {
        let (mut world, socket) = World::inhabited();
        // While no daemon runs a socket is closed, and a reservation was half made.
        let next = world.machine.state().steps.len();
        world.machine.state_mut().kill_before = Some(next + 6);
        world.create(6_000, 2, &[1_000]);
        assert!(world.replies.is_empty());
        world.machine.close(socket);
        let records = {
            let mut state = world.machine.state_mut();
            state.is_killed = false;
            state.kill_before = Some(state.steps.len() + number);
            state.left.disk.values().cloned().collect()
        };
        let mut world = world.again();
        world.input(Input::Restore(records));
        let is_over = !world.machine.state().is_killed;
        world.restart();
        world.settle();
        world.assert_consistent();
        assert_eq!(world.starts(), [5_000], "at {number}");
        if is_over {
            assert!(number > 8, "{number} steps");
            break;
        }
    }
}

#[test]
fn what_fails_is_undone_to_the_last_entry() {
    for errno in [ENOSPC, ENOMEM, EPERM, EMFILE] {
        for (name, change) in CHANGES {
            let fail = |world: &mut World, at| world.machine.state_mut().fail = Some((at, errno));
            each_step(change, fail, |mut world, before| {
                let answer = world.replies.pop_front();
                world.settle();
                world.assert_consistent();
                if let Some(Err(failure)) = answer {
                    assert!(matches!(failure, Failure::Host(_)), "{name}: {failure:?}");
                    let (left, expected) = (world.machine.state(), before.machine.state());
                    assert_eq!(left.left, expected.left, "{name}: {failure}");
                }
            });
        }
    }
}

#[test]
fn a_reservation_with_somebody_on_its_ports_is_taken_back() {
    let (mut world, _) = World::inhabited();
    let before = world.machine.state().left.clone();
    world.machine.state_mut().in_use.insert((::ports::Protocol::Tcp, 6_001));
    world.create(6_000, 2, &[]);
    assert_eq!(world.replies.pop_front().unwrap().unwrap_err(), Failure::InUse(6_001));
    assert_eq!(world.machine.state().left, before);
}

#[test]
fn a_guard_that_somebody_removes_is_made_anew() {
    for failures in 0..3 {
        let (mut world, _) = World::inhabited();
        world.machine.remove_guard();
        if failures > 0 {
            let next = world.machine.state().steps.len();
            world.machine.state_mut().fail = Some((next + failures - 1, ENOMEM));
        }
        world.input(Input::Lost);
        world.settle();
        world.assert_consistent();
        // Its socket's state went with the guard.
        assert_eq!(world.starts(), [5_000]);
        assert!(world.machine.state().left.is_pinned);
    }
}

#[test]
fn a_guard_that_is_gone_takes_no_reservation() {
    let (mut world, _) = World::inhabited();
    world.machine.remove_guard();
    world.create(6_000, 2, &[]);
    let failure = world.replies.pop_front().unwrap().unwrap_err();
    assert!(failure.to_string().contains("removed"), "{failure}");
    world.input(Input::Lost);
    world.create(6_000, 2, &[]);
    world.expect_replies(1);
    world.assert_consistent();
}

#[test]
fn the_list_of_others_is_kept_and_ours_is_put_back() {
    let (mut world, _) = World::inhabited();
    world.machine.write_list("5001,9000");
    assert_eq!(world.enforcer.merge(), Ok(true));
    assert_eq!(world.list().to_string(), "5000-5002,5100-5101,9000");
    assert_eq!(world.enforcer.merge(), Ok(false));
    world.assert_consistent();
    world.delete(5_000, 3, false);
    world.expect_replies(1);
    assert_eq!(world.list().to_string(), "5001,5100-5101,9000");
    world.restart();
    world.settle();
    world.release();
    world.expect_replies(1);
    assert_eq!(world.list().to_string(), "5001,9000");
}

#[test]
fn control_groups_come_and_go() {
    let (mut world, _) = World::inhabited();
    for (name, inode) in [("/later", Some(72)), ("/a", None), ("/a", Some(73))] {
        match inode {
            Some(inode) => world.machine.state_mut().groups.insert(name.into(), inode),
            None => world.machine.state_mut().groups.remove(name),
        };
        let concerned: Vec<_> = world.manager.reservations().cloned().collect();
        world.enforcer.readmit(&concerned);
        world.assert_consistent();
    }
}

#[test]
fn a_closed_socket_ends_its_reservation_daemon_or_not() {
    let (mut world, socket) = World::inhabited();
    world.close(socket);
    world.assert_consistent();
    assert_eq!(world.starts(), [5_000]);
    let (mut world, socket) = World::inhabited();
    world.machine.close(socket);
    world.restart();
    world.assert_consistent();
    assert_eq!(world.starts(), [5_000]);
}

#[test]
fn what_is_enforced_without_a_readable_record_stays_until_it_is_deleted() {
    let (mut world, socket) = World::inhabited();
    let left = world.machine.state().left.clone();
    let ids: Vec<_> = left.disk.keys().copied().collect();
    world.machine.state_mut().unreadable.extend(ids);
    world.events.clear();
    world.restart();
    let kept = world.events.iter().filter(|event| matches!(event, Event::Kept(_))).count();
    assert_eq!((kept, world.starts()), (2, vec![5_000, 5_100]));
    let now = world.machine.state().left.clone();
    assert_eq!((now.rows, now.owners, now.list), (left.rows, left.owners, left.list));
    world.delete(5_000, 3, false);
    world.expect_replies(1);
    world.close(socket);
    assert!(world.machine.state().left.rows.is_empty());
    assert_eq!(world.list().to_string(), "7000-7009");
}

#[test]
fn without_a_guard_sockets_sit_on_the_ports() {
    let mut world = World::new(GuardChoice::Auto);
    world.machine.state_mut().no_guard = Some("no control groups");
    world.acquire(5_100);
    let failure = world.replies.pop_front().unwrap().unwrap_err();
    assert!(matches!(failure, Failure::TooWeak(_)), "{failure:?}");
    let found = world.enforcement.clone().unwrap();
    assert_eq!(found.level, GuardLevel::Placeholders);
    assert_eq!(found.limits.first().map(String::as_str), Some("no control groups"));
    assert_eq!(world.list().to_string(), "7000-7009");
}

#[test]
fn a_shortage_is_no_reason_for_a_weaker_mechanism() {
    let mut world = World::new(GuardChoice::Auto);
    // After the folder of the records and the list of reserved ports.
    world.machine.state_mut().fail = Some((5, EMFILE));
    world.create(5_000, 1, &[]);
    let failure = world.replies.pop_front().unwrap().unwrap_err();
    assert!(matches!(failure, Failure::Host(_)), "{failure:?}");
    assert_eq!(world.machine.state().steps.get(5), Some(&"open guard"));
    world.settle();
    world.create(5_000, 1, &[]);
    world.expect_replies(1);
    assert_eq!(world.enforcement.as_ref().map(|found| &found.level), Some(&GuardLevel::Full));
    world.assert_consistent();
}

#[test]
fn nothing_is_enforced_where_the_configuration_says_so() {
    let (world, _) = World::inhabited();
    let mut world = world.with(GuardChoice::None);
    world.restart();
    assert!(!world.machine.state().left.is_pinned, "an earlier guard is removed");
    assert_eq!(world.enforcement.as_ref().map(|found| &found.level), Some(&GuardLevel::None));
    assert_eq!(world.starts(), [5_000], "it stays on record");
    world.create(6_000, 1, &[]);
    let failure = world.replies.pop_front().unwrap().unwrap_err();
    assert!(matches!(failure, Failure::TooWeak(_)), "{failure:?}");
}
