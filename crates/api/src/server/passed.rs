//! Descriptors on their way to the calls they were passed with.

use std::collections::VecDeque;

use super::descriptor::Descriptor;

/// Descriptors whose call has not come to its end yet.
///
/// A stream has no marks: what tells which call descriptors belong to is that the kernel ends a
/// read after the bytes they were sent with (unix(7)). So the last byte read with them is one of
/// their call's, if each call with descriptors was sent on its own, as sd-varlink does.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// In the order they came.
    waiting: VecDeque<Arrived>,
    /// Descriptors in `waiting`.
    count: usize,
}

#[derive(Debug)]
struct Arrived {
    /// Where in the stream the last byte was that came with them, counted from 1.
    at: u64,
    descriptors: Vec<Descriptor>,
}

impl Passed {
    /// Takes those that came with a read that ended at `at`.
    pub(super) fn push(&mut self, at: u64, descriptors: Vec<Descriptor>) {
        if !descriptors.is_empty() {
            self.count += descriptors.len();
            self.waiting.push_back(Arrived { at, descriptors });
        }
    }

    /// Those of the call whose last byte is at `end`.
    pub(super) fn take(&mut self, end: u64) -> Vec<Descriptor> {
        let mut taken = Vec::new();
        while let Some(arrived) = self.waiting.pop_front_if(|arrived| arrived.at <= end) {
            taken.extend(arrived.descriptors);
        }
        self.count -= taken.len();
        taken
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}
