//! The end of a case: faults stop, and within a bounded time all must heal and come to an end.

use peerless_core::{Event, Failure, Name, Request, Span, Ticket, Time};

use super::play::Play;
use crate::chance::Share;
use crate::world::START;

/// What must be true is asked for once in this time.
const ROUND: Span = Span::secs(20);
/// How long a probe of a round may take.
const IN_TIME: Span = Span::secs(15);
/// So many rounds may pass until all is healed: a quarter of an hour.
const ROUNDS_MAX: u64 = 45;
/// Instants at which nothing at all may be under way, a second apart; one must be found.
const RESTS_MAX: u64 = 60;
/// Numbers of requests from here on are not the schedule's.
const PROBES: u64 = 1 << 32;
/// Lookups in a round.
const LOOKUPS: u64 = 3;

/// A function and its version, as an owner's node lists it.
type Listed = (Name, u64);

/// What a round asked for, and is to be answered.
enum Probe {
    Lookup { peer: u32, ticket: Ticket, target: u64, at: Time },
    Call { function: u32, peer: u32, ticket: Ticket },
    List { peer: u32, key: u32, ticket: Ticket },
}

/// Lets the world heal, and complains of what did not.
pub(super) fn heal(play: &mut Play<'_>) {
    if play.is_broken() {
        return;
    }
    calm(play);
    let mut left = Vec::new();
    for round in 0..rounds_max(play) {
        let probes = ask(play, round);
        let end = play.world.now + ROUND;
        play.world.run_until(end);
        if play.is_broken() {
            return;
        }
        left = unhealed(play, &probes);
        if left.is_empty() {
            return rest(play);
        }
    }
    let now = play.world.now;
    for what in left {
        play.world.laws.violations.add(now, None, format_args!("liveness: {what}"));
    }
}

/// A named scenario's own work may take as long as its patience.
fn rounds_max(play: &Play<'_>) -> u64 {
    let until = play.world.give_up().since(START).less(play.world.now.since(START));
    let named = play.case.named.scenario.is_some();
    ROUNDS_MAX + if named { until.0 / ROUND.0 } else { 0 }
}

/// No fault happens any more; some of those that are away return, and all can reach each other.
fn calm(play: &mut Play<'_>) {
    play.world.network.calm();
    let host = &mut play.world.scenario.host;
    host.store_fails = Share::NONE;
    host.fetch_fails = Share::NONE;
    host.install_fails = Share::NONE;
    host.slow = Share::NONE;
    for peer in play.world.those_gone() {
        if !play.case.stay_away.contains(&peer) {
            play.come_back(peer, true);
        }
    }
    // Hosts dial again the peers that they remember: here all know the first.
    let there = play.world.those_up();
    for peer in &there[1..] {
        play.meet(there[0], *peer);
    }
    deploy_again(play);
}

/// What has no host at all, or none in the version that was deployed last, comes back only if its
/// owner wants it, who has the code: he deploys it again.
fn deploy_again(play: &mut Play<'_>) {
    for function in 0..play.case.functions.len() {
        let Some(wish) = play.wishes[function].clone() else { continue };
        let deployed = play.answer(wish.peer, wish.ticket);
        let deployed = matches!(deployed, Some((_, Event::Deployed { .. })));
        let least = if deployed { wish.version } else { 0 };
        let served = play.world.serving(function).any(|(_, version)| version >= least);
        if served || wish.removed || play.world.is_open(wish.ticket) {
            continue;
        }
        // Where he is gone as well nobody can be expected to know of it.
        play.wishes[function] = None;
        if play.world.is_up(wish.peer) {
            play.wish(PROBES + (1 << 31) + function as u64, wish.peer, function as u32, false);
        }
    }
}

/// What the schedule's owners want to be, as far as it is certain.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Should {
    Serve {
        least: usize,
        version: Option<u64>,
    },
    BeGone,
    /// Nobody asked for it, or who did went before he was told, or was told that it failed.
    Be,
}

impl Play<'_> {
    fn should(&self, function: usize) -> Should {
        let Some(wish) = &self.wishes[function] else { return Should::Be };
        let Some((_, event)) = self.answer(wish.peer, wish.ticket) else { return Should::Be };
        // Who signed it must be there to keep it: a holder's disk may have been lost.
        let there = self.world.is_up(wish.peer) && !self.wiped.contains(&wish.peer);
        match event {
            Event::Removed if there => Should::BeGone,
            Event::Deployed { .. } => {
                let (least, _) = self.case.functions[function].replicas;
                Should::Serve { least: least.into(), version: there.then_some(wish.version) }
            }
            _ => Should::Be,
        }
    }

    /// Whether every peer can host every function.
    fn has_room(&self) -> bool {
        self.case.functions.len() <= usize::from(self.case.scenario.host.room)
    }
}

