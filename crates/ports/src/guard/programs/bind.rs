//! Before a bind: who may have the port, and which one it is when the program leaves it open.

use super::super::TABLE;
use super::super::asm::{Assembler, Helper, Label};
use super::super::features::Features;
use super::super::instruction::{Condition, Operation, Register, Width};
use super::super::layout::{EVENT_LENGTH, PROGRAM_LENGTH, errno, event, flag, kind, row, socket};
use super::super::maps::Map;
use super::steps::{self, State, place};
use super::{Hook, Program};
use Register::{R0, R1, R2, R3, R6, R7, R8, R9, Stack};

/// `struct bpf_sock_addr`: port in network order (u32), protocol (u32), socket (pointer).
const USER_PORT: i16 = 24;
const PROTOCOL: i16 = 36;
const SOCKET: i16 = 64;
/// `struct bpf_sock`: port in host order (u32), 0 while it is not bound.
const BOUND_PORT: i16 = 44;

/// The program lets the bind go on, refuses it, or lets it go on and spares it the check for
/// `CAP_NET_BIND_SERVICE`.
const ALLOW: i32 = 1;
const ALLOW_LOW_PORT: i32 = 3;

/// Control groups are looked through down to this level; systemd and Kubernetes nest some eight.
const LEVELS: i32 = 32;

/// Ports looked at in one bind to port 0, where the loop must have a bound.
const SEARCH: i32 = 1_024;

/// Where the parts of the program go on.
struct Labels {
    /// Let it go on.
    allow: Label,
    /// Let it go on, as one with a grant.
    granted: Label,
    /// A grant's reservation is gone.
    void: Label,
    /// The program leaves the port open.
    any_port: Label,
}

pub(super) fn assemble(hook: Hook, cookie: u64, features: Features) -> Program {
    let mut asm = Assembler::default();
    let labels = Labels {
        allow: asm.label(),
        granted: asm.label(),
        void: asm.label(),
        any_port: asm.label(),
    };

    asm.copy(R6, R1);
    asm.load(Width::Word, R7, R6, USER_PORT);
    asm.swap_16(R7);
    asm.jump_if(R7, Condition::Equal, 0, labels.any_port);
    steps::index(&mut asm, PROTOCOL, labels.allow);
    steps::owner(&mut asm, labels.allow);
    steps::own_namespace(&mut asm, cookie, labels.allow);
    steps::row(&mut asm, labels.allow);
    granted_by_token(&mut asm, features, &labels);
    granted_by_user(&mut asm, &labels);
    granted_by_cgroup(&mut asm, features, &labels);

    denied(&mut asm, features, &labels);

    asm.place(labels.granted);
    count_socket(&mut asm, features, labels.allow);
    allow_granted(&mut asm, features);

    asm.place(labels.any_port);
    any_port(&mut asm, features, &labels);

    asm.place(labels.void);
    asm.constant(R1, errno::EACCES);
    steps::refuse(&mut asm, features);

    asm.place(labels.allow);
    asm.exit(ALLOW);
    asm.finish(hook)
}

/// Register 2 = the socket that the program holds a descriptor of. Of MPTCP, binds reach us with a
/// TCP socket that the kernel made inside; state lives in the outer one.
fn held_socket(asm: &mut Assembler, features: Features) {
    asm.load(Width::Double, R8, R6, SOCKET);
    if features.contains(Features::MPTCP) {
        let (inner, done) = (asm.label(), asm.label());
        asm.copy(R1, R8);
        asm.call(Helper::MptcpSocket);
        asm.jump_if(R0, Condition::Equal, 0, inner);
        asm.copy(R2, R0);
        asm.jump(done);
        asm.place(inner);
        asm.copy(R2, R8);
        asm.place(done);
    } else {
        asm.copy(R2, R8);
    }
}

/// A socket whose state names the reservation is let in.
fn granted_by_token(asm: &mut Assembler, features: Features, labels: &Labels) {
    let none = asm.label();
    held_socket(asm, features);
    steps::state(asm, State::Existing, none);
    asm.load(Width::Double, R1, R0, socket::GRANTED);
    asm.load(Width::Double, R2, Stack, place::ID);
    asm.jump_if_register(R1, Condition::Equal, R2, labels.granted);
    asm.place(none);
}

