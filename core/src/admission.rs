//! A host's admission: slots, a bounded queue that its callers share, and a refusal at once when both
//! are taken.

use crate::config::Accept;
use crate::few::Map;
use crate::hosting::Hosting;
use crate::idle::Idle;
use crate::key::{Name, Owner, Peer};
use crate::machine::Core;
use crate::message::Tag;
use crate::planted::{self, Bug};
use crate::queue::{Pool, Queue, Waiting};
use crate::slab::Slab;
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::{Call, Effect, Refusal, Stay, Turn};

/// How many calls of one caller may wait for each place that is left behind them: a threshold that falls as
/// the queue fills (Choudhury and Hahne 1998, "Dynamic queue length thresholds for shared-memory packet
/// switches"). One that floods alone gets four fifths of the places, two get four ninths each.
const CALLERS_SHARE: usize = 4;
/// The same for all calls of one owner's functions, where there are others: far more, so that there is
/// room in it for several callers.
const OWNERS_SHARE: usize = 16;
const _: () = assert!(CALLERS_SHARE < OWNERS_SHARE);

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

    /// How many calls of a function run or wait.
    pub(crate) fn taken_by(&self, function: Name) -> usize {
        let running = self.jobs.iter().filter(|(_, running)| running.function == function);
        running.count() + self.queue.of_function(function)
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
        let (arrived, pool) = (turn.now, self.pool(hosting.record.owner));
        let deadline = arrived + left.min(hosting.record.timeout(turn.config.call_timeout_max));
        let waiting = Waiting { call, caller, pool, function, arrived, deadline };
        if deadline <= turn.now {
            self.refuse(call, Refusal::Late, turn);
        } else if self.admission.running() < self.setup.slots || planted::is(Bug::NoSlots) {
            self.run(waiting, turn);
        } else if self.may_wait(caller, pool) {
            self.wait(waiting);
        } else {
            self.refuse(call, Refusal::Busy, turn);
        }
    }

    fn refuse(&self, call: Call, why: Refusal, turn: &mut Turn<'_, P>) {
        turn.push(Effect::Refuse { call, why, load: self.load() });
    }

    /// Whose functions share places with those of an owner.
    fn pool(&self, owner: Owner) -> Pool {
        let known = match &self.setup.accept {
            Accept::These(owners) => owners.contains(&owner),
            Accept::Owner | Accept::Anyone => false,
        };
        if known || self.owns(owner) { Pool::Of(owner) } else { Pool::Unknown }
    }

    /// Whether there is a place in the queue: for whoever has none waiting while there is one, for others
    /// while they have so few that places are left for newcomers. So one that floods keeps no other out,
    /// and whoever is refused hears it at once. Where functions of other owners are hosted, the last
    /// place is for one of which none waits.
    fn may_wait(&self, caller: P, pool: Pool) -> bool {
        let Admission { queue, .. } = &self.admission;
        let Some(left) = usize::from(self.setup.queue).checked_sub(queue.len() + 1) else {
            return false;
        };
        if planted::is(Bug::LastForAnyone) {
            return true;
        }
        let fits =
            |waiting: usize, share: usize, left: usize| waiting == 0 || waiting < share * left;
        let of_caller = queue.of_caller(caller);
        let alone = fits(of_caller, CALLERS_SHARE, left) || planted::is(Bug::OneCallersQueue);
        let among_owners = fits(of_caller, CALLERS_SHARE, left.saturating_sub(1))
            && fits(queue.of_pool(pool), OWNERS_SHARE, left);
        let is_other = |it: &Hosting<P>| self.pool(it.record.owner) != pool;
        let has_others = || self.hosting.values().any(is_other);
        alone && (among_owners || planted::is(Bug::OneOwnersQueue) || !has_others())
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
