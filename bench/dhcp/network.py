"""The test network: a bridge with the server on this side, N virtual cables into a second namespace.

Both namespaces are anonymous. This process already lives in the first (bench.py starts it there);
the second is held by a child. Whatever way this process ends, the kernel removes both.
"""

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

SERVER = "10.77.0.1"


def run(*arguments, text=None):
    subprocess.run(arguments, input=text, text=True, check=True, stdout=subprocess.DEVNULL)


def wait_until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Network:
    """`count` interfaces c1 to cN in the client namespace, bridged to `SERVER`/16 here, or each on a
    link of its own."""

    def __init__(self, count, bridged=True):
        self.count, self.bridged = count, bridged
        run("ip", "link", "set", "lo", "up")
        if bridged:
            run("ip", "link", "add", "br0", "type", "bridge", "stp_state", "0",
                "forward_delay", "0", "mcast_snooping", "0")
            run("ip", "address", "add", f"{SERVER}/16", "dev", "br0")
            run("ip", "link", "set", "br0", "up")
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        own = os.stat("/proc/self/ns/net").st_ino
        wait_until(lambda: self._holder_namespace() not in (None, own), 5, "client namespace")
        # Many interfaces of one host on one link: each answers ARP for its own address only.
        self._sysctl("ipv4/conf/all/arp_ignore=1", "ipv4/conf/all/rp_filter=0",
                     "ipv4/conf/default/rp_filter=0", "ipv6/conf/all/disable_ipv6=1",
                     "ipv6/conf/default/disable_ipv6=1")
        numbers = range(1, count + 1)
        pid = self.holder.pid
        run("ip", "-batch", "-", text="".join(
            f"link add s{i} type veth peer name c{i} address 02:77:00:00:{i >> 8:02x}:{i & 255:02x} netns {pid}\n"
            f"link set s{i}{' master br0' if bridged else ''} up\n" for i in numbers))
        run(*self.inside("ip", "-batch", "-"),
            text="link set lo up\n" + "".join(f"link set c{i} up\n" for i in numbers))
        wait_until(self._all_forward, 30, "carrier on every interface")

    def inside(self, *command):
        """The command, to run in the client namespace."""
        return ["nsenter", "--target", str(self.holder.pid), "--net", *command]

    def reset(self):
        """Brings every interface to where it was at first."""
        run(*self.inside("ip", "address", "flush", "label", "c*"))
        run(*self.inside("ip", "-batch", "-"), text="".join(
            f"link set c{i} mtu 1500 up\n" for i in range(1, self.count + 1)))

    def close(self):
        namespace = self._holder_namespace()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.stat(f"/proc/{pid}/ns/net").st_ino == namespace:
                    os.kill(int(pid), signal.SIGKILL)
            except OSError:
                continue
        self.holder.wait()
        if self.bridged:
            run("ip", "link", "delete", "br0")
        # The kernel takes the namespace apart in its own time; its cables end here.
        wait_until(lambda: not any(re.fullmatch(r"s\d+", name) for _, name in socket.if_nameindex()),
                   120, "the end of the cables")

    def _holder_namespace(self):
        try:
            return os.stat(f"/proc/{self.holder.pid}/ns/net").st_ino
        except OSError:
            return None

    def _sysctl(self, *settings):
        script = "".join("echo {1} > /proc/sys/net/{0};".format(*s.split("=")) for s in settings)
        run(*self.inside("sh", "-c", script))

    def _all_forward(self):
        if not self.bridged:
            out = subprocess.run(["ip", "-o", "link", "show", "up"], capture_output=True, text=True).stdout
            return out.count("LOWER_UP") == self.count + 1
        out = subprocess.run(["bridge", "link", "show"], capture_output=True, text=True).stdout
        return out.count("state forwarding") == self.count


class LinkServer:
    """The lab's DHCP server at the far end of every link, which answers at once."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError("the lab's server ended at once")

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Dnsmasq:
    """dnsmasq on the bridge, without its ping before an offer, which would cost every client 3 s."""

    def __init__(self, rapid=False):
        self.directory = tempfile.mkdtemp(prefix="bench-dhcp-")
        command = [
            "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--pid-file=", "--port=0",
            "--interface=br0", "--bind-interfaces", "--no-ping", "--dhcp-authoritative",
            "--dhcp-range=10.77.1.1,10.77.250.250,255.255.0.0,3600", "--dhcp-lease-max=60000",
            f"--dhcp-leasefile={self.directory}/leases", f"--dhcp-option=option:router,{SERVER}",
            f"--dhcp-option=option:dns-server,{SERVER}", "--dhcp-option=option:domain-name,test.example",
            f"--dhcp-option=option:ntp-server,{SERVER}", "--dhcp-option=option:mtu,1400",
            "--log-facility=/dev/null",
        ]
        if rapid:
            command.append("--dhcp-rapid-commit")
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._widen_buffer, 5, "dnsmasq's socket")

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _widen_buffer(self):
        """Gives the server's socket a buffer for a thousand clients at once, so that it is not the
        server that loses their messages. Returns whether the socket was there."""
        if self.process.poll() is not None:
            raise RuntimeError("dnsmasq ended at once")
        libc = ctypes.CDLL(None, use_errno=True)
        pidfd = os.pidfd_open(self.process.pid)
        try:
            for number in os.listdir(f"/proc/{self.process.pid}/fd"):
                duplicate = libc.syscall(438, pidfd, int(number), 0)  # pidfd_getfd(2)
                if duplicate < 0:
                    continue
                try:
                    server = socket.socket(fileno=os.dup(duplicate))
                except OSError:
                    continue
                finally:
                    os.close(duplicate)
                with server:
                    if server.family == socket.AF_INET and server.type == socket.SOCK_DGRAM \
                            and server.getsockname()[1] == 67:
                        server.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
                        return True
        finally:
            os.close(pidfd)
        return False

