use std::net::Ipv4Addr;

use super::OptionCode;
use super::options::{Malformed, Reason};
use crate::reader::Reader;
use crate::{Error, HardwareAddress, HardwareType, Layer, Result};

/// The four bytes before the options (RFC 2131 3).
pub(super) const MAGIC_COOKIE: u32 = 0x6382_5363;
/// Length in bytes of the server host name field.
pub(super) const SNAME_LENGTH: usize = 64;
/// Length in bytes of the boot file name field.
pub(super) const FILE_LENGTH: usize = 128;
/// Length in bytes of the client hardware address field.
pub(super) const CHADDR_LENGTH: usize = 16;
/// The only flag in use (RFC 2131 2).
pub(super) const BROADCAST: u16 = 0x8000;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// From a client (BOOTREQUEST).
    Request,
    /// From a server (BOOTREPLY).
    Reply,
}

/// A message as it lies in the bytes: fixed fields read and checked, options not yet.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// Which way the message goes.
    pub op: Op,
    /// The kind of the client's link.
    pub hardware_type: HardwareType,
    /// How many relay agents have passed it on.
    pub hops: u8,
    /// The transaction identifier, chosen by the client.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// Whether the client cannot receive unicast before it has an address.
    pub broadcast: bool,
    /// The address the client has.
    pub ciaddr: Ipv4Addr,
    /// The address the server offers: "your" address.
    pub yiaddr: Ipv4Addr,
    /// The server of the next boot step, which need not be the DHCP server.
    pub siaddr: Ipv4Addr,
    /// The relay agent.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address, 16 bytes at most.
    pub chaddr: HardwareAddress,
    /// The server host name field, all of it.
    pub sname: &'a [u8; SNAME_LENGTH],
    /// The boot file name field, all of it.
    pub file: &'a [u8; FILE_LENGTH],
    /// The options field.
    pub options: &'a [u8],
}

/// A part of a message that options may be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Area {
    /// The options field.
    Options,
    /// The boot file name field, when the option overload option says so.
    File,
    /// The server host name field, when the option overload option says so.
    Sname,
}

/// One option as it lies in the bytes; a long option is several of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionField<'a> {
    /// Which option.
    pub code: OptionCode,
    /// Its value.
    pub data: &'a [u8],
    /// Where it is.
    pub area: Area,
}

impl<'a> View<'a> {
    /// Reads the fixed fields.
    ///
    /// Fails when the message is shorter than they are, is neither request nor reply, has a
    /// hardware address above 16 bytes, or lacks the magic cookie (plain BOOTP without it is not
    /// supported).
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let invalid = |what, offset| Error::Invalid { layer: Layer::Dhcpv4, what, offset };
        let mut reader = Reader::new(Layer::Dhcpv4, bytes);
        let op = match reader.u8()? {
            1 => Op::Request,
            2 => Op::Reply,
            _ => return Err(invalid("op", 0)),
        };
        let hardware_type = HardwareType(reader.u8()?.into());
        let hardware_length = usize::from(reader.u8()?);
        let hops = reader.u8()?;
        let xid = reader.u32()?;
        let secs = reader.u16()?;
        let flags = reader.u16()?;
        let ciaddr = reader.address()?;
        let yiaddr = reader.address()?;
        let siaddr = reader.address()?;
        let giaddr = reader.address()?;
        let chaddr = reader
            .take::<CHADDR_LENGTH>()?
            .get(..hardware_length)
            .and_then(HardwareAddress::new)
            .ok_or_else(|| invalid("hardware address length", 2))?;
        let sname = reader.take()?;
        let file = reader.take()?;
        if reader.u32()? != MAGIC_COOKIE {
            return Err(invalid("magic cookie", 236));
        }
        Ok(Self {
            op,
            hardware_type,
            hops,
            xid,
            secs,
            broadcast: flags & BROADCAST != 0,
            ciaddr,
            yiaddr,
            siaddr,
            giaddr,
            chaddr,
            sname,
            file,
            options: reader.rest(),
        })
    }

    /// The options in the order of RFC 3396 5: options field, then file, then sname, the last two
    /// if an option overload option in the options field says so.
    ///
    /// Padding, end marks and option overload are not handed out. An option that runs over the end
    /// of its area is an `Err`; the next area follows.
    pub fn option_fields(&self) -> OptionFields<'a> {
        let (file, sname) = self.overload();
        OptionFields {
            areas: [
                (Area::Options, self.options),
                (Area::File, if file { self.file } else { &[] }),
                (Area::Sname, if sname { self.sname } else { &[] }),
            ]
            .into_iter(),
            current: None,
        }
    }

    /// Whether the file and the sname field hold options (RFC 2132 9.3).
    ///
    /// The option counts in the options field only, so that an area can never name itself, and
    /// only with a value of one byte from 1 to 3.
    pub fn overload(&self) -> (bool, bool) {
        let value = RawFields { area: Area::Options, rest: self.options }
            .filter_map(core::result::Result::ok)
            .filter(|field| field.code == OptionCode::OVERLOAD)
            .find_map(|field| match field.data {
                &[value @ 1..=3] => Some(value),
                _ => None,
            })
            .unwrap_or(0);
        (value & 1 != 0, value & 2 != 0)
    }
}

/// What [`View::option_fields`] returns.
#[derive(Debug, Clone)]
pub struct OptionFields<'a> {
    areas: core::array::IntoIter<(Area, &'a [u8]), 3>,
    current: Option<RawFields<'a>>,
}

impl<'a> Iterator for OptionFields<'a> {
    type Item = core::result::Result<OptionField<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.current.as_mut().and_then(Iterator::next) {
                Some(Ok(field)) if field.code == OptionCode::OVERLOAD => {}
                Some(item) => return Some(item),
                None => {
                    let (area, rest) = self.areas.next()?;
                    self.current = Some(RawFields { area, rest });
                }
            }
        }
    }
}

/// The options of one area. Every step takes at least one byte, so it ends.
#[derive(Debug, Clone)]
struct RawFields<'a> {
    area: Area,
    rest: &'a [u8],
}

impl<'a> Iterator for RawFields<'a> {
    type Item = core::result::Result<OptionField<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&code, rest) = self.rest.split_first()?;
            self.rest = rest;
            let code = OptionCode(code);
            match code {
                OptionCode::PAD => {}
                OptionCode::END => self.rest = &[],
                _ => {
                    let field = rest
                        .split_first()
                        .and_then(|(&length, rest)| rest.split_at_checked(usize::from(length)));
                    let Some((data, rest)) = field else {
                        self.rest = &[];
                        return Some(Err(Malformed { code, reason: Reason::Truncated }));
                    };
                    self.rest = rest;
                    return Some(Ok(OptionField { code, data, area: self.area }));
                }
            }
        }
    }
}
