use std::collections::HashMap;
use std::sync::{Arc, Weak};

use api::ports::{Id, Reservation};

/// Reservations as they were listed, for as long as somebody reads them: readers share those that did
/// not change.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// With its token, or without.
    listed: HashMap<(Id, bool), Weak<Reservation>>,
    /// When there are as many, those that nobody reads are forgotten.
    sweep_at: usize,
}

impl Lists {
    /// A reservation as it is now, or an equal one that somebody reads.
    pub(super) fn share(&mut self, one: Reservation) -> Arc<Reservation> {
        let key = (one.id, one.token.is_some());
        if let Some(before) = self.listed.get(&key).and_then(Weak::upgrade)
            && *before == one
        {
            return before;
        }
        if self.listed.len() >= self.sweep_at {
            self.listed.retain(|_, listed| listed.strong_count() > 0);
            self.sweep_at = 2 * self.listed.len() + 64;
        }
        let one = Arc::new(one);
        self.listed.insert(key, Arc::downgrade(&one));
        one
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Time;
    use api::ports::{Kind, Protocol, Refusal};

    fn reservation(id: u64, denials: u64) -> Reservation {
        let json = serde_json::json!({
            "id": id.to_string(), "kind": Kind::Persistent, "protocol": Protocol::Tcp,
            "start_port": 5000, "number_of_ports": 1, "owner": { "uid": 0 },
            "created_at": Time::from(std::time::UNIX_EPOCH), "refusal": Refusal::AccessDenied,
            "dry_run": false, "low_ports": false, "users": [], "cgroups": [], "denials": denials,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn readers_share_what_did_not_change() {
        let mut lists = Lists::default();
        let first = lists.share(reservation(1, 0));
        assert!(Arc::ptr_eq(&first, &lists.share(reservation(1, 0))));
        assert!(!Arc::ptr_eq(&first, &lists.share(reservation(1, 1))));
    }

    #[test]
    fn what_nobody_reads_is_forgotten() {
        let mut lists = Lists::default();
        for id in 1..10_000 {
            lists.share(reservation(id, 0));
        }
        assert!(lists.listed.len() < 200, "{}", lists.listed.len());
    }
}
