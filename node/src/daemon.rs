//! The loop around the core: take all inputs that are ready, read the clock once, let the core
//! handle each, perform what it wants done. Nothing is decided here.

use std::sync::Arc;

use peerless_core::{Config, Core, Effect, Input, Item, Time, Turn};
use tokio::sync::{mpsc, oneshot};

use crate::asks::Told;
use crate::calls::{self, Dispatch};
use crate::contacts;
use crate::fetch;
use crate::functions;
use crate::id::NodeId;
use crate::journal::Journal;
use crate::node::Node;
use crate::notes;
use crate::peers;
use crate::renewal;
use crate::serve;

/// Inputs taken at once.
const BATCH_MAX: usize = 256;

/// The core, and all that stands around it.
pub(crate) struct Daemon {
    node: Arc<Node>,
    core: Core<NodeId>,
    config: Config,
    journal: Option<Journal>,
    inputs: mpsc::Receiver<Input<NodeId>>,
    effects: Vec<Effect<NodeId>>,
    wake: Time,
}

impl Daemon {
    pub(crate) fn new(
        node: Arc<Node>,
        core: Core<NodeId>,
        inputs: mpsc::Receiver<Input<NodeId>>,
        journal: Option<Journal>,
    ) -> Self {
        let config = node.settings.core.clone();
        Self { node, core, config, journal, inputs, effects: Vec::new(), wake: Time::NEVER }
    }

    /// Tells the core what was kept, before anything else.
    pub(crate) fn restore(&mut self, items: Vec<Item>) {
        let now = self.node.clock.now();
        for item in items {
            self.step(now, Input::Restored(item));
        }
    }

    /// Runs until `stop` is dropped.
    pub(crate) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                _ = &mut stop => break,
                _ = self.inputs.recv_many(&mut batch, BATCH_MAX) => {}
                () = sleep(&self.node, self.wake) => {}
            }
            let now = self.node.clock.now();
            if now >= self.wake {
                self.wake = Time::NEVER;
                self.step(now, Input::Wake);
            }
            for input in batch.drain(..) {
                self.step(now, input);
            }
            if let Some(journal) = &mut self.journal {
                journal.flush();
            }
        }
    }

    fn step(&mut self, now: Time, input: Input<NodeId>) {
        let compared = match input {
            Input::Ended { attempt, body: Some(_), .. } => Some(attempt),
            _ => None,
        };
        let recorded = self.journal.is_some().then(|| input.clone());
        self.core.handle(input, &mut Turn::new(now, &self.config, &mut self.effects));
        if let (Some(journal), Some(input)) = (&mut self.journal, recorded) {
            journal.step(now, &input, &self.effects);
        }
        peers::learn_noted(&self.node, &self.effects);
        if let Some(attempt) = compared {
            self.node.calls.compared(attempt, &self.effects);
        }
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            self.perform(effect);
        }
        self.effects = effects;
    }

    /// One arm for each effect; none of them waits.
    fn perform(&mut self, effect: Effect<NodeId>) {
        let node = &self.node;
        match effect {
            Effect::Tell(ticket, event) => node.asks.told(ticket, Told::Event(event)),
            Effect::Want { ticket, n } => node.asks.told(ticket, Told::Want(n)),
            Effect::Send { to, message } => peers::send(node, to, message),
            Effect::Dial { tag, contact } => contacts::dial(node, tag, contact),
            Effect::Dispatch { attempt, ticket, item, to, function, deadline } => {
                let dispatch = Dispatch { attempt, ticket, item, to, function, deadline };
                calls::dispatch(node, dispatch);
            }
            Effect::Abort { attempt } => node.calls.abort(attempt),
            Effect::Refuse { call, why, load } => node.served.refuse(call, why, &load),
            Effect::Run { job, call, function, version, deadline } => {
                serve::run(node, job, call, (function, version), deadline);
            }
            Effect::Respond { call, load, stay } => node.served.respond(call, &load, stay),
            Effect::Cancel { job } => node.served.cancel(job),
            Effect::Install { tag, record } => functions::install(node, tag, record),
            Effect::Renew(record) => renewal::renew(node, record),
            Effect::Uninstall { function, version } => {
                node.functions.uninstall(function, version);
            }
            Effect::Fetch { tag, digest, size, from } => {
                fetch::fetch(node, tag, (digest, size), from);
            }
            Effect::Keep { tag, item } => node.store.keep(tag, item),
            Effect::Forget(key) => node.store.forget(key),
            Effect::WakeAt(time) => self.wake = time,
            Effect::Note(note) => notes::publish(node, &note),
        }
    }
}

/// Sleeps until `time` by the node's clock, or a little longer.
async fn sleep(node: &Node, time: Time) {
    match time {
        Time::NEVER => std::future::pending().await,
        time => tokio::time::sleep(node.clock.until(time)).await,
    }
}
