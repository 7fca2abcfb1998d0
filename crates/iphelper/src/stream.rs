//! What the daemon tells as it happens.

/// A stream of what the daemon replies to a call that has been made. Not `From`, which would be in the
/// contract.
pub(crate) trait OfReplies<Replies> {
    /// Starts it.
    fn of(replies: Replies) -> Self;
}

/// Declares a stream of what the daemon tells, by blocking and by awaiting, from the replies of a
/// method.
macro_rules! stream {
    (
        $method:ty, |$reply:ident| $item:expr => $item_type:ty;
        $(#[$attribute:meta])*
        pub struct $name:ident;
        $(#[$async_attribute:meta])*
        pub struct $async_name:ident;
    ) => {
        $(#[$attribute])*
        #[derive(Debug)]
        pub struct $name {
            replies: api::client::Replies<$method>,
        }

        impl $name {
            /// Waits for the next, but not for longer than `timeout`.
            ///
            /// After an error comes the end.
            pub fn next_within(
                &mut self,
                timeout: std::time::Duration,
            ) -> Result<crate::Next<$item_type>, crate::Error> {
                self.replies.set_timeout(Some(timeout));
                let next = self.next();
                self.replies.set_timeout(None);
                match next {
                    Some(Ok(item)) => Ok(crate::Next::Item(item)),
                    Some(Err(crate::Error::TimedOut)) => Ok(crate::Next::TimedOut),
                    Some(Err(error)) => Err(error),
                    None => Ok(crate::Next::Ended),
                }
            }

            /// What ends the stream from another thread.
            pub fn stopper(&self) -> crate::Stopper {
                self.replies.stopper()
            }
        }

        impl crate::stream::OfReplies<api::client::Replies<$method>> for $name {
            fn of(replies: api::client::Replies<$method>) -> Self {
                Self { replies }
            }
        }

        #[cfg(feature = "async")]
        impl crate::stream::OfReplies<api::client::AsyncReplies<$method>> for $async_name {
            fn of(replies: api::client::AsyncReplies<$method>) -> Self {
                Self { replies }
            }
        }

        impl Iterator for $name {
            type Item = Result<$item_type, crate::Error>;

            fn next(&mut self) -> Option<Self::Item> {
                let next = self.replies.next()?;
                Some(next.map(|$reply| $item).map_err(crate::Error::from))
            }
        }

        /// Readable when something may be waiting. What arrived with an earlier one does not make
        /// it so: take it with `next_within` and no time until that is over.
        impl std::os::fd::AsFd for $name {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.replies.as_fd()
            }
        }

        $(#[$async_attribute])*
        #[cfg(feature = "async")]
        #[derive(Debug)]
        pub struct $async_name {
            replies: api::client::AsyncReplies<$method>,
        }

        #[cfg(feature = "async")]
        impl $async_name {
            /// Waits for the next; `None` after the end.
            ///
            /// Cancel safe: nothing is lost when the future is dropped.
            pub async fn next(&mut self) -> Option<Result<$item_type, crate::Error>> {
                let next = self.replies.next().await?;
                Some(next.map(|$reply| $item).map_err(crate::Error::from))
            }
        }
    };
}

pub(crate) use stream;
