#!/usr/bin/env python3
"""Connections of a local user who means no good, until killed.

    hostile.py USER KIND SOCKET CONNECTIONS [CALL...]

USER is the user id. KIND is what each connection does, with messages that make these calls one after the other:
`half` sends the beginning of a long message and no more; `unread` sends calls as long as they are
taken, and reads nothing; `pipelined` sends them without waiting, and reads; `leave` connects, sends
them, and is gone. Who is refused or closed comes back.
"""

import os
import select
import socket
import sys
import time

# How much of a message that never ends.
HALF = 60 * 1024
# Between two tries of a connection, seconds. Faster, the attackers would wait for the processor that
# they want to take from others.
AGAIN = 0.01
CHUNK = 1 << 16


class Connection:
    def __init__(self, path, kind, calls):
        self.path, self.kind, self.calls = path, kind, calls
        self.socket = None
        self.again_at = 0.0

    def open(self, now):
        self.again_at = now + AGAIN
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.setblocking(False)
        try:
            self.socket.connect(self.path)
            self.rest = memoryview(b'{"method":"' + b"x" * HALF if self.kind == "half" else self.calls)
            self.write()
        except OSError:
            self.close()
            return
        if self.kind == "leave":
            self.close()

    def close(self):
        self.socket.close()
        self.socket = None

    def write(self):
        while self.rest:
            try:
                self.rest = self.rest[self.socket.send(self.rest[:CHUNK]):]
            except BlockingIOError:
                return
            if not self.rest and self.kind in ("unread", "pipelined"):
                self.rest = memoryview(self.calls)
                return

    def events(self):
        read = select.POLLIN if self.kind != "unread" else 0
        return read | (select.POLLOUT if self.rest else 0)

    def on(self, events):
        try:
            if events & select.POLLIN and not self.socket.recv(CHUNK):
                raise ConnectionError
            if events & (select.POLLHUP | select.POLLERR):
                raise ConnectionError
            if events & select.POLLOUT:
                self.write()
        except BlockingIOError:
            pass
        except OSError:
            self.close()


def main():
    user, (kind, path), count, calls = int(sys.argv[1]), sys.argv[2:4], int(sys.argv[4]), sys.argv[5:]
    # By itself: not every user may run the Python that root has.
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    message = b"".join(call.encode() + b"\0" for call in calls)
    connections = [Connection(path, kind, message * (1 + CHUNK // 4 // max(1, len(message)))) for _ in range(count)]
    if kind == "leave":
        for connection in connections:
            connection.calls = message
    parent = os.getppid()
    while os.getppid() == parent:
        now = time.monotonic()
        for connection in connections:
            if connection.socket is None and now >= connection.again_at:
                connection.open(now)
        poll = select.poll()
        by_descriptor = {c.socket.fileno(): c for c in connections if c.socket}
        for descriptor, connection in by_descriptor.items():
            poll.register(descriptor, connection.events())
        for descriptor, events in poll.poll(AGAIN * 1000):
            by_descriptor[descriptor].on(events)


main()
