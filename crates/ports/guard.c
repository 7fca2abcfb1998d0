// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the guard's programs do, in C. Documentation, and an oracle: the tests of the daemon compile
// this where clang is installed, put it in place of the programs of src/guard/programs, and hold it
// to the same rules. Nothing that is shipped contains it.
//
//     clang -O2 -target bpf -mcpu=v3 -c guard.c
//
// No header is needed: what the kernel promises not to change is written out here
// (linux/bpf.h, linux/in.h).

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

// In place of the cookie of a network namespace, until the program is loaded.
#define COOKIE 0x1122334455667788ULL

#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define EACCES 13
#define EADDRINUSE 98

#define ALLOW 1
#define ALLOW_LOW_PORT 3
#define REFUSE 0

// Ports of one protocol. Tables of ports have those of TCP first, then those of UDP.
#define TABLE 65536
// Ports looked at in one bind to port 0.
#define SEARCH 1024
// Control groups are looked through down to this level.
#define LEVELS 32
// Reports of one reservation in a second.
#define REPORTS 10
#define SECOND 1000000000ULL

// struct bpf_sock, struct bpf_sock_addr, struct bpf_sysctl.
struct sock {
    u32 interface, family, type, protocol, mark, priority, source4, source6[4];
    u32 port; // in host order
};

struct bind {
    u32 user_family, user_address4, user_address6[4];
    u32 user_port; // in network order
    u32 family, type, protocol, source4, source6[4];
    struct sock *socket;
};

struct sysctl {
    u32 write, position;
};

// The maps' contents, as src/guard/layout.rs has them.
struct row {
    u64 expires_at, denials, window_at;
    u32 first, count, cursor, refusal, flags, owner, reported, suppressed;
};

enum { DRY_RUN = 1, LOW_PORTS = 2, USERS = 4, CGROUPS = 8 };

struct state {
    u64 granted, owned, passed;
    u32 counted, unused;
};

struct event {
    u64 at, reservation;
    u32 kind, process, user, index, suppressed, unused;
    u64 cgroup;
    char program[16];
};

enum { REFUSED = 1, WOULD_REFUSE, RELEASED, RESERVED_PORTS_WRITTEN };

struct grant {
    u64 reservation, who;
};

struct map {
    int unused;
};

#define MAP __attribute__((section("maps"), used))
MAP struct map owners, reservations, users, cgroups, sockets, used, events;

static void *(*const lookup)(struct map *, const void *key) = (void *)1;
static long (*const delete)(struct map *, const void *key) = (void *)3;
static u64 (*const current_process)(void) = (void *)14;
static u64 (*const current_user)(void) = (void *)15;
static long (*const current_name)(void *buffer, u32 length) = (void *)16;
static u64 (*const current_cgroup)(void) = (void *)80;
static long (*const sysctl_name)(struct sysctl *, char *, u64 length, u64 flags) = (void *)101;
static struct state *(*const socket_state)(struct map *, void *socket, void *initial, u64 create) =
    (void *)107;
static u64 (*const network_cookie)(void *context) = (void *)122;
static u64 (*const current_ancestor)(int level) = (void *)123;
static u64 (*const boot_time)(void) = (void *)125;
static long (*const output)(struct map *, void *data, u64 length, u64 flags) = (void *)130;
static long (*const set_result)(int) = (void *)187;
static void *(*const mptcp_socket)(void *socket) = (void *)196;

// Each program has a section of its own.
#define HOOK(name) __attribute__((section("hook/" #name)))
#define STEP static inline __attribute__((always_inline))

// The table that a protocol's ports are in; -1 for those that have no reservations.
STEP int table(u32 protocol) {
    return protocol == IPPROTO_TCP ? 0 : protocol == IPPROTO_UDP ? TABLE : -1;
}

STEP u32 swap(u32 port) {
    return __builtin_bswap16(port);
}

// The id of the reservation a port belongs to, 0 for none.
STEP u64 owner_of(u32 index) {
    u64 *owner = lookup(&owners, &index);
    return owner ? *owner : 0;
}

