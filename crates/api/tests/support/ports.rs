//! The canned daemon's port reservations.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use iphelper_api::ports::{
    Acquire, Associate, Create, Delete, DeleteReply, Denial, Denials, Error, Event, EventKind,
    Grant, Guard, GuardLevel, Holder, Holders, Kind, List, Lookup, Monitor, Protocol, Refusal,
    Release, Reservation, ReservationReply, Revoke, Status, StatusReply, Who,
};
use iphelper_api::server::{Descriptor, Listed, Serves, Subscription};
use iphelper_api::{Empty, Time};
use tokio::sync::broadcast;

/// Reservations of a daemon that has no kernel under it.
pub(crate) struct CannedPorts {
    pub(crate) reservations: Mutex<Vec<Reservation>>,
    /// What the descriptors of Associate and Acquire were, as `/proc/self/fd` names them.
    pub(crate) sockets: Mutex<Vec<String>>,
    pub(crate) created: Mutex<Vec<Create>>,
    pub(crate) recent: Vec<Arc<Denial>>,
    /// Senders are dropped to end every subscription.
    pub(crate) denials: Mutex<Option<broadcast::Sender<Arc<Denial>>>>,
    pub(crate) events: Mutex<Option<broadcast::Sender<Arc<Event>>>>,
}

impl Default for CannedPorts {
    fn default() -> Self {
        let udp = {
            let mut one = reservation(8, 6000, 1);
            one.protocol = Protocol::Udp;
            one.expires_at = None;
            one.purpose = None;
            one.users = Vec::new();
            one.cgroups = Vec::new();
            one
        };
        Self {
            reservations: Mutex::new(vec![reservation(7, 5000, 20), udp]),
            sockets: Mutex::default(),
            created: Mutex::default(),
            recent: (0..3).map(|number| Arc::new(denial(5000 + number))).collect(),
            denials: Mutex::new(Some(broadcast::channel(64).0)),
            events: Mutex::new(Some(broadcast::channel(64).0)),
        }
    }
}

/// A reservation with every field present; its token is a million times its id.
pub(crate) fn reservation(id: u64, start_port: u16, number_of_ports: u16) -> Reservation {
    {
        let mut one = Reservation::new(
            id.into(),
            Protocol::Tcp,
            start_port,
            number_of_ports,
            Kind::Persistent,
            who(),
        );
        one.token = Some((id * 1_000_000).into());
        one.purpose = Some("web".into());
        one.created_at = time(1_800_000_000);
        one.expires_at = Some(time(1_800_003_600));
        one.refusal = Refusal::AccessDenied;
        one.dry_run = false;
        one.low_ports = false;
        one.users = vec![1000];
        one.cgroups = vec!["web.service".into()];
        one.denials = 3;
        one
    }
}

pub(crate) fn denial(port: u16) -> Denial {
    {
        let mut denial = Denial::new(Protocol::Tcp, port, who(), 7.into(), 5000, 20);
        denial.time = time(1_800_000_100);
        denial.dry_run = false;
        denial.suppressed = 0;
        denial
    }
}

fn who() -> Who {
    {
        let mut who = Who::user(1000);
        who.user = Some("sam".into());
        who.pid = Some(4711);
        who.program = Some("nc".into());
        who.unit = Some("session-1.scope".into());
        who.cgroup = Some("/user.slice/session-1.scope".into());
        who
    }
}

fn time(seconds: u64) -> Time {
    (UNIX_EPOCH + Duration::from_secs(seconds)).into()
}

fn holder() -> Holder {
    {
        let mut holder = Holder::new(Protocol::Tcp, 5001, Ipv4Addr::LOCALHOST.into(), "listen");
        holder.inode = Some(123_456);
        holder.who = Some(who());
        holder.reservation = Some(7.into());
        holder.granted = true;
        holder
    }
}

impl CannedPorts {
    pub(crate) fn deny(&self, denial: Denial) {
        if let Some(denials) = &*self.denials.lock().unwrap() {
            // Nobody may listen.
            denials.send(Arc::new(denial)).ok();
        }
    }

    pub(crate) fn publish(&self, kind: EventKind, reservation: Reservation) {
        if let Some(events) = &*self.events.lock().unwrap() {
            events.send(Arc::new(event(kind, reservation))).ok();
        }
    }

    pub(crate) fn subscribers(&self) -> usize {
        let denials = self.denials.lock().unwrap();
        let events = self.events.lock().unwrap();
        denials.as_ref().map_or(0, broadcast::Sender::receiver_count)
            + events.as_ref().map_or(0, broadcast::Sender::receiver_count)
    }

    pub(crate) fn end_subscriptions(&self) {
        self.denials.lock().unwrap().take();
        self.events.lock().unwrap().take();
    }

