//! The calls that a core serves, and what is installed to serve them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Law, Short, Tags, Verdict, must};
use crate::few::{Map, Set};
use crate::idle::Empty;
use crate::key::{Digest, Name};
use crate::message::Tag;
use crate::record::Record;
use crate::time::Time;
use crate::turn::{Call, Got};

#[derive(Clone, Debug)]
pub(super) struct Serving {
    calls: Map<Call, Arrived>,
    /// Calls that are neither run nor refused.
    waiting: u64,
    tags: Tags,
    running: Map<Tag, Running>,
    /// Of fetches and installs.
    work_tags: Tags,
    /// Each since when.
    fetching: Map<Tag, (Digest, Time)>,
    /// Code that is here.
    code: Set<Digest>,
    installing: Map<Tag, ((Name, u64), Time)>,
    installed: Set<(Name, u64)>,
}

#[derive(Clone, Debug)]
struct Arrived {
    function: Name,
    deadline: Time,
    /// Once it runs.
    job: Option<Tag>,
}

#[derive(Clone, Debug)]
struct Running {
    call: Call,
    /// Its answer has begun; it was passed on.
    head: bool,
    passed_on: bool,
    /// The caller hung up; the run was stopped.
    gone: bool,
    stopped: bool,
}

impl Empty for Serving {
    const EMPTY: &'static Self = &Self::new();

    fn empty() -> Self {
        Self::new()
    }
}

impl Serving {
    pub(super) const fn new() -> Self {
        Self {
            calls: Map::new(),
            waiting: 0,
            tags: Tags::new(),
            running: Map::new(),
            work_tags: Tags::new(),
            fetching: Map::new(),
            code: Set::new(),
            installing: Map::new(),
            installed: Set::new(),
        }
    }

    /// How many run and how many wait.
    pub(super) fn load(&self) -> (u64, u64) {
        (self.running.len() as u64, self.waiting)
    }

    pub(super) fn arrived(&mut self, call: Call, function: Name, deadline: Time) -> Verdict {
        let before = self.calls.insert(call, Arrived { function, deadline, job: None });
        self.waiting += 1;
        must(before.is_none(), Law::Call, || format!("call {call} came twice"))
    }

    /// Returns the run that has to be stopped.
    pub(super) fn gone(&mut self, call: Call) -> Option<Tag> {
        let job = self.calls.get(&call)?.job;
        let Some(job) = job else {
            self.calls.remove(&call);
            self.waiting -= 1;
            return None;
        };
        let running = self.running.get_mut(&job)?;
        let first = !core::mem::replace(&mut running.gone, true);
        first.then_some(job)
    }

    /// Takes a call out of those that wait.
    fn leaves(&mut self, call: Call, how: &str) -> Result<&mut Arrived, (Law, String)> {
        match self.calls.get_mut(&call) {
            Some(arrived) if arrived.job.is_none() => {
                self.waiting -= 1;
                Ok(arrived)
            }
            Some(_) => Err((Law::Call, format!("call {call} is {how}, and was run already"))),
            None => Err((Law::Call, format!("call {call} is {how}, and does not wait"))),
        }
    }

    pub(super) fn refuse(&mut self, call: Call) -> Verdict {
        self.leaves(call, "refused")?;
        self.calls.remove(&call);
        Ok(())
    }

    pub(super) fn run(
        &mut self,
        now: Time,
        slots: u16,
        job: Tag,
        (call, function, version): (Call, Name, u64),
        deadline: Time,
    ) -> Verdict {
        let run = Running { call, head: false, passed_on: false, gone: false, stopped: false };
        self.running.insert(job, run);
        let running = self.running.len();
        let arrived = self.leaves(call, "run")?;
        arrived.job = Some(job);
        let (wanted, latest) = (arrived.function, arrived.deadline);
        self.tags.take(job)?;
        must(running <= usize::from(slots), Law::Slots, || {
            format!("{running} calls run in {slots} slots")
        })?;
        must(wanted == function, Law::Run, || format!("call {call} is of another function"))?;
        must(now < latest && deadline <= latest, Law::Run, || {
            format!(
                "call {call} runs from {now:?} to {deadline:?} where {latest:?} is its deadline"
            )
        })?;
        must(self.installed.contains(&(function, version)), Law::Run, || {
            format!("call {call} runs in version {version}, which is not installed")
        })
    }

