#!/usr/bin/env python3
"""DHCP clients side by side: time, memory and wake-ups, in one run. See ../README.md."""

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import clients
import network

LINK_SERVER = "dhcp_on_every_link"
HERE = Path(__file__).resolve().parent
INSIDE = "IPHELPER_BENCH_INSIDE"
NEIGHBOURS = Path("/proc/sys/net/ipv4/neigh/default")

# Title, scenario, where in its result, unit, budget for ours.
SINGLE = [
    ("cold start to address, detection off", "commands", "address_ms", "ms", 10),
    ("cold start to address, detection on*", "detection", "address_ms", "ms", 10),
    ("cold start to address, probed before use", "strict", "address_ms", "ms", None),
    ("cold start to address, rapid commit", "rapid", "address_ms", "ms", 8),
    ("start to address, stored lease", "stored", "address_ms", "ms", 8),
    ("acquire in a running client", "acquire", "address_ms", "ms", 5),
    ("renew command to ACK", "commands", "renew.ack_ms", "ms", 4),
    ("release command to packet out", "commands", "release.packet_ms", "ms", 2),
    ("release command to address gone", "commands", "release.removed_ms", "ms", None),
    ("memory, RSS", "commands", "memory.rss_kib", "KiB", None),
    ("memory, PSS", "commands", "memory.pss_kib", "KiB", None),
    ("processes", "commands", "memory.processes", "", None),
]
SCALE = [
    ("all bound", "all_s", "s", {}),
    ("interfaces bound", "bound", "", {}),
    ("RSS", "memory.rss_kib", "KiB", {100: 8192, 1000: 16384}),
    ("PSS", "memory.pss_kib", "KiB", {}),
    ("CPU until bound", "at_bound.cpu_s", "s", {}),
    ("then settled after", "settled_s", "s", {}),
    ("CPU while idle", "idle.on_cpu_ms", "ms", {}),
    ("wake-ups while idle", "idle.switches", "", {}),
    ("processes", "memory.processes", "", {}),
]
# Title, how it comes from a sample and the number of interfaces, unit, budget by that number.
LINKS = [
    ("interfaces bound", lambda sample, count: sample["bound"], "", {}),
    ("all bound", lambda sample, count: sample["all_s"], "s", {}),
    ("CPU an interface", lambda sample, count: sample["memory"]["on_cpu_ms"] / count, "ms", {1000: 0.25}),
    ("RSS", lambda sample, count: sample["memory"]["rss_kib"], "KiB", {1000: 20480, 4000: 20480}),
]
# What an interface of the most may cost, and a cold start, over one of the fewest, and a minimal client's.
LEVEL = FLOOR = 1.3
# How many times as fast as the best peer ours has to bind that many interfaces.
FASTER = {100: 1, 1000: 2}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="for one interface (7)")
    parser.add_argument("--scale", type=int, nargs="*", default=[100, 1000], metavar="N",
                        help="numbers of interfaces (100 1000); none to leave this out")
    parser.add_argument("--scale-rounds", type=int, default=3, help="for many interfaces (3)")
    parser.add_argument("--links", type=int, nargs="*", default=[1000, 4000], metavar="N",
                        help="numbers of interfaces on links of their own (1000 4000)")
    parser.add_argument("--no-single", action="store_true", help="many interfaces only")
    parser.add_argument("--client", action="append", choices=clients.ALL, help="only these")
    parser.add_argument("--timeout", type=float, default=120, help="for binding all interfaces, s (120)")
    parser.add_argument("--idle", type=float, default=10, help="length of the idle measurement, s (10)")
    parser.add_argument("--json", type=Path, help="write every sample there")
    parser.add_argument("--binaries", type=Path, help="directory with iphelperd and iph (target/release)")
    parser.add_argument("--no-mozim", action="store_true", help="do not build the daemon around mozim")
    return parser.parse_args()


def say(line=""):
    print(line, file=sys.stderr, flush=True)


def chosen(options):
    return options.client or list(clients.ALL)


