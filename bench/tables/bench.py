#!/usr/bin/env python3
"""Tables of N interfaces: ours beside the raw kernel answer and beside the peers.

Makes a network namespace without a name, N interfaces in it (veth pairs, each end up, with one
IPv4, one IPv6 and one link-local address), waits until the kernel has settled, and runs each
program in turns. Prints the medians, and their ratios to the floor of the same run.

Needs root, iproute2, a C compiler, Python 3.9 and cargo.
"""

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("interfaces", type=int, nargs="*", default=[10, 1000, 10000])
    parser.add_argument("--rounds", type=int, default=11, help="turns of the fast programs")
    parser.add_argument("--slow-rounds", type=int, default=3, help="turns of `ip` and the peers")
    parser.add_argument("--peers", action="store_true", help="build and run crates of others")
    parser.add_argument("--skip-slow", action="store_true", help="the floor and ours alone")
    parser.add_argument("--measure", help="ours, built already (crates/tables/examples/measure.rs)")
    return parser.parse_args()


def build(options, directory):
    """The programs, by the name of their row, with their command and whether they are slow."""
    for program in ("floor", "getifaddrs", "run"):
        subprocess.run(["cc", "-O2", "-o", f"{directory}/{program}", f"{HERE}/{program}.c"], check=True)
    target = os.environ.get("CARGO_TARGET_DIR", f"{ROOT}/target")
    measure = options.measure or f"{target}/release/examples/measure"
    if not options.measure:
        ours = ["cargo", "build", "--quiet", "--release", "-p", "iphelper-tables", "--example", "measure"]
        subprocess.run(ours, cwd=ROOT, check=True)
    programs = {
        "floor: links + addresses": ([f"{directory}/floor"], False),
        "ours: links + addresses, shown": ([measure, "list"], False),
        "ours: links + addresses, kept": ([measure, "rows"], False),
        "floor: links": ([f"{directory}/floor", "links"], False),
        "ours: IP interfaces": ([measure, "ip"], False),
        "ours: IP interfaces with times": ([measure, "times"], False),
        "ours: all tables, watched": ([measure, "watch"], False),
    }
    if not options.skip_slow:
        programs["getifaddrs"] = ([f"{directory}/getifaddrs"], True)
        programs["ip -j addr"] = (["ip", "-j", "addr"], True)
    if options.peers:
        manifest = f"{HERE}/peers/Cargo.toml"
        peers = os.environ.get("CARGO_TARGET_DIR", f"{HERE}/peers/target")
        build = ["cargo", "build", "--quiet", "--release", "--manifest-path", manifest, "--target-dir", peers]
        subprocess.run(build, check=True)
        for peer in ("rtnetlink", "getifs", "nispor", "netdev"):
            programs[peer] = ([f"{peers}/release/{peer}"], True)
    return measure, programs


