//! One connection of the service, without I/O.

use serde::Serialize;

use super::descriptor::Descriptor;
use super::passed::Passed;
use crate::protocol::{Decoder, Error, LONGEST_CALL, MOST_DESCRIPTORS, Outgoing, ReplyOut, parse};
use crate::{daemon, interface, lease, ports, protocol, service};

/// Once that many bytes wait to be written, nothing more is asked for or queued until they are
/// gone. One message may exceed it.
const HIGH_WATER: usize = 64 << 10;

/// From so many bytes on a list goes on in another reply. One object may exceed it.
const LONGEST_LIST: usize = HIGH_WATER / 2;

/// A call of one of our interfaces.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Of `org.iphelper.Interface`.
    Interface(interface::Call),
    /// Of `org.iphelper.Lease`.
    Lease(lease::Call),
    /// Of `org.iphelper.PortReservation`.
    Ports(ports::Call),
    /// Of `org.iphelper.Daemon`.
    Daemon(daemon::Call),
}

impl Call {
    /// Whether it changes something.
    pub fn changes(&self) -> bool {
        match self {
            Self::Interface(call) => call.changes(),
            Self::Lease(call) => call.changes(),
            Self::Ports(call) => call.changes(),
            Self::Daemon(call) => call.changes(),
        }
    }
}

/// A call that waits to be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What is asked.
    pub call: Call,
    /// The caller takes more than one reply.
    pub more: bool,
    /// Nobody waits for a reply; whatever is replied is dropped.
    pub oneway: bool,
}

/// Turns the bytes of one client into calls, and the answers into bytes.
///
/// The owner's loop is:
///
/// 1. Give what was read to [`receive`](Self::receive), as long as
///    [`wants_bytes`](Self::wants_bytes), and the descriptors that came with it.
/// 2. Take the next call from [`poll_request`](Self::poll_request) and answer it: any number of
///    [`reply_and_continue`](Self::reply_and_continue) if it was made with `more`, then one
///    [`reply`](Self::reply) or [`fail`](Self::fail).
/// 3. Write [`outgoing`](Self::outgoing), tell [`sent`](Self::sent) how much of it went, and start
///    over.
///
/// Calls are answered in the order they came: the next is handed out when the one before has its
/// last reply. `org.varlink.service`, unknown methods and bad parameters are answered inside. What
/// is queued is never dropped; ask [`has_room`](Self::has_room) before queuing another message of
/// a stream, and memory stays bounded by a buffer and one message.
///
/// Descriptors belong to the call that the last byte they came with is of. They wait until that
/// call is handed out, and are closed with its last reply if nobody has
/// [taken](Self::take_descriptors) them.
#[derive(Debug)]
pub struct Connection {
    decoder: Decoder,
    /// Bytes received since the beginning.
    received: u64,
    passed: Passed,
    /// Those of the call handed out last.
    descriptors: Vec<Descriptor>,
    outgoing: Outgoing,
    answering: Option<Answering>,
}

/// The call being answered.
#[derive(Clone, Copy, Debug)]
struct Answering {
    oneway: bool,
}

impl Connection {
    /// A connection on which nothing has happened yet.
    pub fn new() -> Self {
        Self {
            decoder: Decoder::new(LONGEST_CALL),
            received: 0,
            passed: Passed::default(),
            descriptors: Vec::new(),
            outgoing: Outgoing::default(),
            answering: None,
        }
    }

    /// Takes bytes the client sent, and the descriptors that one read returned with them.
    pub fn receive(&mut self, bytes: &[u8], descriptors: Vec<Descriptor>) {
        self.decoder.push(bytes);
        self.received += bytes.len() as u64;
        self.passed.push(self.received, descriptors);
    }

    /// Whether more may be read: false while the client is ahead of us by the longest message, or
    /// by as many descriptors as one may have.
    pub fn wants_bytes(&self) -> bool {
        !self.decoder.is_full() && self.passed.count() < MOST_DESCRIPTORS
    }

