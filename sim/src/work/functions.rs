//! `[functions]`: functions that are deployed through random owners.

use std::sync::Arc;

use peerless_core::{Digest, Event, Name, Record, Request, Runtime, Span, Spec};

use super::{Doing, Plan, Spread};
use crate::chance::Concern;
use crate::peer::Index;
use crate::scenario::{Size, section, worded};
use crate::tickets::{DEPLOY, KIND_SHIFT};
use crate::world::{World, is_success, owner};

section! {
    /// Functions that are deployed through random owners.
    "functions" => pub struct Functions {
        /// How many functions.
        count: u32 = 1,
        /// From one deployment to the next.
        interval: Span = Span::ms(10),
        /// When the first function is deployed.
        start: Span = Span::secs(1),
        /// When their owners deploy all of them again, with other code.
        redeployed: Vec<Span> = Vec::new(),
        /// Fewest and most hosts of each.
        replicas: (u16, u16) = (3, 5),
        /// Size of the code.
        size: Size = Size(100 << 10),
        /// Mean time of one run.
        service: Span = Span::ms(20),
        /// The same of the first functions, in their order, where they are unequal.
        services: Vec<Span> = Vec::new(),
        /// How runs' times are spread about their mean: "constant", "uniform", "exponential" or "log-normal".
        spread: Spread = Spread::Exponential,
        /// The deviation of their logarithms where these are normal.
        sigma: f64 = 0.5,
        /// How much oftener the first functions are called: the nth n to this power times as seldom as the first (Zipf's law).
        popularity: f64 = 0.0,
        /// Whether the record says that running twice does no harm: "yes", "no" or "unsaid".
        idempotent: Idempotent = Idempotent::Unsaid,
        /// Whether only a peer that carries the label may host them.
        labelled: bool = false,
        /// A call's deadline, by the record.
        timeout: Span = Span::secs(60),
    }
}

impl Functions {
    /// How many deployments there are.
    pub(crate) fn deployments(&self) -> u64 {
        u64::from(self.count) * (1 + self.redeployed.len() as u64)
    }
}

/// Whether running twice does no harm, by the record.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Idempotent {
    /// It does none.
    Yes,
    /// It may.
    No,
    /// The record does not say.
    Unsaid,
}

worded!(Idempotent: "yes" => Yes, "no" => No, "unsaid" => Unsaid);

impl Idempotent {
    fn word(self) -> Option<bool> {
        match self {
            Self::Yes => Some(true),
            Self::No => Some(false),
            Self::Unsaid => None,
        }
    }
}

/// How long a record lives.
pub(crate) const LIFE: Span = Span::minutes(90 * 24 * 60);
/// About how long a signed record is.
const RECORD_BYTES: usize = 200;

impl World {
    /// The census is to count the hosts of all functions.
    pub(super) fn expect_functions(&mut self, work: &Functions) {
        for n in 0..work.count {
            let wanted = u32::from(work.replicas.0).min(self.scenario.peers);
            self.census.expect(self.function_name(n.into()), wanted);
        }
    }

    /// What the functions of the workload are called, in the order of their deployment.
    pub fn functions(&self) -> Vec<Name> {
        (0..self.census.functions.len() as u64).map(|n| self.function_name(n)).collect()
    }

    /// The peers that host the function of this number, ascending.
    pub fn hosts_of(&self, function: usize) -> Vec<u32> {
        self.census.functions[function].hosts.iter().copied().collect()
    }

    /// The name of the function of this number.
    pub(crate) fn function_name(&self, n: u64) -> Name {
        self.chance.name(Concern::Function, n, 0)
    }

    /// The digest of the code of the function of this number.
    pub(crate) fn code_of(&self, n: u64) -> Digest {
        Digest(self.chance.bytes32(Concern::Function, n, 1))
    }

    /// The record of the workload's function of this number as its owner, `peer`, signs it now.
    pub fn record_of(&self, n: u32, peer: u32) -> Record {
        self.record_again(n, 0, peer)
    }

    /// The same of the code that it has after so many further deployments.
    fn record_again(&self, n: u32, round: u64, peer: u32) -> Record {
        let work = self.scenario.functions.as_ref().expect("the workload has functions");
        let digest = Digest(self.chance.bytes32(Concern::Function, u64::from(n), 1 + round));
        Record {
            function: self.function_name(n.into()),
            owner: owner(self.scenario.owner_of(peer).expect("who deploys holds an owner key")),
            version: self.shown(peer).unix_ms(),
            expires: self.shown(peer) + LIFE,
            spec: Some(Spec {
                digest,
                size: work.size.0,
                runtime: Runtime::Wasm,
                timeout: work.timeout,
                replicas: work.replicas,
                idempotent: work.idempotent.word(),
                constraints: self.constraints(work.labelled),
            }),
            bytes: vec![0; RECORD_BYTES].into_boxed_slice(),
        }
    }

    /// An owner's node signs a record again, and has it deployed.
    pub(crate) fn sign_again(&mut self, peer: u32, record: &Record) {
        let record = Record {
            version: record.version + 1,
            expires: self.shown(peer) + LIFE,
            ..record.clone()
        };
        let request = Request::Deploy(Arc::new(record));
        self.user_soon(peer, request);
    }

    /// What a function asks of its hosts that asks for the label, or does not.
    pub(crate) fn constraints(&self, labelled: bool) -> Box<[Name]> {
        let label = labelled.then(|| self.label());
        label.into_iter().collect()
    }

    /// The label that some peers carry, as a name.
    pub(crate) fn label(&self) -> Name {
        self.chance.name(Concern::Label, u64::MAX, 0)
    }

    /// Whether a peer carries it.
    pub(crate) fn carries(&self, peer: u32) -> bool {
        let bits = self.chance.bits(Concern::Label, u64::from(peer), 0, 0);
        self.scenario.host.carriers.takes(bits)
    }

    pub(super) fn begin_deploy(&mut self, n: u32) {
        let Some(work) = self.scenario.functions.clone() else { return };
        if n + 1 < work.count {
            self.plan_work(self.now + work.interval, Plan::Deploy(n + 1));
        }
        self.deploy(n, 0, work.count);
    }

    /// The owners of all functions deploy them again.
    pub(super) fn redeploy(&mut self, round: u32) {
        let count = self.scenario.functions.as_ref().map_or(0, |work| work.count);
        for n in 0..count {
            self.deploy(n, 1 + u64::from(round), count);
        }
    }

    fn deploy(&mut self, n: u32, round: u64, count: u32) {
        let Some(peer) = self.draw_owner(DEPLOY << KIND_SHIFT | u64::from(n)) else { return };
        let record = self.record_again(n, round, peer);
        let digest = record.spec.as_ref().expect("it is no tombstone").digest;
        self.desk(peer).code.insert(digest);
        let ticket = DEPLOY << KIND_SHIFT | (round * u64::from(count) + u64::from(n));
        self.ask(
            peer,
            ticket,
            Doing::Deploy { again: round > 0 },
            Request::Deploy(Arc::new(record)),
        );
    }

    pub(super) fn end_deploy(&mut self, took: u64, again: bool, event: &Event<Index>) {
        let deployments = &mut self.work.deployments;
        if is_success(event) {
            deployments.placed += u64::from(!again);
            deployments.replaced += u64::from(again);
            deployments.latency.push(took);
        } else {
            deployments.failures.push(format!("{event:?}"));
        }
    }
}
