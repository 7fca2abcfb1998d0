"""How each DHCP client is configured, started and told what to do.

Everything here runs inside the client namespace with private /etc, /run and state directories
(sandbox.sh). An action is a command line, or a function where the client is told by a signal.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target"))


def write(path, text, mode=0o644):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def bus():
    subprocess.run(["dbus-daemon", "--system", "--fork", "--nopidfile"], check=False,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def signal_to(pid_file, number):
    return lambda: os.kill(int(Path(pid_file).read_text()), number)


class Client:
    """What a client need not have stays None: the table then says so.

    `detection` is off, background or strict; a client that cannot probe beside using the address
    takes background as strict. `probes` says whether it can probe at all.
    """

    programs = ()
    probes = True

    def __init__(self, detection="off", rapid=False):
        self.detection, self.rapid = detection, rapid

    @classmethod
    def missing(cls):
        return [name for name in cls.programs if not shutil.which(name)]

    @classmethod
    def version(cls):
        return ""

    def prepare(self):
        """Writes configuration; before the clock."""

    def start(self, interface):
        """The client, in the foreground, for one interface."""

    def start_many(self, count):
        """One process for c1 to cN; None where there has to be one for each."""

    def renew(self, interface):
        """Extend the lease now."""

    def release(self, interface):
        """Give the lease back now."""

    def running(self, interface):
        """For acquiring in a running client: (start, make idle or None, acquire)."""


def first_line(*command):
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=5)
        return (out.stdout + out.stderr).strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return "unknown"


class Iphelper(Client):
    CONFIG, SOCKET = "/run/iphelper/bench.toml", "/run/iphelper/bench.sock"
    binaries = Path(os.environ.get("IPHELPER_BINARIES", TARGET / "release"))

    @classmethod
    def missing(cls):
        return [name for name in ("iphelperd", "iph") if not (cls.binaries / name).exists()]

    @classmethod
    def version(cls):
        return first_line(str(cls.binaries / "iph"), "--version")

    def prepare(self, interfaces=True):
        write(self.CONFIG, f"""
[daemon]
resolver = "file"
resolver_file = "/run/iphelper/resolv.conf"
log = "warn"

[defaults]
conflict_detection = "{self.detection}"
rapid_commit = {str(self.rapid).lower()}
""" + ('\n[[interface]]\nname = "c*"\n' if interfaces else ""))

    def daemon(self):
        return [str(self.binaries / "iphelperd"), "--config", self.CONFIG,
                "--state-dir", os.environ.get("IPHELPER_STATE", "/var/lib/iphelper"), "--socket", self.SOCKET]

    def iph(self, *arguments):
        return [str(self.binaries / "iph"), "--socket", self.SOCKET, *arguments]

    def start(self, interface):
        return self.daemon()

    def start_many(self, count):
        return self.daemon()

    def renew(self, interface):
        return self.iph("lease", "renew", interface)

    def release(self, interface):
        return self.iph("lease", "release", interface)

    def running(self, interface):
        self.prepare(interfaces=False)
        return self.daemon(), None, self.iph("lease", "acquire", interface)


class Minimal(Client):
    """No peer but a floor: minimal.c, compiled on first use."""

    probes = False
    source = HERE / "minimal.c"
    binary = Path(os.environ.get("IPHELPER_BENCH_MINIMAL", TARGET / "bench-minimal"))

    @classmethod
    def missing(cls):
        return [] if cls.binary.exists() else [str(cls.binary)]

    def start(self, interface):
        return [str(self.binary), interface]


class Dhcpcd(Client):
    programs = ("dhcpcd",)
    CONFIG = "/run/bench-dhcpcd.conf"

    @classmethod
    def version(cls):
        return first_line("dhcpcd", "--version")

    def prepare(self):
        text = Path("/etc/dhcpcd.conf").read_text() if Path("/etc/dhcpcd.conf").exists() else ""
        lines = [line for line in text.splitlines() if line != "persistent"]
        # nodev: no udev announces the interfaces here. nodelay: no random wait of up to 2 s.
        lines += ["nodelay", "noipv4ll", "nodev", "ipv4only"]
        lines += ["option rapid_commit"] if self.rapid else []
        lines += ["noarp"] if self.detection == "off" else []
        write(self.CONFIG, "\n".join(lines) + "\n")

    def start(self, interface):
        return ["dhcpcd", "-B", "-f", self.CONFIG, interface]

    def start_many(self, count):
        with open(self.CONFIG, "a") as config:
            config.write("allowinterfaces c*\n")
        return ["dhcpcd", "-B", "-M", "-f", self.CONFIG]

    def renew(self, interface):
        return ["dhcpcd", "-N", interface]

    def release(self, interface):
        return ["dhcpcd", "-k", interface]

    def running(self, interface):
        return self.start_many(1), ["dhcpcd", "-k", interface], ["dhcpcd", "-n", interface]


class Udhcpc(Client):
    programs = ("udhcpc",)

    @classmethod
    def version(cls):
        return first_line("busybox")

    def start(self, interface):
        command = ["udhcpc", "-f", "-i", interface, "-p", f"/run/udhcpc.{interface}.pid",
                   "-s", "/etc/udhcpc/default.script"]
        return command + (["-a"] if self.detection != "off" else [])

    def renew(self, interface):
        return signal_to(f"/run/udhcpc.{interface}.pid", signal.SIGUSR1)

    def release(self, interface):
        return signal_to(f"/run/udhcpc.{interface}.pid", signal.SIGUSR2)

    def running(self, interface):
        return self.start(interface), self.release(interface), self.renew(interface)


class Dhclient(Client):
    """No probing of its own beyond what its script does."""

    programs = ("dhclient",)
    probes = False
    FILES = ["-cf", "/run/dhclient.conf", "-lf", "/var/lib/dhcp/dhclient.leases", "-pf", "/run/dhclient.pid"]

    @classmethod
    def version(cls):
        return first_line("dhclient", "--version")

    def prepare(self):
        shutil.copy("/etc/dhcp/dhclient.conf", "/run/dhclient.conf")

    def start(self, interface):
        return ["dhclient", "-4", "-d", *self.FILES, interface]

    def start_many(self, count):
        return ["dhclient", "-4", "-d", *self.FILES, *(f"c{i}" for i in range(1, count + 1))]

    def release(self, interface):
        return ["dhclient", "-4", "-r", *self.FILES, interface]


class Networkd(Client):
    programs = ("networkctl", "dbus-daemon")
    DAEMON = "/lib/systemd/systemd-networkd"

    @classmethod
    def missing(cls):
        return super().missing() + ([] if os.path.exists(cls.DAEMON) else [cls.DAEMON])

    @classmethod
    def version(cls):
        return first_line("networkctl", "--version")

    def prepare(self):
        shutil.rmtree("/etc/systemd/network", ignore_errors=True)
        write("/etc/systemd/network/10-bench.network", f"""
