//! DHCP for IPv4: messages (RFC 2131), options (RFC 2132 and later), long options (RFC 3396).
//!
//! [`Message`] is the owned value that clients and servers work with; its [`Options`] have typed
//! readers (`lease_time`, `routers`, ..) and writers (`set_lease_time`, ..). [`View`] is the level
//! below: the fixed fields and the options as they lie in the bytes.
//!
//! ```
//! use iphelper_wire::dhcpv4::{Message, MessageType, Op, OptionCode};
//!
//! let mut discover = Message::new(Op::Request, 0x1234_5678);
//! discover.options.set_message_type(MessageType::Discover);
//! discover.options.set_parameter_request_list(&[OptionCode::SUBNET_MASK, OptionCode::ROUTER]);
//!
//! let received = Message::parse(&discover.emit())?;
//! assert_eq!(received.message_type(), Some(MessageType::Discover));
//! # Ok::<(), iphelper_wire::Error>(())
//! ```

mod code;
mod decode;
mod message;
mod name;
mod options;
mod text;
mod typed;
mod view;

pub use code::{MessageType, OptionCode};
pub use decode::{Fqdn, Route};
pub use message::Message;
pub use options::{Malformed, Options, Reason};
pub use view::{Area, Op, OptionField, OptionFields, View};

/// The UDP port servers and relay agents listen on.
pub const SERVER_PORT: u16 = 67;
/// The UDP port clients listen on.
pub const CLIENT_PORT: u16 = 68;
/// A lease time that never ends (RFC 2131 3.3), as is any time of this value, in seconds.
pub const INFINITE: u32 = u32::MAX;
