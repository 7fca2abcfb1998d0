//! What a value looks like: one function per form, used by the typed readers and by the check.

use std::net::Ipv4Addr;

use super::code::Shape;
use super::{OptionCode, Reason, name};

type Result<T> = core::result::Result<T, Reason>;

/// A classless static route (RFC 3442).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// The destination network; bits after the prefix are zero.
    pub destination: Ipv4Addr,
    /// The length of the prefix in bits, 0 to 32; 0 is the default route.
    pub prefix_len: u8,
    /// The next hop; unspecified if the destination is on the link itself.
    pub router: Ipv4Addr,
}

/// The client FQDN option (RFC 4702).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fqdn {
    /// The bits [`Fqdn::SERVER_UPDATES`] to [`Fqdn::NO_UPDATES`].
    pub flags: u8,
    /// The name; with a trailing dot if it is complete, empty if the server shall choose.
    pub name: String,
}

impl Fqdn {
    /// S: the server shall update, or updates, the name's address record.
    pub const SERVER_UPDATES: u8 = 1;
    /// O: the server did not do as the client asked with S.
    pub const OVERRIDDEN: u8 = 2;
    /// E: the name is in wire form. Always set by [`Options::set_fqdn`](super::Options::set_fqdn).
    pub const WIRE_FORM: u8 = 4;
    /// N: the server shall not update, or does not update, any record.
    pub const NO_UPDATES: u8 = 8;
}

/// Whether a value has the form its RFC gives it. Options without a typed reader always have.
pub(super) fn check(code: OptionCode, data: &[u8]) -> Result<()> {
    match code {
        OptionCode::SUBNET_MASK => subnet_mask(data).map(drop),
        OptionCode::INTERFACE_MTU => at_least(68, data).map(drop),
        OptionCode::MAX_MESSAGE_SIZE => at_least(576, data).map(drop),
        OptionCode::HOST_NAME | OptionCode::DOMAIN_NAME => host_or_domain(data).map(drop),
        OptionCode::MESSAGE => message(data).map(drop),
        OptionCode::CAPTIVE_PORTAL | OptionCode::MUD_URL => uri(data).map(drop),
        OptionCode::DOMAIN_SEARCH => name::list(data).map(drop),
        OptionCode::CLASSLESS_ROUTE | OptionCode::CLASSLESS_ROUTE_MICROSOFT => {
            classless_routes(data).map(drop)
        }
        OptionCode::USER_CLASS => user_class(data).map(drop),
        OptionCode::FQDN => fqdn(data).map(drop),
        OptionCode::AUTO_CONFIGURE => auto_configure(data).map(drop),
        OptionCode::CLIENT_IDENTIFIER => client_identifier(data).map(drop),
        OptionCode::PARAMETER_REQUEST_LIST | OptionCode::VENDOR_CLASS => non_empty(data).map(drop),
        _ => match code.shape() {
            shape if shape.length().is_some_and(|length| data.len() != length) => {
                Err(Reason::Length)
            }
            Shape::Addresses => addresses(data).map(drop),
            Shape::AddressPairs => address_pairs(data).map(drop),
            Shape::Text => text(data).map(drop),
            Shape::Fixed(_) | Shape::Signed | Shape::Address | Shape::Opaque => Ok(()),
        },
    }
}

pub(super) fn fixed<const N: usize>(data: &[u8]) -> Result<[u8; N]> {
    data.try_into().map_err(|_| Reason::Length)
}

pub(super) fn address(data: &[u8]) -> Result<Ipv4Addr> {
    fixed::<4>(data).map(Into::into)
}

pub(super) fn seconds(data: &[u8]) -> Result<u32> {
    fixed(data).map(u32::from_be_bytes)
}

/// One or more addresses; a length that is not a multiple of 4 makes all of them doubtful.
pub(super) fn addresses(data: &[u8]) -> Result<Vec<Ipv4Addr>> {
    match non_empty(data)?.as_chunks::<4>() {
        (addresses, []) => Ok(addresses.iter().copied().map(Ipv4Addr::from).collect()),
        _ => Err(Reason::Length),
    }
}

pub(super) fn address_pairs(data: &[u8]) -> Result<Vec<(Ipv4Addr, Ipv4Addr)>> {
    match addresses(data)?.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|&[first, second]| (first, second)).collect()),
        _ => Err(Reason::Length),
    }
}

