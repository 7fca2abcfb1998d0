//! The calls of an interface as one enum, and what answers them.

/// Declares the calls of an interface, each with what it is and which type replies to it:
///
/// - `read` and `change`: one reply. Who may make a change is asked before it is begun.
/// - `list`: the objects there are, in parts; in braces the reply's member that holds them, and what
///   they are.
/// - `monitor`: replies that go on until one side ends them.
macro_rules! calls {
    (
        $interface:literal, $error:ident;
        $( $kind:ident $method:ident => $reply:ty $({ $member:ident: $object:ty })?, )*
    ) => {
        crate::calls::methods! {
            $interface, $error;
            $( $kind $method => $reply, )*
        }

        $( $(
            impl crate::Listing for $method {
                const MEMBER: &'static str = stringify!($member);
                type Object = $object;

                fn objects(reply: $reply) -> Vec<$object> {
                    reply.$member
                }
            }
        )? )*

        $(
            #[cfg(feature = "tokio")]
            impl crate::server::Asked for $method {
                type Answer = crate::calls::answer!($kind $method);
            }
        )*

        /// Answers the calls of this interface.
        #[cfg(feature = "tokio")]
        pub trait Handler<Peer>: $( crate::server::Serves<$method, Peer> + )* {}

        #[cfg(feature = "tokio")]
        impl<H, Peer> Handler<Peer> for H where H: $( crate::server::Serves<$method, Peer> + )* {}

        impl Call {
            /// Whether only a caller that takes more than one reply may make it.
            pub(crate) fn goes_on(&self) -> bool {
                match self {
                    $( Self::$method(_) => crate::calls::goes_on!($kind), )*
                }
            }

            /// Has it answered.
            #[cfg(feature = "tokio")]
            pub(crate) async fn answer<H, Peer>(
                self,
                handler: &H,
                peer: &Peer,
                exchange: crate::server::Exchange<'_>,
            ) -> Result<(), crate::server::Over>
            where
                H: Handler<Peer>,
                Peer: Sync,
            {
                match self {
                    $( Self::$method(call) => {
                        crate::calls::send!($kind exchange, handler, peer, call).await
                    } )*
                }
            }
        }
    };
}

/// Declares the calls of an interface: an enum over them, and what is known of each method.
macro_rules! methods {
    (
        $interface:literal, $error:ident;
        $( $kind:ident $method:ident => $reply:ty, )*
    ) => {
        /// The interface's name.
        pub const INTERFACE: &str = $interface;

        /// A call of this interface.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Call {
            $(
                #[doc = concat!("`", stringify!($method), "`.")]
                $method($method),
            )*
        }

        impl Call {
            /// Whether it changes something.
            #[must_use]
            pub fn changes(&self) -> bool {
                match self {
                    $( Self::$method(_) => <$method as crate::Method>::CHANGES, )*
                }
            }

            /// Reads the parameters of the method of that unqualified name.
            pub(crate) fn parse(
                method: &str,
                parameters: Option<&serde_json::value::RawValue>,
            ) -> Result<Self, crate::service::Error> {
                match method {
                    $( stringify!($method) => {
                        crate::calls::parameters(parameters).map(Self::$method)
                    } )*
                    _ => Err(crate::service::Error::MethodNotFound {
                        method: format!("{INTERFACE}.{method}"),
                    }),
                }
            }
        }

        $(
            impl crate::Method for $method {
                const NAME: &'static str = concat!($interface, ".", stringify!($method));
                const CHANGES: bool = crate::calls::changes!($kind);
                type Reply = $reply;
                type Error = $error;
            }
        )*
    };
}

/// What a method's kind says.
macro_rules! changes {
    (change) => {
        true
    };
    ($kind:ident) => {
        false
    };
}

/// Whether replies to a method of a kind go on for as long as the caller likes.
macro_rules! goes_on {
    (monitor) => {
        true
    };
    ($kind:ident) => {
        false
    };
}

/// What a handler makes of a method of a kind.
#[cfg(feature = "tokio")]
macro_rules! answer {
    (list $method:ident) => { crate::server::Listed<<$method as crate::Listing>::Object> };
    (monitor $method:ident) => {
        crate::server::Subscription<<$method as crate::server::Monitoring>::Item>
    };
    ($kind:ident $method:ident) => { <$method as crate::Method>::Reply };
}

/// Sends what a handler makes of a method of a kind.
#[cfg(feature = "tokio")]
macro_rules! send {
    (list $exchange:ident, $handler:ident, $peer:ident, $call:ident) => {
        $exchange.list($handler, $peer, $call)
    };
    (monitor $exchange:ident, $handler:ident, $peer:ident, $call:ident) => {
        $exchange.follow($handler, $peer, $call)
    };
    ($kind:ident $exchange:ident, $handler:ident, $peer:ident, $call:ident) => {
        $exchange.answer($handler, $peer, $call)
    };
}

#[cfg(feature = "tokio")]
pub(crate) use {answer, send};
pub(crate) use {calls, changes, goes_on, methods};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::service;

/// Reads a call's parameters; absent ones are an empty object.
pub(crate) fn parameters<T: DeserializeOwned>(
    parameters: Option<&RawValue>,
) -> Result<T, service::Error> {
    let text = parameters.map_or("{}", RawValue::get);
    // Serde would take an array for a struct, its elements in the order of the fields.
    if !text.starts_with('{') {
        return Err(service::Error::InvalidParameter { parameter: "parameters".to_owned() });
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        // A missing field has no path; serde names it in the message alone.
        let parameter = match path.as_str() {
            "." | "?" => error.inner().to_string().split('`').nth(1).unwrap_or_default().to_owned(),
            _ => path,
        };
        service::Error::InvalidParameter { parameter }
    })
}

#[cfg(test)]
mod tests {
    use crate::lease::{Acquire, Call};
    use crate::service::Error;

    fn culprit(method: &str, json: &str) -> String {
        let raw: Box<serde_json::value::RawValue> = serde_json::from_str(json).unwrap();
        match Call::parse(method, Some(&raw)) {
            Err(Error::InvalidParameter { parameter }) => parameter,
            other => panic!("{json}: {other:?}"),
        }
    }

    #[test]
    fn the_parameter_at_fault_is_named() {
        for (json, parameter) in [
            ("{}", "interface"),
            (r#"{"interface":5}"#, "interface"),
            (r#"{"interface":null}"#, "interface"),
            (r#"{"interface":"eth0","timeout":0}"#, "timeout"),
            (r#"{"interface":"eth0","timeout":"5"}"#, "timeout"),
            (r#"{"interface":"eth0","family":"ipx"}"#, "family"),
            (r#"{"interface":"eth0","colour":1}"#, "colour"),
            (r#"{"colour":1}"#, "colour"),
            (r#"["eth0"]"#, "parameters"),
            ("7", "parameters"),
        ] {
            assert_eq!(culprit("Acquire", json), parameter, "{json}");
        }
    }

    #[test]
    fn absent_parameters_are_an_empty_object() {
        assert_eq!(Call::parse("List", None), Ok(Call::List(Default::default())));
    }

    #[test]
    fn optional_parameters_may_be_null() {
        let raw: Box<serde_json::value::RawValue> =
            serde_json::from_str(r#"{"interface":"eth0","family":null,"timeout":null}"#).unwrap();
        let expected = Acquire { interface: "eth0".into(), family: None, timeout: None };
        assert_eq!(Call::parse("Acquire", Some(&raw)), Ok(Call::Acquire(expected)));
    }
}
