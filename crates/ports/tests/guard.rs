//! The guard's programs, checked without a kernel: what every variant may and may not contain, and
//! byte for byte what two of them are.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use iphelper_ports::guard::{Features, Hook, Instruction, Map, Program};

const COOKIE: u64 = 0x1122_3344_5566_7788;

/// Numbers of the kernel's functions that the guard calls.
const HELPERS: [i32; 14] = [1, 3, 14, 15, 16, 80, 101, 107, 122, 123, 125, 130, 187, 196];

/// What an instruction may be, with the number of its immediate fixed where it has a meaning.
fn is_known(instruction: Instruction) -> bool {
    let Instruction { opcode, source, immediate, .. } = instruction;
    match opcode {
        // A 64-bit constant or map, and its second half.
        0x18 => source <= 1,
        0x00 => true,
        // Loads, stores and stores of constants, of 32 and 64 bits.
        0x61 | 0x79 | 0x63 | 0x7b | 0x62 | 0x7a => true,
        // Atomic additions, and an exchange of 32 bits.
        0xc3 => immediate == 0x00 || immediate == 0xf1,
        0xdb => immediate == 0x00,
        // Additions, subtractions, ands, shifts, negations and moves; remainder and move of 32 bits.
        0x07 | 0x0f | 0x1f | 0x57 | 0x77 | 0x87 | 0xb7 | 0xbf | 0x9c | 0xbc => true,
        0xdc => immediate == 16,
        // Jumps: always; equal, not equal, less, at least, bits; sometimes.
        0x05 | 0x15 | 0x1d | 0x55 | 0x5d | 0xa5 | 0x3d | 0x45 | 0xe5 => true,
        0x85 => source == 0 && HELPERS.contains(&immediate),
        0x95 => true,
        _ => false,
    }
}

/// Where each instruction starts: a 64-bit constant takes two places.
fn starts(code: &[Instruction]) -> BTreeSet<usize> {
    let mut starts = BTreeSet::new();
    let mut at = 0;
    while at < code.len() {
        starts.insert(at);
        at += code[at].places();
    }
    assert_eq!(at, code.len(), "the last instruction is whole");
    starts
}

/// Where the program may go on after the instruction.
fn successors(code: &[Instruction], at: usize) -> Vec<usize> {
    let instruction = code[at];
    let next = at + instruction.places();
    match (instruction.opcode, instruction.jump()) {
        (0x95, _) => vec![],
        (0x05, Some(offset)) => vec![next.checked_add_signed(offset.into()).unwrap()],
        (_, Some(offset)) => vec![next, next.checked_add_signed(offset.into()).unwrap()],
        (_, None) => vec![next],
    }
}

/// Registers an instruction reads and writes, as bits.
fn registers(instruction: Instruction) -> (u16, u16) {
    let (destination, source) = (1 << instruction.destination, 1 << instruction.source);
    let by_register = instruction.opcode & 0x08 != 0;
    let second = if by_register { source } else { 0 };
    match instruction.opcode & 0x07 {
        0x00 if instruction.opcode == 0x18 => (0, destination),
        0x00 => (0, 0),
        0x01 => (source, destination),
        0x02 => (destination, 0),
        0x03 if instruction.immediate == 0xf1 => (destination | source | 1, 1),
        0x03 => (destination | source, 0),
        0x04 | 0x07 if instruction.opcode & 0xf0 == 0xb0 => (second, destination),
        0x04 | 0x07 if instruction.opcode & 0xf0 == 0xd0 => (destination, destination),
        0x04 | 0x07 => (destination | second, destination),
        _ => match instruction.opcode {
            0x85 => (0, 1),
            0x95 => (1, 0),
            0x05 | 0xe5 => (0, 0),
            _ => (destination | second, 0),
        },
    }
}

/// Arguments each helper takes.
fn arguments(helper: i32) -> u16 {
    let count = match helper {
        14 | 15 | 80 | 125 => 0,
        122 | 123 | 187 | 196 => 1,
        1 | 3 | 16 => 2,
        101 | 107 | 130 => 4,
        other => panic!("{other}"),
    };
    ((1 << count) - 1) << 1
}

