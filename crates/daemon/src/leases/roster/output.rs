use api::daemon::ProblemKind;
use api::lease::Family;
use dhcp::v4::{self, Event, Listen, Outcome, Transmit};
use engine::CommandId;

use super::key::{ClientKey, Tag};
use crate::host::Change;
use crate::leases::resolver::Servers;
use crate::leases::store::Entry;
use crate::problems::Subject;

/// What a roster wants done, in this order. Whatever carries a tag is answered by an input of the
/// same tag.
#[derive(Debug)]
pub(crate) enum Output {
    /// Put this on the wire of the client's interface. Loss is expected.
    Send { client: ClientKey, transmit: Transmit },
    /// Receive exactly this for the client from now on.
    Listen { client: ClientKey, listen: Listen },
    /// The client is no more: whatever was opened for it is closed.
    Close { client: ClientKey },
    /// Put a RELEASE on the wire, and say when it has left: see `Input::Released`.
    Release { client: ClientKey, transmit: Transmit },
    /// It is not waited for any more.
    ForgetRelease { client: ClientKey },
    /// Change something in the kernel.
    Change { tag: Tag, change: Change },
    /// Have the tables read.
    ReadTables,
    /// Put a record on disk, in place of the interface's last one.
    Write { tag: Tag, entry: Box<Entry> },
    /// The record follows its interface to the new name.
    Rename { from: String, to: String },
    /// Take a record off the disk.
    Remove { interface: String },
    /// Make these the name servers that the client's family brings to the interface.
    SetServers { tag: Tag, servers: Servers },
    /// Withdraw those that the family brought. Without a tag nobody waits.
    ClearServers { tag: Option<Tag>, family: Family, interface: String },
    /// Tell subscribers and the log.
    Event { client: ClientKey, event: Event },
    /// Tell subscribers that a client is no more.
    Gone { client: ClientKey, name: String },
    /// The end of a command.
    Reply { id: CommandId, client: ClientKey, result: Result<Outcome, Failure> },
    /// A command was refused before it reached a client.
    Refuse { id: CommandId, refusal: Refusal },
    /// Find out whether somebody else manages the interface, which was given a client on command.
    LookForHolder { client: ClientKey },
    /// There is this problem from now on.
    Raise { subject: Subject, kind: ProblemKind, text: String },
    /// There is no such problem any more.
    Clear { subject: Subject, kind: ProblemKind },
    /// The subject is gone, and its problems with it.
    Forget { subject: Subject },
}

/// Why a command that reached a client failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// As the engine says.
    Client(v4::Failure),
    /// The interface went meanwhile.
    InterfaceGone,
}

/// Why a command did not reach a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no interface of that name.
    NoSuchInterface,
    /// It has no client. `ifindex` is for finding out who else may manage it.
    NotManaged { ifindex: u32 },
    /// It is the loopback, which has no DHCP client.
    Loopback,
    /// INFORM needs an address that was configured by hand, and there is none.
    NoAddress,
}

/// An output, or what is done in its place in the order.
#[derive(Debug)]
pub(super) enum Step {
    Output(Output),
    /// The client ends when all that it wanted done before has been handed out.
    Forget(ClientKey),
}
