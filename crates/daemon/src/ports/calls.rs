//! What each method means that is answered in its caller's turn.

use ::ports::{Command, Reservation, Token};
use api::Empty;
use api::ports::{self as asked, Error};
use api::server::Listed;
use tokio::sync::oneshot;

use super::command::{admitted, block};
use super::handle::{Asker, PortCall};
use super::{Ports, view};

/// Where the answer to a command goes.
#[derive(Debug)]
pub(super) enum Reply {
    Reservation(oneshot::Sender<Result<asked::ReservationReply, Error>>),
    Deleted(oneshot::Sender<Result<asked::DeleteReply, Error>>),
    Released(oneshot::Sender<Result<Empty, Error>>),
}

/// How a command ended well.
pub(super) enum Concluded {
    /// The reservation as it is now.
    Reservation(Box<asked::Reservation>),
    /// It is gone, and so many sockets were closed.
    Ended { killed: u32 },
}

impl Reply {
    /// Answers. A caller that has gone meanwhile does not want to know.
    pub(super) fn send(self, result: Result<Concluded, Error>) {
        match (self, result) {
            (Self::Reservation(answer), Ok(Concluded::Reservation(reservation))) => {
                let _ = answer.send(Ok(asked::ReservationReply { reservation: *reservation }));
            }
            (Self::Deleted(answer), Ok(Concluded::Ended { killed })) => {
                let _ = answer.send(Ok(asked::DeleteReply { killed }));
            }
            (Self::Released(answer), Ok(Concluded::Ended { .. })) => {
                let _ = answer.send(Ok(Empty {}));
            }
            (Self::Reservation(answer), Err(error)) => _ = answer.send(Err(error)),
            (Self::Deleted(answer), Err(error)) => _ = answer.send(Err(error)),
            (Self::Released(answer), Err(error)) => _ = answer.send(Err(error)),
            // The ledger ends a command as that command ends.
            (_, Ok(_)) => {}
        }
    }
}

impl From<oneshot::Sender<Result<asked::ReservationReply, Error>>> for Reply {
    fn from(answer: oneshot::Sender<Result<asked::ReservationReply, Error>>) -> Self {
        Self::Reservation(answer)
    }
}

impl From<oneshot::Sender<Result<asked::DeleteReply, Error>>> for Reply {
    fn from(answer: oneshot::Sender<Result<asked::DeleteReply, Error>>) -> Self {
        Self::Deleted(answer)
    }
}

impl From<oneshot::Sender<Result<Empty, Error>>> for Reply {
    fn from(answer: oneshot::Sender<Result<Empty, Error>>) -> Self {
        Self::Released(answer)
    }
}

impl PortCall for asked::Create {
    const MAKES: bool = true;

    fn serve(self, ports: &mut Ports, asker: Asker<asked::ReservationReply>) {
        ports.order(asker, |ports, caller, _| {
            let block = block(self.start_port, self.number_of_ports)?;
            let protocol = view::asked_protocol(self.protocol);
            let terms = Box::new(ports.terms(caller, self)?);
            Ok(Command::Create { protocol, block, terms })
        });
    }
}

impl PortCall for asked::Acquire {
    const MAKES: bool = true;

    fn socket(&self) -> Option<u32> {
        Some(self.socket)
    }

    fn serve(self, ports: &mut Ports, asker: Asker<asked::ReservationReply>) {
        ports.order(asker, |ports, caller, socket| {
            ports.acquisition(caller, &self, socket.ok_or(Error::Cancelled)?)
        });
    }
}

impl PortCall for asked::Associate {
    fn socket(&self) -> Option<u32> {
        Some(self.socket)
    }

    fn serve(self, ports: &mut Ports, asker: Asker<asked::ReservationReply>) {
        let socket = asker.socket.as_ref().ok_or(Error::Cancelled);
        let associated = socket.and_then(|it| ports.associate(&asker.caller, self.token, it));
        asker.reply(associated.map(|one| asked::ReservationReply { reservation: *one }));
    }
}

impl PortCall for asked::Lookup {
    fn serve(self, ports: &mut Ports, asker: Asker<asked::ReservationReply>) {
        let found = block(self.start_port, self.number_of_ports).and_then(|block| {
            let protocol = view::asked_protocol(self.protocol);
            ports.manager.find(protocol, block).ok_or(Error::NotFound)
        });
        let found = found.map(|found| ports.shown(found, &asker.caller));
        asker.reply(found.map(|one| asked::ReservationReply { reservation: *one }));
    }
}

impl PortCall for asked::List {
    fn serve(self, ports: &mut Ports, asker: Asker<Listed<asked::Reservation>>) {
        let protocol = self.protocol.map(view::asked_protocol);
        let is_wanted = |one: &&Reservation| protocol.is_none_or(|wanted| one.protocol == wanted);
        let listed = ports.manager.reservations().filter(is_wanted);
        let listed: Vec<_> = listed.map(|one| *ports.shown(one, &asker.caller)).collect();
        let listed = listed.into_iter().map(|one| ports.share(one)).collect();
        asker.reply(Ok(Listed::shared(listed)));
    }
}

impl PortCall for asked::Delete {
    fn serve(self, ports: &mut Ports, asker: Asker<asked::DeleteReply>) {
        ports.order(asker, |_, _, _| {
            Ok(Command::Delete {
                protocol: view::asked_protocol(self.protocol),
                block: block(self.start_port, self.number_of_ports)?,
                kill: self.kill.unwrap_or(false),
            })
        });
    }
}

impl PortCall for asked::Release {
    fn serve(self, ports: &mut Ports, asker: Asker<Empty>) {
        ports.order(asker, |ports, caller, _| {
            let token = Token::new(self.token.into()).ok_or(Error::InvalidToken)?;
            Ok(Command::Release { caller: ports.caller(caller), token })
        });
    }
}

impl PortCall for asked::Grant {
    fn serve(self, ports: &mut Ports, asker: Asker<asked::ReservationReply>) {
        ports.order(asker, |_, _, _| {
            Ok(Command::Admit {
                protocol: view::asked_protocol(self.protocol),
                block: block(self.start_port, self.number_of_ports)?,
                whom: admitted(self.users, self.cgroups)?,
            })
        });
    }
}

impl PortCall for asked::Revoke {
    fn serve(self, ports: &mut Ports, asker: Asker<asked::ReservationReply>) {
        ports.order(asker, |_, _, _| {
            Ok(Command::Expel {
                protocol: view::asked_protocol(self.protocol),
                block: block(self.start_port, self.number_of_ports)?,
                whom: admitted(self.users, self.cgroups)?,
            })
        });
    }
}
