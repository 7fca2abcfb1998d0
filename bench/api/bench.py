#!/usr/bin/env python3
"""The daemon's API: calls a second and latency of small calls, alone and beside 64 hostile connections,
beside plain servers of the crates zlink and varlink; and how late a lease is renewed while a local
user floods the API.

Everything happens in network and mount namespaces without names, which end with this. The hostile
connections are four kinds, sixteen each and each kind a user of its own: half messages, replies that
nobody reads, calls (lists, of ours) without waiting, and callers that leave. Prints tables with budgets.

Needs root, iproute2, Python 3.9 and cargo.
"""

import argparse
import contextlib
import ctypes
import datetime
import json
import os
import queue
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

# Users that nobody is: the hostile ones, and one who means well.
HOSTILE, FRIENDLY = 60_001, 60_100
KINDS = ("half", "unread", "pipelined", "leave")
EACH = 16
# The lease, seconds: renewed at T1 for as long as it is measured, with most of the lease still to go.
LEASE, T1, T2 = 20, 2, 17
SERVER, CLIENT = "10.77.9.1", "10.77.9.100"

GET_INFO, STATUS = "org.varlink.service.GetInfo", "org.iphelper.Daemon.Status"
CALLERS = {"root": 0, "a user": FRIENDLY}

# What a person calls at once, and what nothing may take, in milliseconds: of calls beside hostile
# connections, of calls of root and of renewals during a flood.
MEDIAN_AT_MOST, NONE_ABOVE = 50.0, 500.0

libc = ctypes.CDLL(None, use_errno=True)
NEW_NETWORK, NEW_MOUNTS = 0x40000000, 0x00020000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each server")
    parser.add_argument("--seconds", type=float, default=1.0, help="of calls in a turn")
    parser.add_argument("--calls", type=int, default=20_000, help="the most calls in a turn")
    parser.add_argument("--routes", type=int, default=20_000, help="in the table that is listed")
    parser.add_argument("--renewals", type=int, default=12, help="of the lease, without and with the flood")
    parser.add_argument("--daemon", help="iphelperd, instead of the one that cargo built here")
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    parser.add_argument("--only", choices=("calls", "lease"), help="one of the two tables")
    parser.add_argument("--check", action="store_true", help="fail when a budget is missed")
    return parser.parse_args()


# Namespaces and programs.


def call(result, what):
    if result != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")


def die_with_parent():
    libc.prctl(1, signal.SIGKILL)


def enter_namespaces():
    """Of our own: no route, no pinned program and no name of the machine is touched."""
    call(libc.unshare(NEW_NETWORK | NEW_MOUNTS), "cannot make namespaces")
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "sysfs", "sysfs", "/sys")
    run("ip", "link", "set", "lo", "up")


def run(*command):
    subprocess.run(command, check=True)


def populate(routes):
    lines = (f"route add 10.{200 + (n >> 16)}.{n >> 8 & 255}.{n & 255}/32 dev lo" for n in range(routes))
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


class Program:
    """A program that says `ready` on its standard output; it ends with this."""

    def __init__(self, command, prepare=None, ready=True):
        def start():
            die_with_parent()
            if prepare:
                prepare()

        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=start)
        if ready and self.process.stdout.readline() != b"ready\n":
            sys.exit(f"{command[0]} did not start")

    def memory(self):
        """The most it has used so far, MiB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            peak = next((line for line in status if line.startswith("VmHWM:")), "VmHWM: 0 kB")
        return int(peak.split()[1]) / 1024

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Peer:
    """A plain server, started anew for each turn: what one turn did to it is not the next one's."""

    def __init__(self, program, directory):
        self.program, self.socket = program, f"{directory}/{os.path.basename(program)}.sock"
        # What is asked for again and again.
        self.calls = [json.dumps({"method": GET_INFO})]

    @contextlib.contextmanager
    def turn(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)
        program = Program([self.program, self.socket])
        wait_for("its socket", lambda: os.path.exists(self.socket))
        os.chmod(self.socket, 0o666)
        try:
            yield program
        finally:
            program.close()


