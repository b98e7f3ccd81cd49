//! The hosts of a name as others name them. A liar can name as many as it likes, so each answerer
//! brings only few, and those that several name come first.

use alloc::vec::Vec;

use crate::config::Config;
use crate::key::Peer;
use crate::planted::{self, Bug};

/// Hosts that one answerer may bring where k of them can name enough.
const BROUGHT_MIN: usize = 8;

/// Hosts named so far in one search.
#[derive(Debug)]
pub(crate) struct Hearsay<P> {
    named: Vec<Named<P>>,
}

#[derive(Debug)]
struct Named<P> {
    host: P,
    /// How many named it; each answers a search once.
    by: u16,
}

impl<P: Peer> Hearsay<P> {
    /// Begins with hosts that told this peer so themselves: they stay ahead.
    pub(crate) fn new(known: Vec<P>) -> Self {
        let sure = |host| Named { host, by: u16::MAX };
        Self { named: known.into_iter().map(sure).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// One more answerer names these. Of those that nobody named before it brings a share such that
    /// k answerers can name all the hosts a function may have; the others bring the rest.
    pub(crate) fn hear(&mut self, hosts: &[P], avoid: &[P], config: &Config) {
        let most = usize::from(config.hosts_max);
        let mut share = most.div_ceil(usize::from(config.k)).max(BROUGHT_MIN);
        if planted::is(Bug::BelievesHosts) {
            share = most;
        }
        let before = self.named.len();
        let hosts = &hosts[..hosts.len().min(most)];
        for (at, host) in hosts.iter().enumerate() {
            if avoid.contains(host) || hosts[..at].contains(host) {
                continue;
            }
            if let Some(known) = self.named.iter_mut().find(|named| named.host == *host) {
                known.by = known.by.saturating_add(1);
            } else if self.named.len() < before + share {
                self.named.push(Named { host: *host, by: 1 });
            }
        }
    }

    /// As many as a function may have, those that most answerers named first; of equals the first
    /// heard of.
    pub(crate) fn hosts(mut self, config: &Config) -> Vec<P> {
        if !planted::is(Bug::BelievesHosts) {
            self.named.sort_by_key(|named| core::cmp::Reverse(named.by));
        }
        self.named.truncate(usize::from(config.hosts_max));
        self.named.into_iter().map(|named| named.host).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Key, Name};

    #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
    struct P(u16);

    impl Peer for P {
        fn key(self) -> Key {
            Key([u64::from(self.0) << 48, 0, 0, 0])
        }

        fn position(name: &Name) -> Key {
            Key::from_bytes(&name.0)
        }
    }

    fn peers(range: core::ops::Range<u16>) -> Vec<P> {
        range.map(P).collect()
    }

    #[test]
    fn a_liar_brings_few_and_they_come_last() {
        let config = Config::standard();
        let mut hearsay = Hearsay::new(Vec::new());
        hearsay.hear(&peers(1000..1128), &[], &config);
        hearsay.hear(&peers(0..3), &[], &config);
        hearsay.hear(&peers(0..3), &[], &config);
        let hosts = hearsay.hosts(&config);
        assert_eq!(hosts[..3], peers(0..3));
        assert_eq!(hosts.len(), 3 + BROUGHT_MIN);
    }

    #[test]
    fn saying_it_twice_in_one_answer_counts_once() {
        let config = Config::standard();
        let mut hearsay = Hearsay::new(Vec::new());
        hearsay.hear(&[P(9), P(9), P(9), P(9)], &[], &config);
        hearsay.hear(&[P(1)], &[], &config);
        hearsay.hear(&[P(1)], &[], &config);
        assert_eq!(hearsay.hosts(&config), [P(1), P(9)]);
    }

    #[test]
    fn k_answerers_can_name_all_there_may_be() {
        for k in [1, 2, 4, 20] {
            let config = Config { k, ..Config::standard() };
            let mut hearsay = Hearsay::new(Vec::new());
            for _ in 0..k {
                hearsay.hear(&peers(0..200), &[], &config);
            }
            assert_eq!(hearsay.hosts(&config).len(), 128);
        }
    }

    #[test]
    fn however_many_lie_there_are_no_more_than_a_function_may_have() {
        let config = Config::standard();
        let mut hearsay = Hearsay::new(peers(0..2));
        for liar in 0..200 {
            hearsay.hear(&peers(1000 + 128 * liar..1128 + 128 * liar), &[P(1000)], &config);
        }
        let hosts = hearsay.hosts(&config);
        assert_eq!((hosts.len(), &hosts[..2]), (128, &peers(0..2)[..]));
        assert!(!hosts.contains(&P(1000)));
    }
}
