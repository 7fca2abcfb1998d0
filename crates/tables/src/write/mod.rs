//! Changes that programs make.

mod address;
mod ip_interface;
mod neighbor;
mod route;

pub use ip_interface::IpInterfaceSettings;
pub use route::BestRoute;

use std::fmt::Display;

use netlink::{Request, Transport};

use crate::{Error, Tables};

impl<T: Transport> Tables<T> {
    /// Has the kernel carry out a request about `subject`.
    pub(crate) fn carry_out(
        &mut self,
        request: &Request,
        subject: impl Display,
    ) -> Result<(), Error> {
        self.connection.request(request).map_err(|error| Error::of(error, subject))
    }
}
