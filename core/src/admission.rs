//! A host's admission: slots, a bounded queue, and an early refusal when both are taken.

use alloc::collections::{BTreeMap, VecDeque};

use crate::key::{Name, Peer};
use crate::machine::Core;
use crate::message::Tag;
use crate::planted::{self, Bug};
use crate::slab::Slab;
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::{Call, Effect, Refusal, Turn};

/// Calls that run or wait here.
#[derive(Debug)]
pub(crate) struct Admission {
    jobs: Slab<Call>,
    running: BTreeMap<Call, Tag>,
    queue: VecDeque<Waiting>,
}

#[derive(Copy, Clone, Debug)]
struct Waiting {
    call: Call,
    function: Name,
    deadline: Time,
}

impl Admission {
    pub(crate) const fn new(incarnation: u32) -> Self {
        Self { jobs: Slab::new(incarnation), running: BTreeMap::new(), queue: VecDeque::new() }
    }

    pub(crate) fn running(&self) -> u16 {
        self.jobs.len() as u16
    }

    pub(crate) fn queued(&self) -> u16 {
        self.queue.len() as u16
    }

    pub(crate) fn is_queued(&self, call: Call) -> bool {
        self.queue.iter().any(|waiting| waiting.call == call)
    }

    pub(crate) fn check(&self, slots: u16, queue: u16) -> bool {
        let within = self.running() <= slots && self.queued() <= queue;
        within || planted::is(Bug::NoSlots)
    }
}

impl<P: Peer> Core<P> {
    /// A call came: it runs, waits, or is refused at once.
    pub(crate) fn arrived(
        &mut self,
        call: Call,
        _from: P,
        function: Name,
        left: Span,
        turn: &mut Turn<'_, P>,
    ) {
        let hosting = self.hosting.get(&function).filter(|_| !planted::is(Bug::RefusesAll));
        let Some(hosting) = hosting else {
            return self.refuse(call, Refusal::NotHosted, turn);
        };
        let deadline = turn.now + left.min(hosting.record.timeout(turn.config.call_timeout_max));
        if left == Span::ZERO {
            self.refuse(call, Refusal::Late, turn);
        } else if self.admission.running() < self.setup.slots || planted::is(Bug::NoSlots) {
            self.run(Waiting { call, function, deadline }, turn);
        } else if self.admission.queued() < self.setup.queue {
            self.admission.queue.push_back(Waiting { call, function, deadline });
            self.timers.add(deadline, Timer::Queued(call));
        } else {
            self.refuse(call, Refusal::Busy, turn);
        }
    }

    fn refuse(&self, call: Call, why: Refusal, turn: &mut Turn<'_, P>) {
        turn.push(Effect::Refuse { call, why, load: self.load() });
    }

    fn run(&mut self, waiting: Waiting, turn: &mut Turn<'_, P>) {
        let Waiting { call, function, deadline } = waiting;
        let Some(hosting) = self.hosting.get(&function) else {
            return self.refuse(call, Refusal::NotHosted, turn);
        };
        let version = hosting.record.version;
        let job = self.admission.jobs.insert(call);
        self.admission.running.insert(call, job);
        turn.push(Effect::Run { job, call, function, version, deadline });
    }

    /// The caller hung up.
    pub(crate) fn gone(&mut self, call: Call, turn: &mut Turn<'_, P>) {
        if let Some(job) = self.admission.running.remove(&call) {
            turn.push(Effect::Cancel { job });
        } else {
            self.admission.queue.retain(|waiting| waiting.call != call);
        }
    }

    pub(crate) fn ran_head(&mut self, job: Tag, turn: &mut Turn<'_, P>) {
        let load = self.load();
        if let Some(call) = self.admission.jobs.get(job)
            && self.admission.running.contains_key(call)
        {
            turn.push(Effect::Respond { call: *call, load });
        }
    }

    /// A slot is free: the call that has waited longest gets it.
    pub(crate) fn ran_end(&mut self, job: Tag, turn: &mut Turn<'_, P>) {
        let Some(call) = self.admission.jobs.remove(job) else {
            return;
        };
        self.admission.running.remove(&call);
        while self.admission.running() < self.setup.slots
            && let Some(waiting) = self.admission.queue.pop_front()
        {
            if waiting.deadline <= turn.now {
                self.refuse(waiting.call, Refusal::Late, turn);
            } else {
                self.run(waiting, turn);
            }
        }
    }

    /// A call waited until it was too late.
    pub(crate) fn queued_late(&mut self, call: Call, turn: &mut Turn<'_, P>) {
        if self.admission.is_queued(call) {
            self.admission.queue.retain(|waiting| waiting.call != call);
            self.refuse(call, Refusal::Late, turn);
        }
    }
}