/// So is a process whose user is among the reservation's.
fn granted_by_user(asm: &mut Assembler, labels: &Labels) {
    let none = asm.label();
    asm.load(Width::Word, R1, R9, row::FLAGS);
    asm.compute_constant(Operation::And, R1, flag::USERS);
    asm.jump_if(R1, Condition::Equal, 0, none);
    asm.call(Helper::CurrentUser);
    // The upper half is the group.
    asm.compute_32(Operation::Move, R0, R0);
    asm.store(Width::Double, Stack, place::WHO, R0);
    steps::lookup(asm, Map::Users, place::ID, none);
    asm.jump(labels.granted);
    asm.place(none);
}

/// So is a process whose control group, or one above it, is among the reservation's.
fn granted_by_cgroup(asm: &mut Assembler, features: Features, labels: &Labels) {
    if !features.contains(Features::CGROUPS) {
        return;
    }
    let (none, next) = (asm.label(), asm.label());
    asm.load(Width::Word, R1, R9, row::FLAGS);
    asm.compute_constant(Operation::And, R1, flag::CGROUPS);
    asm.jump_if(R1, Condition::Equal, 0, none);
    asm.constant(R8, 0);
    let level = asm.here();
    asm.copy(R1, R8);
    asm.call(Helper::CurrentAncestorCgroup);
    asm.jump_if(R0, Condition::Equal, 0, none);
    asm.store(Width::Double, Stack, place::WHO, R0);
    steps::lookup(asm, Map::Cgroups, place::ID, next);
    asm.jump(labels.granted);
    asm.place(next);
    asm.compute_constant(Operation::Add, R8, 1);
    asm.jump_if(R8, Condition::Less, LEVELS, level);
    asm.place(none);
}

/// Counts and reports the stranger, and refuses it unless this is a dry run.
fn denied(asm: &mut Assembler, features: Features, labels: &Labels) {
    let (silent, reported) = (asm.label(), asm.label());
    steps::count(asm, Width::Double, row::DENIALS);
    if features.contains(Features::EVENTS) {
        steps::clear_event(asm);
        steps::limit(asm, silent);
        report(asm, features);
        asm.jump_if(R0, Condition::Equal, 0, reported);
        asm.place(silent);
        steps::count(asm, Width::Word, row::SUPPRESSED);
        asm.place(reported);
    }
    let refused = asm.label();
    asm.load(Width::Word, R1, R9, row::FLAGS);
    asm.jump_if(R1, Condition::AnyBit, flag::DRY_RUN, refused);
    asm.load(Width::Word, R1, R9, row::ERRNO);
    steps::refuse(asm, features);
    asm.place(refused);
    // Let in all the same: it is counted, so that nobody is given its port. It gains nothing else.
    count_socket(asm, features, labels.allow);
    asm.jump(labels.allow);
}

/// Register 0 = 0 when the refusal could be reported.
fn report(asm: &mut Assembler, features: Features) {
    let dry_run = asm.label();
    let cell = |offset| place::EVENT + offset;
    asm.load(Width::Double, R1, Stack, place::ID);
    asm.store(Width::Double, Stack, cell(event::RESERVATION), R1);
    asm.store(Width::Word, Stack, cell(event::INDEX), R7);
    asm.constant(R1, kind::WOULD_REFUSE);
    asm.load(Width::Word, R2, R9, row::FLAGS);
    asm.jump_if(R2, Condition::AnyBit, flag::DRY_RUN, dry_run);
    asm.constant(R1, kind::REFUSED);
    asm.place(dry_run);
    asm.store(Width::Word, Stack, cell(event::KIND), R1);
    steps::caller(asm, features);
    if features.contains(Features::PROGRAM) {
        asm.stack_address(R1, cell(event::PROGRAM));
        asm.constant(R2, PROGRAM_LENGTH as i32);
        asm.call(Helper::CurrentName);
    }
    if features.contains(Features::CGROUPS) {
        asm.call(Helper::CurrentCgroup);
        asm.store(Width::Double, Stack, cell(event::CGROUP), R0);
    }
    // Those not reported are told with this report, and counted anew after it.
    asm.load(Width::Word, R1, R9, row::SUPPRESSED);
    asm.store(Width::Word, Stack, cell(event::SUPPRESSED), R1);
    asm.store_constant(Width::Word, R9, row::SUPPRESSED, 0);
    steps::submit(asm);
}

