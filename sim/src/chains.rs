//! What lookups took, counted from the messages alone: requests, those without an answer, and the
//! chains by which peers were heard of. It believes no core, and holds each to its word.

use std::collections::BTreeMap;

use peerless_core::{Answer, Cost, Effect, Input, Message, Query, Span, Tag, Target, Ticket, Time};

use crate::peer::Index;

/// The lookups that are watched, by asker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chains {
    open: BTreeMap<u32, Vec<Chain>>,
}

/// One lookup.
#[derive(Clone, Debug)]
struct Chain {
    ticket: Ticket,
    target: Target<Index>,
    /// Over how many paths it goes.
    paths: u16,
    /// Whom the asker knew when it began, ascending: it may have begun with any of them.
    known: Vec<u32>,
    asked: Vec<Asked>,
    /// Who answered, and whom each named, in the order of coming.
    answers: Vec<(u32, Vec<Index>)>,
    /// Requests that failed in this turn of the asker, and before.
    failing: u32,
    failed: u32,
}

/// One request.
#[derive(Copy, Clone, Debug)]
struct Asked {
    peer: u32,
    tag: Tag,
    sent: Time,
    waits: bool,
}

/// A chain's length: at least and at most, since whom the asker knew it may have been told of too.
type Length = (u32, u32);

impl Chains {
    /// A lookup begins.
    pub(crate) fn begin(
        &mut self,
        asker: u32,
        ticket: Ticket,
        target: Target<Index>,
        known: impl IntoIterator<Item = Index>,
        paths: u16,
    ) {
        let mut known: Vec<u32> = known.into_iter().map(|peer| peer.0).collect();
        known.sort_unstable();
        let (asked, answers) = (Vec::new(), Vec::new());
        let chain = Chain { ticket, target, paths, known, asked, answers, failing: 0, failed: 0 };
        self.open.entry(asker).or_default().push(chain);
    }

    /// A peer is gone, and its lookups with it.
    pub(crate) fn crashed(&mut self, peer: u32) {
        self.open.remove(&peer);
    }

    /// A core is told something.
    pub(crate) fn input(
        &mut self,
        now: Time,
        peer: u32,
        input: &Input<Index>,
        reply_timeout: Span,
    ) {
        // Whom others ask does not matter here.
        if matches!(input, Input::Heard { message: Message::Query(..), .. }) {
            return;
        }
        let Some(chains) = self.open.get_mut(&peer) else { return };
        for chain in chains {
            chain.failed += std::mem::take(&mut chain.failing);
            match input {
                Input::Heard {
                    from,
                    message: Message::Answer(tag, Answer::Found { closer, .. }),
                } => chain.answered(from.0, *tag, closer),
                Input::Failed { tag } => chain.fail(|asked| asked.tag == *tag),
                Input::Wake => chain.fail(|asked| asked.sent + reply_timeout <= now),
                _ => {}
            }
        }
    }

    /// A core wants something done.
    pub(crate) fn effect(&mut self, now: Time, peer: u32, effect: &Effect<Index>) {
        let Effect::Send { to, message: Message::Query(tag, Query::Find(target)) } = effect else {
            return;
        };
        let chains = self.open.get_mut(&peer).into_iter().flatten();
        for chain in chains.filter(|chain| chain.target == *target) {
            chain.asked.push(Asked { peer: to.0, tag: *tag, sent: now, waits: true });
        }
    }

    /// A lookup of a peer, whose turn is over, that waits for nobody, and is not at its end.
    pub(crate) fn idle(&self, peer: u32) -> Option<Ticket> {
        let idle = |chain: &&Chain| {
            !chain.asked.is_empty() && chain.asked.iter().all(|asked| !asked.waits)
        };
        self.open.get(&peer)?.iter().find(idle).map(|chain| chain.ticket)
    }

    /// A lookup ended, and the core says what was found and what it took. What is not so, in words.
    pub(crate) fn end(
        &mut self,
        asker: u32,
        ticket: Ticket,
        found: Option<(&[(Index, u8)], Cost)>,
    ) -> Option<String> {
        let chains = self.open.get_mut(&asker)?;
        let at = chains.iter().position(|chain| chain.ticket == ticket)?;
        let chain = chains.swap_remove(at);
        if chains.is_empty() {
            self.open.remove(&asker);
        }
        let (peers, cost) = found?;
        chain.differs(asker, peers, cost)
    }
}

impl Chain {
    fn answered(&mut self, from: u32, tag: Tag, closer: &[Index]) {
        let asked = self.asked.iter_mut().find(|asked| asked.tag == tag && asked.peer == from);
        if let Some(asked) = asked.filter(|asked| asked.waits) {
            asked.waits = false;
            self.answers.push((from, closer.to_vec()));
        }
    }

    fn fail(&mut self, which: impl Fn(&Asked) -> bool) {
        for asked in self.asked.iter_mut().filter(|asked| asked.waits && which(asked)) {
            asked.waits = false;
            self.failing += 1;
        }
    }

