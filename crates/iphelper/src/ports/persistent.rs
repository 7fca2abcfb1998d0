use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use api::ports as asked;

use super::{CHANGE, Protocol, Refusal, Reservation, Token};
use crate::twins::twins;
use crate::{Daemon, Error};

/// A block of ports that is reserved until it is deleted.
///
/// A handle: dropping it ends nothing, and [`lookup`](Self::lookup) finds the reservation again.
#[derive(Clone, Debug)]
pub struct PortReservation {
    details: Reservation,
    daemon: Daemon,
}

impl PortReservation {
    twins! {
        /// Reserves `number_of_ports` ports from `start_port` on.
        ///
        /// Answers when the block is enforced and on disk. [`Error::SharingViolation`] says who is
        /// in the way.
        pub fn create / create_async(protocol: Protocol, start_port: u16, number_of_ports: u16)
            -> Result<Self, Error>
        {
            let builder = Self::builder(protocol, start_port, number_of_ports);
            wait!(builder, create / create_async, ())
        }

        /// Finds the reservation of exactly this block. Needs no privilege.
        pub fn lookup / lookup_async(protocol: Protocol, start_port: u16, number_of_ports: u16)
            -> Result<Self, Error>
        {
            wait!(
                Daemon::new(),
                port_reservation / port_reservation_async,
                (protocol, start_port, number_of_ports)
            )
        }

        /// Lets a socket into the block, before it is bound.
        ///
        /// From then on its bind to a port of the block works, and a bind to port 0 takes a free
        /// one of the block.
        pub fn associate / associate_async(&self, socket: impl AsFd) -> Result<(), Error> {
            let token = self.token()?;
            wait!(self.daemon, associate / associate_async, (token, socket)).map(drop)
        }

        /// Lets programs of these users, and programs in these control groups, bind without a
        /// token.
        ///
        /// A control group is a path below the hierarchy's root, or a systemd unit.
        pub fn grant / grant_async(&mut self, users: &[u32], cgroups: &[&str]) -> Result<(), Error> {
            let Reservation { protocol, start_port, number_of_ports, .. } = self.details;
            let (users, cgroups) = (Some(users.to_vec()), Some(owned(cgroups)));
            let call = asked::Grant { protocol, start_port, number_of_ports, users, cgroups };
            self.details = wait!(connect!(self.daemon, Some(CHANGE)).call(&call))?.reservation;
            Ok(())
        }

        /// Takes back what [`grant`](Self::grant) gave.
        pub fn revoke / revoke_async(&mut self, users: &[u32], cgroups: &[&str])
            -> Result<(), Error>
        {
            let Reservation { protocol, start_port, number_of_ports, .. } = self.details;
            let (users, cgroups) = (Some(users.to_vec()), Some(owned(cgroups)));
            let call = asked::Revoke { protocol, start_port, number_of_ports, users, cgroups };
            self.details = wait!(connect!(self.daemon, Some(CHANGE)).call(&call))?.reservation;
            Ok(())
        }

        /// Ends the reservation. Sockets that are bound stay so; those that were let in and are not
        /// bound yet are let in no longer.
        pub fn delete / delete_async(&self) -> Result<(), Error> {
            wait!(connect!(self.daemon, Some(CHANGE)).call(&self.delete_call(false)))?;
            Ok(())
        }

        /// Ends the reservation and closes the sockets that sit on its ports. Returns how many.
        pub fn delete_and_kill / delete_and_kill_async(&self) -> Result<u32, Error> {
            Ok(wait!(connect!(self.daemon, Some(CHANGE)).call(&self.delete_call(true)))?.killed)
        }
    }

    /// What else there is to say about a reservation before it is made.
    pub fn builder(
        protocol: Protocol,
        start_port: u16,
        number_of_ports: u16,
    ) -> PortReservationBuilder {
        let call = asked::Create::new(protocol, start_port, number_of_ports);
        PortReservationBuilder { call, daemon: Daemon::new() }
    }

    /// The reservation as it was when it was made or found, or when this handle changed it.
    pub fn details(&self) -> &Reservation {
        &self.details
    }

    /// Opens the reservation to a socket: for handing it to another program.
    ///
    /// Fails with [`Error::InvalidToken`] if the daemon did not tell it.
    pub fn token(&self) -> Result<Token, Error> {
        self.details.token.ok_or(Error::InvalidToken)
    }

    /// The daemon that is asked.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    pub(super) fn new(reply: asked::ReservationReply, daemon: Daemon) -> Self {
        Self { details: reply.reservation, daemon }
    }

    fn delete_call(&self, kill: bool) -> asked::Delete {
        let Reservation { protocol, start_port, number_of_ports, .. } = self.details;
        asked::Delete { protocol, start_port, number_of_ports, kill: kill.then_some(true) }
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A reservation to be made.
///
/// ```no_run
/// use std::time::Duration;
///
/// use iphelper::ports::Refusal;
/// use iphelper::{PortReservation, Protocol};
///
/// # fn main() -> Result<(), iphelper::Error> {
/// let reservation = PortReservation::builder(Protocol::Udp, 27000, 16)
///     .purpose("game servers")
///     .cgroup("game.service")
///     .refusal(Refusal::AddressInUse)
///     .lifetime(Duration::from_secs(7 * 24 * 3600))
///     .create()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is reserved before `create`"]
pub struct PortReservationBuilder {
    call: asked::Create,
    daemon: Daemon,
}

impl PortReservationBuilder {
    /// What it is for, in the owner's words: shown to whoever runs into it.
    pub fn purpose(mut self, purpose: impl Into<String>) -> Self {
        self.call.purpose = Some(purpose.into());
        self
    }

    /// Whose it is; the caller's when not said. The owner may associate without privilege.
    pub fn owner(mut self, uid: u32) -> Self {
        self.call.owner = Some(uid);
        self
    }

    /// How long it lasts; for good when not said.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.call.lifetime = Some(lifetime.as_secs_f64());
        self
    }

    /// How a stranger's bind fails. When not said: with `EACCES`, and in a block that begins below
    /// 1024 with `EADDRINUSE`, which programs that try one privileged port after another expect.
    pub fn refusal(mut self, refusal: Refusal) -> Self {
        self.call.refusal = Some(refusal);
        self
    }

    /// Strangers are reported and not refused.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.call.dry_run = Some(dry_run);
        self
    }

    /// Sockets that are let in may bind below 1024 without `CAP_NET_BIND_SERVICE`.
    pub fn low_ports(mut self, low_ports: bool) -> Self {
        self.call.low_ports = Some(low_ports);
        self
    }

    /// Programs of this user bind without a token; may be said again for others.
    pub fn user(mut self, uid: u32) -> Self {
        self.call.users.get_or_insert_default().push(uid);
        self
    }

    /// Programs in this control group, or below, bind without a token: a path below the
    /// hierarchy's root, or a systemd unit. May be said again for others.
    pub fn cgroup(mut self, cgroup: impl Into<String>) -> Self {
        self.call.cgroups.get_or_insert_default().push(cgroup.into());
        self
    }

    /// Asks the daemon that listens at that socket.
    pub fn at(mut self, socket: impl Into<PathBuf>) -> Self {
        self.daemon = Daemon::at(socket);
        self
    }

    twins! {
        /// Makes it: see [`PortReservation::create`].
        pub fn create / create_async(self) -> Result<PortReservation, Error> {
            let reply = wait!(connect!(self.daemon, Some(CHANGE)).call(&self.call))?;
            Ok(PortReservation::new(reply, self.daemon))
        }
    }
}
