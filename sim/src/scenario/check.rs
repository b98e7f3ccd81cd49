//! What no single type can tell: values that are impossible, alone or beside others. Whatever passes
//! can be run: it neither panics nor hangs, and every key that is given has an effect.

use peerless_core::{Quorum, Span};

use super::keys::{Bad, Keys};
use super::{Churn, Crash, Scenario};

/// More peers than these have no room in the tables' indices.
const PEERS_MAX: u32 = 1 << 24;

type Checked = Result<(), Bad>;

impl Scenario {
    pub(super) fn check(&self, keys: &Keys) -> Checked {
        self.check_peers(keys)?;
        self.check_limits(keys)?;
        self.check_work(keys)?;
        if let Some(churn) = &self.churn {
            self.check_churn(churn, keys)?;
        }
        if let Some(crash) = &self.crash {
            self.check_crash(crash, keys)?;
        }
        if let Some(partition) = &self.partition {
            partition.check(keys)?;
        }
        if let Some(clocks) = &self.clocks {
            clocks.check(keys)?;
        }
        if let Some(sybils) = &self.sybils {
            sybils.check(self.peers, keys)?;
        }
        if let Some(adversaries) = &self.adversaries {
            adversaries.check(keys)?;
        }
        if let Some(sessions) = &self.sessions {
            sessions.check(keys)?;
            if self.churn.is_some() {
                return Err(keys.bad("sessions", "expected no [churn] beside it"));
            }
        }
        self.check_expectations(keys)
    }

    fn check_peers(&self, keys: &Keys) -> Checked {
        at_least(keys, "peers", self.peers, 2)?;
        if self.peers > PEERS_MAX {
            return Err(keys.bad("peers", &format!("expected at most {PEERS_MAX}")));
        }
        at_least(keys, "owner_keys", self.owner_keys, 1)?;
        if self.owners > self.peers {
            return Err(keys.bad("owners", "expected no more than there are peers"));
        }
        if self.host.hosts.is_some_and(|hosts| hosts > self.peers) {
            return Err(keys.bad("host.hosts", "expected no more than there are peers"));
        }
        if self.functions.is_none() {
            return Ok(());
        }
        // Owners are missing where they are not given: then it is the functions that ask for them.
        if self.owners == 0 {
            let culprit = if keys.is_given("owners") { "owners" } else { "functions" };
            return Err(keys.bad(culprit, "expected owners of at least 1, who deploy functions"));
        }
        at_least(keys, "host.hosts", self.host.hosts.unwrap_or(self.peers), 1)?;
        at_least(keys, "host.slots", self.host.slots, 1)?;
        if self.host.slots_each.contains(&0) {
            return Err(keys.bad("host.slots_each", "expected at least 1 each"));
        }
        at_least(keys, "host.room", self.host.room, 1)?;
        let Some(least) = self.host.room_min else { return Ok(()) };
        at_least(keys, "host.room_min", least, 1)?;
        if least > self.host.room {
            return Err(keys.bad("host.room_min", "expected at most host.room"));
        }
        Ok(())
    }

    fn check_limits(&self, keys: &Keys) -> Checked {
        self.network.check(&self.topology, keys)?;
        if let Some(links) = &self.links {
            links.check(keys)?;
        }
        if let Some(connections) = &self.connections {
            connections.check(keys)?;
        }
        if self.nat.is_some() && self.connections.is_none() {
            return Err(keys.bad("nat", "expected [connections] beside it"));
        }
        let check = self.core.check();
        check.map_err(|(key, expected)| {
            keys.bad(&format!("core.{key}"), &format!("expected {expected}"))
        })
    }

