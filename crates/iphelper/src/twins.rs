//! Calls that block the thread, and their twins for tokio, from one text.

/// Declares functions twice: as they stand, and by another name for tokio, with feature `async`.
///
/// Where the two differ the body says so by macros: `connect!(daemon, patience)` is a connection, for
/// calls that may take so long; `wait!(call)` is what came of a call of the connection; and
/// `wait!(value, this / that, (arguments))` is what came of a method that has a twin. A result
/// type for tokio follows `=>` where it is another one.
macro_rules! twins {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident / $twin:ident($($parameters:tt)*)
            -> $result:ty $(=> $twin_result:ty)?
        $body:block
    )+) => { $(
        $(#[$attribute])*
        $visibility fn $name($($parameters)*) -> $result {
            #[allow(unused_macros, reason = "each body uses a part")]
            macro_rules! connect {
                ($daemon:expr, $patience:expr) => { $daemon.client($patience)? };
            }
            #[allow(unused_macros, reason = "each body uses a part")]
            macro_rules! wait {
                ($call:expr) => { $call };
                ($of:expr, $this:ident / $that:ident, $arguments:tt) => {
                    crate::twins::method!($of, $this, $arguments)
                };
            }
            $body
        }

        $(#[$attribute])*
        ///
        /// For tokio, with I/O and time enabled. A future that is dropped stops waiting; what it asked
        /// for goes on.
        #[cfg(feature = "async")]
        $visibility async fn $twin($($parameters)*)
            -> crate::twins::result!($result $(=> $twin_result)?)
        {
            #[allow(unused_macros, reason = "each body uses a part")]
            macro_rules! connect {
                ($daemon:expr, $patience:expr) => { $daemon.client_async($patience).await? };
            }
            #[allow(unused_macros, reason = "each body uses a part")]
            macro_rules! wait {
                ($call:expr) => { $call.await };
                ($of:expr, $this:ident / $that:ident, $arguments:tt) => {
                    crate::twins::method!($of, $that, $arguments).await
                };
            }
            $body
        }
    )+ };
}

/// A call of a method of that name.
macro_rules! method {
    ($of:expr, $name:ident, ($($argument:expr),*)) => { $of.$name($($argument),*) };
}

/// What the twin results in.
#[cfg(feature = "async")]
macro_rules! result {
    ($result:ty => $twin_result:ty) => {
        $twin_result
    };
    ($result:ty) => {
        $result
    };
}

#[cfg(feature = "async")]
pub(crate) use result;
pub(crate) use {method, twins};
