#!/usr/bin/env python3
"""Port reservations: what the guard costs everybody's bind(2), and how fast the daemon answers.

Each number of reserved ports has a network namespace, a daemon and a control group of its own. The
daemons see their own group as the whole tree and attach there, so that in one run, within the same
milliseconds, a program in each group meets exactly one guard, and a program in another group none.
Turns are short and go round; what counts is the median of the differences to the turn without a
guard in the same round. Prints a table with budgets.

Needs root, BPF, version 2 of control groups, iproute2, a C compiler, Python 3.9 and cargo.
"""

import argparse
import atexit
import ctypes
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

# The ports that are bound while time is taken. None of them is reserved.
FREE = 62000
# The first port of every block.
FIRST = 1024
NUMBERS = (1, 1000, 60000)

# Row: the most it may be, as in the last column.
BUDGETS = {
    "bind": (120, "ns"),
    "socket, bind, close": (5, "%"),
    "create 60,000": (50, "ms"),
    "associate": (150, "us"),
    "holders, 10,000 sockets": (100, "ms"),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=400, help="turns of each program")
    parser.add_argument("--batch", type=int, default=300, help="binds in a turn")
    parser.add_argument("--calls", type=int, default=21, help="times that a block is created, sockets listed")
    parser.add_argument("--check", action="store_true", help="fail when a budget is missed")
    parser.add_argument("--quick", action="store_true", help="a tenth of it all, for a first look")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.calls = options.rounds // 10, max(3, options.calls // 5)
    return options


def build(directory):
    """The programs that measure. iphelperd is there already, built by whoever runs this."""
    binder = f"{directory}/binder"
    subprocess.run(["cc", "-O2", "-Wall", "-o", binder, f"{HERE}/binder.c"], check=True)
    command = ["cargo", "build", "--quiet", "--release", "-p", "iphelper", "--example", "associate"]
    subprocess.run(command, cwd=ROOT, check=True)
    release = os.path.join(os.environ.get("CARGO_TARGET_DIR", f"{ROOT}/target"), "release")
    return binder, f"{release}/iphelperd", f"{release}/examples/associate"


def cgroup_root():
    with open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            if " - cgroup2 " in line:
                return line.split()[4]
    sys.exit("version 2 of control groups is not mounted")


class Group:
    """A control group, removed at the end."""

    def __init__(self, name):
        self.path = os.path.join(cgroup_root(), f"iphelper-bench-{os.getpid()}-{name}")
        os.mkdir(self.path)
        atexit.register(self.remove)

    def enter(self):
        with open(f"{self.path}/cgroup.procs", "w") as processes:
            processes.write("0")

    def remove(self):
        # What was killed leaves a moment later.
        for _ in range(1000):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.01)


libc = ctypes.CDLL(None, use_errno=True)


def call(result, what):
    if result != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")


def die_with_parent():
    libc.prctl(1, signal.SIGKILL)