[Match]
Name=c*
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
[DHCPv4]
SendDecline={"no" if self.detection == "off" else "yes"}
SendRelease=yes
""")
        bus()

    def start(self, interface):
        return [self.DAEMON]

    def start_many(self, count):
        return [self.DAEMON]

    def renew(self, interface):
        return ["networkctl", "renew", interface]

    def running(self, interface):
        return self.start(interface), ["networkctl", "down", interface], ["networkctl", "up", interface]


class NetworkManager(Client):
    """With its internal client."""

    programs = ("NetworkManager", "nmcli", "dbus-daemon")

    @classmethod
    def version(cls):
        return "NetworkManager " + first_line("NetworkManager", "--version")

    def prepare(self):
        for directory in ("system-connections", "conf.d"):
            shutil.rmtree(f"/etc/NetworkManager/{directory}", ignore_errors=True)
        write("/etc/NetworkManager/NetworkManager.conf", """
[main]
plugins=keyfile
dhcp=internal
no-auto-default=*
dns=none
rc-manager=unmanaged
[logging]
level=WARN
[connectivity]
enabled=false
""")
        write("/etc/NetworkManager/system-connections/bench.nmconnection", f"""
[connection]
id=bench
type=ethernet
multi-connect=3
[match]
interface-name=c*;
[ipv4]
method=auto
dad-timeout={0 if self.detection == "off" else 3000}
[ipv6]
method=disabled
""", 0o600)
        bus()

    def start(self, interface):
        return ["NetworkManager", "--no-daemon"]

    def start_many(self, count):
        return ["NetworkManager", "--no-daemon"]

    def running(self, interface):
        return (self.start(interface), ["nmcli", "device", "disconnect", interface],
                ["nmcli", "device", "connect", interface])


class Mozim(Client):
    """A library; mozim/ is the smallest daemon around it. It sets the address and nothing else."""

    probes = False
    binary = Path(os.environ.get("MOZIM_BENCH", TARGET / "bench-mozim/release/mozim-bench"))

    @classmethod
    def missing(cls):
        return [] if cls.binary.exists() else [str(cls.binary)]

    @classmethod
    def version(cls):
        lock = (HERE / "mozim/Cargo.lock").read_text() if (HERE / "mozim/Cargo.lock").exists() else ""
        _, _, rest = lock.partition('name = "mozim"\nversion = "')
        return "mozim " + (rest.split('"')[0] or "unknown")

    def start(self, interface):
        return [str(self.binary), interface]

    def start_many(self, count):
        return [str(self.binary), *(f"c{i}" for i in range(1, count + 1))]

    def release(self, interface):
        return signal_to("/run/mozim-bench.pid", signal.SIGUSR2)


ALL = {
    "iphelper": Iphelper,
    "dhcpcd": Dhcpcd,
    "udhcpc": Udhcpc,
    "dhclient": Dhclient,
    "networkd": Networkd,
    "NetworkManager": NetworkManager,
    "mozim": Mozim,
}
# Those, and what is measured beside ours alone.
EVERY = {**ALL, "minimal": Minimal}
