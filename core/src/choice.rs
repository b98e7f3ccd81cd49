//! Which item goes to which host: the better of two drawn at random, within each one's window.

use alloc::vec::Vec;

use crate::groups::Groups;
use crate::job::{HOSTLESS_PAUSE, Job};
use crate::key::Peer;
use crate::planted::{self, Bug};
use crate::random::Random;
use crate::standing::{Standing, Standings, average};
use crate::time::{Span, Time};
use crate::turn::Stay;

/// Hosts of one job.
pub(crate) const HOSTS_MAX: usize = 512;
/// Calls in flight to a host whose slots are not known yet.
const FIRST_WINDOW: u32 = 2;
/// Calls in flight to a host on its word alone; for each further one it has answered one.
const TRUSTED_WINDOW: u32 = 8;
/// Most calls in flight to a host, whatever it says and answers.
const WINDOW_MAX: u32 = 512;
const _: () = assert!(FIRST_WINDOW <= TRUSTED_WINDOW && TRUSTED_WINDOW <= WINDOW_MAX);

/// A host as this job knows it.
#[derive(Debug)]
pub(crate) struct Host<P> {
    pub(crate) peer: P,
    pub(crate) in_flight: u32,
    /// How many calls may be in flight.
    window: u32,
    /// How many its answers have earned it.
    earned: u32,
    /// How many it can run at once, as it says.
    slots: u32,
    /// How long it runs a call of this function, moving average; zero: unknown.
    ran: Span,
    /// Until when it is left alone, since it refused or failed this job.
    pub(crate) paused_until: Time,
}

impl<P: Peer> Host<P> {
    fn new(peer: P, standing: &Standing) -> Self {
        let mut host = Self {
            peer,
            in_flight: 0,
            window: FIRST_WINDOW,
            earned: TRUSTED_WINDOW,
            slots: 1,
            ran: Span::ZERO,
            paused_until: Time(0),
        };
        host.measure(standing);
        host
    }

    /// How many calls may be in flight: its slots, and as many more as it could end while one of them
    /// is on its way there and back, so that the next lies ready when one ends; within what its queue
    /// takes and what it has earned.
    fn measure(&mut self, standing: &Standing) {
        let Some(load) = standing.load() else {
            return;
        };
        self.slots = u32::from(load.slots.max(1));
        let (slots, queue) = (u64::from(self.slots), u64::from(load.queue));
        // One at least, also where nothing is known yet: no way takes no time.
        let ahead = slots.saturating_mul(standing.rtt().0).div_ceil(self.ran.0.max(1));
        let ahead = if self.ran == Span::ZERO { 1 } else { ahead.max(1) };
        let wanted = (slots + ahead.min(queue)).min(u64::from(WINDOW_MAX)) as u32;
        self.window = if planted::is(Bug::NoWindow) { 1 } else { wanted.min(self.earned) };
    }

    /// An answer began; it says how long the call was there, and the standing how busy it is.
    pub(crate) fn heard(&mut self, stay: Option<Stay>, standing: &Standing) {
        if let Some(stay) = stay {
            self.ran = average(self.ran, stay.ran);
        }
        self.measure(standing);
    }

    /// A call ended well.
    pub(crate) fn answered(&mut self, standing: &Standing) {
        self.earned = (self.earned + 1).min(WINDOW_MAX);
        self.measure(standing);
    }

    /// It takes no more than it has: what is beyond has to be earned again.
    pub(crate) fn refused(&mut self, pause: Span, now: Time, standing: &Standing) {
        self.paused_until = now + pause;
        self.earned = self.in_flight.clamp(1, WINDOW_MAX);
        self.measure(standing);
    }

    /// The system failed a call.
    pub(crate) fn failed(&mut self, pause: Span, now: Time) {
        self.paused_until = now + pause;
    }

    pub(crate) fn is_able(&self, now: Time) -> bool {
        self.in_flight < self.window && self.paused_until <= now
    }

    fn is_idle(&self, now: Time) -> bool {
        self.in_flight < self.slots.min(self.window) && self.paused_until <= now
    }
}

impl<P: Peer> Job<P> {
    /// Adds hosts that were found.
    pub(crate) fn add_hosts(&mut self, hosts: &[P], standings: &Standings<P>) {
        for peer in hosts {
            if self.hosts.len() < HOSTS_MAX && !self.hosts.iter().any(|host| host.peer == *peer) {
                self.hosts.push(Host::new(*peer, &standings.get(*peer)));
            }
        }
    }

    pub(crate) fn host_mut(&mut self, peer: P) -> Option<&mut Host<P>> {
        self.hosts.iter_mut().find(|host| host.peer == peer)
    }