// A reservation that is in force.
STEP struct row *row_of(u64 id) {
    struct row *row = lookup(&reservations, &id);
    if (row && row->expires_at && boot_time() >= row->expires_at)
        return 0;
    return row;
}

// The state of the socket that the program holds a descriptor of. Of MPTCP, binds reach us with a
// TCP socket that the kernel made inside; state lives in the outer one.
STEP struct state *held(struct bind *bind, int create) {
    struct sock *socket = bind->socket;
    void *outer = mptcp_socket(socket);
    if (outer)
        return socket_state(&sockets, outer, 0, create);
    return socket_state(&sockets, socket, 0, create);
}

STEP int is_granted(struct bind *bind, struct row *row, u64 id) {
    struct state *state = held(bind, 0);
    if (state && state->granted == id)
        return 1;
    if (row->flags & USERS) {
        struct grant user = {id, (u32)current_user()};
        if (lookup(&users, &user))
            return 1;
    }
    if (row->flags & CGROUPS) {
        for (int level = 0; level < LEVELS; level++) {
            struct grant cgroup = {id, current_ancestor(level)};
            if (!cgroup.who)
                break;
            if (lookup(&cgroups, &cgroup))
                return 1;
        }
    }
    return 0;
}

STEP void uncount(u32 index) {
    u32 *count = lookup(&used, &index);
    if (count && *count)
        __sync_fetch_and_add(count, -1);
}

// The program after the bind sees the TCP socket inside an MPTCP socket.
STEP void pass_inner(struct bind *bind, u64 id) {
    if (!mptcp_socket(bind->socket))
        return;
    struct state *inner = socket_state(&sockets, bind->socket, 0, 1);
    if (inner)
        inner->passed = id;
}

// Notes that the socket was let in, and counts its port as used until it is closed.
STEP void count_socket(struct bind *bind, u64 id, u32 index) {
    if (!bind->socket->port) {
        struct state *state = held(bind, 1);
        if (state) {
            state->passed = id;
            u32 before = state->counted;
            if (before != index) {
                if (before)
                    uncount(before);
                state->counted = index;
                u32 *count = lookup(&used, &index);
                if (count)
                    __sync_fetch_and_add(count, 1);
            }
        }
    }
    pass_inner(bind, id);
}

// Reports a stranger, unless there were too many in this second.
STEP void report(struct row *row, u64 id, u32 index) {
    struct event event = {0};
    event.at = boot_time();
    if (event.at - row->window_at >= SECOND) {
        row->window_at = event.at;
        row->reported = 0;
    }
    if (row->reported < REPORTS) {
        __sync_fetch_and_add(&row->reported, 1);
        event.reservation = id;
        event.index = index;
        event.kind = row->flags & DRY_RUN ? WOULD_REFUSE : REFUSED;
        event.process = current_process() >> 32;
        event.user = current_user();
        current_name(event.program, sizeof event.program);
        event.cgroup = current_cgroup();
        event.suppressed = row->suppressed;
        row->suppressed = 0;
        if (output(&events, &event, sizeof event, 0) == 0)
            return;
    }
    __sync_fetch_and_add(&row->suppressed, 1);
}

STEP int refuse(int error) {
    set_result(-error);
    return REFUSE;
}