    /// Returns the next call to answer, or `None` when bytes have to come or go first.
    ///
    /// On an error the client does not speak Varlink: write what is queued and close.
    pub fn poll_request(&mut self) -> Result<Option<Request>, Error> {
        while self.answering.is_none() && self.has_room() {
            let Some(message) = self.decoder.next_message()? else {
                // All that wait are of a message whose end has not come.
                return match self.passed.count() > MOST_DESCRIPTORS {
                    true => Err(Error::TooManyDescriptors),
                    false => Ok(None),
                };
            };
            let call: protocol::Call<'_> = parse(message)?;
            let oneway = call.oneway.unwrap_or(false);
            let more = call.more.unwrap_or(false);
            let asked = resolve(&call);
            let end = self.received - self.decoder.buffered() as u64;

            self.descriptors = self.passed.take(end);
            if self.descriptors.len() > MOST_DESCRIPTORS {
                return Err(Error::TooManyDescriptors);
            }
            self.answering = Some(Answering { oneway });
            match asked {
                Ok(Asked::Ours(call)) => return Ok(Some(Request { call, more, oneway })),
                Ok(Asked::Info(reply)) => self.reply(&reply)?,
                Ok(Asked::Description(reply)) => self.reply(&reply)?,
                Err(error) => self.fail(&error)?,
            }
        }
        Ok(None)
    }

    /// The descriptors that were passed with the call handed out last, in the client's order.
    pub fn take_descriptors(&mut self) -> Vec<Descriptor> {
        std::mem::take(&mut self.descriptors)
    }

    /// Whether another message of a stream may be queued.
    pub fn has_room(&self) -> bool {
        self.outgoing.bytes().len() < HIGH_WATER
    }

    /// Queues a reply after which others to the same call follow.
    pub fn reply_and_continue<T: Serialize>(&mut self, parameters: &T) -> Result<(), Error> {
        self.queue(&ReplyOut { parameters, continues: true })
    }

    /// Queues the last reply to the call being answered.
    pub fn reply<T: Serialize>(&mut self, parameters: &T) -> Result<(), Error> {
        self.queue(&ReplyOut { parameters, continues: false })?;
        self.answered();
        Ok(())
    }

    /// Begins a reply whose one member is a list.
    pub fn begin_list(&mut self, member: &str) -> Result<(), Error> {
        self.queue_with(|outgoing| {
            outgoing.begin_list(member);
            Ok(())
        })
    }

    /// Adds to the list.
    pub fn push_to_list<T: Serialize>(&mut self, object: &T) -> Result<(), Error> {
        self.queue_with(|outgoing| outgoing.push_to_list(object))
    }

    /// Whether the list is as long as one reply should be.
    pub fn is_list_full(&self) -> bool {
        self.outgoing.list_length() >= LONGEST_LIST
    }

    /// Ends the reply with the list, and begins another with the rest of it.
    pub fn continue_list(&mut self, member: &str) -> Result<(), Error> {
        self.queue_with(|outgoing| {
            outgoing.end_list(true);
            outgoing.begin_list(member);
            Ok(())
        })
    }

    /// Ends the list, and with it the call being answered.
    pub fn end_list(&mut self) -> Result<(), Error> {
        self.queue_with(|outgoing| {
            outgoing.end_list(false);
            Ok(())
        })?;
        self.answered();
        Ok(())
    }

    /// Ends the call being answered with an error of its interface, or of [`service`]. A list that was
    /// begun, and of which nothing was written yet, is taken back.
    pub fn fail<E: Serialize + std::error::Error>(&mut self, error: &E) -> Result<(), Error> {
        self.outgoing.abandon_list();
        self.queue(error)?;
        self.answered();
        Ok(())
    }

    /// Ends the conversation with an error, whatever was asked: for a client that holds more than it
    /// may. Nothing else can be queued afterwards that it would understand.
    pub fn refuse<E: Serialize + std::error::Error>(&mut self, error: &E) -> Result<(), Error> {
        self.answered();
        self.outgoing.push(error)
    }

    /// Bytes of messages that have not come to their end, or have not been handed out.
    pub fn unhandled(&self) -> usize {
        self.decoder.buffered()
    }