    pub(crate) fn drop_host(&mut self, peer: P) {
        self.hosts.retain(|host| host.peer != peer);
        if !self.gone.contains(&peer) && self.gone.len() < HOSTS_MAX {
            self.gone.push(peer);
        }
    }

    /// An item whose turn has come and a host for it: the first there is one for, or for a quorum the
    /// first of those that were drawn.
    pub(crate) fn pair(
        &mut self,
        now: Time,
        standings: &Standings<P>,
        groups: &Groups<P>,
        random: &mut Random,
    ) -> Option<(u64, P)> {
        let draws = self.quorum.is_some() && !planted::is(Bug::PairsInOrder);
        let drawn = draws.then(|| self.draw(random));
        let choose = |item| Some((item, self.choose(item, now, standings, groups, random)?));
        match drawn {
            Some(items) => items.into_iter().find_map(choose),
            None => self.ready().find_map(choose),
        }
    }

    /// The items that wait for a host, from one drawn at random on; or before all the next one, until
    /// there are enough to draw from.
    ///
    /// Which item a host gets must not follow from what it answered: one that was alone with its answer,
    /// so that its item waits for another voice, would rather be a second voice than a first.
    fn draw(&mut self, random: &mut Random) -> Vec<u64> {
        let gathers = self.gathers();
        let mut ready: Vec<u64> = self.ready().collect();
        let next = ready.pop_if(|item| self.is_new(*item));
        let first = gathers && next.is_some();
        if !first && !ready.is_empty() {
            let at = random.below(ready.len() as u64) as usize;
            ready.rotate_left(at);
        }
        ready.extend(next);
        ready.rotate_right(usize::from(first));
        ready
    }

    /// An item whose turn has come and that there can be no quorum for: every host was heard, or one
    /// of its group, also after a search since then, and none is at it; or it must not be run twice.
    pub(crate) fn beyond_quorum(&self, now: Time, groups: &Groups<P>) -> Beyond {
        if self.quorum.is_none() || self.searching || self.partial {
            return Beyond::None;
        }
        let mut beyond = Beyond::None;
        for item in self.ready() {
            if !self.may_repeat() {
                return Beyond::Item(item);
            }
            let Some(open) = self.open.get(&item).filter(|open| open.running.is_empty()) else {
                continue;
            };
            if self.hosts.iter().any(|host| !open.has_voice(host.peer, groups)) {
                continue;
            }
            if self.searched_at > open.since {
                return Beyond::Item(item);
            }
            beyond = Beyond::Unless(now.max(self.searched_at + HOSTLESS_PAUSE));
        }
        beyond
    }

    /// A host for an item: one that had it before only where every other host is out of order, and for
    /// an anycall one that is shunned only where all are.
    fn choose(
        &self,
        item: u64,
        now: Time,
        standings: &Standings<P>,
        groups: &Groups<P>,
        random: &mut Random,
    ) -> Option<P> {
        let open = self.open.get(&item);
        let tried = open.map_or(&[][..], |open| &open.tried);
        // Of a quorum each host, and each group of them, is one voice.
        let heard = open.filter(|_| self.quorum.is_some());
        let new = |host: &Host<P>| heard.is_none_or(|open| !open.has_voice(host.peer, groups));
        let fresh = |host: &Host<P>| !tried.contains(&host.peer) && new(host);
        let any_fresh = self.hosts.iter().any(|host| host.paused_until <= now && fresh(host));
        let able = |host: &Host<P>| host.is_able(now) && (fresh(host) || !any_fresh && new(host));
        // A job of many items finds out for itself, and pauses.
        if self.is_many() {
            return self.better_of_two(able, now, standings, random);
        }
        let liked = |host: &Host<P>| able(host) && !standings.is_shunned(host.peer, now);
        let refused = self.open.get(&item).is_some_and(|open| open.refusals > 0);
        if refused && !planted::is(Bug::SecondBlindly) {
            let best = |able: &dyn Fn(&Host<P>) -> bool| self.best_of_all(able, now, standings);
            return best(&liked).or_else(|| best(&able));
        }
        self.better_of_two(liked, now, standings, random)
            .or_else(|| self.better_of_two(able, now, standings, random))
    }

    /// The host that a call would wait least for: looking at all pays where it is the last trial.
    fn best_of_all(
        &self,
        able: &dyn Fn(&Host<P>) -> bool,
        now: Time,
        standings: &Standings<P>,
    ) -> Option<P> {
        let able = self.hosts.iter().filter(|host| able(host)).map(|host| host.peer);
        able.reduce(|best, other| standings.better(best, other, now))
    }

