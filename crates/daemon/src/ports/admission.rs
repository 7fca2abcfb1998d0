//! Which requests are served at once, and which wait until it is known what can be had.

/// What a request needs to be known before it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// That everything on record is in force: before, it would be answered with what is not so.
    Restored,
    /// Beside that, how a new reservation would be enforced.
    Enforcement,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<R> {
    /// It is served now.
    Serve(R),
    /// It waits. Where `open` is set, how a reservation would be enforced is to be found out.
    Wait { open: bool },
}

/// Those that wait, and what is known.
#[derive(Debug)]
pub(super) struct Admission<R> {
    is_restored: bool,
    is_enforcement_known: bool,
    /// It is being found out.
    is_opening: bool,
    /// In the order they came.
    waiting: Vec<(Needs, R)>,
}

impl<R> Admission<R> {
    /// How reservations would be enforced is not known. `is_restored` where nothing is on record.
    pub(super) fn new(is_restored: bool) -> Self {
        Self { is_restored, is_enforcement_known: false, is_opening: false, waiting: Vec::new() }
    }

    /// Takes a request.
    pub(super) fn admit(&mut self, needs: Needs, request: R) -> Verdict<R> {
        if self.meets(needs) {
            return Verdict::Serve(request);
        }
        self.waiting.push((needs, request));
        Verdict::Wait { open: self.opens() }
    }

    /// Everything on record is in force. Returns who is served now, and whether how a reservation
    /// would be enforced is to be found out for the others.
    pub(super) fn on_restored(&mut self) -> (Vec<R>, bool) {
        self.is_restored = true;
        (self.served(), self.opens())
    }

    /// How a reservation would be enforced is known. Returns who is served now.
    pub(super) fn on_opened(&mut self) -> Vec<R> {
        self.is_enforcement_known = true;
        self.is_opening = false;
        self.served()
    }

    /// It cannot be found out for now. Returns who waited for it: they are refused.
    pub(super) fn on_not_opened(&mut self) -> Vec<R> {
        self.is_opening = false;
        self.take(|needs| needs == Needs::Enforcement)
    }

    /// What was found out is not so any more. Returns whether it is to be found out again.
    pub(super) fn on_opened_in_vain(&mut self) -> bool {
        self.is_opening = false;
        self.opens()
    }

    /// What enforced reservations is gone.
    pub(super) fn on_lost(&mut self) {
        self.is_enforcement_known = false;
    }

    /// Nobody finds out any more. Returns who waits.
    pub(super) fn on_stop(&mut self) -> Vec<R> {
        self.take(|_| true)
    }

    fn meets(&self, needs: Needs) -> bool {
        self.is_restored && (needs == Needs::Restored || self.is_enforcement_known)
    }

    /// Whether somebody waits for what nobody is finding out; somebody does from now on.
    fn opens(&mut self) -> bool {
        let is_wanted = self.waiting.iter().any(|(needs, _)| *needs == Needs::Enforcement);
        let opens = self.is_restored && is_wanted && !self.is_enforcement_known && !self.is_opening;
        self.is_opening |= opens;
        opens
    }

    fn served(&mut self) -> Vec<R> {
        let (restored, known) = (self.is_restored, self.is_enforcement_known);
        self.take(|needs| restored && (needs == Needs::Restored || known))
    }

    fn take(&mut self, which: impl Fn(Needs) -> bool) -> Vec<R> {
        let taken = self.waiting.extract_if(.., |(needs, _)| which(*needs));
        taken.map(|(_, request)| request).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_waits_until_what_is_on_record_is_in_force() {
        let mut admission = Admission::new(false);
        assert_eq!(admission.admit(Needs::Restored, 1), Verdict::Wait { open: false });
        assert_eq!(admission.admit(Needs::Enforcement, 2), Verdict::Wait { open: false });
        assert_eq!(admission.admit(Needs::Restored, 3), Verdict::Wait { open: false });
        assert_eq!(admission.on_restored(), (vec![1, 3], true), "2 needs more");
        assert_eq!(admission.admit(Needs::Restored, 4), Verdict::Serve(4));
        assert_eq!(admission.admit(Needs::Enforcement, 5), Verdict::Wait { open: false });
        assert_eq!(admission.on_opened(), [2, 5]);
        assert_eq!(admission.admit(Needs::Enforcement, 6), Verdict::Serve(6));
    }

    #[test]
    fn with_nothing_on_record_nobody_waits_for_that() {
        let mut admission = Admission::new(true);
        assert_eq!(admission.admit(Needs::Restored, 1), Verdict::Serve(1));
        assert_eq!(admission.admit(Needs::Enforcement, 2), Verdict::Wait { open: true });
    }

    #[test]
    fn what_is_known_before_is_not_found_out_again() {
        let mut admission = Admission::new(false);
        admission.admit(Needs::Enforcement, 1);
        assert!(admission.on_opened().is_empty(), "it is not in force yet");
        assert_eq!(admission.on_restored(), (vec![1], false));
    }

    #[test]
    fn a_shortage_refuses_those_who_wait_and_the_next_one_tries_again() {
        let mut admission = Admission::new(false);
        assert_eq!(admission.on_restored(), (Vec::new(), false));
        assert_eq!(admission.admit(Needs::Enforcement, 1), Verdict::Wait { open: true });
        assert_eq!(admission.admit(Needs::Enforcement, 2), Verdict::Wait { open: false });
        assert_eq!(admission.on_not_opened(), [1, 2]);
        assert_eq!(admission.admit(Needs::Restored, 3), Verdict::Serve(3));
        assert_eq!(admission.admit(Needs::Enforcement, 4), Verdict::Wait { open: true });
        assert_eq!(admission.on_opened(), [4]);
    }

    #[test]
    fn after_a_loss_it_is_found_out_anew() {
        let mut admission = Admission::new(false);
        admission.on_restored();
        admission.on_opened();
        admission.on_lost();
        assert_eq!(admission.admit(Needs::Enforcement, 1), Verdict::Wait { open: true });
        assert_eq!(admission.admit(Needs::Restored, 2), Verdict::Serve(2));
        assert_eq!(admission.on_opened(), [1]);
    }

    #[test]
    fn what_is_gone_when_it_is_known_is_found_out_again_for_those_who_wait() {
        let mut admission = Admission::new(false);
        admission.on_restored();
        assert_eq!(admission.admit(Needs::Enforcement, 1), Verdict::Wait { open: true });
        assert!(admission.on_opened_in_vain());
        assert_eq!(admission.on_opened(), [1]);
        admission.on_lost();
        assert!(!admission.on_opened_in_vain(), "nobody waits");
    }

    #[test]
    fn who_waits_at_the_end_is_let_go() {
        let mut admission = Admission::new(false);
        admission.admit(Needs::Restored, 1);
        admission.admit(Needs::Enforcement, 2);
        assert_eq!(admission.on_stop(), [1, 2]);
        assert_eq!(admission.on_restored(), (Vec::new(), false));
    }
}