/// Notes in the socket's state that it was let in, and counts its port as used until it is closed.
///
/// A bind that fails later, because the port is taken, leaves the count too high as long as the
/// socket is open and is not bound elsewhere: at worst its port is passed over.
fn count_socket(asm: &mut Assembler, features: Features, leave: Label) {
    let counted = asm.label();
    asm.load(Width::Double, R1, R6, SOCKET);
    asm.load(Width::Word, R1, R1, BOUND_PORT);
    // Bound already: this bind fails, and the port it has stays counted.
    asm.jump_if(R1, Condition::NotEqual, 0, counted);
    held_socket(asm, features);
    steps::state(asm, State::Created, counted);
    asm.copy(R8, R0);
    pass(asm);
    asm.load(Width::Word, R1, R8, socket::COUNTED);
    asm.jump_if_register(R1, Condition::Equal, R7, counted);
    move_count(asm);
    asm.place(counted);
    pass_inner(asm, features, leave);
}

/// The state in register 0 gets the id of the reservation its socket is let in by.
fn pass(asm: &mut Assembler) {
    asm.load(Width::Double, R1, Stack, place::ID);
    asm.store(Width::Double, R0, socket::PASSED, R1);
}

/// The program after the bind sees the TCP socket inside an MPTCP socket: it needs a pass as well.
fn pass_inner(asm: &mut Assembler, features: Features, leave: Label) {
    if !features.contains(Features::MPTCP) {
        return;
    }
    let done = asm.label();
    asm.load(Width::Double, R1, R6, SOCKET);
    asm.call(Helper::MptcpSocket);
    asm.jump_if(R0, Condition::Equal, 0, done);
    asm.load(Width::Double, R2, R6, SOCKET);
    steps::state(asm, State::Created, leave);
    pass(asm);
    asm.place(done);
}

/// The state in register 8 counts for the port in register 7 and no more for the one before.
/// Register 1 holds the one before, 0 for none.
fn move_count(asm: &mut Assembler) {
    let (first, done) = (asm.label(), asm.label());
    asm.jump_if(R1, Condition::Equal, 0, first);
    steps::uncount(asm);
    asm.place(first);
    asm.store(Width::Word, R8, socket::COUNTED, R7);
    asm.store(Width::Word, Stack, place::INDEX, R7);
    steps::lookup(asm, Map::Used, place::INDEX, done);
    asm.constant(R1, 1);
    asm.atomic_add(Width::Word, R0, 0, R1);
    asm.place(done);
}

/// Ends well, for the reservation in register 9.
fn allow_granted(asm: &mut Assembler, features: Features) {
    if features.contains(Features::LOW_PORTS) {
        let ordinary = asm.label();
        asm.load(Width::Word, R1, R9, row::FLAGS);
        asm.compute_constant(Operation::And, R1, flag::LOW_PORTS);
        asm.jump_if(R1, Condition::Equal, 0, ordinary);
        asm.exit(ALLOW_LOW_PORT);
        asm.place(ordinary);
    }
    asm.exit(ALLOW);
}

/// A socket with a grant that leaves its port open gets a free one of the block. Sockets of other
/// network namespaces have no state.
fn any_port(asm: &mut Assembler, features: Features, labels: &Labels) {
    let (unclaimed, full, found) = (asm.label(), asm.label(), asm.label());
    // Register 7 is 0 here: with the protocol it becomes the base of its table.
    steps::index(asm, PROTOCOL, labels.allow);
    asm.load(Width::Double, R1, R6, SOCKET);
    asm.load(Width::Word, R1, R1, BOUND_PORT);
    asm.jump_if(R1, Condition::NotEqual, 0, labels.allow);
    held_socket(asm, features);
    steps::state(asm, State::Existing, labels.allow);
    asm.copy(R8, R0);
    asm.load(Width::Double, R1, R8, socket::GRANTED);
    asm.jump_if(R1, Condition::Equal, 0, labels.allow);
    asm.store(Width::Double, Stack, place::ID, R1);
    steps::row(asm, labels.void);

    // A grant of the other protocol says nothing about this socket.
    asm.load(Width::Word, R1, R9, row::FIRST);
    asm.compute_constant(Operation::And, R1, TABLE as i32);
    asm.jump_if_register(R1, Condition::NotEqual, R7, labels.allow);

    // What an earlier bind of this socket was given, if that bind failed.
    asm.load(Width::Word, R1, R8, socket::COUNTED);
    asm.jump_if(R1, Condition::Equal, 0, unclaimed);
    asm.store_constant(Width::Word, R8, socket::COUNTED, 0);
    steps::uncount(asm);
    asm.place(unclaimed);

    search(asm, features, found, full);

    asm.place(full);
    asm.constant(R1, errno::EADDRINUSE);
    steps::refuse(asm, features);

    asm.place(found);
    take(asm, features);
    allow_granted(asm, features);
}

