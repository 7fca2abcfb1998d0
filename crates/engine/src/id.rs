/// Names a command from its input to its reply. Chosen by whoever sends the command, and not in use
/// by another one of the same engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// Names an effect from its output to the input with its result. Chosen by the engine, and never
/// used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EffectId(pub u64);