class Site:
    """A network namespace and a control group; a daemon that takes the group for the whole tree."""

    def __init__(self, name, daemon, directory):
        self.group = Group(name)
        self.state = f"{directory}/{name}"
        os.mkdir(self.state)
        self.socket = f"{self.state}/iphelper.sock"
        self.processes = []
        # Before the group is removed.
        atexit.register(self.kill)
        # The namespaces live in a process that sleeps in them.
        self.keeper = self.start(["sleep", "infinity"], self.new_namespaces)
        self.wait_for(lambda: os.readlink(f"/proc/{self.keeper.pid}/exe").endswith(("sleep", "coreutils", "busybox")))
        self.daemon = None
        if daemon:
            with open(f"{self.state}/iphelper.toml", "w") as configuration:
                configuration.write(f'[daemon]\nresolver = "file"\nresolver_file = "{self.state}/resolv.conf"\n')
            command = [daemon, "--config", f"{self.state}/iphelper.toml", "--state-dir", self.state]
            command += ["--socket", self.socket, "--log", "warn"]
            self.daemon = self.start(command, self.enter, stdout=subprocess.PIPE)
            if self.daemon.stdout.readline() != b"ready\n":
                sys.exit("the daemon did not start")

    def new_namespaces(self):
        die_with_parent()
        new_network, new_mounts = 0x40000000, 0x00020000
        call(libc.unshare(new_network | new_mounts), "namespaces")
        run = lambda *command: subprocess.run(command, check=True)
        run("mount", "--make-rprivate", "/")
        run("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
        run("mount", "--bind", self.group.path, cgroup_root())
        run("ip", "link", "set", "lo", "up")

    def enter(self):
        """In the child, before its program starts."""
        die_with_parent()
        # While the group still goes by its name outside. Behind it nothing can be seen or mounted.
        self.group.enter()
        call(libc.unshare(0x02000000), "control group namespace")
        for kind, number in (("mnt", 0x00020000), ("net", 0x40000000)):
            descriptor = os.open(f"/proc/{self.keeper.pid}/ns/{kind}", os.O_RDONLY)
            call(libc.setns(descriptor, number), kind)
            os.close(descriptor)

    def start(self, command, prepare, **more):
        process = subprocess.Popen(command, preexec_fn=prepare, **more)
        self.processes.append(process)
        return process

    def binder(self, program):
        return Binder(self.start([program, "1" if os.cpu_count() > 1 else "0"], self.enter,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))

    @staticmethod
    def wait_for(condition):
        deadline = time.monotonic() + 10
        while not condition():
            if time.monotonic() > deadline:
                sys.exit("a namespace was not made")
            time.sleep(0.001)

    def call(self, method, **parameters):
        return Connection(self.socket).call(method, **parameters)

    def close(self):
        if self.daemon:
            for reservation in Connection(self.socket).list("List", "reservations"):
                block = {key: reservation[key] for key in ("protocol", "start_port", "number_of_ports")}
                self.call("Delete", **block)
            self.daemon.terminate()
            self.daemon.wait()

    def kill(self):
        for process in self.processes:
            process.kill()
            process.wait()


class Binder:
    def __init__(self, process):
        self.process = process

    def ask(self, verb, count, port=FREE):
        self.process.stdin.write(f"{verb} {count} {port}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer.isdigit():
            sys.exit(f"{verb}: {answer or 'ended'}")
        return int(answer)


class Connection:
    """The daemon's protocol, as small as it can be."""

    def __init__(self, path):
        self.stream = socket.socket(socket.AF_UNIX)
        self.stream.connect(path)
        self.pending = b""

    def send(self, method, parameters, more=False):
        message = {"method": f"org.iphelper.PortReservation.{method}", "parameters": parameters, "more": more}
        self.stream.sendall(json.dumps(message).encode() + b"\0")

    def receive(self):
        while b"\0" not in self.pending:
            received = self.stream.recv(1 << 20)
            if not received:
                sys.exit("the daemon ended")
            self.pending += received
        message, self.pending = self.pending.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self.send(method, parameters)
        reply = self.receive()
        if "error" in reply:
            sys.exit(f"{method}: {reply}")
        return reply["parameters"]

    def messages(self, method, **parameters):
        """The bytes of a list's replies, not decoded: how long the daemon takes is asked."""
        self.send(method, parameters, more=True)
        # Little is done here meanwhile, because it would count.
        received, last = [], b""
        while True:
            received.append(self.stream.recv(1 << 20))
            last = (last + received[-1])[-(1 << 14) :]
            if last.endswith(b"\0") and b'"continues":true' not in last[last.rfind(b"\0", 0, -1) + 1 :]:
                return b"".join(received)

    def list(self, method, row, **parameters):
        replies = [json.loads(reply) for reply in self.messages(method, **parameters).split(b"\0")[:-1]]
        return [reply["parameters"][row] for reply in replies if "error" not in reply]


def quantile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))]


class Table:
    def __init__(self):
        self.missed = []

    def heading(self, text, *columns):
        print(f"\n{text:42}" + "".join(f"{column:>12}" for column in columns))

    def row(self, name, cells, value=None, budget=None):
        text = f"{name:42}" + "".join(f"{cell:>12}" for cell in cells)
        if budget:
            most, unit = BUDGETS[budget]
            text += f"   <= {most} {unit}"
            if value > most:
                text += "  MISSED"
                self.missed.append(name)
        print(text, flush=True)


def measure_binds(binders, options, table):
    """All take turns; each round begins with another one, because the first after a pause is slower."""
    names = list(binders)
    for verb, unit in (("bind", "ns"), ("cycle", "ns")):
        turns = {name: [] for name in names}
        for round_number in range(-3, options.rounds):
            start = round_number % len(names)
            for name in names[start:] + names[:start]:
                time_taken = binders[name].ask(verb, options.batch) / 10
                if round_number >= 0:
                    turns[name].append(time_taken)
        what = "bind(2)" if verb == "bind" else "socket, bind, close"
        table.heading(f"{what}, {unit}", "median", "difference", "p10", "p90", "%")
        for name in names:
            differences = [a - b for a, b in zip(turns[name], turns["no guard"])]
            more = statistics.median(differences)
            share = 100 * statistics.median(a / b - 1 for a, b in zip(turns[name], turns["no guard"]))
            cells = [f"{statistics.median(turns[name]):.0f}", f"{more:+.0f}"]
            cells += [f"{quantile(differences, 0.1):+.0f}", f"{quantile(differences, 0.9):+.0f}", f"{share:+.1f}"]
            budget = None
            if name.endswith("reserved"):
                budget = "bind" if verb == "bind" else "socket, bind, close"
            table.row(name, cells, more if verb == "bind" else share, budget)