    fn differs(&self, asker: u32, peers: &[(Index, u8)], cost: Cost) -> Option<String> {
        let (rpcs, failed, failing) = (self.asked.len() as u32, self.failed, self.failing);
        // It may end at the first of several failures of one instant.
        let timeouts = failed + failing.min(1)..=failed + failing;
        if cost.rpcs != rpcs || !timeouts.contains(&cost.timeouts) {
            return Some(format!(
                "{} requests, {} without an answer, where {rpcs} were sent and {timeouts:?} failed",
                cost.rpcs, cost.timeouts
            ));
        }
        if self.paths > 1 {
            // Who was heard of on which path cannot be told from the messages.
            return None;
        }
        let lengths = match self.lengths(asker) {
            Ok(lengths) => lengths,
            Err(stranger) => return Some(format!("peer {stranger} was asked, of whom none told")),
        };
        let of = |peer: u32| {
            let at = lengths.binary_search_by_key(&peer, |(peer, _)| *peer).ok()?;
            lengths[at].1
        };
        let mut rounds = (0, 0);
        for (from, _) in &self.answers {
            let (least, most) = of(*from)?;
            rounds = (rounds.0.max(least + 1), rounds.1.max(most + 1));
        }
        let within = |(least, most): Length, said: u8| (least..=most).contains(&u32::from(said));
        if !within(rounds, cost.rounds) {
            return Some(format!("{} rounds, where {rounds:?} were counted", cost.rounds));
        }
        let answered = |peer: u32| self.answers.iter().any(|(from, _)| *from == peer);
        let wrong = peers.iter().find(|(peer, hops)| {
            !answered(peer.0) || !of(peer.0).is_some_and(|length| within(length, *hops))
        });
        wrong.map(|(peer, hops)| {
            let counted = of(peer.0);
            format!("peer {} in {hops} hops, where {counted:?} were counted", peer.0)
        })
    }

    /// The chain by which each that was asked was first heard of, ascending by peer; else the one
    /// that the asker can't have heard of.
    fn lengths(&self, asker: u32) -> Result<Vec<(u32, Option<Length>)>, u32> {
        let mut lengths: Vec<(u32, Option<Length>)> =
            self.asked.iter().map(|asked| (asked.peer, None)).collect();
        lengths.sort_unstable_by_key(|(peer, _)| *peer);
        lengths.dedup_by_key(|(peer, _)| *peer);
        let knows = |peer: u32| self.known.binary_search(&peer).is_ok();
        let place = |lengths: &[(u32, Option<Length>)], peer: u32| {
            lengths.binary_search_by_key(&peer, |(peer, _)| *peer).ok()
        };
        for (from, named) in &self.answers {
            let at = place(&lengths, *from).ok_or(*from)?;
            // Who answers without having been named was known.
            let (least, most) = *lengths[at].1.get_or_insert((0, 0));
            for peer in named.iter().filter(|peer| peer.0 != asker) {
                let Some(at) = place(&lengths, peer.0) else { continue };
                let first = if knows(peer.0) { 0 } else { least + 1 };
                lengths[at].1.get_or_insert((first, most + 1));
            }
        }
        for (peer, length) in &mut lengths {
            if length.is_none() && knows(*peer) {
                *length = Some((0, 0));
            }
        }
        match lengths.iter().find(|(peer, length)| match length {
            None => true,
            Some((0, 0)) => !knows(*peer),
            Some(_) => false,
        }) {
            Some((stranger, _)) => Err(*stranger),
            None => Ok(lengths),
        }
    }
}

#[cfg(test)]
mod tests {
    use peerless_core::{Load, Name};

    use super::*;

    const TARGET: Target<Index> = Target::Name(Name([9; 32]));

    fn tag(slot: u32) -> Tag {
        Tag { slot, epoch: 0, incarnation: 0 }
    }

    /// Peer 0 knows 1 and 2. It asks both; 1 tells of 3, which is asked and tells of 1; 2 is silent.
    fn says(found: &[(u32, u8)], rpcs: u32, timeouts: u32, rounds: u8) -> Option<String> {
        let mut chains = Chains::default();
        chains.begin(0, 7, TARGET, [Index(1), Index(2)], 1);
        let ask = |chains: &mut Chains, to: u32| {
            let message = Message::Query(tag(to), Query::Find(TARGET));
            chains.effect(Time(0), 0, &Effect::Send { to: Index(to), message });
        };
        let tell = |chains: &mut Chains, from: u32, named: &[u32]| {
            let closer = named.iter().map(|peer| Index(*peer)).collect();
            let (hosts, load) = (Vec::new(), Load::default());
            let answer = Answer::Found { closer, hosts, record: None, load };
            let message = Message::Answer(tag(from), answer);
            let input = Input::Heard { from: Index(from), message };
            chains.input(Time(1), 0, &input, Span::secs(1));
        };
        ask(&mut chains, 1);
        ask(&mut chains, 2);
        tell(&mut chains, 1, &[3]);
        ask(&mut chains, 3);
        tell(&mut chains, 3, &[1]);
        chains.input(Time(0) + Span::secs(1), 0, &Input::Wake, Span::secs(1));
        let found: Vec<_> = found.iter().map(|(peer, hops)| (Index(*peer), *hops)).collect();
        chains.end(0, 7, Some((&found, Cost { rpcs, timeouts, rounds })))
    }

    #[test]
    fn a_core_is_held_to_its_word() {
        assert_eq!(says(&[(1, 0), (3, 1)], 3, 1, 2), None);
        let wrong = [
            says(&[(1, 0), (3, 1)], 2, 1, 2),
            says(&[(1, 0), (3, 1)], 3, 0, 2),
            says(&[(1, 0), (3, 1)], 3, 1, 1),
            says(&[(1, 0), (3, 2)], 3, 1, 2),
            says(&[(2, 0), (3, 1)], 3, 1, 2),
        ];
        assert!(wrong.iter().all(Option::is_some), "{wrong:?}");
    }
}
