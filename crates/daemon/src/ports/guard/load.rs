use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::Path;

use ports::guard::{Features, Hook, LICENSE, Map as Name, Presence, Program as Code};
use sys::ebpf::{self, Link, Map, MapSpec, Program, ProgramSpec, Types};

use super::pins::{self, Pins};
use super::{Places, Unavailable};
use crate::shortage;

/// A guard in force, all of it pinned.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) features: Features,
    pub(super) maps: Maps,
    pub(super) waiting: Waiting,
}

/// Programs that are to be attached when they are needed.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) release: Option<Program>,
    pub(super) after_bind: Programs,
}

/// All maps.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) owners: Map,
    pub(super) reservations: Map,
    pub(super) users: Map,
    pub(super) cgroups: Map,
    pub(super) sockets: Map,
    used: Map,
    pub(super) events: Map,
}

/// Programs, with what each is for.
pub(super) type Programs = Vec<(Hook, Program)>;

/// Room for what the verifier has to say about a program it refuses.
const LOG_LENGTH: usize = 1 << 24;

/// Takes over what is pinned, or builds and pins it.
pub(super) fn load(
    places: &Places,
    pins: &Pins,
    cookie: u64,
    wanted: Features,
) -> Result<Loaded, Unavailable> {
    match Maps::open(&pins.current()) {
        Ok(maps) => match adopt(places, pins, cookie, wanted, maps) {
            Ok(loaded) => return Ok(loaded),
            // Another one in its place would know nothing of whom tokens have let in.
            Err(passing @ Unavailable::NotNow(_)) => return Err(passing),
            Err(error) => tracing::warn!("the pinned guard cannot be taken over: {error}"),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if shortage::is_one(&error) => {
            return Err(Unavailable::because("the pinned guard's maps cannot be opened", &error));
        }
        Err(error) => tracing::warn!("the pinned guard's maps cannot be used: {error}"),
    }
    build(places, pins, cookie, wanted)
}

/// Puts our programs in place of those that run.
fn adopt(
    places: &Places,
    pins: &Pins,
    cookie: u64,
    wanted: Features,
    maps: Maps,
) -> Result<Loaded, Unavailable> {
    let (features, programs) = programs(&maps, cookie, wanted)?;
    let folder = pins.current();
    let mut waiting = Waiting::default();
    for (hook, program) in programs {
        let pin = folder.join(hook.name());
        let replaced = match Link::open(&pin) {
            Ok(link) => link.update(&program),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match hook.presence() {
                // The version before had no such program, or could not load it.
                Presence::Reserved => attach(places.cgroup(), hook, &program, &pin),
                _ => {
                    waiting.add(hook, program);
                    Ok(())
                }
            },
            Err(error) => Err(error),
        };
        replaced.map_err(|error| unattachable(hook, &error))?;
    }
    Ok(Loaded { features, maps, waiting })
}

fn build(
    places: &Places,
    pins: &Pins,
    cookie: u64,
    wanted: Features,
) -> Result<Loaded, Unavailable> {
    let maps =
        Maps::create().map_err(|error| Unavailable::because("BPF maps cannot be made", &error))?;
    let (features, programs) = programs(&maps, cookie, wanted)?;
    let folder = pins.new_folder();
    let unpinnable = |error: io::Error| {
        Unavailable::because(&format!("nothing can be pinned in {}", folder.display()), &error)
    };
    pins::make(&folder).map_err(unpinnable)?;
    for name in Name::ALL {
        ebpf::pin(maps.of(name), &folder.join(name.name())).map_err(unpinnable)?;
    }
    let mut waiting = Waiting::default();
    for (hook, program) in programs {
        if hook.presence() == Presence::Reserved {
            attach(places.cgroup(), hook, &program, &folder.join(hook.name()))
                .map_err(|error| unattachable(hook, &error))?;
        } else {
            waiting.add(hook, program);
        }
    }
    pins.commit().map_err(unpinnable)?;
    Ok(Loaded { features, maps, waiting })
}

/// Attaches a program and pins the link, which nothing else keeps.
pub(super) fn attach(
    cgroup: BorrowedFd<'_>,
    hook: Hook,
    program: &Program,
    pin: &Path,
) -> io::Result<()> {
    ebpf::pin(&Link::attach(program, cgroup, hook.attach_type())?, pin)
}

fn unattachable(hook: Hook, error: &io::Error) -> Unavailable {
    Unavailable::because(&format!("the program {} cannot be attached", hook.name()), error)
}

/// The programs that this kernel takes, with as many of the wanted features as it has.
///
/// All at first; if that fails the least, and then one after the other those it takes.
fn programs(
    maps: &Maps,
    cookie: u64,
    wanted: Features,
) -> Result<(Features, Programs), Unavailable> {
    let taken = |features| taken(variant(maps, cookie, features, &mut []));
    if let Some(programs) = taken(wanted)? {
        return Ok((wanted, programs));
    }
    // The plain search is a loop that the verifier goes through turn by turn. Without CAP_PERFMON it
    // follows branches that a processor mispredicts as well, and gives up on it (Linux 6.12).
    let mut best = None;
    for features in [Features::NONE, Features::LONG_SEARCH] {
        if best.is_none() && wanted.contains(features) {
            best = taken(features)?.map(|programs| (features, programs));
        }
    }
    let Some((mut features, mut best)) = best else {
        let mut log = vec![0; LOG_LENGTH];
        let said = variant(maps, cookie, Features::NONE, &mut log);
        return match said {
            Ok(programs) => Ok((Features::NONE, programs)),
            Err((hook, error)) => {
                let name = hook.name();
                let why = last(&log);
                let what = format!("the kernel does not take the program {name} ({why})");
                Err(Unavailable::because(&what, &error))
            }
        };
    };
    for feature in Features::each().filter(|feature| wanted.contains(*feature)) {
        if let Some(programs) = taken(features | feature)? {
            features = features | feature;
            best = programs;
        }
    }
    Ok((features, best))
}

/// What came of a variant; `None` where the kernel does not take it, which a shortage does not tell.
fn taken(variant: Result<Programs, (Hook, io::Error)>) -> Result<Option<Programs>, Unavailable> {
    match variant {
        Ok(programs) => Ok(Some(programs)),
        Err((hook, error)) if shortage::is_one(&error) => {
            let what = format!("the program {} cannot be loaded", hook.name());
            Err(Unavailable::because(&what, &error))
        }
        Err(_) => Ok(None),
    }
}

/// The last thing the verifier said, which is why it refused.
fn last(log: &[u8]) -> String {
    let said = log.split(|byte| *byte == 0).next().unwrap_or_default();
    let said = String::from_utf8_lossy(said);
    let line = said.lines().rfind(|line| !line.starts_with("processed "));
    line.unwrap_or_default().to_owned()
}

fn variant(
    maps: &Maps,
    cookie: u64,
    features: Features,
    log: &mut [u8],
) -> Result<Programs, (Hook, io::Error)> {
    let load = |hook: Hook| {
        let code =
            Code::assemble(hook, cookie, features).link(|map| maps.of(map).as_fd().as_raw_fd());
        let spec = ProgramSpec {
            kind: hook.program_type(),
            attach: hook.attach_type(),
            name: hook.name(),
            license: LICENSE,
            code: &code,
        };
        let program = Program::load(&spec, log).map_err(|error| (hook, error))?;
        Ok((hook, program))
    };
    Hook::all(features).map(load).collect()
}

impl Waiting {
    fn add(&mut self, hook: Hook, program: Program) {
        if hook.presence() == Presence::Granted {
            self.release = Some(program);
        } else {
            self.after_bind.push((hook, program));
        }
    }
}

impl Maps {
    fn create() -> io::Result<Self> {
        let types = Types::load(&ports::guard::types())?;
        Self::each(|name| Map::create(&spec(name, &types)))
    }

    /// Fails with `NotFound` if there are none, and with `InvalidData` if they are not ours.
    fn open(folder: &Path) -> io::Result<Self> {
        let types = Types::load(&ports::guard::types())?;
        Self::each(|name| {
            let map = Map::open(&folder.join(name.name()))?;
            let is_ours = map.is_like(&spec(name, &types));
            if is_ours { Ok(map) } else { Err(io::ErrorKind::InvalidData.into()) }
        })
    }

    fn each(map: impl Fn(Name) -> io::Result<Map>) -> io::Result<Self> {
        Ok(Self {
            owners: map(Name::Owners)?,
            reservations: map(Name::Reservations)?,
            users: map(Name::Users)?,
            cgroups: map(Name::Cgroups)?,
            sockets: map(Name::Sockets)?,
            used: map(Name::Used)?,
            events: map(Name::Events)?,
        })
    }

    fn of(&self, name: Name) -> &Map {
        match name {
            Name::Owners => &self.owners,
            Name::Reservations => &self.reservations,
            Name::Users => &self.users,
            Name::Cgroups => &self.cgroups,
            Name::Sockets => &self.sockets,
            Name::Used => &self.used,
            Name::Events => &self.events,
        }
    }
}

fn spec(name: Name, types: &Types) -> MapSpec<'_> {
    let spec = name.spec();
    MapSpec {
        kind: spec.kind,
        key: spec.key,
        value: spec.value,
        entries: spec.entries,
        flags: spec.flags,
        name: name.name(),
        types: spec.types.map(|(key, value)| (types, key, value)),
    }
}