def measure_refusals(binders, options, table):
    """Tells as well that the guards are there: a bind that works is an error."""
    table.heading("a refused bind(2), ns", "median")
    for name, binder in binders.items():
        if name.endswith("reserved"):
            times = [binder.ask("refused", options.batch, FIRST) / 10 for _ in range(max(10, options.rounds // 10))]
            table.row(name, [f"{statistics.median(times):.0f}"])


def timed(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def row_of_times(table, name, seconds, unit, scale, budget=None):
    values = [second * scale for second in seconds]
    middle = statistics.median(values)
    cells = [f"{middle:.2f}", f"{min(values):.2f}", f"{max(values):.2f}"]
    table.row(f"{name}, {unit}", cells, middle, budget)


def measure_calls(site, binder, associate, options, table):
    table.heading("calls", "median", "least", "most")
    connection = Connection(site.socket)
    for count in NUMBERS:
        block = {"protocol": "udp", "start_port": FIRST, "number_of_ports": count}
        created, deleted = [], []
        for _ in range(options.calls):
            created.append(timed(lambda: connection.call("Create", **block))[0])
            deleted.append(timed(lambda: connection.call("Delete", **block))[0])
        name = f"create {count:,}"
        row_of_times(table, name, created, "ms", 1e3, name if name in BUDGETS else None)
        row_of_times(table, f"delete {count:,}", deleted, "ms", 1e3)
    placed = [binder.ask("place", 1000, 20000) / 1e6 for _ in range(options.calls)]
    row_of_times(table, "a placeholder socket a port, 1,000", placed, "ms", 1e3)

    connection.call("Create", protocol="tcp", start_port=5000, number_of_ports=20)
    output = subprocess.run([associate, site.socket, "5000", "20", str(100 * options.calls)], capture_output=True,
                            text=True, preexec_fn=site.enter)
    if output.returncode != 0:
        sys.exit(f"associate: {output.stderr}")
    times = [int(line) / 1e9 for line in output.stdout.split()]
    row_of_times(table, "associate, Rust client", times, "us", 1e6, "associate")
    connection.call("Delete", protocol="tcp", start_port=5000, number_of_ports=20)

    holders = []
    for number in range(2):
        # Two, because a process may not have as many descriptors as there are sockets here.
        holder = site.binder(site.program)
        holder.ask("hold", 5000, 10000 + 2500 * number)
        holders.append(holder)
    listed = []
    for _ in range(options.calls):
        took, replies = timed(lambda: connection.messages("Holders"))
        rows = replies.count(b'"port":')
        if rows < 10000:
            sys.exit(f"{rows} sockets listed of 10,000")
        listed.append(took)
    row_of_times(table, "holders, 10,000 sockets", listed, "ms", 1e3, "holders, 10,000 sockets")
    ss = lambda: subprocess.run(["ss", "-Htuanp"], stdout=subprocess.DEVNULL, check=True, preexec_fn=site.enter)
    row_of_times(table, "ss -tuanp, the same", [timed(ss)[0] for _ in range(3)], "ms", 1e3)


def main():
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("needs root")
    table = Table()
    with tempfile.TemporaryDirectory(prefix="iphelper-bench-") as directory:
        binder, daemon, associate = build(directory)
        sites = {"no guard": Site("none", None, directory), "no guard again": Site("again", None, directory)}
        sites["an empty program"] = Site("empty", None, directory)
        for count in NUMBERS:
            site = Site(f"with-{count}", daemon, directory)
            site.call("Create", protocol="tcp", start_port=FIRST, number_of_ports=count)
            sites[f"{count:,} reserved"] = site
        calls = Site("calls", daemon, directory)
        calls.program = binder
        try:
            binders = {name: site.binder(binder) for name, site in sites.items()}
            binders["an empty program"].ask("empty", cgroup_root())
            measure_binds(binders, options, table)
            measure_refusals(binders, options, table)
            measure_calls(calls, calls.binder(binder), associate, options, table)
        finally:
            for site in [*sites.values(), calls]:
                site.close()
    if table.missed:
        print(f"\nmissed: {', '.join(table.missed)}")
    sys.exit(1 if table.missed and options.check else 0)


if __name__ == "__main__":
    main()
