"""Asks the server at the socket given: introspection, calls, lists, typed errors, events.

Types are declared as a client in Python would; asyncvarlink refuses what does not fit them.
"""

import asyncio
import dataclasses
import enum
import sys
import typing
from collections.abc import Iterator

from asyncvarlink import (
    TypedVarlinkErrorReply,
    VarlinkClientProtocol,
    VarlinkInterface,
    connect_unix_varlink,
    varlinkmethod,
)
from asyncvarlink.serviceinterface import VarlinkServiceInterface


class Family(enum.Enum):
    ipv4 = "ipv4"
    ipv6 = "ipv6"


@dataclasses.dataclass
class Route:
    destination: str
    gateway: str | None = None


@dataclasses.dataclass
class Binding:
    prefix_length: int
    address: str | None = None
    prefix: str | None = None
    broadcast: str | None = None
    preferred_until: str | None = None
    expires_at: str | None = None


@dataclasses.dataclass
class Server:
    address: str | None = None
    duid: str | None = None


@dataclasses.dataclass
class DhcpOption:
    code: int
    data: str
    name: str | None = None
    text: str | None = None


@dataclasses.dataclass
class LeaseInfo:
    interface: str
    ifindex: int
    family: Family
    state: str
    link_up: bool
    bindings: list[Binding]
    routes: list[Route]
    dns: list[str]
    domain_search: list[str]
    ntp: list[str]
    options: list[DhcpOption]
    hardware_address: str | None = None
    server: Server | None = None
    obtained_at: str | None = None
    renew_at: str | None = None
    rebind_at: str | None = None
    domain_name: str | None = None
    mtu: int | None = None
    host_name: str | None = None
    captive_portal: str | None = None
    link_local: str | None = None
    metric: int | None = None
    client_identifier: str | None = None


@dataclasses.dataclass
class Event:
    kind: str
    time: str
    text: str
    bindings: list[Binding]
    interface: str | None = None
    ifindex: int | None = None
    family: Family | None = None
    lease: LeaseInfo | None = None
    state: str | None = None
    previous_state: str | None = None
    server: Server | None = None
    via: str | None = None
    message_sent: bool | None = None
    reason: str | None = None
    address: str | None = None
    hardware_address: str | None = None
    defended: bool | None = None
    waited: float | None = None
    tries: int | None = None
    router: str | None = None


class Renewed(typing.TypedDict):
    lease: LeaseInfo
    via: str


class NoAnswer(TypedVarlinkErrorReply, interface="org.iphelper.Lease"):
    class Parameters:
        interface: str
        waited: float
        tries: int


class LeaseInterface(VarlinkInterface, name="org.iphelper.Lease"):
    errors = (NoAnswer,)

    @varlinkmethod(return_parameter="leases")
    def List(
        self, *, interface: str | None = None, family: Family | None = None
    ) -> Iterator[list[LeaseInfo]]: ...

    @varlinkmethod
    def Renew(
        self,
        *,
        interface: str,
        family: Family | None = None,
        timeout: float | None = None,
    ) -> Renewed: ...

    @varlinkmethod(return_parameter="event")
    def Monitor(self, *, interface: str | None = None) -> Iterator[Event]: ...


async def main(path: str) -> None:
    transport, protocol = await connect_unix_varlink(VarlinkClientProtocol, path)
    service = protocol.make_proxy(VarlinkServiceInterface)
    info = await service.GetInfo()
    assert info["product"] == "iphelperd", info
    assert "org.iphelper.Lease" in info["interfaces"], info
    description = await service.GetInterfaceDescription(interface="org.iphelper.Lease")
    assert "method Renew" in str(description), description

    lease = protocol.make_proxy(LeaseInterface)
    renewed = await lease.Renew(interface="eth0", family=Family.ipv4, timeout=2.5)
    assert renewed["via"] == "unicast", renewed
    assert renewed["lease"].bindings[0].address == "192.0.2.102", renewed
    assert renewed["lease"].routes[0].destination == "0.0.0.0/0", renewed
    try:
        await lease.Renew(interface="eth1")
    except NoAnswer as error:
        assert (error.p_waited, error.p_tries) == (4.5, 3), error
    else:
        raise AssertionError("eth1 should not have been renewed")

    names = [one.interface async for part in lease.List(interface="eth*") for one in part["leases"]]
    assert names == ["eth0", "eth1"], names

    kinds = []
    async for happened in lease.Monitor(interface="eth1"):
        event = happened["event"]
        kinds.append((event.kind, event.interface))
        if event.kind != "state":
            break
    assert kinds == [("state", "eth1"), ("acquired", "eth1")], kinds
    transport.close()
    print("all is well")


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 20))
