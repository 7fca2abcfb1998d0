"""Asks the server at the socket given for port reservations, and passes it a socket.

asyncvarlink takes a socket where the interface has the index of a descriptor.
"""

import asyncio
import dataclasses
import enum
import os
import socket
import sys
from collections.abc import Iterator

from asyncvarlink import (
    FileDescriptor,
    TypedVarlinkErrorReply,
    VarlinkClientProtocol,
    VarlinkInterface,
    connect_unix_varlink,
    varlinkmethod,
)
from asyncvarlink.serviceinterface import VarlinkServiceInterface


class Protocol(enum.Enum):
    tcp = "tcp"
    udp = "udp"


class Kind(enum.Enum):
    persistent = "persistent"
    runtime = "runtime"


class Refusal(enum.Enum):
    access_denied = "access_denied"
    address_in_use = "address_in_use"
    not_permitted = "not_permitted"


@dataclasses.dataclass
class Who:
    uid: int
    user: str | None = None
    pid: int | None = None
    program: str | None = None
    unit: str | None = None
    cgroup: str | None = None


@dataclasses.dataclass
class Reservation:
    id: str
    protocol: Protocol
    start_port: int
    number_of_ports: int
    kind: Kind
    owner: Who
    created_at: str
    refusal: Refusal
    dry_run: bool
    low_ports: bool
    users: list[int]
    cgroups: list[str]
    denials: int
    token: str | None = None
    purpose: str | None = None
    expires_at: str | None = None


@dataclasses.dataclass
class Denial:
    time: str
    protocol: Protocol
    port: int
    who: Who
    reservation: str
    start_port: int
    number_of_ports: int
    dry_run: bool
    suppressed: int


class QuotaExceeded(TypedVarlinkErrorReply, interface="org.iphelper.PortReservation"):
    class Parameters:
        what: str
        limit: int
        held: int


class PortReservation(VarlinkInterface, name="org.iphelper.PortReservation"):
    errors = (QuotaExceeded,)

    @varlinkmethod(return_parameter="reservation")
    def Lookup(
        self, *, protocol: Protocol, start_port: int, number_of_ports: int
    ) -> Reservation: ...

    @varlinkmethod(return_parameter="reservations")
    def List(self, *, protocol: Protocol | None = None) -> Iterator[list[Reservation]]: ...

    @varlinkmethod(return_parameter="reservation")
    def Associate(self, *, token: str, socket: FileDescriptor) -> Reservation: ...

    @varlinkmethod(return_parameter="reservation")
    def Acquire(self, *, socket: FileDescriptor, number_of_ports: int) -> Reservation: ...

    @varlinkmethod(return_parameter="denial")
    def Denials(self, *, recent: int | None = None) -> Iterator[Denial]: ...


async def main(path: str) -> None:
    transport, protocol = await connect_unix_varlink(VarlinkClientProtocol, path)
    service = protocol.make_proxy(VarlinkServiceInterface)
    described = await service.GetInterfaceDescription(interface="org.iphelper.PortReservation")
    assert "method Associate" in str(described), described

    ports = protocol.make_proxy(PortReservation)
    found = await ports.Lookup(protocol=Protocol.tcp, start_port=5000, number_of_ports=20)
    reservation = found["reservation"]
    assert (reservation.purpose, reservation.owner.user) == ("web", "sam"), reservation
    starts = [one.start_port async for part in ports.List() for one in part["reservations"]]
    assert starts == [5000, 6000], starts

    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as theirs:
        # The proxy closes what it is given.
        copy = FileDescriptor(os.dup(theirs.fileno()))
        associated = await ports.Associate(token=reservation.token, socket=copy)
        assert associated["reservation"].start_port == 5000, associated
        copy = FileDescriptor(os.dup(theirs.fileno()))
        try:
            await ports.Acquire(socket=copy, number_of_ports=200)
        except QuotaExceeded as error:
            assert (error.p_limit, error.p_held) == (64, 60), error
        else:
            raise AssertionError("200 ports should not have been given")

    wanted = []
    async for refused in ports.Denials(recent=2):
        wanted.append(refused["denial"].port)
        if len(wanted) == 2:
            break
    assert wanted == [5001, 5002], wanted
    transport.close()
    print("all is well")


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 20))