    fn find(&self, wanted: impl Fn(&Reservation) -> bool) -> Option<Reservation> {
        self.reservations.lock().unwrap().iter().find(|one| wanted(one)).cloned()
    }

    fn of_block(
        &self,
        protocol: Protocol,
        start_port: u16,
        count: u16,
    ) -> Result<Reservation, Error> {
        let exactly = |one: &Reservation| {
            (one.protocol, one.start_port, one.number_of_ports) == (protocol, start_port, count)
        };
        self.find(exactly).ok_or(Error::NotFound)
    }

    fn note(&self, passed: Vec<Descriptor>, index: u32) -> Result<(), Error> {
        let socket = Descriptor::pick(passed, index).map_err(|error| Error::InvalidParameter {
            parameter: "socket".into(),
            reason: error.to_string(),
        })?;
        let link =
            std::fs::read_link(format!("/proc/self/fd/{}", socket.as_fd().as_raw_fd())).unwrap();
        let link = link.display().to_string();
        if !link.starts_with("socket:") {
            return Err(Error::SocketNotSupported { reason: "it is no socket".into() });
        }
        self.sockets.lock().unwrap().push(link);
        Ok(())
    }
}

fn event(kind: EventKind, reservation: Reservation) -> Event {
    let text = format!("Something happened to {}.", reservation.start_port);
    let mut event = Event::new(kind, text).of(reservation);
    event.time = time(1_800_000_200);
    event
}

impl Serves<Create, u32> for CannedPorts {
    async fn serve(
        &self,
        _: &u32,
        call: Create,
        _: Vec<Descriptor>,
    ) -> Result<ReservationReply, Error> {
        self.created.lock().unwrap().push(call.clone());
        match (call.protocol, call.start_port) {
            (_, 0) => Err(Error::InvalidParameter {
                parameter: "start_port".into(),
                reason: "0 is no port".into(),
            }),
            (_, 5000..5020) => Err(Error::SharingViolation {
                port: 5000,
                holder: None,
                reservation: self.find(|one| one.start_port == 5000).map(Box::new),
            }),
            (_, 8080) => Err(Error::SharingViolation {
                port: 8080,
                holder: Some(Box::new({
                    let mut holder = holder();
                    holder.port = 8080;
                    holder
                })),
                reservation: None,
            }),
            (protocol, start_port) => {
                let made = {
                    let mut one = reservation(9, start_port, call.number_of_ports);
                    one.protocol = protocol;
                    one.purpose = call.purpose;
                    one
                };
                self.reservations.lock().unwrap().push(made.clone());
                Ok(ReservationReply { reservation: made })
            }
        }
    }
}

impl Serves<Lookup, u32> for CannedPorts {
    async fn serve(
        &self,
        _: &u32,
        call: Lookup,
        _: Vec<Descriptor>,
    ) -> Result<ReservationReply, Error> {
        let found = self.of_block(call.protocol, call.start_port, call.number_of_ports)?;
        Ok(ReservationReply { reservation: found })
    }
}

impl Serves<Associate, u32> for CannedPorts {
    async fn serve(
        &self,
        _: &u32,
        call: Associate,
        descriptors: Vec<Descriptor>,
    ) -> Result<ReservationReply, Error> {
        self.note(descriptors, call.socket)?;
        let found = self.find(|one| one.token == Some(call.token));
        Ok(ReservationReply { reservation: found.ok_or(Error::InvalidToken)? })
    }
}

impl Serves<Acquire, u32> for CannedPorts {
    async fn serve(
        &self,
        _: &u32,
        call: Acquire,
        descriptors: Vec<Descriptor>,
    ) -> Result<ReservationReply, Error> {
        self.note(descriptors, call.socket)?;
        let number_of_ports = call.number_of_ports;
        match number_of_ports {
            1000.. => Err(Error::NoFreeBlock { number_of_ports }),
            100.. => Err(Error::QuotaExceeded {
                what: "ports by runtime reservations".into(),
                limit: 64,
                held: 60,
            }),
            _ => {
                let start_port = call.start_port.unwrap_or(40_000);
                let kind = Kind::Runtime;
                let made = {
                    let mut one = reservation(10, start_port, number_of_ports);
                    one.kind = kind;
                    one
                };
                self.reservations.lock().unwrap().push(made.clone());
                Ok(ReservationReply { reservation: made })
            }
        }
    }
}

impl Serves<Grant, u32> for CannedPorts {
    async fn serve(
        &self,
        _: &u32,
        call: Grant,
        _: Vec<Descriptor>,
    ) -> Result<ReservationReply, Error> {
        let mut found = self.of_block(call.protocol, call.start_port, call.number_of_ports)?;
        found.users.extend(call.users.unwrap_or_default());
        found.cgroups.extend(call.cgroups.unwrap_or_default());
        Ok(ReservationReply { reservation: found })
    }
}