/// What programs without some features cannot do.
pub(super) fn limits(features: Features) -> impl Iterator<Item = String> {
    Features::each().filter(move |feature| !features.contains(*feature)).map(|feature| {
        let limit = match feature {
            Features::REFUSAL => {
                "every refused bind fails with EPERM; Linux 6.1 lets a reservation choose"
            }
            Features::MPTCP => {
                "sockets of MPTCP cannot be associated; Linux 5.19 with MPTCP, and CAP_PERFMON, are needed"
            }
            Features::CLAIMS => {
                "two binds to port 0 at the same time may choose one port, and one of them fail; \
                 Linux 5.12 is needed"
            }
            Features::LONG_SEARCH => {
                "a bind to port 0 may fail while 1024 ports in a row are taken, and work when tried \
                 again; Linux 6.9 is needed"
            }
            Features::LOW_PORTS => {
                "ports below 1024 need CAP_NET_BIND_SERVICE as ever; Linux 5.12 is needed"
            }
            Features::EVENTS => {
                "refused binds are counted and not reported, and ends of runtime reservations and \
                 foreign changes of the reserved ports are found late; Linux 5.8 is needed"
            }
            Features::PROCESS => {
                "refused binds are reported without their process; Linux 6.1 is needed"
            }
            Features::PROGRAM => {
                "refused binds are reported without the program's name where the process is gone; \
                 Linux 6.1, and CAP_PERFMON, are needed"
            }
            _ => "control groups and systemd units cannot be let in; Linux 5.7 is needed",
        };
        limit.to_owned()
    })
}
