//! The laws of the boundary (at the top of [`turn`](crate::turn)), judged over everything that
//! passes it at one start of one core, from its first input on.
//!
//! The judge sees what a host sees and imports nothing of the rules that it judges. It holds the
//! host to its part as well: a breach names the law, and from what was expected it is plain whose
//! fault it is. Each step costs O(log n) of what is open.

mod asks;
mod job;
mod keeping;
mod law;
mod serving;
mod tags;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Debug};

use crate::few::Map;
use crate::idle::{Empty, Idle};
use crate::message::{Answer, Message, Query, Tag};
use crate::record::{Load, Record};
use crate::time::{Span, Time};
use crate::turn::{Call, Effect, Input, Ticket};

use asks::Asks;
use keeping::{Kind, Store};
pub use law::Law;
use serving::Serving;
use tags::{Short, Tags};

/// Breaches of one core that are kept in words; one that breaks a law often breaks it always.
const BREACHES_MAX: usize = 100;

/// How long a host may take for a dial, a fetch or an install before it counts as forgotten.
const ERRAND_MAX: Span = Span::minutes(1);

/// A law that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Breach<P> {
    /// Whose core's.
    pub peer: P,
    /// When.
    pub time: Time,
    /// Which law.
    pub law: Law,
    /// What was expected, and what came.
    pub what: String,
}

impl<P: Debug> fmt::Display for Breach<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, time, law, what } = self;
        write!(f, "{peer:?} at {time:?} breaks the law of {law}: {what}")
    }
}

/// Whether a step was lawful.
type Verdict = Result<(), (Law, String)>;

fn must(holds: bool, law: Law, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err((law, what())) }
}

/// The judge of one core.
#[derive(Clone, Debug)]
pub struct Laws<P> {
    me: P,
    slots: u16,
    /// Whether what was under way to the core when it aborted a call may still come.
    crosses: bool,
    begun: bool,
    now: Time,
    /// The wake outstanding.
    wake: Time,
    /// A query that came in this turn, if no record came with it.
    due: Option<(P, Tag, Kind)>,
    made: Idle<Made>,
    /// What most peers of a large network never have.
    open: Option<Box<Open<P>>>,
}

/// What is open, and what was learnt.
#[derive(Clone, Debug)]
struct Open<P> {
    asks: Asks<P>,
    /// Most who ask serve nothing.
    serving: Idle<Serving>,
    store: Store<P>,
    /// Dials under way, each since when.
    dials: Map<Tag, Time>,
    /// What this turn must do yet.
    owed: Idle<Vec<Owed>>,
    breaches: Idle<Vec<Breach<P>>>,
}

impl<P> Open<P> {
    /// What had to follow has followed.
    fn pay(&mut self, paid: Owed) {
        if !self.owed.is_empty() {
            self.owed.retain(|owed| *owed != paid);
        }
    }
}

/// What has to follow within the turn.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Owed {
    /// An Abort for each of so many attempts.
    Aborts(Ticket, u32),
    /// The head of a call's answer.
    Respond(Call),
    /// The stop of a run.
    Cancel(Tag),
}

