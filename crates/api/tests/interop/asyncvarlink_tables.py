"""Asks the server at the socket given for tables: parts, typed errors, changes."""

import asyncio
import dataclasses
import sys
from collections.abc import Iterator

from asyncvarlink import (
    TypedVarlinkErrorReply,
    VarlinkClientProtocol,
    VarlinkInterface,
    connect_unix_varlink,
    varlinkmethod,
)


@dataclasses.dataclass
class StackEntry:
    higher_interface: str
    higher_ifindex: int
    higher_luid: int
    lower_interface: str
    lower_ifindex: int
    lower_luid: int


@dataclasses.dataclass
class Change:
    kind: str
    members: list[str]
    table: str | None = None
    stack: StackEntry | None = None


class NoSuchInterface(TypedVarlinkErrorReply, interface="org.iphelper.Interface"):
    class Parameters:
        interface: str


class Interface(VarlinkInterface, name="org.iphelper.Interface"):
    errors = (NoSuchInterface,)

    @varlinkmethod(return_parameter="rows")
    def ListStack(self, *, interface: str | None = None) -> Iterator[list[StackEntry]]: ...

    @varlinkmethod(return_parameter="flushed")
    def FlushNeighbors(self, *, interface: str | None = None) -> int: ...

    @varlinkmethod(return_parameter="changes")
    def Monitor(
        self, *, tables: list[str] | None = None, interface: str | None = None
    ) -> Iterator[list[Change]]: ...


async def main(path: str) -> None:
    transport, protocol = await connect_unix_varlink(VarlinkClientProtocol, path)
    tables = protocol.make_proxy(Interface)
    rows = [row async for part in tables.ListStack(interface="br3") for row in part["rows"]]
    assert len(rows) == 100, rows
    assert all(row.higher_luid == 1689399649632256 for row in rows), rows
    try:
        await tables.FlushNeighbors(interface="ppp0")
    except NoSuchInterface as error:
        # The canned daemon names the method.
        assert error.p_interface == "org.iphelper.Interface.FlushNeighbors", error
    else:
        raise AssertionError("ppp0 should not be there")

    told = []
    async for part in tables.Monitor(tables=["stack"], interface="eth7"):
        told.extend((change.kind, change.stack) for change in part["changes"])
        if told[-1][0] == "complete":
            break
    assert [kind for kind, _ in told] == ["added", "complete"], told
    assert told[0][1].lower_interface == "eth7", told
    transport.close()
    print("all is well")


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 20))