    fn check_work(&self, keys: &Keys) -> Checked {
        if let Some(lookups) = &self.lookups {
            at_least(keys, "lookups.count", lookups.count, 1)?;
            if !lookups.eclipsed.is_zero() && self.sybils.is_none() {
                return Err(keys.bad("lookups.eclipsed", "expected [sybils] beside it"));
            }
        }
        if let Some(functions) = &self.functions {
            at_least(keys, "functions.count", functions.count, 1)?;
            positive(keys, "functions.timeout", functions.timeout)?;
            if functions.sigma > 5.0 {
                return Err(keys.bad("functions.sigma", "expected at most 5"));
            }
            if functions.replicas.0 == 0 {
                return Err(keys.bad("functions.replicas", "expected at least 1 host"));
            }
        }
        if let Some(calls) = &self.anycalls {
            at_least(keys, "anycalls.count", calls.count, 1)?;
            positive(keys, "anycalls.deadline", calls.deadline)?;
            at_least(keys, "anycalls.burst", calls.burst, 1)?;
            self.needs_functions("anycalls", "to call", keys)?;
            let functions = self.functions.as_ref().map_or(0, |functions| functions.count);
            calls.check(self.first_peers(), functions, keys)?;
        }
        if let Some(drain) = &self.drain {
            at_least(keys, "drain.count", drain.count, 1)?;
            self.needs_functions("drain", "to leave, for only hosts do", keys)?;
        }
        if let Some(many) = &self.manycalls {
            at_least(keys, "manycalls.jobs", many.jobs, 1)?;
            at_least(keys, "manycalls.items", many.items, 1)?;
            if many.quorum.is_some() && many.quorum().is_none() {
                let most = Quorum::OF_MAX;
                let what = format!("expected [K, N], 1 to N and 1 to {most}");
                return Err(keys.bad("manycalls.quorum", &what));
            }
            self.needs_functions("manycalls", "to call", keys)?;
        }
        Ok(())
    }

    fn needs_functions(&self, section: &str, to: &str, keys: &Keys) -> Checked {
        if self.functions.is_some() {
            return Ok(());
        }
        Err(keys.bad(section, &format!("there is nothing {to}: expected [functions] beside it")))
    }

    fn check_churn(&self, churn: &Churn, keys: &Keys) -> Checked {
        if churn.per_hour.of(self.peers.into()) == 0 {
            let peers = self.peers;
            let what = format!("expected a share that is at least one of {peers} peers");
            return Err(keys.bad("churn.per_hour", &what));
        }
        if churn.end <= churn.start {
            let culprit = if keys.is_given("churn.end") { "churn.end" } else { "churn.start" };
            return Err(keys.bad(culprit, "expected churn.end to be later than churn.start"));
        }
        Ok(())
    }

    fn check_crash(&self, crash: &Crash, keys: &Keys) -> Checked {
        self.needs_functions("crash", "to crash, for only hosts do", keys)?;
        if let Some(functions) = crash.functions {
            at_least(keys, "crash.functions", functions, 1)?;
            let beside = ["crash.share", "crash.count"].into_iter().find(|key| keys.is_given(key));
            if let Some(key) = beside {
                return Err(
                    keys.bad(key, "expected neither share nor count beside crash.functions")
                );
            }
        }
        match crash.count {
            Some(count) => {
                at_least(keys, "crash.count", count, 1)?;
                if keys.is_given("crash.share") {
                    return Err(keys.bad("crash.share", "expected no share beside crash.count"));
                }
            }
            None if crash.share.is_zero() => {
                return Err(keys.bad("crash.share", "expected more than nothing"));
            }
            None => {}
        }
        let deployed = self.functions.as_ref().map_or(Span::ZERO, |functions| functions.start);
        if crash.at <= deployed {
            let culprit = if keys.is_given("crash.at") { "crash.at" } else { "functions.start" };
            return Err(keys.bad(culprit, "expected crash.at to be later than functions.start"));
        }
        Ok(())
    }

    /// What is expected of work that is not there would never be held against anything.
    fn check_expectations(&self, keys: &Keys) -> Checked {
        let there = [
            ("lookup", "lookups", self.lookups.is_some()),
            ("table", "joining", self.joining.is_some()),
            ("drained", "drain", self.drain.is_some()),
            ("partition", "partition", self.partition.is_some()),
            ("placement", "functions", self.functions.is_some()),
            ("anycall", "anycalls", self.anycalls.is_some()),
            ("manycall", "manycalls", self.manycalls.is_some()),
        ];
        for key in keys.given_in("expect") {
            let of = key.trim_start_matches("expect.").split('_').next();
            let section = there.iter().find(|(kind, ..)| Some(*kind) == of);
            if let Some((_, section, false)) = section {
                return Err(keys.bad(key, &format!("expected [{section}], which is not there")));
            }
        }
        Ok(())
    }
}

pub(crate) fn at_least(keys: &Keys, key: &str, is: impl Into<u64>, least: u64) -> Checked {
    if is.into() >= least {
        return Ok(());
    }
    Err(keys.bad(key, &format!("expected at least {least}")))
}

pub(crate) fn positive(keys: &Keys, key: &str, is: Span) -> Checked {
    if is > Span::ZERO {
        return Ok(());
    }
    Err(keys.bad(key, "expected more than nothing"))
}