// A socket with a grant that leaves its port open gets a free one of the block.
STEP int any_port(struct bind *bind) {
    int base = table(bind->protocol);
    if (base < 0 || bind->socket->port)
        return ALLOW;
    struct state *state = held(bind, 0);
    if (!state || !state->granted)
        return ALLOW;
    u64 id = state->granted;
    struct row *row = row_of(id);
    if (!row)
        return refuse(EACCES);
    if ((row->first & TABLE) != base)
        return ALLOW;
    // What an earlier bind of this socket was given, if that bind failed.
    u32 before = state->counted;
    if (before) {
        state->counted = 0;
        uncount(before);
    }
    u32 cursor = row->cursor;
    for (u32 tried = 0; tried < SEARCH; tried++) {
        if (tried >= row->count)
            return refuse(EADDRINUSE);
        u32 index = row->first + (cursor + tried) % row->count;
        u32 *count = lookup(&used, &index);
        if (count && __sync_val_compare_and_swap(count, 0, 1) == 0) {
            state->counted = index;
            state->passed = id;
            row->cursor = index - row->first + 1;
            bind->user_port = swap(index);
            pass_inner(bind, id);
            return row->flags & LOW_PORTS ? ALLOW_LOW_PORT : ALLOW;
        }
    }
    // The next bind goes on where this one gave up.
    row->cursor = (cursor + SEARCH) % row->count;
    return refuse(EADDRINUSE);
}

// Before a bind: who may have the port, and which one it is when the program leaves it open.
STEP int before(struct bind *bind) {
    u32 port = swap(bind->user_port);
    if (!port)
        return any_port(bind);
    int base = table(bind->protocol);
    if (base < 0)
        return ALLOW;
    u32 index = base + port;
    u64 id = owner_of(index);
    if (!id || network_cookie(bind) != COOKIE)
        return ALLOW;
    struct row *row = row_of(id);
    if (!row)
        return ALLOW;
    if (is_granted(bind, row, id)) {
        count_socket(bind, id, index);
        return row->flags & LOW_PORTS ? ALLOW_LOW_PORT : ALLOW;
    }
    __sync_fetch_and_add(&row->denials, 1);
    report(row, id, index);
    if (!(row->flags & DRY_RUN))
        return refuse(row->refusal);
    count_socket(bind, id, index);
    return ALLOW;
}

HOOK(bind4) int bind4(struct bind *bind) {
    return before(bind);
}

HOOK(bind6) int bind6(struct bind *bind) {
    return before(bind);
}

// After a socket got its port: was it let in by the reservation that the port belongs to now?
STEP int after(struct sock *socket) {
    int base = table(socket->protocol);
    if (base < 0)
        return ALLOW;
    u64 id = owner_of(base + socket->port);
    if (!id || network_cookie(socket) != COOKIE)
        return ALLOW;
    struct state *state = socket_state(&sockets, socket, 0, 0);
    if (state && state->passed == id)
        return ALLOW;
    struct row *row = row_of(id);
    if (!row || row->flags & DRY_RUN)
        return ALLOW;
    __sync_fetch_and_add(&row->denials, 1);
    return refuse(row->refusal);
}

HOOK(after_bind4) int after_bind4(struct sock *socket) {
    return after(socket);
}

HOOK(after_bind6) int after_bind6(struct sock *socket) {
    return after(socket);
}

// When a socket's last descriptor is closed: its port is free, and its runtime reservation over.
HOOK(release) int release(struct sock *socket) {
    struct state *state = socket_state(&sockets, socket, 0, 0);
    if (!state)
        return ALLOW;
    u32 counted = state->counted;
    if (counted) {
        state->counted = 0;
        uncount(counted);
    }
    u64 id = state->owned;
    if (id && delete(&reservations, &id) == 0) {
        struct event event = {0};
        event.at = boot_time();
        event.reservation = id;
        event.kind = RELEASED;
        output(&events, &event, sizeof event, 0);
    }
    return ALLOW;
}

// Before a kernel parameter is written: is it the list of reserved ports?
HOOK(sysctl) int sysctl(struct sysctl *sysctl) {
    char name[40] = {0};
    if (!sysctl->write || sysctl_name(sysctl, name, sizeof name, 0) != 32)
        return ALLOW;
#pragma unroll
    for (int at = 0; at < 32; at++)
        if (name[at] != "net/ipv4/ip_local_reserved_ports"[at])
            return ALLOW;
    struct event event = {0};
    event.at = boot_time();
    event.kind = RESERVED_PORTS_WRITTEN;
    event.process = current_process() >> 32;
    event.user = current_user();
    output(&events, &event, sizeof event, 0);
    return ALLOW;
}
