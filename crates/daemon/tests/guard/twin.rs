//! The same programs compiled from C, held to the same rules.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use iphelper_daemon::ports::guard::Guard;
use ports::guard::{Features, Hook, LICENSE, Map as Name, Presence};
use ports::{Block, Protocol};
use sys::ebpf::{Link, Map, Program, ProgramSpec};

use crate::site::{Site, Sort, granted, id, row};

/// The object file that clang made of `guard.c`.
pub(crate) struct Twin(Vec<u8>);

/// What the C says; it has no endless loops.
pub(crate) const FEATURES: Features = Features::ALL.without(Features::LONG_SEARCH);

/// Stands for the cookie in the C.
const COOKIE: u64 = 0x1122_3344_5566_7788;

/// The twin, compiled once; `None` without clang, which `CLANG` names if it is not in the path.
pub(crate) fn compiled() -> Option<&'static Twin> {
    static TWIN: OnceLock<Option<Twin>> = OnceLock::new();
    TWIN.get_or_init(Twin::compile).as_ref()
}

/// A section of the object file.
struct Section<'a> {
    name: &'a str,
    kind: u32,
    /// Of relocations: the section they are for.
    info: usize,
    data: &'a [u8],
}

impl Twin {
    fn compile() -> Option<Self> {
        let clang = std::env::var_os("CLANG").unwrap_or_else(|| "clang".into());
        Command::new(&clang).arg("--version").output().ok()?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ports/guard.c");
        let output = Command::new(&clang)
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-target", "bpf", "-mcpu=v3", "-c"])
            .arg(source)
            .args(["-o", "-"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        Some(Self(output.stdout))
    }

    /// Puts these programs in place of those that a guard has pinned.
    pub(crate) fn install(&self, guard: &Guard, cookie: u64) {
        let current = guard.site().folder.join("v1");
        // Attached from the first grant on.
        let number = id(1 << 40);
        guard.insert(number, &row(Protocol::Tcp, 65_535, 1)).unwrap();
        granted(guard, Sort::Tcp4, number.get());
        guard.remove(number, Protocol::Tcp, Block::new(65_535, 1).unwrap()).unwrap();
        let maps = Name::ALL.map(|name| Map::open(&current.join(name.name())).unwrap());
        for hook in Hook::all(FEATURES) {
            let code = self.code(hook, cookie, |name| {
                let place = Name::ALL.iter().position(|map| map.name() == name).unwrap();
                maps.get(place).unwrap().as_fd().as_raw_fd()
            });
            let spec = ProgramSpec {
                kind: hook.program_type(),
                attach: hook.attach_type(),
                name: hook.name(),
                license: LICENSE,
                code: &code,
            };
            let program = Program::load(&spec, &mut []).unwrap_or_else(|error| {
                let mut log = vec![0; 1 << 24];
                let _ = Program::load(&spec, &mut log);
                panic!("{}: {error}: {}", hook.name(), String::from_utf8_lossy(&log));
            });
            // Of the others it is enough that the kernel takes them.
            match Link::open(&current.join(hook.name())) {
                Ok(link) => link.update(&program).unwrap(),
                Err(_) => assert_eq!(hook.presence(), Presence::Reserving),
            }
        }
    }

    /// A program's instructions, with the descriptors of its maps and the cookie in them.
    fn code(&self, hook: Hook, cookie: u64, map: impl Fn(&str) -> i32) -> Vec<[u8; 8]> {
        const RELOCATIONS: u32 = 9;
        let sections = self.sections();
        let name = format!("hook/{}", hook.name());
        let index = sections.iter().position(|section| section.name == name).unwrap();
        let mut code = sections.get(index).unwrap().data.as_chunks::<8>().0.to_vec();
        let is_ours = |section: &&Section<'_>| section.kind == RELOCATIONS && section.info == index;
        for relocation in sections.iter().filter(is_ours).flat_map(|it| it.data.chunks_exact(16)) {
            let place = number(relocation, 0, 8) as usize / 8;
            let symbol = self.symbol(&sections, number(relocation, 12, 4) as usize);
            let instruction = code.get_mut(place).unwrap();
            // The kernel takes a descriptor where the source register is 1.
            let [_, registers, _, _, immediate @ ..] = instruction;
            *registers |= 1 << 4;
            *immediate = map(symbol).to_le_bytes();
        }
        let halves = |number: u64| [number as u32, (number >> 32) as u32].map(u32::to_le_bytes);
        let [low, high] = halves(COOKIE);
        let [new_low, new_high] = halves(cookie);
        for place in 1..code.len() {
            if let [first, second] = code.get_mut(place - 1..=place).unwrap()
                && first.get(4..) == Some(&low[..])
                && second.get(4..) == Some(&high[..])
            {
                first.last_chunk_mut::<4>().unwrap().copy_from_slice(&new_low);
                second.last_chunk_mut::<4>().unwrap().copy_from_slice(&new_high);
            }
        }
        code
    }

    /// The sections of an ELF file of 64 bits, little-endian (`elf(5)`).
    fn sections(&self) -> Vec<Section<'_>> {
        let file = &self.0[..];
        let table = number(file, 40, 8) as usize;
        let (count, names) = (number(file, 60, 2) as usize, number(file, 62, 2) as usize);
        let header = |index: usize| file.get(table + 64 * index..).unwrap();
        let data = |header: &[u8]| {
            let (start, length) = (number(header, 24, 8) as usize, number(header, 32, 8) as usize);
            file.get(start..start + length).unwrap()
        };
        let names = data(header(names));
        let section = |index| {
            let header = header(index);
            Section {
                name: text(names, number(header, 0, 4) as usize),
                kind: number(header, 4, 4) as u32,
                info: number(header, 44, 4) as usize,
                data: data(header),
            }
        };
        (0..count).map(section).collect()
    }

    fn symbol<'a>(&self, sections: &[Section<'a>], index: usize) -> &'a str {
        let named = |name| sections.iter().find(|section| section.name == name).unwrap().data;
        let symbol = named(".symtab").get(24 * index..).unwrap();
        text(named(".strtab"), number(symbol, 0, 4) as usize)
    }
}

fn number(bytes: &[u8], offset: usize, length: usize) -> u64 {
    let bytes = bytes.get(offset..offset + length).unwrap();
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn text(bytes: &[u8], offset: usize) -> &str {
    let bytes = bytes.get(offset..).unwrap().split(|byte| *byte == 0).next().unwrap();
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_kernel_takes_the_twin() {
    let Some(twin) = compiled() else {
        eprintln!("SKIPPED: the_kernel_takes_the_twin: no clang");
        return;
    };
    let site = lab::or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        twin.install(&guard, inside.cookie);
        guard.detach().unwrap();
    });
}
