"""Measures one client; bench.py runs it inside the client namespace. Prints one JSON object.

The clock starts right before the fork of the client, or of its control command, and stops at the
kernel's notification of the address, or at the kernel's time stamp of the packet.
"""

import argparse
import errno
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

import clients

SUBNET = bytes([10, 77])
TYPES = {1: "DISCOVER", 2: "OFFER", 3: "REQUEST", 4: "DECLINE", 5: "ACK", 6: "NAK", 7: "RELEASE", 8: "INFORM"}
NAMESPACE = os.stat("/proc/self/ns/net").st_ino


def now():
    # The same clock as the kernel's packet time stamps.
    return time.clock_gettime(time.CLOCK_REALTIME)


class Addresses:
    """Addresses of the test network that come and go, as (time, "new" or "del", ifindex)."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        self.socket.bind((0, 0x10))  # RTMGRP_IPV4_IFADDR
        self.socket.setblocking(False)
        self.seen = []

    def drain(self):
        while True:
            try:
                data = self.socket.recv(1 << 20)
            except BlockingIOError:
                return
            at, offset = now(), 0
            while offset + 16 <= len(data):
                length, kind = struct.unpack_from("=IH", data, offset)
                if length < 16:
                    break
                if kind in (20, 21):
                    self._address(at, "new" if kind == 20 else "del", data[offset + 16:offset + length])
                offset += (length + 3) & ~3

    def _address(self, at, what, body):
        index = struct.unpack_from("=I", body, 4)[0]
        offset = 8
        while offset + 4 <= len(body):
            length, kind = struct.unpack_from("=HH", body, offset)
            if length < 4:
                return
            if kind == 2 and body[offset + 4:offset + 6] == SUBNET:  # IFA_LOCAL
                self.seen.append((at, what, index))
            offset += (length + 3) & ~3

    def first(self, what):
        return next((at for at, kind, _ in self.seen if kind == what), None)


class Frames:
    """DHCP messages and ARP on one interface, as (time, "in" or "out", name)."""

    def __init__(self, interface):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
        self.socket.bind((interface, 0))
        self.socket.setblocking(False)
        self.seen = []

    def drain(self):
        while True:
            try:
                data, ancillary, _, source = self.socket.recvmsg(65535, 64)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENETDOWN:  # Said once when the interface goes down.
                    continue
                raise
            at = now()
            for level, kind, value in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, 35):
                    seconds, nanoseconds = struct.unpack("=qq", value)
                    at = seconds + nanoseconds / 1e9
            name = self._name(data)
            if name:
                self.seen.append((at, "out" if source[2] == 4 else "in", name))

    @staticmethod
    def _name(data):
        if data[12:14] == b"\x08\x06" and len(data) >= 42:
            sender, target = data[28:32], data[38:42]
            return "ARP probe" if sender == bytes(4) else "ARP announcement" if sender == target else None
        if data[12:14] != b"\x08\x00" or len(data) < 282 or data[23] != 17:
            return None
        start = 14 + (data[14] & 15) * 4
        if not {67, 68} & set(struct.unpack_from("!HH", data, start)):
            return None
        offset = start + 8 + 240
        while offset + 2 < len(data) and data[offset] != 255:
            if data[offset] == 53:
                return TYPES.get(data[offset + 2])
            offset += 1 if data[offset] == 0 else 2 + data[offset + 1]
        return None

    def first(self, name, direction):
        return next((at for at, way, kind in self.seen if (kind, way) == (name, direction)), None)

    def counts(self):
        names = [f"{way} {kind}" for _, way, kind in self.seen]
        return {name: names.count(name) for name in dict.fromkeys(names)}


def processes(but=("dbus-daemon", "sleep")):
    """The client's processes: all in this namespace but ours, its holder and the bus."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(pid) == os.getpid() or os.stat(f"/proc/{pid}/ns/net").st_ino != NAMESPACE:
                continue
            with open(f"/proc/{pid}/status") as file:
                status = dict(line.split(":", 1) for line in file)
            name = status["Name"].strip()
            if name in but or "VmRSS" not in status:
                continue
            with open(f"/proc/{pid}/smaps_rollup") as file:
                pss = sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
            with open(f"/proc/{pid}/stat") as file:
                ticks = sum(map(int, file.read().rsplit(")", 1)[1].split()[11:15]))
            on_cpu = switches = 0
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                    on_cpu += int(file.read().split()[0])
                with open(f"/proc/{pid}/task/{task}/status") as file:
                    switches += sum(int(line.split()[1]) for line in file if "voluntary_ctxt" in line)
            found.append({
                "pid": int(pid), "name": name, "rss_kib": int(status["VmRSS"].split()[0]),
                "peak_kib": int(status["VmHWM"].split()[0]), "pss_kib": pss,
                "cpu_s": ticks / os.sysconf("SC_CLK_TCK"), "on_cpu_ms": on_cpu / 1e6, "switches": switches,
            })
        except (OSError, KeyError, IndexError, ProcessLookupError):
            continue
    return found


