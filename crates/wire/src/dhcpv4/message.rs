use std::net::Ipv4Addr;

use super::view::{BROADCAST, CHADDR_LENGTH, FILE_LENGTH, MAGIC_COOKIE, SNAME_LENGTH};
use super::{MessageType, Op, OptionCode, Options, View};
use crate::{Error, HardwareAddress, HardwareType, Layer, Result};

/// The least length in bytes of a message: BOOTP's (RFC 1542 2.1), which old servers and relay
/// agents insist on.
const MINIMUM_LENGTH: usize = 300;

/// A DHCP message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Which way the message goes.
    pub op: Op,
    /// The kind of the client's link; only the low byte fits the message.
    pub hardware_type: HardwareType,
    /// How many relay agents have passed it on; clients send 0.
    pub hops: u8,
    /// The transaction identifier, chosen by the client.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// Whether the client cannot receive unicast before it has an address.
    pub broadcast: bool,
    /// The address the client has and can answer ARP for.
    pub ciaddr: Ipv4Addr,
    /// The address the server offers: "your" address.
    pub yiaddr: Ipv4Addr,
    /// The server of the next boot step, which need not be the DHCP server.
    pub siaddr: Ipv4Addr,
    /// The relay agent.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address. One above 16 bytes (InfiniBand) does not fit and is sent as
    /// an empty one (RFC 4390 2.1).
    pub chaddr: HardwareAddress,
    /// The server host name without its trailing zeros, 63 bytes at most; empty if the field held
    /// options. Bytes as the server sent them, not checked.
    pub sname: Vec<u8>,
    /// The boot file name without its trailing zeros, 127 bytes at most; empty if the field held
    /// options. Bytes as the server sent them, not checked.
    pub file: Vec<u8>,
    /// The options.
    pub options: Options,
}

impl Message {
    /// A message of zeros, as for an Ethernet link.
    pub fn new(op: Op, xid: u32) -> Self {
        Self {
            op,
            hardware_type: HardwareType::ETHERNET,
            hops: 0,
            xid,
            secs: 0,
            broadcast: false,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr: HardwareAddress::default(),
            sname: Vec::new(),
            file: Vec::new(),
            options: Options::new(),
        }
    }

    /// A server's empty answer: the fields that RFC 2131 table 3 copies from the request.
    pub fn reply_to(request: &Self) -> Self {
        Self {
            hardware_type: request.hardware_type,
            broadcast: request.broadcast,
            giaddr: request.giaddr,
            chaddr: request.chaddr,
            ..Self::new(Op::Reply, request.xid)
        }
    }