def outside(options):
    """Builds what is missing, makes room for many neighbours, and runs itself in namespaces."""
    if os.geteuid() != 0:
        sys.exit("bench: needs root: it makes network namespaces and starts daemons that want it")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if options.binaries:
        clients.Iphelper.binaries = options.binaries.resolve()
    if "mozim" in chosen(options) and not options.no_mozim:
        build_mozim()
    build_minimal()
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork",
               "--kill-child", "--mount-proc", sys.executable, __file__, *sys.argv[1:]]
    most = max([0, *options.scale, *options.links])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with MoreNeighbours(most), installed() as environment:
        child = subprocess.Popen(command, env={**os.environ, **environment, INSIDE: "1"}, start_new_session=True)
        try:
            status = child.wait()
        except KeyboardInterrupt:
            # The kernel ends all that runs in the namespaces, and the namespaces with it.
            child.kill()
            child.wait()
            say("bench: interrupted")
            status = 130
    sys.exit(status)


@contextlib.contextmanager
def installed():
    """Copies of what was built here, as an installation makes them; gives the environment that
    names them. What a linker wrote lies in the page cache page by page and is mapped slower than
    the peers' programs, which came from packages."""
    ours, mozim, minimal = clients.Iphelper, clients.Mozim, clients.Minimal
    server = ours.binaries / "examples" / LINK_SERVER
    with tempfile.TemporaryDirectory(prefix="iphelper-bench-") as directory:
        for program in (ours.binaries / "iphelperd", ours.binaries / "iph", mozim.binary, minimal.binary, server):
            if program.exists():
                shutil.copy(program, directory)
        yield {"IPHELPER_BINARIES": directory, "MOZIM_BENCH": str(Path(directory, mozim.binary.name)),
               "IPHELPER_BENCH_MINIMAL": str(Path(directory, minimal.binary.name))}


class MoreNeighbours:
    """The kernel's neighbour limit is one for all namespaces; a thousand interfaces need more."""

    def __init__(self, interfaces):
        self.wanted = 16384 if interfaces > 400 else 0
        self.before = {}

    def __enter__(self):
        for name in ("gc_thresh3", "gc_thresh2", "gc_thresh1"):
            file = NEIGHBOURS / name
            value = int(file.read_text())
            if value < self.wanted:
                say(f"bench: {file} is {value}; {self.wanted} for the time of the run")
                self.before[file] = value
                file.write_text(str(self.wanted))

    def __exit__(self, *_):
        for file, value in reversed(self.before.items()):
            file.write_text(str(value))


def build_mozim():
    if clients.Mozim.binary.exists():
        return
    say("bench: building the daemon around mozim, once")
    target = clients.Mozim.binary.parents[1]
    done = subprocess.run(["cargo", "build", "--release", "--quiet", "--manifest-path",
                           str(HERE / "mozim/Cargo.toml"), "--target-dir", str(target)], check=False)
    if done.returncode:
        say("bench: mozim could not be built; it is left out")


def build_minimal():
    minimal = clients.Minimal
    minimal.binary.parent.mkdir(parents=True, exist_ok=True)
    command = ["cc", "-O2", "-o", str(minimal.binary), str(minimal.source)]
    if not shutil.which("cc") or subprocess.run(command, check=False).returncode:
        say("bench: no C compiler; the minimal client is left out")


def quiet():
    """Waits, 3 s at most, for half a second in which the machine was mostly idle."""
    def load():
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
        return sum(fields), fields[3]
    for _ in range(6):
        before = load()
        time.sleep(0.5)
        after = load()
        if (after[1] - before[1]) * 10 >= (after[0] - before[0]) * 7:
            return True
    return False