impl<P: Copy + Ord + Debug + 'static> Laws<P> {
    /// The judge of a core that may run `slots` calls at once.
    pub const fn new(me: P, slots: u16) -> Self {
        Self {
            me,
            slots,
            crosses: false,
            begun: false,
            now: Time(0),
            wake: Time::NEVER,
            due: None,
            made: Idle::new(),
            open: None,
        }
    }

    /// For a host whose inputs wait in line: a Head or Ended that was in it when the core aborted
    /// the attempt may still come, once.
    #[must_use]
    pub const fn crossing(mut self) -> Self {
        self.crosses = true;
        self
    }

    /// To be called with each input before, or as soon as, the core gets it.
    pub fn input(&mut self, now: Time, input: &Input<P>) {
        self.turn_ends();
        let before = core::mem::replace(&mut self.now, now);
        let ahead = must(now >= before, Law::Clock, || format!("{now:?} came after {before:?}"));
        self.judge(ahead);
        let verdict = self.told(input);
        self.judge(verdict);
        self.begun |= !matches!(input, Input::Restored(_));
    }

    fn told(&mut self, input: &Input<P>) -> Verdict {
        let now = self.now;
        match input {
            Input::Ask(ticket, request) => self.open().asks.ask(*ticket, request),
            Input::Items { ticket, n, ended } => self.open().asks.items(*ticket, *n, *ended),
            Input::Taken { ticket, n } => self.open().asks.taken(*ticket, *n),
            Input::Heard { from, message } => {
                self.heard(*from, message);
                Ok(())
            }
            // A query's absence is the peer's matter; what is said of peers binds nobody.
            Input::Failed { .. } | Input::Unreached { .. } => Ok(()),
            Input::Met { peer, group, .. } => {
                if group.is_some() {
                    self.open().asks.met(*peer, *group);
                }
                Ok(())
            }
            Input::Dialled { tag, .. } => {
                let dialled = self.open().dials.remove(tag);
                must(dialled.is_some(), Law::Dial, || format!("{} was not dialled", Short(*tag)))
            }
            Input::Head { attempt, status, .. } => self.open().asks.head(*attempt, *status),
            Input::Ended { attempt, how, body } => {
                self.open().asks.ended(now, *attempt, *how, *body)
            }
            Input::Arrived { call, function, left, .. } => {
                self.open().serving.arrived(*call, *function, now + *left)
            }
            Input::Gone { call } => {
                let open = self.open();
                if let Some(job) = open.serving.gone(*call) {
                    open.owed.push(Owed::Cancel(job));
                }
                Ok(())
            }
            Input::RanHead { job } => {
                let open = self.open();
                let respond = open.serving.ran_head(*job)?;
                if let Some(call) = respond {
                    open.owed.push(Owed::Respond(call));
                }
                Ok(())
            }
            Input::RanEnd { job } => self.open().serving.ran_end(*job),
            Input::Installed { tag, function, version, ok } => {
                self.open().serving.installed(*tag, (*function, *version), *ok)
            }
            Input::Fetched { tag, digest, got } => self.open().serving.fetched(*tag, *digest, *got),
            Input::Kept { tag } => self.open().store.kept(*tag, true),
            Input::NotKept { tag } => self.open().store.kept(*tag, false),
            Input::Restored(item) => {
                let begun = self.begun;
                let open = self.open();
                open.asks.learn(item.record());
                open.store.restored(item);
                must(!begun, Law::Restored, || format!("{:?} came after an input", item.key()))
            }
            Input::Wake => {
                self.wake = Time::NEVER;
                Ok(())
            }
        }
    }

    fn heard(&mut self, from: P, message: &Message<P>) {
        let (tag, query) = match message {
            Message::Query(tag, query) => (*tag, query),
            Message::Answer(_, answer) => return self.learn_from(answer),
        };
        match query {
            Query::Provide(_, Some(record)) | Query::Store(record) => {
                let what = (record.function, record.version);
                let open = self.open();
                open.asks.learn(record);
                return open.store.asked(from, tag, Kind::Stored, Some(what));
            }
            Query::Offer { record, .. } => self.open().asks.learn(record),
            Query::Sync { records, .. } => {
                for record in records {
                    self.open().asks.learn(record);
                }
            }
            Query::Find(_)
            | Query::Hosts(_)
            | Query::Provide(_, None)
            | Query::Confirm { .. }
            | Query::Release { .. }
            | Query::Placed { .. }
            | Query::Withdraw(_)
            | Query::Probe(_) => {}
        }
        self.due = Some((from, tag, Kind::due(query)));
    }

    fn learn_from(&mut self, answer: &Answer<P>) {
        match answer {
            Answer::Found { record: Some(record), .. }
            | Answer::Stored { newer: Some(record), .. } => self.open().asks.learn(record),
            Answer::Synced { records, .. } => {
                for record in records {
                    self.open().asks.learn(record);
                }
            }
            Answer::Found { record: None, .. }
            | Answer::Stored { newer: None, .. }
            | Answer::Offered { .. }
            | Answer::Noted(_)
            | Answer::Probed { .. } => {}
        }
    }

    /// To be called with each effect of the input before, in their order.
    pub fn effect(&mut self, effect: &Effect<P>) {
        let verdict = self.done(effect);
        self.judge(verdict);
    }

    fn done(&mut self, effect: &Effect<P>) -> Verdict {
        let (now, slots) = (self.now, self.slots);
        match effect {
            Effect::Tell(ticket, event) => {
                let open = self.open();
                let running = open.asks.running(*ticket);
                if event.is_final() && running > 0 {
                    open.owed.push(Owed::Aborts(*ticket, running));
                }
                let to_keep = open.asks.told(*ticket, event)?;
                to_keep.map_or(Ok(()), |(key, version)| {
                    open.store.acknowledges(key, version, || format!("ticket {ticket} is told so"))
                })
            }
            Effect::Want { ticket, n } => self.open().asks.want(*ticket, *n),
            Effect::Send { to, message } => self.sends(*to, message),
            Effect::Dial { tag, .. } => {
                self.of_this_start(*tag)?;
                let before = self.open().dials.insert(*tag, now);
                must(before.is_none(), Law::Tag, || format!("{} is dialled already", Short(*tag)))
            }
            Effect::Dispatch { attempt, ticket, item, to, function, deadline } => {
                self.of_this_start(*attempt)?;
                let what = (*ticket, *item, *to);
                self.open().asks.dispatch(now, *attempt, what, *function, *deadline)
            }
            Effect::Abort { attempt } => {
                let crosses = self.crosses;
                let open = self.open();
                let orphaned = open.asks.abort(*attempt, crosses)?;
                let owed = if open.owed.is_empty() { &mut [][..] } else { &mut open.owed[..] };
                for owed in owed {
                    if let Owed::Aborts(ticket, n) = owed
                        && orphaned == Some(*ticket)
                    {
                        *n = n.saturating_sub(1);
                    }
                }
                Ok(())
            }
            Effect::Refuse { call, load, .. } => {
                self.open().serving.refuse(*call)?;
                self.says_load(*load)
            }
            Effect::Run { job, call, function, version, deadline } => {
                self.of_this_start(*job)?;
                let what = (*call, *function, *version);
                self.open().serving.run(now, slots, *job, what, *deadline)
            }
            Effect::Respond { call, load, .. } => {
                let open = self.open();
                open.pay(Owed::Respond(*call));
                open.serving.respond(*call)?;
                self.says_load(*load)
            }
            Effect::Cancel { job } => {
                let open = self.open();
                open.pay(Owed::Cancel(*job));
                open.serving.cancel(*job)
            }
            Effect::Install { tag, record } => {
                self.of_this_start(*tag)?;
                self.open().serving.install(now, *tag, record)
            }
            Effect::Uninstall { function, version } => {
                self.open().serving.uninstall(*function, *version)
            }
            Effect::Fetch { tag, digest, .. } => {
                self.of_this_start(*tag)?;
                self.open().serving.fetch(now, *tag, *digest)
            }
            Effect::Keep { tag, item } => {
                self.of_this_start(*tag)?;
                self.open().store.keep(*tag, item)
            }
            Effect::Forget(key) => {
                self.open().store.forget(*key);
                Ok(())
            }
            Effect::WakeAt(at) => {
                let before = core::mem::replace(&mut self.wake, *at);
                must(*at >= now && *at < before, Law::Wake, || {
                    format!("{at:?} at {now:?}, where {before:?} was outstanding")
                })
            }
            // Words to a watcher bind nobody.
            Effect::Renew(_) | Effect::Note(_) => Ok(()),
        }
    }

    fn sends(&mut self, to: P, message: &Message<P>) -> Verdict {
        must(to != self.me, Law::Elsewhere, || format!("{} to itself", Short(message.tag())))?;
        match message {
            Message::Query(tag, query) => {
                self.of_this_start(*tag)?;
                self.made.queries.take(*tag)?;
                match query {
                    Query::Placed { function, version, failure: None } => {
                        self.open().store.says_placed(*function, *version)
                    }
                    Query::Find(_)
                    | Query::Hosts(_)
                    | Query::Provide(..)
                    | Query::Store(_)
                    | Query::Offer { .. }
                    | Query::Confirm { .. }
                    | Query::Release { .. }
                    | Query::Placed { .. }
                    | Query::Probe(_)
                    | Query::Withdraw(_)
                    | Query::Sync { .. } => Ok(()),
                }
            }
            Message::Answer(tag, answer) => {
                if self.due == Some((to, *tag, Kind::of(answer))) {
                    self.due = None;
                } else {
                    self.open().store.answers(to, *tag, answer)?;
                }
                match answer {
                    Answer::Found { load, .. }
                    | Answer::Offered { load, .. }
                    | Answer::Probed { load, .. } => self.says_load(*load),
                    Answer::Stored { .. } | Answer::Noted(_) | Answer::Synced { .. } => Ok(()),
                }
            }
        }
    }

    fn says_load(&self, load: Load) -> Verdict {
        let (running, queued) = self.open.as_ref().map_or((0, 0), |open| open.serving.load());
        let said = (load.slots, u64::from(load.running), u64::from(load.queued));
        must(said == (self.slots, running, queued), Law::Load, || {
            let (slots, says, waits) = said;
            format!(
                "{says} of {slots} run and {waits} wait, it says, where {running} of {} run and \
                 {queued} wait",
                self.slots
            )
        })
    }

    /// All tags of a core are of one start.
    fn of_this_start(&mut self, tag: Tag) -> Verdict {
        let start = *self.made.start.get_or_insert(tag.incarnation);
        must(start == tag.incarnation, Law::Tag, || {
            format!("{} is of start {}, not {start}", Short(tag), tag.incarnation)
        })
    }

    fn open(&mut self) -> &mut Open<P> {
        self.open.get_or_insert_with(|| {
            Box::new(Open {
                asks: Asks::new(),
                serving: Idle::new(),
                store: Store::new(),
                dials: Map::new(),
                owed: Idle::new(),
                breaches: Idle::new(),
            })
        })
    }

    fn judge(&mut self, verdict: Verdict) {
        if let Err((law, what)) = verdict {
            let (peer, time) = (self.me, self.now);
            let breaches = &mut self.open().breaches;
            if breaches.len() < BREACHES_MAX {
                breaches.push(Breach { peer, time, law, what });
            }
        }
    }

    /// What had to be done within the turn was done.
    fn turn_ends(&mut self) {
        if let Some((from, tag, kind)) = self.due.take() {
            self.open().store.asked(from, tag, kind, None);
        }
        let Some(open) = &mut self.open else {
            return;
        };
        if open.owed.is_empty() {
            return;
        }
        let all = core::mem::take(&mut *open.owed);
        open.owed.release();
        for owed in all {
            match owed {
                Owed::Aborts(_, 0) => {}
                Owed::Aborts(ticket, n) => self.judge(Err((
                    Law::Aborted,
                    format!("ticket {ticket} ended, and {n} of its attempts run on"),
                ))),
                Owed::Respond(call) => {
                    self.judge(Err((Law::Respond, format!("the head of call {call} stays here"))));
                }
                Owed::Cancel(job) => self.judge(Err((
                    Law::RunEnd,
                    format!("the caller of run {} hung up, and it runs on", Short(job)),
                ))),
            }
        }
    }

    /// Judges a core that has come to rest: nothing is open.
    pub fn at_rest(&mut self) {
        self.turn_ends();
        let Some(open) = &self.open else {
            return;
        };
        let mut left = Vec::new();
        open.asks.left(&mut left);
        // A core at rest may still be looking for those who left, or for code.
        let old = Time(self.now.0.saturating_sub(ERRAND_MAX.0));
        open.serving.left(old, &mut left);
        open.store.left(&mut left);
        let dials = open.dials.iter().filter(|(_, since)| **since < old);
        left.extend(
            dials.map(|(tag, _)| (Law::Dial, format!("{} was never answered", Short(*tag)))),
        );
        for (law, what) in left {
            self.judge(Err((law, what)));
        }
    }

    /// Reads what judging the next turn reads, and judges nothing: as [`Core::warm`].
    ///
    /// [`Core::warm`]: crate::Core::warm
    pub fn warm(&self) -> u64 {
        let owed = self.open.as_ref().is_some_and(|open| open.owed.is_empty());
        let owed = owed ^ self.due.is_some();
        self.now.0 ^ self.wake.0 ^ u64::from(self.slots) ^ u64::from(owed)
    }

    /// What was broken so far, the first hundred.
    pub fn breaches(&self) -> &[Breach<P>] {
        self.open.as_ref().map_or(&[], |open| &open.breaches)
    }

    /// Takes what was broken since the last time.
    pub fn take_breaches(&mut self) -> Vec<Breach<P>> {
        self.open.as_mut().map_or_else(Vec::new, |open| core::mem::take(&mut *open.breaches))
    }
}

/// What a core has that has asked something, or had it kept or run.
#[derive(Clone, Debug)]
struct Made {
    /// Of which start all its tags are.
    start: Option<u32>,
    queries: Tags,
}

impl Empty for Made {
    const EMPTY: &'static Self = &Self { start: None, queries: Tags::new() };

    fn empty() -> Self {
        Self { start: None, queries: Tags::new() }
    }
}

impl<P> Message<P> {
    const fn tag(&self) -> Tag {
        match self {
            Self::Query(tag, _) | Self::Answer(tag, _) => *tag,
        }
    }
}

impl crate::turn::Item {
    fn record(&self) -> &Record {
        match self {
            Self::Record(record) | Self::Hosting(record) => record,
        }
    }
}