/// Goes through the block of the row in register 9, from behind the port given out last, and
/// claims the first port that is not used: its index is in its place then.
///
/// Register 7 counts the ports looked at.
fn search(asm: &mut Assembler, features: Features, found: Label, full: Label) {
    asm.load(Width::Word, R1, R9, row::CURSOR);
    asm.store(Width::Double, Stack, place::COUNTER, R1);
    asm.constant(R7, 0);
    let next = asm.here();
    if features.contains(Features::LONG_SEARCH) {
        asm.may_jump(full);
    }
    asm.load(Width::Word, R3, R9, row::COUNT);
    asm.jump_if_register(R7, Condition::AtLeast, R3, full);
    // index = first + (cursor + looked at) % count
    asm.load(Width::Double, R2, Stack, place::COUNTER);
    asm.compute(Operation::Add, R2, R7);
    asm.compute_32(Operation::Modulo, R2, R3);
    asm.load(Width::Word, R1, R9, row::FIRST);
    asm.compute(Operation::Add, R2, R1);
    asm.store(Width::Word, Stack, place::INDEX, R2);
    asm.compute_constant(Operation::Add, R7, 1);
    steps::lookup(asm, Map::Used, place::INDEX, full);
    claim(asm, features, found);
    if features.contains(Features::LONG_SEARCH) {
        asm.jump(next);
    } else {
        asm.jump_if(R7, Condition::Less, SEARCH, next);
        // The next bind goes on where this one gave up.
        asm.load(Width::Double, R1, Stack, place::COUNTER);
        asm.compute(Operation::Add, R1, R7);
        asm.load(Width::Word, R3, R9, row::COUNT);
        asm.compute_32(Operation::Modulo, R1, R3);
        asm.store(Width::Word, R9, row::CURSOR, R1);
    }
}

/// Makes the count that register 0 points to 1 if it is 0, and then goes to `found`.
fn claim(asm: &mut Assembler, features: Features, found: Label) {
    if features.contains(Features::CLAIMS) {
        asm.copy(R1, R0);
        asm.constant(R0, 0);
        asm.constant(R2, 1);
        asm.compare_exchange(Width::Word, R1, 0, R2);
        asm.jump_if(R0, Condition::Equal, 0, found);
    } else {
        let used = asm.label();
        asm.load(Width::Word, R1, R0, 0);
        asm.jump_if(R1, Condition::NotEqual, 0, used);
        asm.constant(R1, 1);
        asm.atomic_add(Width::Word, R0, 0, R1);
        asm.jump(found);
        asm.place(used);
    }
}

/// The bind becomes one to the port whose index is in its place, and the state in register 8 has it.
fn take(asm: &mut Assembler, features: Features) {
    let passed = asm.label();
    asm.load(Width::Word, R1, Stack, place::INDEX);
    asm.store(Width::Word, R8, socket::COUNTED, R1);
    // The cursor goes behind it.
    asm.load(Width::Word, R2, R9, row::FIRST);
    asm.copy(R3, R1);
    asm.compute(Operation::Subtract, R3, R2);
    asm.compute_constant(Operation::Add, R3, 1);
    asm.store(Width::Word, R9, row::CURSOR, R3);
    // Its low half is the port.
    asm.swap_16(R1);
    asm.store(Width::Word, R6, USER_PORT, R1);
    asm.copy(R0, R8);
    pass(asm);
    pass_inner(asm, features, passed);
    asm.place(passed);
}

const _: () = assert!(event::PROGRAM as usize + PROGRAM_LENGTH <= EVENT_LENGTH);