class Ours:
    """The daemon, which holds a lease all the time."""

    def __init__(self, program, directory):
        self.socket = f"{directory}/iphelper.sock"
        lists = ("Interface.ListRoutes", "PortReservation.Holders", "Interface.ListInterfaces")
        self.calls = [json.dumps({"method": f"org.iphelper.{name}", "parameters": {}, "more": True}) for name in lists]
        with open(f"{directory}/iphelper.toml", "w") as configuration:
            configuration.write('[daemon]\nresolver = "none"\n\n[[interface]]\nname = "c0"\n')
        command = [program, "--config", f"{directory}/iphelper.toml", "--state-dir", f"{directory}/state"]
        self.program = Program([*command, "--socket", self.socket, "--log", "error"])

    @contextlib.contextmanager
    def turn(self):
        yield self.program

    def ask(self, method, timeout=30, **parameters):
        return Connection(self.socket, timeout).call(f"org.iphelper.{method}", parameters)

    def lease(self):
        """The lease; empty while there is none."""
        reply = self.ask("Lease.List", interface="c0")
        return next(iter(reply["leases"]), {})


class Connection:
    def __init__(self, path, timeout):
        self.socket = socket.socket(socket.AF_UNIX)
        # For connect(2) as well, which waits while the server does not accept.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout), 0))
        self.socket.connect(path)
        self.socket.settimeout(timeout)

    def call(self, method, parameters):
        with self.socket:
            self.socket.sendall(json.dumps({"method": method, "parameters": parameters}).encode() + b"\0")
            answer = b""
            while not answer.endswith(b"\0"):
                part = self.socket.recv(1 << 16)
                if not part:
                    raise ConnectionError("closed")
                answer += part
        answer = json.loads(answer[:-1])
        if "error" in answer:
            raise ConnectionError(answer["error"])
        return answer.get("parameters") or {}


def wait_for(what, condition, within=20):
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{what} did not come within {within} s")
        time.sleep(0.01)


class Hostile:
    """The hostile connections to a server; with one `user` for all kinds, or one for each."""

    def __init__(self, server, user=None, kinds=KINDS):
        self.programs = []
        for number, kind in enumerate(kinds):
            who = str(user or HOSTILE + number)
            command = [sys.executable, f"{HERE}/hostile.py", who, kind, server.socket, str(EACH), *server.calls]
            self.programs.append(Program(command, ready=False))

    def __enter__(self):
        # For all of them to be connected, and the buffers of those who do not read to be full.
        time.sleep(0.5)

    def __exit__(self, *_):
        for program in self.programs:
            program.close()


# Calls.


def measure(program, server, method, options, user):
    """Seconds of each call; None for one that failed. Nothing at all where the server is stuck."""
    command = [program, server.socket, method, str(options.seconds), str(options.calls)]

    def become():
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        # Forgotten by a change of users.
        die_with_parent()

    try:
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=become, timeout=options.seconds + 8)
    except subprocess.TimeoutExpired:
        return []
    return [None if line == "failed" else int(line) / 1e9 for line in done.stdout.split()]


def calls(options, servers, program):
    figures, memory, stuck = {}, {}, set()
    for _ in range(options.rounds):
        for name, server in servers.items():
            for hostile in (False, True):
                if (name, hostile) in stuck:
                    continue
                with server.turn() as running, Hostile(server) if hostile else contextlib.nullcontext():
                    for caller, user in CALLERS.items():
                        for method in (GET_INFO, STATUS):
                            times = measure(program, server, method, options, user)
                            figures.setdefault((hostile, method, caller, name), []).extend(times or [None])
                            if not times:
                                # The others would wait just as long.
                                stuck.add((name, hostile))
                    memory[name, hostile] = max(memory.get((name, hostile), 0), running.memory())
    return figures, memory


