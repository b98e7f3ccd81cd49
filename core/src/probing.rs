//! Hosts of a function probe each other. Only a host that answered counts, and who hears from
//! nobody suspects itself first.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::key::{Name, Peer};
use crate::machine::Core;
use crate::message::{Answer, Query, Tag};
use crate::note::Note;
use crate::planted::{self, Bug};
use crate::queries::Purpose;
use crate::record::Load;
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::Turn;

/// Functions in one probe; more are asked about in further ones.
pub(crate) const PROBED_MAX: usize = 256;
/// Peers that must have been probed in a period before their silence can be one's own fault.
const SUSPECT_MIN: u16 = 8;
/// A wake that comes so late says that this node stood still.
const LATE_WAKE: Span = Span::secs(10);

/// One probe under way.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) versions: Vec<(Name, u64)>,
    /// Whether it is the first of its peer in this period: peers are counted, not probes.
    pub(crate) first: bool,
}

/// Whether what is seen of others may be one's own fault.
#[derive(Debug)]
pub(crate) struct Suspicion {
    /// Peers that were probed in this period; `u16::MAX`: none since the suspicion arose.
    asked: u16,
    answered: u16,
    failed: u16,
    suspected: bool,
}

impl Suspicion {
    pub(crate) const fn new() -> Self {
        Self { asked: 0, answered: 0, failed: 0, suspected: false }
    }

    /// No verdicts and no repairs.
    pub(crate) const fn is_on(&self) -> bool {
        self.suspected
    }

    /// A period begins, in which so many peers are probed.
    pub(crate) fn begin(&mut self, asked: usize) {
        self.asked = u16::try_from(asked).unwrap_or(u16::MAX - 1);
        (self.answered, self.failed) = (0, 0);
    }

    pub(crate) fn hear(&mut self, asked: &Asked) {
        self.answered += u16::from(asked.first);
    }

    /// A probe failed: how many peers did not answer, of how many, where these are so many that the
    /// fault may be one's own.
    pub(crate) fn miss(&mut self, asked: &Asked) -> Option<(u16, u16)> {
        self.failed += u16::from(asked.first);
        let most = self.asked != u16::MAX
            && self.asked >= SUSPECT_MIN
            && self.failed > self.asked / 2
            && !planted::is(Bug::NeverSuspectsItself);
        most.then_some((self.failed, self.asked))
    }

    /// True if it was not so before.
    pub(crate) fn suspect(&mut self) -> bool {
        !core::mem::replace(&mut self.suspected, true)
    }

    /// Whoever was asked before a pause has long answered to nobody.
    pub(crate) const fn forget(&mut self) {
        self.asked = u16::MAX;
    }

    /// Half of those who were asked answer: it ends. True if it did.
    pub(crate) fn clear(&mut self) -> bool {
        let enough = u32::from(self.answered) * 2 >= u32::from(self.asked);
        self.suspected && core::mem::replace(&mut self.suspected, !enough) && enough
    }
}

impl<P: Peer> Core<P> {
    pub(crate) fn start_probing(&mut self, turn: &Turn<'_, P>) {
        if !self.probing {
            self.probing = true;
            let first = Span(self.random.below(turn.config.probe_period.0));
            self.timers.add(turn.now + first, Timer::Probe);
        }
    }

    /// Asks every fellow host about all the functions that it and this peer host, in as few
    /// messages as they fit into.
    pub(crate) fn probe(&mut self, turn: &mut Turn<'_, P>) {
        self.probing = !self.hosting.is_empty();
        if !self.probing {
            return;
        }
        self.timers.add(turn.now + turn.config.probe_period, Timer::Probe);
        self.lease_hosts(turn);
        let mut pairs: BTreeMap<P, Vec<(Name, u64)>> = BTreeMap::new();
        for (name, hosting) in self.hosting.iter().filter(|(_, hosting)| !hosting.is_leaving()) {
            for mate in &hosting.mates {
                pairs.entry(mate.peer).or_default().push((*name, hosting.record.version));
            }
        }
        self.suspicion.begin(pairs.len());
        self.trust_again(turn);
        for (mate, versions) in pairs {
            for (at, page) in versions.chunks(PROBED_MAX).enumerate() {
                let asked = Asked { versions: page.to_vec(), first: at == 0 };
                let tag = self.probes.insert(self.incarnation, asked);
                self.query(mate, Query::Probe(page.to_vec()), Purpose::Probe(tag), turn);
            }
        }
    }