impl Serves<Revoke, u32> for CannedPorts {
    async fn serve(
        &self,
        _: &u32,
        call: Revoke,
        _: Vec<Descriptor>,
    ) -> Result<ReservationReply, Error> {
        let mut found = self.of_block(call.protocol, call.start_port, call.number_of_ports)?;
        found.users.retain(|user| !call.users.iter().flatten().any(|one| one == user));
        found.cgroups.retain(|group| !call.cgroups.iter().flatten().any(|one| one == group));
        Ok(ReservationReply { reservation: found })
    }
}

impl Serves<Delete, u32> for CannedPorts {
    async fn serve(&self, _: &u32, call: Delete, _: Vec<Descriptor>) -> Result<DeleteReply, Error> {
        let found = self.of_block(call.protocol, call.start_port, call.number_of_ports)?;
        self.reservations.lock().unwrap().retain(|one| one.id != found.id);
        Ok(DeleteReply { killed: if call.kill == Some(true) { 2 } else { 0 } })
    }
}

impl Serves<List, u32> for CannedPorts {
    async fn serve(
        &self,
        _: &u32,
        call: List,
        _: Vec<Descriptor>,
    ) -> Result<Listed<Reservation>, Error> {
        let reservations = self.reservations.lock().unwrap();
        let wanted = |one: &&Reservation| call.protocol.is_none_or(|wanted| wanted == one.protocol);
        let wanted: Vec<_> = reservations.iter().filter(wanted).cloned().map(Arc::new).collect();
        Ok(Listed::shared(wanted))
    }
}

impl Serves<Release, u32> for CannedPorts {
    async fn serve(&self, _: &u32, call: Release, _: Vec<Descriptor>) -> Result<Empty, Error> {
        let mut reservations = self.reservations.lock().unwrap();
        let before = reservations.len();
        let its = |one: &Reservation| one.kind == Kind::Runtime && one.token == Some(call.token);
        reservations.retain(|one| !its(one));
        if reservations.len() < before { Ok(Empty {}) } else { Err(Error::InvalidToken) }
    }
}

impl Serves<Holders, u32> for CannedPorts {
    async fn serve(
        &self,
        _: &u32,
        call: Holders,
        _: Vec<Descriptor>,
    ) -> Result<Listed<Holder>, Error> {
        let holders = [holder(), {
            let mut holder = holder();
            holder.port = 8080;
            holder.reservation = None;
            holder
        }];
        let wanted = |holder: &Holder| {
            call.start_port.is_none_or(|start| {
                let count = call.number_of_ports.unwrap_or(1);
                (start..start.saturating_add(count)).contains(&holder.port)
            }) && (call.reserved != Some(true) || holder.reservation.is_some())
        };
        let wanted: Vec<_> = holders.into_iter().filter(wanted).map(Arc::new).collect();
        Ok(Listed::shared(wanted))
    }
}

impl Serves<Denials, u32> for CannedPorts {
    async fn serve(
        &self,
        _: &u32,
        call: Denials,
        _: Vec<Descriptor>,
    ) -> Result<Subscription<Arc<Denial>>, Error> {
        let skipped = self.recent.len().saturating_sub(call.recent());
        let denials = self.denials.lock().unwrap();
        let recent: Vec<_> = self.recent.iter().skip(skipped).cloned().collect();
        Ok(Subscription::new(recent, denials.as_ref().ok_or(Error::Cancelled)?.subscribe()))
    }
}

impl Serves<Monitor, u32> for CannedPorts {
    async fn serve(
        &self,
        _: &u32,
        _: Monitor,
        _: Vec<Descriptor>,
    ) -> Result<Subscription<Arc<Event>>, Error> {
        let reservations = self.reservations.lock().unwrap();
        let state = |one: &Reservation| Arc::new(event(EventKind::State, one.clone()));
        let events = self.events.lock().unwrap();
        let snapshot: Vec<_> = reservations.iter().map(state).collect();
        Ok(Subscription::new(snapshot, events.as_ref().ok_or(Error::Cancelled)?.subscribe()))
    }
}

impl Serves<Status, u32> for CannedPorts {
    async fn serve(&self, _: &u32, _: Status, _: Vec<Descriptor>) -> Result<StatusReply, Error> {
        Ok({
            let mut status = StatusReply::new({
                let mut guard = Guard::new(GuardLevel::Full);
                guard.needed = true;
                guard.cgroup = Some("/sys/fs/cgroup".into());
                guard.covers_all = Some(true);
                guard.pinned = Some("/sys/fs/bpf/iphelper/3/v1".into());
                guard.limits = vec!["SCTP is not covered.".into()];
                guard
            });
            status.reservations = 2;
            status.runtime_reservations = 0;
            status.ports = 21;
            status.runtime_ports = Some(4);
            status.runtime_ports_limit = Some(14_116);
            status
        })
    }
}