/// The mask and its length in bits.
pub(super) fn subnet_mask(data: &[u8]) -> Result<(Ipv4Addr, u8)> {
    let mask = address(data)?;
    let ones = mask.to_bits().leading_ones();
    if ones + mask.to_bits().trailing_zeros() < 32 {
        return Err(Reason::Mask);
    }
    // At most 32.
    Ok((mask, ones as u8))
}

pub(super) fn at_least(minimum: u16, data: &[u8]) -> Result<u16> {
    match fixed(data).map(u16::from_be_bytes)? {
        value if value >= minimum => Ok(value),
        _ => Err(Reason::Range),
    }
}

pub(super) fn auto_configure(data: &[u8]) -> Result<bool> {
    match fixed(data)? {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(Reason::Range),
    }
}

/// Text without control characters; trailing zeros, which RFC 2132 2 tells clients to expect, are
/// taken off.
pub(super) fn text(data: &[u8]) -> Result<&str> {
    let text = core::str::from_utf8(without_trailing_zeros(data)?).map_err(|_| Reason::Text)?;
    if text.chars().any(char::is_control) { Err(Reason::Text) } else { Ok(text) }
}

pub(super) fn host_or_domain(data: &[u8]) -> Result<&str> {
    name::valid(text(data)?)
}

/// A server's words for people: what is not clean text in them becomes `U+FFFD`.
pub(super) fn message(data: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(without_trailing_zeros(data)?);
    Ok(text.replace(char::is_control, "\u{fffd}"))
}

/// An absolute URI as far as its characters go (RFC 3986 2).
pub(super) fn uri(data: &[u8]) -> Result<&str> {
    let uri = text(data)?;
    let character_ok = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
    let scheme_ok = uri.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    });
    if scheme_ok && uri.bytes().all(character_ok) { Ok(uri) } else { Err(Reason::Text) }
}

pub(super) fn non_empty(data: &[u8]) -> Result<&[u8]> {
    if data.is_empty() { Err(Reason::Length) } else { Ok(data) }
}

/// A type byte and at least one more (RFC 2132 9.14).
pub(super) fn client_identifier(data: &[u8]) -> Result<&[u8]> {
    if data.len() < 2 { Err(Reason::Length) } else { Ok(data) }
}

/// Prefix length, then only the bytes of the destination that it covers, then the router.
pub(super) fn classless_routes(data: &[u8]) -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    let mut rest = non_empty(data)?;
    while let Some((&prefix_len, after)) = rest.split_first() {
        if prefix_len > 32 {
            return Err(Reason::Range);
        }
        let (significant, after) =
            after.split_at_checked(prefix_len.div_ceil(8).into()).ok_or(Reason::Length)?;
        let (router, after) = after.split_first_chunk::<4>().ok_or(Reason::Length)?;
        let mut destination = [0; 4];
        for (to, from) in destination.iter_mut().zip(significant) {
            *to = *from;
        }
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0);
        routes.push(Route {
            destination: Ipv4Addr::from_bits(u32::from_be_bytes(destination) & mask),
            prefix_len,
            router: (*router).into(),
        });
        rest = after;
    }
    Ok(routes)
}

/// Classes, each after its length.
pub(super) fn user_class(data: &[u8]) -> Result<Vec<&[u8]>> {
    let mut classes = Vec::new();
    let mut rest = non_empty(data)?;
    while let Some((&length, after)) = rest.split_first() {
        let (class, after) = after.split_at_checked(length.into()).ok_or(Reason::Length)?;
        classes.push(non_empty(class)?);
        rest = after;
    }
    Ok(classes)
}

/// Flags, two bytes without meaning, and the name in wire form or, from old clients, as text.
pub(super) fn fqdn(data: &[u8]) -> Result<Fqdn> {
    let (&[flags, _, _], encoded) = data.split_first_chunk().ok_or(Reason::Length)?;
    let name = if flags & Fqdn::WIRE_FORM != 0 {
        name::single(encoded)?
    } else if encoded.is_empty() {
        String::new()
    } else {
        let text = text(encoded)?;
        name::valid(text)?;
        text.to_owned()
    };
    Ok(Fqdn { flags, name })
}

fn without_trailing_zeros(data: &[u8]) -> Result<&[u8]> {
    let end = data.iter().rposition(|&byte| byte != 0).ok_or(Reason::Length)?;
    data.get(..=end).ok_or(Reason::Length)
}