    /// Reads a message, the payload of a UDP datagram.
    ///
    /// Fails as [`View::parse`] does. Options that cannot be read are left out and listed in
    /// [`Options::malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let view = View::parse(bytes)?;
        let (file_overloaded, sname_overloaded) = view.overload();
        let text = |overloaded: bool, field: &[u8]| match overloaded {
            true => Vec::new(),
            false => field.iter().copied().take_while(|&byte| byte != 0).collect(),
        };
        Ok(Self {
            op: view.op,
            hardware_type: view.hardware_type,
            hops: view.hops,
            xid: view.xid,
            secs: view.secs,
            broadcast: view.broadcast,
            ciaddr: view.ciaddr,
            yiaddr: view.yiaddr,
            siaddr: view.siaddr,
            giaddr: view.giaddr,
            chaddr: view.chaddr,
            sname: text(sname_overloaded, view.sname),
            file: text(file_overloaded, view.file),
            options: Options::from_fields(view.option_fields()),
        })
    }

    /// Writes the message: options in their order, split as RFC 3396 says if longer than 255
    /// bytes, then the end mark, then zeros up to 300 bytes.
    pub fn emit(&self) -> Vec<u8> {
        let mut bytes = self.emit_header(&self.file, &self.sname);
        for (code, data) in self.options.iter() {
            emit_option(&mut bytes, code, data);
        }
        finish(bytes)
    }

    /// Writes the message in at most `max_length` bytes of UDP payload (not below 300), with the
    /// options that do not fit moved to the file and sname fields if those are empty.
    ///
    /// Fails if it still does not fit.
    pub fn emit_within(&self, max_length: usize) -> Result<Vec<u8>> {
        const OVERLOAD_LENGTH: usize = 3;
        let whole = self.emit();
        if whole.len() <= max_length.max(MINIMUM_LENGTH) {
            return Ok(whole);
        }

        let header_length = self.emit_header(&[], &[]).len();
        let room = |used: bool, length: usize| if used { 0 } else { length };
        // One byte of each area is for its end mark.
        let limits = [
            max_length.max(MINIMUM_LENGTH).saturating_sub(header_length + OVERLOAD_LENGTH + 1),
            room(!self.file.is_empty(), FILE_LENGTH - 1),
            room(!self.sname.is_empty(), SNAME_LENGTH - 1),
        ];
        let mut areas = [const { Vec::new() }; 3];
        for (code, data) in self.options.iter() {
            let mut encoded = Vec::new();
            emit_option(&mut encoded, code, data);
            let (area, _) = areas
                .iter_mut()
                .zip(limits)
                .find(|(area, limit)| area.len() + encoded.len() <= *limit)
                .ok_or(Error::Unencodable {
                    layer: Layer::Dhcpv4,
                    what: "message above the length limit",
                })?;
            area.append(&mut encoded);
        }

        let [options, mut file, mut sname] = areas;
        let overload = u8::from(!file.is_empty()) | u8::from(!sname.is_empty()) << 1;
        for area in [&mut file, &mut sname] {
            if !area.is_empty() {
                area.push(OptionCode::END.0);
            }
        }
        let or =
            |area: Vec<u8>, field: &Vec<u8>| if area.is_empty() { field.clone() } else { area };
        let mut bytes = self.emit_header(&or(file, &self.file), &or(sname, &self.sname));
        emit_option(&mut bytes, OptionCode::OVERLOAD, &[overload]);
        bytes.extend(options);
        Ok(finish(bytes))
    }

    /// What the message is for; `None` for BOOTP.
    pub fn message_type(&self) -> Option<MessageType> {
        self.options.message_type()
    }

    /// The fixed fields and the magic cookie. `file` and `sname` are cut so that a zero follows,
    /// unless they are options, which end themselves and fit.
    fn emit_header(&self, file: &[u8], sname: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MINIMUM_LENGTH);
        let chaddr = match self.chaddr.as_bytes() {
            fits if fits.len() <= CHADDR_LENGTH => fits,
            _ => &[],
        };
        let [_, hardware_type] = self.hardware_type.0.to_be_bytes();
        let op = match self.op {
            Op::Request => 1,
            Op::Reply => 2,
        };
        // At most 16.
        bytes.extend([op, hardware_type, chaddr.len() as u8, self.hops]);
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.secs.to_be_bytes());
        bytes.extend(if self.broadcast { BROADCAST } else { 0 }.to_be_bytes());
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            bytes.extend(address.octets());
        }
        extend_field::<CHADDR_LENGTH>(&mut bytes, chaddr);
        extend_field::<SNAME_LENGTH>(&mut bytes, sname);
        extend_field::<FILE_LENGTH>(&mut bytes, file);
        bytes.extend(MAGIC_COOKIE.to_be_bytes());
        bytes
    }
}

/// Appends `data`, cut or filled with zeros to `LENGTH` bytes.
fn extend_field<const LENGTH: usize>(bytes: &mut Vec<u8>, data: &[u8]) {
    bytes.extend(data.iter().copied().chain(core::iter::repeat(0)).take(LENGTH));
}

fn emit_option(bytes: &mut Vec<u8>, code: OptionCode, data: &[u8]) {
    let mut rest = data;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(255));
        // At most 255.
        bytes.extend([code.0, piece.len() as u8]);
        bytes.extend(piece);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
}

fn finish(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(OptionCode::END.0);
    if bytes.len() < MINIMUM_LENGTH {
        bytes.resize(MINIMUM_LENGTH, OptionCode::PAD.0);
    }
    bytes
}