class Run:
    def __init__(self, options):
        self.options = options
        self.names = [name for name in chosen(options) if not clients.ALL[name].missing()]
        self.samples = {name: {} for name in clients.EVERY}
        self.noisy = 0

    def probe(self, net, scenario, name, *more):
        self.noisy += not quiet()
        command = net.inside("unshare", "--mount", "--propagation", "private", "sh", str(HERE / "sandbox.sh"),
                             sys.executable, str(HERE / "probe.py"), scenario, name, *map(str, more))
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
        try:
            return json.loads(out)
        except ValueError:
            say(f"bench: no result: {scenario} {name}")
            return {}

    def keep(self, name, scenario, result):
        self.samples[name].setdefault(scenario, []).append(result)

    def single(self):
        net = network.Network(1)
        # Round 0 warms caches and does not count.
        for number in range(self.options.rounds + 1):
            say(f"bench: one interface, round {number} of {self.options.rounds}")
            for scenario in ("commands", "detection", "strict", "rapid", "stored", "acquire"):
                for name in turned(self.names, number):
                    result = self.one(net, scenario, name)
                    if number and result is not None:
                        self.keep(name, scenario, result)
            if "iphelper" in self.names and not clients.Minimal.missing():
                for name in turned(["iphelper", "minimal"], number):
                    result = self.one(net, "cold", name)
                    if number:
                        self.keep(name, "cold", result)
        net.close()

    def one(self, net, scenario, name):
        probes = clients.EVERY[name].probes
        ours = name == "iphelper"
        if scenario in ("detection", "strict") and not probes or scenario == "strict" and not ours:
            return None
        server = network.Dnsmasq(rapid=scenario == "rapid")
        net.reset()
        more = {
            "detection": ["cold", name, "--detection", "background"],
            "strict": ["cold", name, "--detection", "strict"],
            "rapid": ["cold", name, "--rapid"],
        }.get(scenario, [scenario, name])
        result = self.probe(net, *more)
        server.close()
        return result

    def scale(self, count):
        for number in range(1, self.options.scale_rounds + 1):
            for name in turned(self.names, number):
                net = network.Network(count)
                server = network.Dnsmasq()
                result = self.probe(net, "scale", name, "--count", count, "--timeout", self.options.timeout,
                                    "--idle", self.options.idle)
                server.close()
                net.close()
                self.keep(name, f"scale {count}", result)
                say(f"bench: {count} interfaces, round {number}: {name}: {result.get('bound')} bound, "
                    f"all after {result.get('all_s')} s")


    def links(self):
        """Ours on links of their own, the numbers of interfaces by turns. What it stores lies on a disk,
        where there is one below the programs."""
        program = clients.Iphelper.binaries / LINK_SERVER
        if "iphelper" not in self.names or not self.options.links:
            return
        if not program.exists():
            say(f"bench: not built: {program.name}; links of their own are left out")
            return
        for number in range(1, self.options.scale_rounds + 1):
            for count in turned(self.options.links, number):
                net = network.Network(count, bridged=False)
                server = network.LinkServer(str(program))
                with tempfile.TemporaryDirectory(prefix="state-", dir=clients.Iphelper.binaries) as state:
                    os.environ["IPHELPER_STATE"] = state
                    result = self.probe(net, "scale", "iphelper", "--count", count, "--timeout",
                                        self.options.timeout, "--idle", 1)
                    del os.environ["IPHELPER_STATE"]
                server.close()
                net.close()
                self.keep("iphelper", f"links {count}", result)
                say(f"bench: {count} links, round {number}: {result.get('bound')} bound, "
                    f"all after {result.get('all_s')} s")

    def figures(self, count, of):
        """One of LINKS' figures, of each sample that has it."""
        found = []
        for sample in self.samples["iphelper"].get(f"links {count}", []):
            with contextlib.suppress(KeyError, TypeError):
                found.append(of(sample, count))
        return [figure for figure in found if figure is not None]


def turned(names, by):
    by %= max(1, len(names))
    return names[by:] + names[:by]


def values(samples, path):
    found = []
    for sample in samples:
        for key in path.split("."):
            sample = (sample or {}).get(key)
        if sample is not None:
            found.append(sample)
    return found


def cell(found, of):
    if not found:
        return "–"
    middle = statistics.median(found)
    spread = f" ({show(min(found))}–{show(max(found))})" if min(found) != max(found) else ""
    return show(middle) + spread + (f" {len(found)}/{of}" if len(found) < of else "")


