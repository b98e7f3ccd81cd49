//! A host's admission: slots, a bounded queue that its callers share, and a refusal at once when both
//! are taken.

use crate::few::Map;
use crate::idle::Idle;
use crate::key::{Name, Peer};
use crate::machine::Core;
use crate::message::Tag;
use crate::planted::{self, Bug};
use crate::queue::{Queue, Waiting};
use crate::slab::Slab;
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::{Call, Effect, Refusal, Stay, Turn};

/// Calls that run or wait here.
#[derive(Debug)]
pub(crate) struct Admission<P> {
    jobs: Slab<Running>,
    running: Map<Call, Tag>,
    queue: Idle<Queue<P>>,
}

/// A call that runs, even if nobody waits for it any more.
#[derive(Copy, Clone, Debug)]
struct Running {
    call: Call,
    function: Name,
    arrived: Time,
    began: Time,
}

impl<P: Peer> Admission<P> {
    pub(crate) const fn new() -> Self {
        Self { jobs: Slab::new(), running: Map::new(), queue: Idle::new() }
    }

    pub(crate) fn running(&self) -> u16 {
        self.jobs.len() as u16
    }

    pub(crate) fn queued(&self) -> u16 {
        self.queue.len() as u16
    }

    pub(crate) fn is_queued(&self, call: Call) -> bool {
        self.queue.contains(call)
    }

    /// Whether anything of a function runs or waits.
    pub(crate) fn has(&self, function: Name) -> bool {
        self.jobs.iter().any(|(_, running)| running.function == function)
            || self.queue.has(function)
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
        caller: P,
        function: Name,
        left: Span,
        turn: &mut Turn<'_, P>,
    ) {
        let hosting = self.hosting.get(&function).filter(|_| !planted::is(Bug::RefusesAll));
        let Some(hosting) = hosting else {
            return self.refuse(call, Refusal::NotHosted, turn);
        };
        let arrived = turn.now;
        let deadline = arrived + left.min(hosting.record.timeout(turn.config.call_timeout_max));
        let waiting = Waiting { call, caller, function, arrived, deadline };
        if deadline <= turn.now {
            self.refuse(call, Refusal::Late, turn);
        } else if self.admission.running() < self.setup.slots || planted::is(Bug::NoSlots) {
            self.run(waiting, turn);
        } else if self.may_wait(caller) {
            self.wait(waiting);
        } else {
            self.refuse(call, Refusal::Busy, turn);
        }
    }

    fn refuse(&self, call: Call, why: Refusal, turn: &mut Turn<'_, P>) {
        turn.push(Effect::Refuse { call, why, load: self.load() });
    }

    /// Whether there is a place in the queue: the last one is for a caller that has none waiting. So
    /// one that floods keeps no other out, and whoever is refused hears it at once.
    fn may_wait(&self, caller: P) -> bool {
        let free = self.setup.queue - self.admission.queued();
        let last = free == 1 && !planted::is(Bug::LastForAnyone);
        free > 0 && !(last && self.admission.queue.has_of(caller))
    }

    fn wait(&mut self, waiting: Waiting<P>) {
        self.timers.add(waiting.deadline, Timer::Queued(waiting.call));
        self.admission.queue.push(waiting);
    }

    fn run(&mut self, waiting: Waiting<P>, turn: &mut Turn<'_, P>) {
        let Waiting { call, function, arrived, deadline, .. } = waiting;
        let Some(hosting) = self.hosting.get(&function) else {
            return self.refuse(call, Refusal::NotHosted, turn);
        };
        let version = hosting.record.version;
        let running = Running { call, function, arrived, began: turn.now };
        let job = self.admission.jobs.insert(self.incarnation, running);
        self.admission.running.insert(call, job);
        turn.push(Effect::Run { job, call, function, version, deadline });
    }

    /// The caller hung up.
    pub(crate) fn gone(&mut self, call: Call, turn: &mut Turn<'_, P>) {
        if let Some(job) = self.admission.running.remove(&call) {
            turn.push(Effect::Cancel { job });
            if planted::is(Bug::FreesEarly) {
                self.ran_end(job, turn);
            }
        } else {
            self.admission.queue.remove(call);
        }
    }

    pub(crate) fn ran_head(&mut self, job: Tag, turn: &mut Turn<'_, P>) {
        let load = self.load();
        if let Some(Running { call, arrived, began, .. }) = self.admission.jobs.get(job).copied()
            && (self.admission.running.contains_key(&call) || planted::is(Bug::RespondsToGone))
        {
            let stay = Stay { waited: began.since(arrived), ran: turn.now.since(began) };
            turn.push(Effect::Respond { call, load, stay });
        }
    }

    /// A slot is free: it goes to the caller whose turn it is.
    pub(crate) fn ran_end(&mut self, job: Tag, turn: &mut Turn<'_, P>) {
        let Some(Running { call, function, .. }) = self.admission.jobs.remove(job) else {
            return;
        };
        self.admission.running.remove(&call);
        while self.admission.running() < self.setup.slots
            && let Some(waiting) = self.admission.queue.pop()
        {
            if waiting.deadline <= turn.now {
                self.refuse(waiting.call, Refusal::Late, turn);
            } else {
                self.run(waiting, turn);
            }
        }
        self.leave_if_idle(function, turn);
    }

    /// A call waited until it was too late.
    pub(crate) fn queued_late(&mut self, call: Call, turn: &mut Turn<'_, P>) {
        if self.admission.queue.remove(call).is_some() {
            self.refuse(call, Refusal::Late, turn);
        }
    }
}