    /// Answers a probe. Who asks says that it hosts these functions itself, and has yet to show it.
    pub(crate) fn probed(
        &mut self,
        from: P,
        versions: &[(Name, u64)],
        turn: &mut Turn<'_, P>,
    ) -> Answer<P> {
        let mut serving = Vec::new();
        for (name, version) in versions.iter().take(PROBED_MAX) {
            let hosting = self.hosting.get(name).filter(|hosting| !hosting.is_leaving());
            let Some(mine) = hosting.map(|hosting| hosting.record.version) else {
                continue;
            };
            serving.push((*name, mine));
            if mine == *version {
                self.meet_mate(*name, from, turn);
            }
        }
        Answer::Probed { serving, load: self.load() }
    }

    /// Judges by an answer what was asked, and nothing else.
    pub(crate) fn probe_answered(
        &mut self,
        tag: Tag,
        from: P,
        serving: &[(Name, u64)],
        load: Load,
        turn: &mut Turn<'_, P>,
    ) {
        let Some(asked) = self.probes.remove(tag) else {
            return;
        };
        self.suspicion.hear(&asked);
        self.trust_again(turn);
        for (function, version) in asked.versions {
            if serving.iter().any(|(name, v)| *name == function && *v >= version) {
                self.prove_mate(function, from, load, turn);
            } else {
                self.doubt_mate(function, from, turn);
            }
        }
    }

    pub(crate) fn probe_missed(&mut self, tag: Tag, peer: P, turn: &mut Turn<'_, P>) {
        let Some(asked) = self.probes.remove(tag) else {
            return;
        };
        if let Some((failed, peers)) = self.suspicion.miss(&asked) {
            self.suspect_myself(failed, peers, turn);
        }
        if self.suspicion.is_on() {
            return;
        }
        for (function, _) in asked.versions {
            self.miss_mate(function, peer, turn);
        }
    }

    fn suspect_myself(&mut self, failed: u16, asked: u16, turn: &mut Turn<'_, P>) {
        let alone = self.hosting.is_empty() || planted::is(Bug::NeverSuspectsItself);
        if !alone && self.suspicion.suspect() {
            turn.note(|| Note::Suspects { failed, asked });
        }
    }

    /// The wake that was asked for is this late.
    pub(crate) fn suspect_late_wake(&mut self, late: Span, turn: &mut Turn<'_, P>) {
        if late >= LATE_WAKE {
            self.suspect_myself(0, 0, turn);
            self.suspicion.forget();
            self.stop_watching();
        }
    }

    /// Ends the suspicion if half of those who were asked answer.
    fn trust_again(&mut self, turn: &Turn<'_, P>) {
        if self.suspicion.clear() {
            self.look_after_all(turn);
        }
    }
}

/// Another host of a function that is hosted here.
#[derive(Debug)]
pub(crate) struct Mate<P> {
    pub(crate) peer: P,
    /// Probes missed in a row.
    pub(crate) missed: u8,
    /// Since when it has answered every probe, or missed but a few; before that it is hearsay,
    /// which neither shows that hosts are lacking nor that there are too many.
    pub(crate) proven_at: Option<Time>,
    /// Until when it may still be on its way to hosting the function.
    pub(crate) expected_until: Time,
    /// Percent of its slots that were taken when it last answered.
    pub(crate) busy: u8,
}

impl<P> Mate<P> {
    /// Somebody said that it hosts the function.
    pub(crate) const fn hearsay(peer: P) -> Self {
        Self::expected(peer, Time(0))
    }

    /// Whether more than hearsay says that it hosts the function.
    pub(crate) fn is_trusted(&self, now: Time) -> bool {
        self.proven_at.is_some() || self.expected_until > now
    }

    /// Its placer told it to host the function.
    pub(crate) const fn expected(peer: P, until: Time) -> Self {
        Self { peer, missed: 0, proven_at: None, expected_until: until, busy: 0 }
    }
}