/// Follows every path and checks that registers are written before they are read, and that no place
/// is never reached.
fn check_flow(code: &[Instruction], name: &str) {
    const CONTEXT_AND_STACK: u16 = 1 << 1 | 1 << 10;
    let mut known: Vec<Option<u16>> = vec![None; code.len()];
    let mut work = vec![(0, CONTEXT_AND_STACK)];
    while let Some((at, written)) = work.pop() {
        let merged = known[at].map_or(written, |before| before & written);
        if known[at] == Some(merged) {
            continue;
        }
        known[at] = Some(merged);
        let instruction = code[at];
        let (mut reads, writes) = registers(instruction);
        let mut after = merged;
        if instruction.opcode == 0x85 {
            reads = arguments(instruction.immediate);
            after &= !0b11_1110;
        }
        assert_eq!(reads & !merged, 0, "{name} {at}: {instruction} reads what nobody wrote");
        assert_eq!(writes & 1 << 10, 0, "{name} {at}: {instruction} moves the stack");
        for next in successors(code, at) {
            assert!(next < code.len(), "{name} {at}: {instruction} leaves the program");
            work.push((next, after | writes));
        }
    }
    for start in starts(code) {
        assert!(known[start].is_some(), "{name} {start}: {} is never reached", code[start]);
    }
}

fn variants() -> impl Iterator<Item = Features> {
    (0..1_u32 << Features::each().count()).map(|bits| {
        let chosen = Features::each().enumerate().filter(move |(bit, _)| bits >> bit & 1 != 0);
        chosen.fold(Features::NONE, |all, (_, feature)| all | feature)
    })
}

fn programs(features: Features) -> impl Iterator<Item = (String, Program)> {
    Hook::all(features).map(move |hook| {
        (format!("{} with {features}", hook.name()), Program::assemble(hook, COOKIE, features))
    })
}

#[test]
fn every_variant_is_well_formed() {
    let mut count = 0;
    for features in variants() {
        for (name, program) in programs(features) {
            let code = program.instructions();
            assert!(code.len() < 512, "{name}: {}", code.len());
            let starts = starts(code);
            let mut backward = 0;
            for at in &starts {
                let instruction = code[*at];
                assert!(is_known(instruction), "{name} {at}: {instruction}");
                assert!(instruction.destination <= 10 && instruction.source <= 10, "{name} {at}");
                for next in successors(code, *at) {
                    assert!(
                        starts.contains(&next),
                        "{name} {at}: {instruction} jumps into a number"
                    );
                    backward += usize::from(next <= *at);
                }
                let through_stack = match instruction.opcode & 0x07 {
                    0x01 => instruction.source == 10,
                    0x02 | 0x03 => instruction.destination == 10,
                    _ => false,
                };
                if through_stack {
                    let offset = instruction.offset;
                    let width = if instruction.opcode & 0x18 == 0x18 { 8 } else { 4 };
                    assert!((-512..0).contains(&offset), "{name} {at}: {instruction}");
                    assert_eq!(offset % width, 0, "{name} {at}: {instruction}");
                }
            }
            // The levels of control groups, and the search for a port.
            assert!(backward <= 2, "{name}: {backward} loops");
            check_flow(code, &name);
            count += 1;
        }
    }
    assert_eq!(count, 512 * 5 + 256);
}

#[test]
fn features_that_are_off_leave_nothing_behind() {
    let off = [
        (Features::REFUSAL, 187),
        (Features::MPTCP, 196),
        (Features::EVENTS, 130),
        (Features::PROCESS, 14),
        (Features::PROGRAM, 16),
        (Features::CGROUPS, 80),
        (Features::CGROUPS, 123),
    ];
    for (feature, helper) in off {
        let calls = |features| {
            let calls = |program: &Program| {
                let code = program.instructions().iter();
                code.filter(|one| one.opcode == 0x85 && one.immediate == helper).count()
            };
            programs(features).map(|(_, program)| calls(&program)).sum::<usize>()
        };
        assert_ne!(calls(Features::ALL), 0, "{feature}");
        assert_eq!(calls(Features::ALL.without(feature)), 0, "{feature}");
    }
    let has = |features, opcode: u8, immediate: Option<i32>| {
        programs(features).any(|(_, program)| {
            let mut code = program.instructions().iter();
            code.any(|one| one.opcode == opcode && immediate.is_none_or(|it| it == one.immediate))
        })
    };
    assert!(has(Features::ALL, 0xe5, None) && has(Features::ALL, 0xc3, Some(0xf1)));
    assert!(!has(Features::ALL.without(Features::LONG_SEARCH), 0xe5, None));
    assert!(!has(Features::ALL.without(Features::CLAIMS), 0xc3, Some(0xf1)));
}