def enter_namespace():
    """A network namespace of our own, and /sys that shows it. Both end with this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_network, new_mounts = 0x40000000, 0x00020000
    if libc.unshare(new_network | new_mounts) != 0:
        sys.exit(f"cannot make a network namespace: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def batch(lines):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def populate(count):
    for name, value in (("accept_dad", 0), ("dad_transmits", 0), ("accept_ra", 0), ("router_solicitations", 0)):
        with open(f"/proc/sys/net/ipv6/conf/default/{name}", "w") as parameter:
            parameter.write(str(value))
    pairs = range(count // 2)
    batch([f"link add name va{n} type veth peer name vb{n}" for n in pairs])
    lines = []
    for number, name in enumerate(f"v{end}{n}" for n in pairs for end in "ab"):
        lines.append(f"addr add 10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32 dev {name}")
        lines.append(f"addr add fd00::{number >> 16:x}:{number & 65535:x}/128 dev {name} nodad")
    batch(lines)
    batch([f"link set v{end}{n} up" for n in pairs for end in "ab"])


def settle(floor, count):
    """Waits until every interface has its three addresses and nothing moves any more."""
    deadline = time.monotonic() + 600
    calm = 0
    while calm < 3:
        output = subprocess.run(floor, capture_output=True, text=True, check=True).stdout.split()
        calm = calm + 1 if output[2:] == [str(3 * count + 2), "0"] else 0
        if time.monotonic() > deadline:
            sys.exit(f"the kernel did not settle: {output}")
        time.sleep(1)


def measure_all(run, programs, options):
    figures = {name: [] for name in programs}
    for turn in range(-1, options.rounds):
        for name, (command, slow) in programs.items():
            if slow and turn >= options.slow_rounds:
                continue
            output = subprocess.run([run, *command], capture_output=True, text=True).stdout.split()
            wall, processor, memory, status = map(int, output)
            if status != 0:
                figures[name] = None
            elif turn >= 0 and figures[name] is not None:
                figures[name].append((wall / 1e6, processor / 1e3, memory / 1024))
    return figures


# Row, floor it is compared with, and the most it may be: times the floor by number of interfaces,
# and MiB.
BUDGETS = {
    "ours: links + addresses, shown": ("floor: links + addresses", {1000: 1.25, 10000: 1.15}, 8),
    "ours: IP interfaces": ("floor: links", {10000: 1.25}, None),
}


def report(count, figures):
    print(f"\n{count} interfaces, {3 * count + 2} addresses")
    print(f"{'':34} {'median ms':>10} {'least ms':>10} {'CPU ms':>8} {'MiB':>7} {'x floor':>8} {'x least':>8}  budget")
    median = lambda rows, column: statistics.median(row[column] for row in rows)
    missed = []
    for name, rows in figures.items():
        if not rows:
            print(f"{name:34} failed")
            continue
        floor_name = "floor: links" if "IP interfaces" in name or name == "floor: links" else "floor: links + addresses"
        wall, memory = median(rows, 0), max(row[2] for row in rows)
        least, floor = min(row[0] for row in rows), figures[floor_name]
        ratio, least_ratio = wall / median(floor, 0), least / min(row[0] for row in floor)
        budget = ""
        if name in BUDGETS:
            _, times, most = BUDGETS[name]
            limit = times.get(count)
            if limit:
                budget = f"<= {limit}" + (f", {most} MiB" if most else "")
                # Others on the machine lengthen some turns of each, never shorten one.
                if min(ratio, least_ratio) > limit or (most and memory > most):
                    budget += "  MISSED"
                    missed.append(name)
        print(f"{name:34} {wall:10.2f} {least:10.2f} {median(rows, 1):8.1f} {memory:7.1f} {ratio:8.2f} {least_ratio:8.2f}  {budget}")
    return missed


def latency(measure):
    output = subprocess.run([measure, "latency", "1000"], capture_output=True, text=True, check=True).stdout
    times = sorted(int(line) / 1e6 for line in output.split())
    middle, late = times[len(times) // 2], times[len(times) * 99 // 100]
    print(f"\nchange to subscriber, request included: median {middle:.3f} ms, 99 % {late:.3f} ms  budget <= 1 ms")
    return [] if middle <= 1 else ["latency"]


def one(count, measure, directory, programs, options):
    """In a process of its own, whose end frees the namespace."""
    enter_namespace()
    if count:
        populate(count)
        settle([f"{directory}/floor"], count)
        missed = report(count, measure_all(f"{directory}/run", programs, options))
    else:
        missed = latency(measure)
    sys.stdout.flush()
    os._exit(1 if missed else 0)


def main():
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("needs root")
    failed = False
    with tempfile.TemporaryDirectory(prefix="iphelper-bench-") as directory:
        measure, programs = build(options, directory)
        for count in [0, *options.interfaces]:
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                try:
                    one(count, measure, directory, programs, options)
                finally:
                    os._exit(2)
            failed |= os.waitpid(child, 0)[1] != 0
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