    /// Descriptors of calls that have not been handed out.
    pub fn waiting_descriptors(&self) -> usize {
        self.passed.count()
    }

    /// The bytes to write next.
    pub fn outgoing(&self) -> &[u8] {
        self.outgoing.bytes()
    }

    /// The first `written` bytes of [`outgoing`](Self::outgoing) went out.
    pub fn sent(&mut self, written: usize) {
        self.outgoing.advance(written);
    }

    fn answered(&mut self) {
        self.answering = None;
        self.descriptors.clear();
    }

    fn queue<T: Serialize>(&mut self, message: &T) -> Result<(), Error> {
        self.queue_with(|outgoing| outgoing.push(message))
    }

    /// Queues something for the caller being answered, if it waits for anything.
    fn queue_with(
        &mut self,
        queue: impl FnOnce(&mut Outgoing) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self.answering {
            Some(Answering { oneway: true }) => Ok(()),
            Some(Answering { oneway: false }) => queue(&mut self.outgoing),
            // The client would take it for the answer to its next call.
            None => Err(Error::Unexpected),
        }
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}

enum Asked {
    Ours(Call),
    Info(service::GetInfoReply),
    Description(service::GetInterfaceDescriptionReply),
}

fn resolve(call: &protocol::Call<'_>) -> Result<Asked, service::Error> {
    if call.upgrade.unwrap_or(false) {
        return Err(service::Error::MethodNotImplemented { method: call.method.to_string() });
    }
    let Some((interface, method)) = call.method.rsplit_once('.') else {
        return Err(service::Error::MethodNotFound { method: call.method.to_string() });
    };
    let streams = call.more.unwrap_or(false) && !call.oneway.unwrap_or(false);
    let ours = |goes_on: bool, call: Call| match goes_on && !streams {
        true => Err(service::Error::ExpectedMore),
        false => Ok(Asked::Ours(call)),
    };
    match interface {
        interface::INTERFACE => {
            let call = interface::Call::parse(method, call.parameters)?;
            ours(call.goes_on(), Call::Interface(call))
        }
        lease::INTERFACE => {
            let call = lease::Call::parse(method, call.parameters)?;
            ours(call.goes_on(), Call::Lease(call))
        }
        ports::INTERFACE => {
            let call = ports::Call::parse(method, call.parameters)?;
            ours(call.goes_on(), Call::Ports(call))
        }
        daemon::INTERFACE => {
            let call = daemon::Call::parse(method, call.parameters)?;
            ours(call.goes_on(), Call::Daemon(call))
        }
        service::INTERFACE => match service::Call::parse(method, call.parameters)? {
            service::Call::GetInfo(_) => Ok(Asked::Info(info())),
            service::Call::GetInterfaceDescription(asked) => {
                Ok(Asked::Description(description(asked)?))
            }
        },
        _ => Err(service::Error::InterfaceNotFound { interface: interface.to_owned() }),
    }
}

fn info() -> service::GetInfoReply {
    service::GetInfoReply {
        vendor: "iphelper".to_owned(),
        product: "iphelperd".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        url: env!("CARGO_PKG_REPOSITORY").to_owned(),
        interfaces: DESCRIPTIONS.iter().map(|(name, _)| (*name).to_owned()).collect(),
    }
}

fn description(
    asked: service::GetInterfaceDescription,
) -> Result<service::GetInterfaceDescriptionReply, service::Error> {
    let found = DESCRIPTIONS.iter().find(|(name, _)| *name == asked.interface);
    match found {
        Some((_, idl)) => {
            Ok(service::GetInterfaceDescriptionReply { description: (*idl).to_owned() })
        }
        None => Err(service::Error::InterfaceNotFound { interface: asked.interface }),
    }
}

/// Every interface served, with its description.
const DESCRIPTIONS: [(&str, &str); 5] = [
    (daemon::INTERFACE, daemon::IDL),
    (interface::INTERFACE, interface::IDL),
    (lease::INTERFACE, lease::IDL),
    (ports::INTERFACE, ports::IDL),
    (service::INTERFACE, service::IDL),
];
