use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::hash::Hash;

/// A row of a table.
pub trait Row: Clone + fmt::Debug + PartialEq {
    /// What tells the row from all others of its table.
    type Key: Clone + fmt::Debug + Eq + Ord + Hash;

    /// What tells the row from all others of its table.
    fn key(&self) -> Self::Key;

    /// The names of the members that differ, as they stand in JSON.
    fn difference(&self, other: &Self) -> Vec<&'static str>;

    /// How much it means that this member became what it is in `self` and was in `before`.
    fn weight(&self, before: &Self, member: &str) -> Weight {
        let _ = (before, member);
        Weight::State
    }
}

/// How much a change of a row's member means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// It goes on by itself: counters, ages, time left. Never told.
    Running,
    /// A lifetime was refreshed. Told on request.
    Lifetime,
    /// Something changed.
    State,
}

/// Implements [`Row::difference`]: a member that is not listed does not compile.
macro_rules! difference {
    ($($member:ident $(as $name:literal)?),+ $(,)?) => {
        fn difference(&self, other: &Self) -> Vec<&'static str> {
            let Self { $($member),+ } = self;
            let mut members = Vec::new();
            $(if *$member != other.$member {
                members.push($crate::row::difference!(@name $member $($name)?));
            })+
            members
        }
    };
    (@name $member:ident) => { stringify!($member) };
    (@name $member:ident $name:literal) => { $name };
}
pub(crate) use difference;

/// The kernel's text, which need not be UTF-8, for people and JSON.
pub(crate) fn text(text: &OsStr) -> Box<str> {
    text.to_string_lossy().into()
}

/// The kind of an interface. The usual ones are not copied: there may be thousands of each.
pub(crate) fn kind(kind: &OsStr) -> Cow<'static, str> {
    const USUAL: [&str; 12] = [
        "veth",
        "bridge",
        "macvlan",
        "vxlan",
        "tun",
        "vlan",
        "bond",
        "dummy",
        "ipvlan",
        "wireguard",
        "vrf",
        "ifb",
    ];
    match USUAL.into_iter().find(|usual| kind == *usual) {
        Some(usual) => Cow::Borrowed(usual),
        None => Cow::Owned(kind.to_string_lossy().into_owned()),
    }
}