def total():
    everything = processes()
    sums = {key: sum(process[key] for process in everything)
            for key in ("rss_kib", "peak_kib", "pss_kib", "cpu_s", "on_cpu_ms", "switches")}
    return {"processes": len(everything), **sums}


def end_all(number=signal.SIGTERM, but=("dbus-daemon", "sleep")):
    """Ends the client's processes: asked first, then made to."""
    for attempt in range(80):
        remaining = processes(but)
        if not remaining:
            return
        if attempt in (0, 40, 60):
            for process in remaining:
                try:
                    os.kill(process["pid"], number if attempt == 0 else signal.SIGKILL)
                except OSError:
                    pass
        time.sleep(0.05)
        while reap():
            pass


def reap():
    try:
        return os.waitpid(-1, os.WNOHANG)[0] > 0
    except ChildProcessError:
        return False


LOG = open(os.environ.get("BENCH_LOG", "/dev/null"), "ab")


NOTHING = open(os.devnull, "rb")


class Spawned:
    """A process started by posix_spawn(3), which costs the measurement a tenth of what
    `subprocess` does."""

    def __init__(self, command):
        streams = [(os.POSIX_SPAWN_DUP2, each.fileno(), to) for to, each in enumerate((NOTHING, LOG, LOG))]
        command = [str(each) for each in command]
        self.pid = os.posix_spawnp(command[0], command, os.environ, file_actions=streams, setsid=True)
        self.code = None

    def poll(self):
        """The exit status once it has ended, also when somebody else reaped it."""
        if self.code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.code = os.waitstatus_to_exitcode(status) if pid else None
            except ChildProcessError:
                self.code = -1
        return self.code


def spawn(command):
    return Spawned(command)


def do(action):
    """Starts an action. Returns the process, or None for one that is already done."""
    if callable(action):
        action()
        return None
    return spawn(action)


def milliseconds(end, start):
    return None if end is None else round((end - start) * 1000, 3)


class Watch:
    """Addresses and frames of one interface together."""

    def __init__(self, interface):
        self.addresses, self.frames = Addresses(), Frames(interface)
        self.poll = select.poll()
        for each in (self.addresses, self.frames):
            self.poll.register(each.socket, select.POLLIN)

    def clear(self):
        self.drain()
        self.addresses.seen.clear()
        self.frames.seen.clear()

    def drain(self):
        self.addresses.drain()
        self.frames.drain()

    def until(self, condition, seconds):
        end = time.monotonic() + seconds
        while True:
            # Sleeps first: right after a start the processor is the client's, not ours.
            left = end - time.monotonic()
            self.poll.poll(min(left * 1000, 20) if left > 0 else 0)
            self.drain()
            if condition():
                return True
            if left <= 0:
                return False

    def rest(self, seconds):
        self.until(lambda: False, seconds)


def started(client, watch, command):
    """Starts the client and waits for its address."""
    watch.clear()
    start = now()
    spawn(command)
    watch.until(lambda: watch.addresses.first("new"), 60)
    address = watch.addresses.first("new")
    watch.rest(0.05)
    return {
        "address_ms": milliseconds(address, start),
        "discover_ms": milliseconds(watch.frames.first("DISCOVER", "out"), start),
        "ack_ms": milliseconds(watch.frames.first("ACK", "in"), start),
        "frames": watch.frames.counts(),
    }


def cold(client, interface, commands):
    """Start to address; with `commands` also memory, renew and release."""
    watch = Watch(interface)
    client.prepare()
    result = started(client, watch, client.start(interface))
    if result["address_ms"] is None or not commands:
        return result
    watch.rest(2)
    result["memory"] = total()
    renew, release = client.renew(interface), client.release(interface)
    if renew:
        watch.clear()
        start = now()
        process = do(renew)
        watch.until(lambda: watch.frames.first("ACK", "in"), 8)
        watch.until(lambda: not process or process.poll() is not None, 5)
        result["renew"] = {
            "request_ms": milliseconds(watch.frames.first("REQUEST", "out"), start),
            "ack_ms": milliseconds(watch.frames.first("ACK", "in"), start),
            "exit": process.code if process else None,
        }
        watch.rest(0.5)
    if release:
        watch.clear()
        start = now()
        process = do(release)
        watch.until(lambda: watch.frames.first("RELEASE", "out") and watch.addresses.first("del"), 8)
        watch.until(lambda: not process or process.poll() is not None, 5)
        result["release"] = {
            "packet_ms": milliseconds(watch.frames.first("RELEASE", "out"), start),
            "removed_ms": milliseconds(watch.addresses.first("del"), start),
            "exit": process.code if process else None,
        }
    return result