/// What a user can ask for to see whether all is well.
fn ask(play: &mut Play<'_>, round: u64) -> Vec<Probe> {
    let there = play.world.those_up();
    let mut id = PROBES + (round << 12);
    let mut next = || {
        id += 1;
        id
    };
    let mut probes = Vec::new();
    for _ in 0..LOOKUPS {
        let id = next();
        let peer = there[(id.wrapping_mul(7919) % there.len() as u64) as usize];
        let target = play.target(id);
        let at = play.world.now;
        let ticket = play.probe(id, peer, Request::Lookup(target));
        probes.push(Probe::Lookup { peer, ticket, target: target.key().0[0], at });
    }
    for peer in there.iter().copied() {
        if let Some(key) = play.case.scenario.owner_of(peer) {
            let ticket = play.probe(next(), peer, Request::List);
            probes.push(Probe::List { peer, key, ticket });
        }
    }
    for function in 0..play.case.functions.len() {
        if !matches!(play.should(function), Should::Serve { .. }) {
            continue;
        }
        let id = next();
        let peer = there[(id.wrapping_mul(104_729) % there.len() as u64) as usize];
        let request = Request::Call {
            function: play.world.function_name(function as u64),
            deadline: play.world.shown(peer) + IN_TIME,
            kept: true,
            idempotent: true,
        };
        let ticket = play.probe(id, peer, request);
        probes.push(Probe::Call { function: function as u32, peer, ticket });
    }
    probes
}

/// What is not well, in words.
fn unhealed(play: &Play<'_>, probes: &[Probe]) -> Vec<String> {
    let mut left = Vec::new();
    for ((peer, ticket), since) in play.world.open_asks() {
        let since = since.since(START).as_ms();
        let ticket = crate::tickets::ticket_name(ticket);
        left.push(format!("{ticket}, asked of {peer} at {since} ms, is not answered"));
    }
    for function in 0..play.case.functions.len() {
        left.extend(unserved(play, function));
    }
    let mut lists: Vec<(u32, u32, Vec<Listed>)> = Vec::new();
    for probe in probes {
        match probe {
            Probe::Lookup { peer, ticket, target, at } => {
                left.extend(inexact(play, *peer, *ticket, *target, *at));
            }
            Probe::Call { function, peer, ticket } => match play.answer(*peer, *ticket) {
                // Who is told that a machine has enough to do has reached one that serves.
                Some((_, Event::Done | Event::Failed(Failure::Overloaded))) | None => {}
                Some((_, event)) => {
                    left.push(format!("{peer} called f{function}, which ended in {event:?}"));
                }
            },
            Probe::List { peer, key, ticket } => {
                if let Some((_, Event::Listed(list))) = play.answer(*peer, *ticket) {
                    let mut list: Vec<Listed> =
                        list.iter().map(|(record, _)| (record.function, record.version)).collect();
                    list.sort_unstable();
                    lists.push((*key, *peer, list));
                }
            }
        }
    }
    lists.sort_unstable();
    for pair in lists.windows(2) {
        let [(key, one, its), (other_key, other, others)] = pair else { continue };
        if key == other_key && its != others {
            let (n, m) = (its.len(), others.len());
            left.push(format!("{one} and {other} of one owner differ: {n} and {m} functions"));
        }
    }
    left
}

fn unserved(play: &Play<'_>, function: usize) -> Option<String> {
    let serving: Vec<(u32, u64)> = play.world.serving(function).collect();
    match play.should(function) {
        Should::BeGone if !serving.is_empty() => {
            Some(format!("f{function} was removed, and is served by {serving:?}"))
        }
        Should::BeGone | Should::Be => None,
        Should::Serve { least, version } => {
            let hosts = play.world.hosts_of(function).len();
            let asks = play.case.functions[function].labelled;
            let slots = |peer: u32| play.case.scenario.slots_of(peer);
            let can = |peer: &u32| {
                slots(*peer) > 0
                    && !play.world.is_hidden(*peer)
                    && (!asks || play.world.carries(*peer))
            };
            let could = play.world.those_up().into_iter().filter(can).count();
            if hosts < least.min(could) && play.has_room() {
                return Some(format!("f{function} has {hosts} of {least} hosts"));
            }
            let old =
                serving.iter().find(|(_, its)| version.is_some_and(|newest| *its < newest))?;
            let (host, _) = old;
            Some(format!("{host} serves an old version of f{function}"))
        }
    }
}

fn inexact(play: &Play<'_>, peer: u32, ticket: Ticket, target: u64, at: Time) -> Option<String> {
    let Some((end, Event::Found { peers, .. })) = play.answer(peer, ticket) else {
        return Some(format!("{peer} looked a name up in vain"));
    };
    let answer: Vec<u32> = peers.iter().map(|(peer, _)| peer.0).collect();
    let k = usize::from(play.case.scenario.core.k);
    let verdict = play.world.oracle.judge(target, k, peer, (at.0, end.0), &answer);
    let truth = || play.world.oracle.closest(target, k, end.0, Some(peer));
    (!verdict.succeeded)
        .then(|| format!("{peer} found {answer:?}, where {:?} are closest", truth()))
}

/// There must be an instant at which nothing is under way.
fn rest(play: &mut Play<'_>) {
    for _ in 0..RESTS_MAX {
        let mut laws = play.world.laws.clone();
        laws.settled();
        if laws.violations.count == 0 || play.is_broken() {
            return;
        }
        let next = play.world.now + Span::ms(977);
        play.world.run_until(next);
    }
    play.world.laws.settled();
}
