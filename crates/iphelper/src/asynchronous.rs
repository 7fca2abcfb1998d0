//! The calls that can be awaited.

use std::net::IpAddr;

use api::lease;

use crate::daemon::{AsyncEvents, listed};
use crate::{AcquireReply, Daemon, Error, InformReply, Lease, LeaseInfo, ReleaseReply, RenewReply};

/// For tokio, with I/O and time enabled. A future that is dropped stops waiting; what it asked for
/// goes on.
impl Lease {
    /// As [`show`](Self::show).
    pub async fn show_async(&self) -> Result<LeaseInfo, Error> {
        let mut client = self.daemon().client_async(None).await?;
        Ok(client.call(&self.list_call()).await?.lease)
    }

    /// As [`acquire`](Self::acquire).
    pub async fn acquire_async(&self) -> Result<AcquireReply, Error> {
        let call = self.acquire_call()?;
        Ok(self.client_async().await?.call(&call).await?)
    }

    /// As [`renew`](Self::renew).
    pub async fn renew_async(&self) -> Result<RenewReply, Error> {
        let call = self.renew_call()?;
        Ok(self.client_async().await?.call(&call).await?)
    }

    /// As [`release`](Self::release).
    pub async fn release_async(&self) -> Result<ReleaseReply, Error> {
        let call = self.release_call()?;
        Ok(self.client_async().await?.call(&call).await?)
    }

    /// As [`inform`](Self::inform).
    pub async fn inform_async(&self, address: Option<IpAddr>) -> Result<InformReply, Error> {
        let call = self.inform_call(address)?;
        Ok(self.client_async().await?.call(&call).await?)
    }

    async fn client_async(&self) -> Result<api::client::AsyncClient, Error> {
        self.daemon().client_async(Some(self.patience())).await
    }
}

/// For tokio, with I/O and time enabled.
impl Daemon {
    /// As [`leases`](Self::leases).
    pub async fn leases_async(&self) -> Result<Vec<LeaseInfo>, Error> {
        let mut client = self.client_async(None).await?;
        listed(client.call_more(&lease::List::default()).await.map_err(Error::from))
    }

    /// As [`watch`](Self::watch).
    pub async fn watch_async(&self, interface: Option<&str>) -> Result<AsyncEvents, Error> {
        let call = lease::Monitor { interface: interface.map(str::to_owned) };
        let client = self.client_async(None).await?;
        Ok(AsyncEvents::new(client.stream(&call).await?))
    }
}

/// As [`leases`](crate::leases).
pub async fn leases_async() -> Result<Vec<LeaseInfo>, Error> {
    Daemon::new().leases_async().await
}

/// As [`watch`](crate::watch).
pub async fn watch_async() -> Result<AsyncEvents, Error> {
    Daemon::new().watch_async(None).await
}