    /// An item that runs for too long and an idle host that did not have it; or when to look again.
    pub(crate) fn repeat(
        &self,
        now: Time,
        standings: &Standings<P>,
        groups: &Groups<P>,
        random: &mut Random,
    ) -> Repeat<P> {
        let after = self.straggles_after().filter(|_| !planted::is(Bug::NoStragglers));
        let Some(after) = after else {
            return Repeat::None;
        };
        for (since, item) in self.stragglers() {
            if now < since + after {
                return Repeat::At(since + after);
            }
            let Some(open) = self.open.get(&item) else {
                continue;
            };
            let new = |host: &Host<P>| {
                let heard = self.quorum.is_some() && open.has_voice(host.peer, groups);
                !heard && !open.tried.contains(&host.peer)
            };
            let idle = |host: &Host<P>| host.is_idle(now) && new(host);
            if let Some(host) = self.better_of_two(idle, now, standings, random) {
                return Repeat::Now(item, host);
            }
        }
        Repeat::None
    }

    /// The better of two hosts drawn at random (Mitzenmacher 2001, "The power of two choices in
    /// randomized load balancing"), without replacement: of two hosts it is always the better one.
    pub(crate) fn better_of_two(
        &self,
        able: impl Fn(&Host<P>) -> bool,
        now: Time,
        standings: &Standings<P>,
        random: &mut Random,
    ) -> Option<P> {
        let able = || self.hosts.iter().filter(|host| able(host)).map(|host| host.peer);
        let n = able().count() as u64;
        if n == 0 || planted::is(Bug::FirstHost) {
            return able().next();
        }
        let a = random.below(n);
        let b = if n == 1 { a } else { (a + 1 + random.below(n - 1)) % n };
        let (a, b) = (able().nth(a as usize)?, able().nth(b as usize)?);
        Some(standings.better(a, b, now))
    }

    /// When a host that is paused may be asked again.
    pub(crate) fn next_chance(&self, now: Time) -> Option<Time> {
        let paused = self.hosts.iter().filter(|host| host.paused_until > now);
        paused.map(|host| host.paused_until).min()
    }
}

/// Whether there can be no quorum for an item.
#[derive(Debug)]
pub(crate) enum Beyond {
    /// Not for this one.
    Item(u64),
    /// Not for some, unless a search finds further hosts, from then on.
    Unless(Time),
    /// There may be.
    None,
}

/// Whether an item is to be repeated.
#[derive(Debug)]
pub(crate) enum Repeat<P> {
    /// This one, on this host.
    Now(u64, P),
    /// Perhaps then.
    At(Time),
    /// Not before something changes.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Load;
    use crate::tests::P;

    fn host(slots: u16, queue: u16, way: Span, ran: Span) -> (Host<P>, Standing) {
        let mut standings = Standings::new();
        let load = Load { slots, queue, ..Load::default() };
        standings.heard(P(1), Some(load), Some(way), Time(0));
        let mut host = Host::new(P(1), &standings.get(P(1)));
        host.heard(Some(Stay { waited: Span::ms(3), ran }), &standings.get(P(1)));
        (host, standings.get(P(1)))
    }

    #[test]
    fn a_window_covers_the_way() {
        let window = |slots, queue, way, ran| {
            let (mut host, standing) = host(slots, queue, Span::ms(way), Span::ms(ran));
            (0..1_000).for_each(|_| host.answered(&standing));
            host.window
        };
        // Slots, queue, round trip and run in milliseconds.
        assert_eq!(window(4, 16, 50, 1000), 4 + 1);
        assert_eq!(window(4, 16, 50, 100), 4 + 2);
        assert_eq!(window(4, 16, 50, 30), 4 + 7);
        assert_eq!(window(4, 16, 500, 10), 4 + 16, "within its queue");
        assert_eq!(window(4, 0, 50, 100), 4);
        assert_eq!(window(4, 16, 50, 0), 4 + 1, "it does not say how long it ran");
        assert_eq!(window(0, 0, 0, 1), 1);
    }

    #[test]
    fn a_window_is_earned() {
        let (mut host, standing) = host(u16::MAX, u16::MAX, Span::secs(1), Span(1));
        assert_eq!(host.window, TRUSTED_WINDOW);
        host.answered(&standing);
        assert_eq!(host.window, TRUSTED_WINDOW + 1);
        (0..1_000).for_each(|_| host.answered(&standing));
        assert_eq!(host.window, WINDOW_MAX);
        host.in_flight = 3;
        host.refused(Span::ms(20), Time(0), &standing);
        assert_eq!(host.window, 3);
    }
}
