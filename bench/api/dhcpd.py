#!/usr/bin/env python3
"""The smallest DHCP server that a client takes a lease from, for one client.

    dhcpd.py INTERFACE SERVER CLIENT LEASE T1 T2        addresses, and seconds

Prints, for each REQUEST of a lease in use, when the kernel received it: nanoseconds of the real-time
clock, one a line.
"""

import socket
import struct
import sys

SO_TIMESTAMPNS = 35
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
COOKIE = b"\x63\x82\x53\x63"


def options(message):
    found, at = {}, 240
    while at + 1 < len(message) and message[at] != 255:
        if message[at] == 0:
            at += 1
            continue
        code, length = message[at], message[at + 1]
        found[code] = message[at + 2:at + 2 + length]
        at += 2 + length
    return found


def main():
    interface, server, client = sys.argv[1], *map(socket.inet_aton, sys.argv[2:4])
    lease, t1, t2 = map(int, sys.argv[4:7])
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    listener.bind(("", 67))
    print("ready", flush=True)
    while True:
        message, control, _, _ = listener.recvmsg(2048, 256)
        stamps = [data for level, kind, data in control if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS)]
        if len(message) < 240 or message[0] != 1:
            continue
        kind = options(message).get(53, b"\0")[0]
        if kind not in (DISCOVER, REQUEST):
            continue
        in_use = message[12:16]
        answer = bytearray(message[:240])
        answer[0] = 2
        answer[16:20] = client
        answer[20:24] = bytes(4)
        answer += bytes([53, 1, OFFER if kind == DISCOVER else ACK]) + bytes([54, 4]) + server
        for code, seconds in ((51, lease), (58, t1), (59, t2)):
            answer += struct.pack("!BBI", code, 4, seconds)
        answer += bytes([1, 4, 255, 255, 255, 0, 255])
        used = in_use != bytes(4)
        if kind == REQUEST and used:
            seconds, nanoseconds = struct.unpack("ll", stamps[0][:16])
            print(seconds * 1_000_000_000 + nanoseconds, flush=True)
        listener.sendto(answer, (socket.inet_ntoa(in_use) if used else "255.255.255.255", 68))


main()