#[test]
fn maps_get_their_descriptors_and_nothing_else_changes() {
    let program = Program::assemble(Hook::Bind4, COOKIE, Features::ALL);
    let used: BTreeSet<Map> = program.maps().collect();
    assert_eq!(used, BTreeSet::from(Map::ALL));
    let linked = program.link(|map| 100 + map as i32);
    let mut maps = program.maps();
    for (before, after) in program.instructions().iter().zip(&linked) {
        if before.opcode == 0x18 && before.source == 1 {
            let expected = Instruction { immediate: 100 + maps.next().unwrap() as i32, ..*before };
            assert_eq!(*after, expected.to_bytes());
        } else {
            assert_eq!(*after, before.to_bytes());
        }
    }
    assert_eq!(maps.next(), None);
}

/// One line an instruction: place, bytes, meaning.
fn listing(program: &Program) -> String {
    let mut text = String::new();
    for (at, instruction) in program.instructions().iter().enumerate() {
        let bytes = instruction.to_bytes().map(|byte| format!("{byte:02x}")).join(" ");
        writeln!(text, "{at:3}  {bytes}  {instruction}").unwrap();
    }
    text
}

#[test]
#[cfg(target_endian = "little")]
fn the_programs_are_what_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (kind, features) in [("all", Features::ALL), ("none", Features::NONE)] {
        for hook in Hook::all(features) {
            let text = listing(&Program::assemble(hook, COOKIE, features));
            // Both families have one program.
            let name = hook.name().trim_end_matches(['4', '6']);
            let path = folder.join(format!("{name}-{kind}.txt"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let golden = std::fs::read_to_string(&path).unwrap();
            assert!(
                text == golden,
                "{} differs: UPDATE_GOLDEN=1 writes it anew\n{text}",
                path.display()
            );
        }
    }
}

#[test]
#[cfg(target_endian = "little")]
fn the_types_are_what_the_kernel_expects() {
    let blob = iphelper_ports::guard::types();
    let word = |at: usize| u32::from_le_bytes(blob[at..at + 4].try_into().unwrap());
    assert_eq!(word(0), 0x0001_eb9f);
    assert_eq!(word(4), 24, "header");
    let (types, strings) = (word(12) as usize, word(20) as usize);
    assert_eq!((word(8), word(16) as usize), (0, types), "types, then strings");
    assert_eq!(blob.len(), 24 + types + strings);
    let text = |offset: u32| {
        let start = 24 + types + offset as usize;
        let bytes: Vec<u8> = blob[start..].iter().copied().take_while(|byte| *byte != 0).collect();
        String::from_utf8(bytes).unwrap()
    };
    // Three integers of 16 bytes, then the structure and its members of 12.
    let structure = 24 + 3 * 16;
    assert_eq!(text(word(24)), "int");
    assert_eq!((text(word(structure)), word(structure + 4)), ("socket".into(), 4 << 24 | 4));
    let members: Vec<(String, u32, u32)> = (0..4)
        .map(|index| structure + 12 + 12 * index)
        .map(|at| (text(word(at)), word(at + 4), word(at + 8)))
        .collect();
    let expected = [("granted", 2, 0), ("owned", 2, 64), ("passed", 2, 128), ("counted", 3, 192)];
    assert_eq!(members, expected.map(|(name, kind, bit)| (name.to_owned(), kind, bit)));
    assert_eq!(blob[24 + types], 0, "no name is at 0");
}