def report_calls(figures, memory):
    print(f"\n{'call':8} {'caller':8} {'server':8} {'calls/s':>9} {'median us':>10} {'99 % us':>10} {'failed':>8} {'peak MiB':>9}")
    missed = []
    for hostile in (False, True):
        print(f"-- {'beside 64 hostile connections' if hostile else 'alone'}")
        for (among, method, caller, name), times in sorted(figures.items(), key=lambda item: item[0][1:3]):
            if among != hostile:
                continue
            label = f"{method.rsplit('.')[-1]:8} {caller:8} {name:8}"
            answered = sorted(time for time in times if time is not None)
            failed = len(times) - len(answered)
            if not answered:
                print(f"{label} {'no answer':>9}")
                missed += [label] if name == "ours" else []
                continue
            median, late = statistics.median(answered), answered[len(answered) * 99 // 100]
            rate = len(answered) / sum(answered)
            budget = ""
            if name == "ours" and hostile:
                budget = f"  median <= {MEDIAN_AT_MOST:.0f} ms, 99 % <= {NONE_ABOVE:.0f} ms, none failed"
                if median * 1e3 > MEDIAN_AT_MOST or late * 1e3 > NONE_ABOVE or failed:
                    budget += "  MISSED"
                    missed.append(label)
            peak = memory.get((name, hostile), 0)
            print(f"{label} {rate:9.0f} {median * 1e6:10.0f} {late * 1e6:10.0f} {failed:8} {peak:9.1f}{budget}")
    return missed


# The lease.


class Dhcp:
    """A server at the other end of c0, in a network namespace of its own."""

    def __init__(self):
        def prepare():
            call(libc.unshare(NEW_NETWORK), "network namespace")

        # Runs once the interface is there; the namespace lives as long as it.
        serve = f"until ip link show s0 >/dev/null 2>&1; do sleep 0.01; done; ip addr add {SERVER}/24 dev s0 && " \
                f"ip link set s0 up && exec {sys.executable} {HERE}/dhcpd.py s0 {SERVER} {CLIENT} {LEASE} {T1} {T2}"
        self.program = Program(["sh", "-c", serve], prepare=prepare, ready=False)
        pid = self.program.process.pid
        ours = os.readlink("/proc/self/ns/net")
        wait_for("a network namespace", lambda: os.readlink(f"/proc/{pid}/ns/net") != ours)
        run("ip", "link", "add", "name", "c0", "type", "veth", "peer", "name", "s0", "netns", str(pid))
        run("ip", "link", "set", "c0", "up")
        if self.program.process.stdout.readline() != b"ready\n":
            sys.exit("the DHCP server did not start")
        self.renewals = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.program.process.stdout:
            self.renewals.put(int(line) / 1e9)


class Asking(threading.Thread):
    """Root, who asks for the status twenty times a second."""

    def __init__(self, ours):
        super().__init__(daemon=True)
        self.ours, self.times, self.stopped = ours, [], threading.Event()

    def run(self):
        while not self.stopped.wait(0.05):
            before = time.monotonic()
            try:
                self.ours.ask("Daemon.Status")
                self.times.append(time.monotonic() - before)
            except OSError:
                self.times.append(None)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.join()


def timestamp(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def lateness(ours, dhcp, count):
    """How long after its deadline each renewal reached the server, seconds; None for one that did not."""
    late = []
    while not dhcp.renewals.empty():
        dhcp.renewals.get()
    for _ in range(count):
        # The lease that the last renewal brought, when it is in force.
        deadline = None
        until = time.monotonic() + LEASE
        while deadline is None and time.monotonic() < until:
            try:
                lease = ours.lease()
                renew_at = timestamp(lease["renew_at"]) if lease.get("state") == "bound" else 0
                deadline = renew_at if renew_at > time.time() - T1 else None
            except (OSError, KeyError, TypeError):
                pass
            if deadline is None:
                time.sleep(0.01)
        if deadline is None:
            late.append(None)
            continue
        # One that left meanwhile is of the lease before.
        sent = 0
        try:
            while sent < deadline - T1 / 2:
                sent = dhcp.renewals.get(timeout=LEASE)
            late.append(sent - deadline)
        except queue.Empty:
            late.append(None)
        # Read anew only after the answer is applied.
        with contextlib.suppress(OSError, KeyError, TypeError):
            for _ in range(100):
                if timestamp(ours.lease()["renew_at"]) != deadline:
                    break
                time.sleep(0.005)
    return late


def lease(options, ours, dhcp):
    figures = {}
    for flood in (False, True):
        # One user, all at once: lists that are read and lists that are not, half messages, callers
        # that leave.
        with Hostile(ours, HOSTILE) if flood else contextlib.nullcontext(), Asking(ours) as asking:
            figures["lease", flood] = lateness(ours, dhcp, options.renewals)
        figures["status", flood] = asking.times
    return figures


def report_lease(figures):
    print(f"\na lease of {LEASE} s renewed every {T1} s, and root's calls of Status meanwhile, ms")
    print(f"{'':28} {'count':>6} {'median':>8} {'least':>8} {'most':>8} {'failed':>8}")
    missed = []
    for (what, flood), times in figures.items():
        if flood and what == "lease":
            print("-- while one user floods the API")
        label = {"lease": "renewal after its deadline", "status": "Status"}[what]
        good = sorted(time * 1e3 for time in times if time is not None)
        failed = len(times) - len(good)
        if not good:
            print(f"{label:28} none")
            missed.append(label)
            continue
        median, most = statistics.median(good), good[-1]
        budget = ""
        if flood:
            budget = f"  median <= {MEDIAN_AT_MOST:.0f}, none above {NONE_ABOVE:.0f}"
            if median > MEDIAN_AT_MOST or most > NONE_ABOVE or failed:
                budget += "  MISSED"
                missed.append(label)
        print(f"{label:28} {len(times):6} {median:8.1f} {good[0]:8.1f} {most:8.1f} {failed:8}{budget}")
    return missed


def build(options, directory):
    """Puts the programs where every user may run them. iphelperd is there already, built by whoever
    runs this."""
    ours = os.environ.get("CARGO_TARGET_DIR", f"{ROOT}/target")
    daemon = options.daemon or f"{ours}/release/iphelperd"
    programs = [daemon]
    if options.only != "lease":
        target = os.environ.get("CARGO_TARGET_DIR", f"{HERE}/peers/target")
        command = ["cargo", "build", "--quiet", "--release", "--manifest-path", f"{HERE}/peers/Cargo.toml"]
        run(*command, "--target-dir", target)
        programs += [f"{target}/release/{name}" for name in ("measure", "zlink", "varlink")]
    for program in programs:
        shutil.copy(program, directory)
    return f"{directory}/{os.path.basename(daemon)}"


def one(options, daemon, directory):
    """In a process of its own, whose end frees the namespaces."""
    enter_namespaces()
    populate(options.routes)
    dhcp = Dhcp()
    ours = Ours(daemon, directory)
    wait_for("a lease", lambda: ours.lease().get("state") == "bound")
    missed = []
    if options.only != "lease":
        servers = {"ours": ours}
        if not options.no_peers:
            servers |= {name: Peer(f"{directory}/{name}", directory) for name in ("zlink", "varlink")}
        missed += report_calls(*calls(options, servers, f"{directory}/measure"))
    if options.only != "calls":
        missed += report_lease(lease(options, ours, dhcp))
    if ours.program.process.poll() is not None:
        missed.append("the daemon ended")
        print("the daemon ended")
    return missed


def main():
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("needs root")
    with tempfile.TemporaryDirectory(prefix="iphelper-bench-") as directory:
        # Others reach the sockets in it.
        os.chmod(directory, 0o755)
        daemon = build(options, directory)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            die_with_parent()
            code = 2
            try:
                code = 1 if one(options, daemon, directory) and options.check else 0
                sys.stdout.flush()
            except SystemExit as error:
                print(error, file=sys.stderr)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        failed = os.waitpid(child, 0)[1] != 0
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
