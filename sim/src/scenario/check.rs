//! What no single key can tell: values that are of the right type and yet impossible, alone or
//! beside others.

use peerless_core::Span;

use super::Scenario;
use super::keys::{Bad, Keys};

/// More peers than these have no room in the tables' indices.
const PEERS_MAX: u32 = 1 << 24;

impl Scenario {
    pub(super) fn check(&self, keys: &Keys) -> Result<(), Bad> {
        let fail = |key: &str, what: &str| Err(keys.bad(key, what));
        if self.peers < 2 {
            return fail("peers", "expected at least 2");
        }
        if self.peers > PEERS_MAX {
            return fail("peers", &format!("expected at most {PEERS_MAX}"));
        }
        if self.core.k == 0 {
            return fail("core.k", "expected at least 1");
        }
        if self.core.alpha == 0 {
            return fail("core.alpha", "expected at least 1");
        }
        if self.network.bandwidth.0 == 0 {
            return fail("network.bandwidth", "expected more than nothing");
        }
        if self.network.latency == Span::ZERO {
            return fail("network.latency", "expected more than nothing");
        }
        if self.owners > self.peers {
            return fail("owners", "expected no more than there are peers");
        }
        if self.owner_keys == 0 {
            return fail("owner_keys", "expected at least 1");
        }
        if self.functions.is_some() && self.owners == 0 {
            return fail("owners", "functions need at least one owner");
        }
        if self.functions.is_none() {
            if self.anycalls.is_some() {
                return fail("anycalls", "there is nothing to call without [functions]");
            }
            if self.manycalls.is_some() {
                return fail("manycalls", "there is nothing to call without [functions]");
            }
        }
        if self.host.hosts.is_some_and(|hosts| hosts > self.peers) {
            return fail("host.hosts", "expected no more than there are peers");
        }
        Ok(())
    }
}
