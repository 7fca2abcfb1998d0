mod after_bind;
mod bind;
mod release;
mod steps;
mod sysctl;

use super::features::Features;
use super::instruction::{Instruction, code};
use super::maps::Map;

/// Where a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Before an IPv4 socket is bound.
    Bind4,
    /// Before an IPv6 socket is bound, to whatever kind of address.
    Bind6,
    /// After an IPv4 socket got its port.
    AfterBind4,
    /// After an IPv6 socket got its port.
    AfterBind6,
    /// When a socket's last descriptor is closed.
    Release,
    /// Before a kernel parameter is read or written.
    Sysctl,
}

/// When a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Presence {
    /// As long as anything is reserved.
    Reserved,
    /// Since before the first socket was let in: others have nothing to be freed.
    Granted,
    /// For the moments in which ports are being reserved.
    Reserving,
}

/// A program for one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    hook: Hook,
    code: Vec<Instruction>,
}

impl Hook {
    /// The name of its program in the kernel, and of its link in the folder of pins.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bind4 => "bind4",
            Self::Bind6 => "bind6",
            Self::AfterBind4 => "after_bind4",
            Self::AfterBind6 => "after_bind6",
            Self::Release => "release",
            Self::Sysctl => "sysctl",
        }
    }

    /// Its type of program, by the numbers of `enum bpf_prog_type`.
    pub const fn program_type(self) -> u32 {
        match self {
            Self::Bind4 | Self::Bind6 => 18,
            Self::AfterBind4 | Self::AfterBind6 | Self::Release => 9,
            Self::Sysctl => 23,
        }
    }

    /// By the numbers of `enum bpf_attach_type`.
    pub const fn attach_type(self) -> u32 {
        match self {
            Self::Bind4 => 8,
            Self::Bind6 => 9,
            Self::AfterBind4 => 12,
            Self::AfterBind6 => 13,
            Self::Release => 34,
            Self::Sysctl => 18,
        }
    }

    /// When its program is attached. Every bind, or close, of the machine pays for one that is.
    pub const fn presence(self) -> Presence {
        match self {
            Self::Bind4 | Self::Bind6 | Self::Sysctl => Presence::Reserved,
            Self::Release => Presence::Granted,
            Self::AfterBind4 | Self::AfterBind6 => Presence::Reserving,
        }
    }

    /// The hooks that programs with these features are for.
    pub fn all(features: Features) -> impl Iterator<Item = Self> {
        let all = [
            Self::Bind4,
            Self::Bind6,
            Self::AfterBind4,
            Self::AfterBind6,
            Self::Release,
            Self::Sysctl,
        ];
        // Reporting is all the last one does.
        let kept = move |hook: &Self| *hook != Self::Sysctl || features.contains(Features::EVENTS);
        all.into_iter().filter(kept)
    }
}

impl Program {
    /// The program for a hook, for sockets of the network namespace with this cookie
    /// (`SO_NETNS_COOKIE`).
    pub fn assemble(hook: Hook, cookie: u64, features: Features) -> Self {
        match hook {
            Hook::Bind4 | Hook::Bind6 => bind::assemble(hook, cookie, features),
            Hook::AfterBind4 | Hook::AfterBind6 => after_bind::assemble(hook, cookie, features),
            Hook::Release => release::assemble(features),
            Hook::Sysctl => sysctl::assemble(features),
        }
    }

    pub(super) fn new(hook: Hook, code: Vec<Instruction>) -> Self {
        Self { hook, code }
    }

    /// Where it belongs.
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// Its instructions. The number of a [`Map`] stands for the map.
    pub fn instructions(&self) -> &[Instruction] {
        &self.code
    }

    /// The maps it uses.
    pub fn maps(&self) -> impl Iterator<Item = Map> {
        self.code.iter().filter_map(|instruction| map_of(*instruction))
    }

    /// The program as the kernel takes it, with the descriptors of its maps.
    pub fn link(&self, descriptor: impl Fn(Map) -> i32) -> Vec<[u8; 8]> {
        let code = self.code.iter().map(|instruction| match map_of(*instruction) {
            Some(map) => Instruction { immediate: descriptor(map), ..*instruction },
            None => *instruction,
        });
        code.map(Instruction::to_bytes).collect()
    }
}

fn map_of(instruction: Instruction) -> Option<Map> {
    let is_map = instruction.opcode == code::LOAD_CONSTANT && instruction.source == code::MAP;
    let number = usize::try_from(instruction.immediate).ok()?;
    Map::ALL.get(number).copied().filter(|_| is_map)
}
