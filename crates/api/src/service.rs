//! `org.varlink.service`: what every Varlink service answers about itself.
//!
//! See <https://varlink.org/Service>.

use serde::{Deserialize, Serialize};

use crate::calls::methods;

/// The interface's description, as `GetInterfaceDescription` returns it.
pub const IDL: &str = include_str!("org.varlink.service.varlink");

/// Parameters of `GetInfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetInfo {}

/// Reply of `GetInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetInfoReply {
    /// Who makes it.
    pub vendor: String,
    /// What it is.
    pub product: String,
    /// Its release, as in `iphelperd --version`.
    pub version: String,
    /// Where to read about it.
    pub url: String,
    /// Names of the interfaces it serves.
    pub interfaces: Vec<String>,
}

/// Parameters of `GetInterfaceDescription`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetInterfaceDescription {
    /// Name of the interface.
    pub interface: String,
}

/// Reply of `GetInterfaceDescription`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetInterfaceDescriptionReply {
    /// The interface in Varlink's description language.
    pub description: String,
}

methods! {
    "org.varlink.service", Error;
    read GetInfo => GetInfoReply,
    read GetInterfaceDescription => GetInterfaceDescriptionReply,
}

/// Errors any call can meet, whatever its interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", content = "parameters")]
#[non_exhaustive]
pub enum Error {
    /// The service does not serve that interface.
    #[error("interface {interface} is not served")]
    #[serde(rename = "org.varlink.service.InterfaceNotFound")]
    InterfaceNotFound {
        /// The name asked for.
        interface: String,
    },

    /// The interface has no such method.
    #[error("there is no method {method}")]
    #[serde(rename = "org.varlink.service.MethodNotFound")]
    MethodNotFound {
        /// The name asked for.
        method: String,
    },

    /// The interface has the method, but this service does not serve it.
    #[error("method {method} is not implemented")]
    #[serde(rename = "org.varlink.service.MethodNotImplemented")]
    MethodNotImplemented {
        /// The name asked for.
        method: String,
    },

    /// A parameter is missing, unknown, or not of its type.
    #[error("parameter {parameter} is invalid")]
    #[serde(rename = "org.varlink.service.InvalidParameter")]
    InvalidParameter {
        /// The parameter's name.
        parameter: String,
    },

    /// The caller may not do that.
    #[error("permission denied")]
    #[serde(rename = "org.varlink.service.PermissionDenied")]
    PermissionDenied,

    /// The method answers with a stream and was called without `more`.
    #[error("the method has to be called with `more`")]
    #[serde(rename = "org.varlink.service.ExpectedMore")]
    ExpectedMore,
}
