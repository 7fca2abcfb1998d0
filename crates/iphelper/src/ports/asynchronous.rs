use std::os::fd::AsFd;

use api::ports as asked;

use super::{
    AsyncDenials, AsyncEvents, CHANGE, Holder, HolderFilter, PortReservation, Protocol,
    Reservation, Status, Token, listed,
};
use crate::{Daemon, Error};

/// For tokio, with I/O and time enabled. A future that is dropped stops waiting; what it asked for
/// goes on.
impl PortReservation {
    /// As [`create`](Self::create).
    pub async fn create_async(
        protocol: Protocol,
        start_port: u16,
        number_of_ports: u16,
    ) -> Result<Self, Error> {
        Self::builder(protocol, start_port, number_of_ports).create_async().await
    }

    /// As [`lookup`](Self::lookup).
    pub async fn lookup_async(
        protocol: Protocol,
        start_port: u16,
        number_of_ports: u16,
    ) -> Result<Self, Error> {
        Daemon::new().port_reservation_async(protocol, start_port, number_of_ports).await
    }

    /// As [`associate`](Self::associate).
    pub async fn associate_async(&self, socket: impl AsFd) -> Result<(), Error> {
        self.daemon().associate_async(self.token()?, socket).await.map(drop)
    }

    /// As [`grant`](Self::grant).
    pub async fn grant_async(&mut self, users: &[u32], cgroups: &[&str]) -> Result<(), Error> {
        let call = self.grant_call(users, cgroups);
        let reply = self.daemon().client_async(Some(CHANGE)).await?.call(&call).await?;
        self.replace(reply);
        Ok(())
    }

    /// As [`revoke`](Self::revoke).
    pub async fn revoke_async(&mut self, users: &[u32], cgroups: &[&str]) -> Result<(), Error> {
        let call = self.revoke_call(users, cgroups);
        let reply = self.daemon().client_async(Some(CHANGE)).await?.call(&call).await?;
        self.replace(reply);
        Ok(())
    }

    /// As [`delete`](Self::delete).
    pub async fn delete_async(&self) -> Result<(), Error> {
        let call = self.delete_call(false);
        self.daemon().client_async(Some(CHANGE)).await?.call(&call).await?;
        Ok(())
    }

    /// As [`delete_and_kill`](Self::delete_and_kill).
    pub async fn delete_and_kill_async(&self) -> Result<u32, Error> {
        let call = self.delete_call(true);
        Ok(self.daemon().client_async(Some(CHANGE)).await?.call(&call).await?.killed)
    }
}

/// Port reservations, for tokio.
impl Daemon {
    /// As [`port_reservations`](Self::port_reservations).
    pub async fn port_reservations_async(&self) -> Result<Vec<Reservation>, Error> {
        let replies = self.client_async(None).await?.call_more(&asked::List::default()).await;
        listed(replies.map_err(Error::from), |reply| reply.reservation)
    }

    /// As [`port_reservation`](Self::port_reservation).
    pub async fn port_reservation_async(
        &self,
        protocol: Protocol,
        start_port: u16,
        number_of_ports: u16,
    ) -> Result<PortReservation, Error> {
        let call = asked::Lookup { protocol, start_port, number_of_ports };
        let reply = self.client_async(None).await?.call(&call).await?;
        Ok(PortReservation::new(reply, self.clone()))
    }

    /// As [`associate`](Self::associate).
    pub async fn associate_async(
        &self,
        token: Token,
        socket: impl AsFd,
    ) -> Result<Reservation, Error> {
        let call = asked::Associate { token, socket: 0 };
        let mut client = self.client_async(None).await?;
        Ok(client.call_with(&call, &[socket.as_fd()]).await?.reservation)
    }

    /// As [`port_holders`](Self::port_holders).
    pub async fn port_holders_async(&self, filter: &HolderFilter) -> Result<Vec<Holder>, Error> {
        let replies = self.client_async(None).await?.call_more(&filter.call()).await;
        listed(replies.map_err(Error::from), |reply| reply.holder)
    }

    /// As [`port_denials`](Self::port_denials).
    pub async fn port_denials_async(&self, recent: u32) -> Result<AsyncDenials, Error> {
        let call = asked::Denials { recent: Some(recent) };
        Ok(AsyncDenials::new(self.client_async(None).await?.stream(&call).await?))
    }

    /// As [`watch_ports`](Self::watch_ports).
    pub async fn watch_ports_async(&self) -> Result<AsyncEvents, Error> {
        Ok(AsyncEvents::new(self.client_async(None).await?.stream(&asked::Monitor {}).await?))
    }

    /// As [`port_status`](Self::port_status).
    pub async fn port_status_async(&self) -> Result<Status, Error> {
        Ok(self.client_async(None).await?.call(&asked::Status {}).await?)
    }
}

/// As [`list`](super::list).
pub async fn list_async() -> Result<Vec<Reservation>, Error> {
    Daemon::new().port_reservations_async().await
}

/// As [`associate`](super::associate).
pub async fn associate_async(token: Token, socket: impl AsFd) -> Result<Reservation, Error> {
    Daemon::new().associate_async(token, socket).await
}

/// As [`holders`](super::holders).
pub async fn holders_async(filter: &HolderFilter) -> Result<Vec<Holder>, Error> {
    Daemon::new().port_holders_async(filter).await
}

/// As [`denials`](super::denials).
pub async fn denials_async(recent: u32) -> Result<AsyncDenials, Error> {
    Daemon::new().port_denials_async(recent).await
}

/// As [`watch`](super::watch).
pub async fn watch_async() -> Result<AsyncEvents, Error> {
    Daemon::new().watch_ports_async().await
}

/// As [`status`](super::status).
pub async fn status_async() -> Result<Status, Error> {
    Daemon::new().port_status_async().await
}
