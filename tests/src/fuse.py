"""A user with a file system of their own (FUSE), which answers neither reads nor flushes.

    fuse.py USER FOLDER call SOCKET METHOD...   calls each method with a socket that stays locked
    fuse.py USER FOLDER bound PORT              has such a socket bound to a port
    fuse.py USER FOLDER malformed SOCKET        sends a message that is none, with a file of it

A socket stays locked while its owner sends from memory that is not there: a mapping of such a file
(tcp_sendmsg has the lock while it copies). Prints `ready` when that is so, `unavailable: WHY` where there
is no FUSE, and stays until it is killed: then the kernel ends what waits for the file system.
"""

import ctypes
import json
import mmap
import os
import signal
import socket
import struct
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
# linux/fuse.h
LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE = 1, 2, 3, 14, 15, 18
FLUSH, INIT, INTERRUPT, BATCH_FORGET = 25, 26, 36, 42
ENOSYS = 38
ROOT, SIZE = 1, 1 << 16
# linux/mount.h, linux/sched.h, linux/prctl.h
MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 2, 4, 16384, 1 << 18
CLONE_NEWNS = 0x20000
PR_SET_PDEATHSIG = 1


def call(name, *arguments):
    if getattr(LIBC, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def attributes(node):
    mode = 0o40755 if node == ROOT else 0o100644
    return struct.pack("=6Q10I", node, SIZE, SIZE >> 9, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(operation, node, body):
    """What is answered: bytes, an error number, or nothing at all."""
    if operation == INIT:
        return struct.pack("=4I2H2I2H8I", 7, 31, 0, 0, 16, 12, 4096, 1, 0, 0, *[0] * 8)
    if operation == LOOKUP:
        found = ROOT + 1 + int(body.rstrip(b"\0"))
        return struct.pack("=4Q2I", found, 0, 3600, 3600, 0, 0) + attributes(found)
    if operation == GETATTR:
        return struct.pack("=Q2I", 3600, 0, 0) + attributes(node)
    if operation == OPEN:
        return bytes(16)
    if operation == RELEASE:
        return b""
    return ENOSYS


def serve(device, asked):
    while True:
        try:
            request = os.read(device, 1 << 17)
        except OSError:
            return
        _, operation, unique, node = struct.unpack_from("=2I2Q", request)
        if operation in (READ, FLUSH):
            os.write(asked, b"r" if operation == READ else b"f")
        elif operation not in (FORGET, BATCH_FORGET, INTERRUPT):
            found = answer(operation, node, request[40:])
            error, data = (found, b"") if isinstance(found, int) else (0, found)
            os.write(device, struct.pack("=IiQ", 16 + len(data), -error, unique) + data)


class Attacker:
    def __init__(self, folder, asked):
        self.folder, self.asked, self.files, self.kept = folder, asked, 0, []

    def file(self):
        self.files += 1
        return os.open(f"{self.folder}/{self.files}", os.O_RDONLY)

    def locked(self, port=0):
        """A socket that stays locked."""
        listener = socket.create_server(("127.0.0.1", 0))
        sender = socket.socket()
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sender.bind(("127.0.0.1", port))
        sender.connect(listener.getsockname())
        memory = mmap.mmap(self.file(), SIZE, mmap.MAP_PRIVATE, mmap.PROT_READ)
        self.kept += [listener, sender, memory]
        threading.Thread(target=sender.send, args=(memory,), daemon=True).start()
        os.read(self.asked, 1)
        return sender

    def send(self, path, message, descriptor):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        socket.send_fds(connection, [message + b"\0"], [descriptor])
        self.kept.append(connection)


def attack(attacker, what, *arguments):
    if what == "call":
        path, *methods = arguments
        for method in methods:
            parameters = {"socket": 0, "token": "0" * 32} if "Associate" in method else {"socket": 0, "number_of_ports": 1}
            message = json.dumps({"method": method, "parameters": parameters}).encode()
            attacker.send(path, message, attacker.locked().fileno())
    elif what == "bound":
        attacker.locked(int(arguments[0]))
    elif what == "malformed":
        attacker.send(arguments[0], b"garbage", attacker.file())
        # The daemon closes what it got.
        os.read(attacker.asked, 1)


def main():
    user, folder, *attacked = sys.argv[1:]
    user = int(user)
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        call("unshare", CLONE_NEWNS)
        call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
        options = f"fd={device},rootmode=40000,user_id={user},group_id={user}"
        call("mount", b"fuse", os.fsencode(folder), b"fuse", MS_NOSUID | MS_NODEV, options.encode())
    except OSError as error:
        print(f"unavailable: {error}", flush=True)
        return
    asked, ask = os.pipe()
    # Two processes: one that waits for its own file system could not be killed.
    server = os.getpid()
    if os.fork():
        serve(device, ask)
        return
    os.close(device)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    # After the user, whose change resets it.
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == server:
        attack(Attacker(folder, asked), *attacked)
        print("ready", flush=True)
        signal.pause()


main()