def stored(client, interface):
    """Bound, killed, its address taken off as a reboot would, started again."""
    watch = Watch(interface)
    client.prepare()
    first = started(client, watch, client.start(interface))
    if first["address_ms"] is None:
        return first
    watch.rest(1)
    end_all(signal.SIGKILL)
    subprocess.run(["ip", "address", "flush", "dev", interface], check=False)
    watch.rest(0.3)
    return started(client, watch, client.start(interface))


def acquire(client, interface):
    """The client runs and holds nothing; it is told to acquire."""
    watch = Watch(interface)
    client.prepare()
    running = client.running(interface)
    if not running:
        return {}
    start_command, make_idle, action = running
    if make_idle:
        spawn(start_command)
        if not watch.until(lambda: watch.addresses.first("new"), 60):
            return {}
        watch.rest(1)
        do(make_idle)
        if not watch.until(lambda: watch.addresses.first("del"), 10):
            return {}
        watch.rest(1)
    else:
        daemon = subprocess.Popen(start_command, stdin=NOTHING, stdout=subprocess.PIPE, stderr=LOG, start_new_session=True)
        if not any(line.strip() == b"ready" for line in iter(daemon.stdout.readline, b"")):
            return {}
        watch.rest(0.3)
    watch.clear()
    start = now()
    process = do(action)
    watch.until(lambda: watch.addresses.first("new"), 20)
    watch.until(lambda: not process or process.poll() is not None, 5)
    return {"address_ms": milliseconds(watch.addresses.first("new"), start), "frames": watch.frames.counts()}


def scale(client, count, timeout, idle):
    """One daemon (or a process each) for c1 to cN."""
    addresses = Addresses()
    client.prepare()
    wanted = {socket.if_nametoindex(f"c{i}") for i in range(1, count + 1)}
    commands = [client.start_many(count)]
    if not commands[0]:
        commands = [client.start(f"c{i}") for i in range(1, count + 1)]
    bound = {}
    poll = select.poll()
    poll.register(addresses.socket, select.POLLIN)
    start = now()
    for command in commands:
        spawn(command)
    while len(bound) < count and now() < start + timeout:
        poll.poll(200)
        addresses.drain()
        for at, what, index in addresses.seen:
            if what == "new" and index in wanted:
                bound.setdefault(index, at)
        addresses.seen.clear()
    times = sorted(at - start for at in bound.values())
    at_bound = total()
    result = {
        "bound": len(bound), "all_s": round(times[-1], 3) if len(times) == count else None,
        "median_s": round(times[len(times) // 2], 3) if times else None, "at_bound": at_bound,
    }
    result["settled_s"] = settle()
    result["memory"] = total()
    before = {process["pid"]: process for process in processes()}
    time.sleep(idle)
    # Helpers that ended meanwhile are not counted.
    pairs = [(before[process["pid"]], process) for process in processes() if process["pid"] in before]
    result["idle"] = {key: round(sum(after[key] - first[key] for first, after in pairs), 3)
                      for key in ("on_cpu_ms", "switches")}
    return result


def settle(most=60):
    """Waits until retransmissions, announcements and tidying up have ended: three seconds in which
    nothing wakes up. Returns how long that took, `most` if it never came."""
    start, quiet = time.monotonic(), 0
    switches = total()["switches"]
    while quiet < 3 and time.monotonic() < start + most:
        time.sleep(1)
        before, switches = switches, total()["switches"]
        quiet = quiet + 1 if switches == before else 0
    return round(time.monotonic() - start - quiet, 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=["cold", "commands", "stored", "acquire", "scale"])
    parser.add_argument("client", choices=clients.EVERY)
    parser.add_argument("--detection", default="off")
    parser.add_argument("--rapid", action="store_true")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=120)
    parser.add_argument("--idle", type=float, default=10)
    options = parser.parse_args()
    client = clients.EVERY[options.client](options.detection, options.rapid)
    try:
        if options.scenario in ("cold", "commands"):
            result = cold(client, "c1", options.scenario == "commands")
        elif options.scenario == "stored":
            result = stored(client, "c1")
        elif options.scenario == "acquire":
            result = acquire(client, "c1")
        else:
            result = scale(client, options.count, options.timeout, options.idle)
        json.dump(result, sys.stdout)
    finally:
        end_all()
        end_all(but=("sleep",))


main()
