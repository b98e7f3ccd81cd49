//! Address groups of peers that were met: so that whoever has many names at few addresses gets few of
//! the places in a bucket, a search or a list of hosts.

use alloc::vec::Vec;

use crate::few::Map;
use crate::idle::Empty;
use crate::key::Peer;
use crate::planted::{self, Bug};
use crate::turn::Group;

/// Peers whose groups are remembered, beside those that are in use.
const MET_MAX: usize = 4096;
/// The group of all that were not met, or of whom that was forgotten, where groups matter at all.
const NOT_MET: Group = Group(u64::MAX);

/// The groups of the peers that were met. Where nobody has a group it takes no memory, and limits
/// nobody.
#[derive(Debug)]
pub(crate) struct Groups<P> {
    /// Each with its group, and when it was met last.
    met: Map<P, (Option<Group>, u64)>,
    /// How many meetings there were.
    meetings: u64,
}

impl<P: Peer> Empty for Groups<P> {
    const EMPTY: &'static Self = &Self::new();

    fn empty() -> Self {
        Self::new()
    }
}

impl<P: Peer> Groups<P> {
    pub(crate) const fn new() -> Self {
        Self { met: Map::new(), meetings: 0 }
    }

    /// Whether nobody has a group.
    pub(crate) fn is_empty(&self) -> bool {
        self.met.is_empty()
    }

    /// A peer was met; where its group was known, that it can't be told now changes nothing. Where
    /// too many are remembered, the half that was met longest ago is forgotten, without those that
    /// are `in_use`.
    pub(crate) fn met(&mut self, peer: P, group: Option<Group>, in_use: impl Fn(P) -> bool) {
        self.meetings += 1;
        let met = self.met.get_or_default(peer);
        *met = (group.or(met.0), self.meetings);
        if self.met.len() < MET_MAX {
            return;
        }
        let lately = self.meetings - MET_MAX as u64 / 2;
        self.met.retain(|peer, (_, at)| *at > lately || in_use(*peer));
    }

    /// The group of a peer; `None`: it is limited by nothing.
    pub(crate) fn of(&self, peer: P) -> Option<Group> {
        if self.is_empty() || planted::is(Bug::NoGroups) {
            return None;
        }
        self.met.get(&peer).map_or(Some(NOT_MET), |(group, _)| *group)
    }

    /// Whether `most` of these are of the peer's group already.
    pub(crate) fn are_full(&self, peer: P, others: impl IntoIterator<Item = P>, most: u16) -> bool {
        let Some(group) = self.of(peer) else {
            return false;
        };
        let others = others.into_iter().filter(|other| *other != peer);
        others.filter(|other| self.of(*other) == Some(group)).count() >= usize::from(most)
    }

    /// Whether two peers are of one group.
    pub(crate) fn are_one(&self, a: P, b: P) -> bool {
        self.of(a).is_some_and(|group| self.of(b) == Some(group))
    }

    /// Whether two peers are known to be of one group: nothing is known of those that were not met.
    pub(crate) fn share_one(&self, a: P, b: P) -> bool {
        let known = |peer| self.met.get(&peer).and_then(|(group, _)| *group);
        known(a).is_some_and(|group| known(b) == Some(group))
    }

    /// Of these at most `most` of one group, in their order.
    pub(crate) fn few_of_each(&self, peers: impl Iterator<Item = P>, most: u16) -> Vec<P> {
        let mut taken: Map<Group, u16> = Map::new();
        let fits = |peer: &P| {
            let Some(group) = self.of(*peer) else {
                return true;
            };
            let taken = taken.get_or_default(group);
            *taken += 1;
            *taken <= most
        };
        peers.filter(fits).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Key, Name};

    #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
    struct P(u32);

    impl Peer for P {
        fn key(self) -> Key {
            Key([self.0.into(), 0, 0, 0])
        }

        fn position(name: &Name) -> Key {
            Key::from_bytes(&name.0)
        }
    }

    fn met(peers: &[(u32, Option<u64>)]) -> Groups<P> {
        let mut groups = Groups::new();
        for (peer, group) in peers {
            groups.met(P(*peer), group.map(Group), |_| false);
        }
        groups
    }

    #[test]
    fn a_group_has_few_places_and_no_group_has_any() {
        let groups = met(&[(1, Some(7)), (2, Some(7)), (3, Some(7)), (4, None), (5, None)]);
        assert!(groups.are_full(P(3), [P(1), P(2), P(4)], 2));
        assert!(!groups.are_full(P(3), [P(1), P(3), P(4)], 2), "it does not count itself");
        assert!(!groups.are_full(P(5), (0..9).map(|_| P(4)), 2));
        assert_eq!(groups.few_of_each((1..=5).map(P), 2), [P(1), P(2), P(4), P(5)]);
    }

    #[test]
    fn strangers_are_of_one_group_where_groups_matter() {
        assert!(!met(&[]).are_full(P(9), [P(7), P(8)], 2), "they do not matter");
        assert!(met(&[(1, Some(7))]).are_full(P(9), [P(7), P(8)], 2));
    }

    #[test]
    fn few_are_remembered_those_in_use_and_the_latest() {
        let mut groups = Groups::new();
        for peer in 0..3 * MET_MAX as u32 {
            groups.met(P(peer), Some(Group(1)), |peer| peer.0 < 10);
            assert!(groups.met.len() <= MET_MAX);
        }
        assert!((0..10).all(|peer| groups.of(P(peer)) == Some(Group(1))));
        assert_eq!(groups.of(P(10)), Some(NOT_MET));
        assert_eq!(groups.of(P(3 * MET_MAX as u32 - 1)), Some(Group(1)));
    }
}