def show(value):
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(title, header, rows):
    lines = [[title, *header], *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    print()
    for number, line in enumerate(lines):
        print("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sys.stdout.flush()


def row(run, title, path, scenario_of, budget=None, unit="", faster=None):
    """One measure: a cell a client, and how the best peer stands to ours."""
    cells, medians = [], {}
    for name in chosen(run.options):
        if name not in run.names:
            cells.append("not installed")
            continue
        samples = run.samples[name].get(scenario_of(name), [])
        found = values(samples, path)
        cells.append(cell(found, len(samples)))
        if found:
            medians[name] = statistics.median(found)
    ours = medians.pop("iphelper", None)
    ratio = f"{min(medians.values()) / ours:.2f}" if ours and medians else "–"
    if faster:
        kept = "" if ratio == "–" else " kept" if float(ratio) >= faster else " MISSED"
        return [f"{title}, {unit}", *cells, ratio, f"ratio {faster}{kept}"]
    verdict = "" if budget is None else f"{budget} {unit}" + ("" if ours is None else " kept" if ours <= budget else " MISSED")
    return [f"{title}{f', {unit}' if unit else ''}", *cells, ratio, verdict]


def report(run):
    print(f"{datetime.date.today()}, {platform.platform()}, {os.cpu_count()} processors; medians (min–max)"
          f"; best/ours: the best peer's median over ours")
    if run.noisy:
        print(f"{run.noisy} measurements began while the machine was busy")
    header = [*chosen(run.options), "best/ours", "budget"]
    if not run.options.no_single:
        rows = []
        for title, scenario, path, unit, budget in SINGLE:
            # Peers probe before use or not at all.
            of = (lambda name, s=scenario: "detection" if s == "strict" and name != "iphelper" else s)
            rows.append(row(run, title, path, of, budget, unit))
        table(f"one interface, {run.options.rounds} rounds", header, rows)
        print("* ours uses the address at once and probes meanwhile; the peers, where they can, probe first")
        floor(run)
    links(run)
    for count in run.options.scale:
        rows = [row(run, title, path, lambda _: f"scale {count}", budgets.get(count), unit,
                    FASTER.get(count) if path == "all_s" else None)
                for title, path, unit, budgets in SCALE]
        table(f"{count} interfaces, {run.options.scale_rounds} rounds", header, rows)


def kept(ratio, most):
    return f"{ratio:.2f}", f"{most}" + (" kept" if ratio <= most else " MISSED")


def floor(run):
    ours, minimal = (values(run.samples[name].get("cold", []), "address_ms") for name in ("iphelper", "minimal"))
    if ours and minimal:
        ratio = kept(statistics.median(ours) / statistics.median(minimal), FLOOR)
        table("beside a floor", ["iphelper", "minimal C client", "ours/minimal", "budget"],
              [["cold start to address, ms", cell(ours, len(ours)), cell(minimal, len(minimal)), *ratio]])


def links(run):
    counts = [count for count in run.options.links if run.samples["iphelper"].get(f"links {count}")]
    if not counts:
        return
    rows = []
    for title, of, unit, budgets in LINKS:
        found = {count: run.figures(count, of) for count in counts}
        cells, medians = [], {}
        for count in counts:
            text = cell(found[count], run.options.scale_rounds)
            if found[count]:
                medians[count] = statistics.median(found[count])
                if count in budgets:
                    text += " kept" if medians[count] <= budgets[count] else f" MISSED {budgets[count]}"
            cells.append(text)
        ratio = ["", ""]
        if unit == "ms" and len(medians) > 1:
            ratio = kept(medians[max(medians)] / medians[min(medians)], LEVEL)
        rows.append([f"{title}, {unit}" if unit else title, *cells, *ratio])
    header = [*(f"{count} interfaces" for count in counts), "most/fewest", "budget"]
    table(f"links of their own, {run.options.scale_rounds} rounds", header, rows)


def inside(options):
    # Files of servers and clients go with the mount namespace.
    network.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    os.environ["TMPDIR"] = "/run"
    run = Run(options)
    for name in chosen(options):
        missing = clients.ALL[name].missing()
        if missing:
            say(f"bench: {name}: not installed: {' '.join(missing)}")
    if not options.no_single:
        run.single()
    run.links()
    for count in options.scale:
        run.scale(count)
    report(run)
    if options.json:
        options.json.write_text(json.dumps({
            "date": datetime.datetime.now().isoformat(timespec="seconds"), "platform": platform.platform(),
            "processors": os.cpu_count(), "noisy": run.noisy,
            "versions": {name: clients.ALL[name].version() for name in run.names}, "samples": run.samples,
        }, indent=1))


def main():
    options = arguments()
    if os.environ.get(INSIDE):
        inside(options)
    else:
        outside(options)


main()