    /// Returns the call whose answer has to be passed on.
    pub(super) fn ran_head(&mut self, job: Tag) -> Result<Option<Call>, (Law, String)> {
        let Some(running) = self.running.get_mut(&job) else {
            return Err((Law::Respond, format!("{} has a head, and does not run", Short(job))));
        };
        let twice = core::mem::replace(&mut running.head, true);
        must(!twice, Law::Respond, || format!("{} has a second head", Short(job)))?;
        Ok((!running.gone).then_some(running.call))
    }

    pub(super) fn respond(&mut self, call: Call) -> Verdict {
        let job = self.calls.get(&call).and_then(|arrived| arrived.job);
        let Some(running) = job.and_then(|job| self.running.get_mut(&job)) else {
            return Err((Law::Respond, format!("call {call} is answered, and does not run")));
        };
        let lawful = running.head && !running.gone && !running.passed_on;
        running.passed_on = true;
        must(lawful, Law::Respond, || {
            format!("call {call} has no head to pass on, or nobody waits for it")
        })
    }

    pub(super) fn ran_end(&mut self, job: Tag) -> Verdict {
        match self.running.remove(&job) {
            Some(running) => {
                self.calls.remove(&running.call);
                Ok(())
            }
            None => Err((Law::RunEnd, format!("{} ended, and does not run", Short(job)))),
        }
    }

    pub(super) fn cancel(&mut self, job: Tag) -> Verdict {
        let running = self.running.get_mut(&job);
        let lawful = running
            .is_some_and(|running| running.gone && !core::mem::replace(&mut running.stopped, true));
        must(lawful, Law::RunEnd, || {
            format!("{} is stopped, and does not run for a caller that hung up", Short(job))
        })
    }

    pub(super) fn fetch(&mut self, now: Time, tag: Tag, digest: Digest) -> Verdict {
        self.fetching.insert(tag, (digest, now));
        self.work_tags.take(tag)
    }

    pub(super) fn fetched(&mut self, tag: Tag, digest: Digest, got: Got) -> Verdict {
        if got == Got::Code {
            self.code.insert(digest);
        }
        let waits = self.fetching.remove(&tag).is_some_and(|(wanted, _)| wanted == digest);
        must(waits, Law::Runtime, || {
            format!("{} fetched code, and nobody waits for it", Short(tag))
        })
    }

    pub(super) fn install(&mut self, now: Time, tag: Tag, record: &Record) -> Verdict {
        self.installing.insert(tag, ((record.function, record.version), now));
        self.work_tags.take(tag)?;
        let here = record.spec.as_ref().is_some_and(|spec| self.code.contains(&spec.digest));
        must(here, Law::Runtime, || {
            format!("version {} is to be installed before its code is here", record.version)
        })
    }

    pub(super) fn installed(
        &mut self,
        tag: Tag,
        (function, version): (Name, u64),
        ok: bool,
    ) -> Verdict {
        if ok {
            self.installed.insert((function, version));
        }
        let wanted = self.installing.remove(&tag).map(|(wanted, _)| wanted);
        let waits = wanted == Some((function, version));
        must(waits, Law::Runtime, || {
            format!("version {version} is installed, and nobody waits for it")
        })
    }

    pub(super) fn uninstall(&mut self, function: Name, version: u64) -> Verdict {
        must(self.installed.remove(&(function, version)), Law::Runtime, || {
            format!("version {version} is to be uninstalled, and is not installed")
        })
    }

    /// What is open that should not be. Fetches and installs count that began before `old`: hosts
    /// look after functions at rest, too.
    pub(super) fn left(&self, old: Time, left: &mut Vec<(Law, String)>) {
        let waiting = self.calls.iter().filter(|(_, arrived)| arrived.job.is_none());
        left.extend(
            waiting
                .map(|(call, _)| (Law::Call, format!("call {call} was neither run nor refused"))),
        );
        let running = self.running.iter();
        left.extend(running.map(|(job, running)| {
            let call = running.call;
            (Law::RunEnd, format!("{}, for call {call}, never ended", Short(*job)))
        }));
        let fetching = self.fetching.iter().filter(|(_, (_, since))| *since < old);
        let fetching = fetching.map(|(tag, _)| format!("fetch {} was never answered", Short(*tag)));
        let installing = self.installing.iter().filter(|(_, (_, since))| *since < old);
        let installing =
            installing.map(|(tag, _)| format!("install {} was never answered", Short(*tag)));
        left.extend(fetching.chain(installing).map(|what| (Law::Runtime, what)));
    }
}
