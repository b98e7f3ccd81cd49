//! One core on a bench: a test tells it each thing itself, and sees what that causes.

use std::fmt::Write;
use std::sync::Arc;

use peerless_core::laws::Laws;
use peerless_core::{
    Config, Core, Effect, Got, Input, Item, Message, Query, Record, Setup, Span, Tag, Time, Turn,
};

use super::{P, text};

pub struct Bench {
    core: Core<P>,
    laws: Laws<P>,
    config: Config,
    now: Time,
    asked: u32,
    /// Fetches and installs that are not answered yet, the oldest first.
    pub works: Vec<Effect<P>>,
    /// What is being kept, the oldest first.
    pub keeps: Vec<(Tag, Item)>,
    /// Queries that were sent and not answered yet, the oldest first.
    pub sent: Vec<(P, Tag, Query<P>)>,
    runs: Vec<Tag>,
    text: String,
}

impl Bench {
    pub fn new(me: u8, setup: Setup, config: Config) -> Self {
        let laws = Laws::new(P(me), setup.slots);
        let core = Core::new(P(me), setup, 1, 0);
        let (works, keeps, sent) = (Vec::new(), Vec::new(), Vec::new());
        let (now, runs, text) = (Time(0), Vec::new(), String::new());
        Self { core, laws, config, now, asked: 0, works, keeps, sent, runs, text }
    }

    /// Tells the core something; `said` is how that is written down.
    pub fn tell(&mut self, said: &str, input: Input<P>) {
        writeln!(self.text, "> {said}").expect("text takes lines");
        self.laws.input(self.now, &input);
        let mut effects = Vec::new();
        self.core.handle(input, &mut Turn::new(self.now, &self.config, &mut effects));
        for effect in effects {
            self.laws.effect(&effect);
            let line = match &effect {
                Effect::Send { to, message } => {
                    Some(format!("→ {to:?}  {}", text::message(message)))
                }
                effect => text::effect(effect),
            };
            if let Some(line) = line {
                writeln!(self.text, "  {line}").expect("text takes lines");
            }
            match effect {
                Effect::Fetch { .. } | Effect::Install { .. } => self.works.push(effect),
                Effect::Keep { tag, item } => self.keeps.push((tag, item)),
                Effect::Send { to, message: Message::Query(tag, query) } => {
                    self.sent.push((to, tag, query));
                }
                Effect::Run { job, .. } => self.runs.push(job),
                _ => {}
            }
        }
        if let Some(breach) = self.laws.breaches().first() {
            panic!("{breach}\n{}", self.text);
        }
    }

    /// The oldest run ends.
    pub fn run_ends(&mut self) {
        let job = self.runs.remove(0);
        self.tell("a run ends", Input::RanEnd { job });
    }

    pub fn asks(&mut self, from: u8, query: Query<P>) {
        self.asked += 1;
        let tag = Tag { slot: self.asked, epoch: 0, incarnation: 9 };
        let message = Message::Query(tag, query);
        let said = format!("{:?} asks: {}", P(from), text::message(&message));
        self.tell(&said, Input::Heard { from: P(from), message });
    }

    /// A placer offers a function and confirms it.
    pub fn placed(&mut self, from: u8, record: &Arc<Record>) {
        self.asks(from, Query::Offer { record: record.clone(), waive: false });
        self.confirms(from, record);
    }

    pub fn confirms(&mut self, from: u8, record: &Arc<Record>) {
        let (function, version) = (record.function, record.version);
        let (sources, mates) = (vec![P(from)], Vec::new());
        self.asks(from, Query::Confirm { function, version, sources, mates });
    }

    /// A fetch or install ends: the one at this place among those under way.
    pub fn ends(&mut self, at: usize, ok: bool) {
        let (said, input) = match self.works.remove(at) {
            Effect::Fetch { tag, digest, .. } => {
                let got = if ok { Got::Code } else { Got::Nothing };
                ("fetch", Input::Fetched { tag, digest, got })
            }
            Effect::Install { tag, record } => {
                let (function, version) = (record.function, record.version);
                ("install", Input::Installed { tag, function, version, ok })
            }
            _ => unreachable!("only works are kept"),
        };
        let how = if ok { "ends" } else { "fails" };
        self.tell(&format!("{said} {} {how}", at + 1), input);
    }

    /// The source of the oldest fetch under way gives as much as it can to others.
    pub fn source_is_busy(&mut self) {
        let Effect::Fetch { tag, digest, .. } = self.works.remove(0) else {
            panic!("bench: the oldest work is no fetch")
        };
        self.tell("the source is busy", Input::Fetched { tag, digest, got: Got::Busy });
    }

    /// The oldest item is kept.
    pub fn kept(&mut self) {
        let (tag, item) = self.keeps.remove(0);
        let (Item::Record(record) | Item::Hosting(record)) = item;
        self.tell(&format!("{} is kept", text::record(&record)), Input::Kept { tag });
    }

    /// Everything that ends well does so, and everything is kept.
    pub fn all_ends(&mut self) {
        while !self.works.is_empty() || !self.keeps.is_empty() {
            if self.works.is_empty() {
                self.kept();
            } else {
                self.ends(0, true);
            }
        }
    }

    /// Time passes, and the core is woken.
    pub fn pass(&mut self, span: Span) {
        self.now = self.now + span;
        self.tell(&format!("{span:?} later"), Input::Wake);
    }

    pub fn rest(self) -> String {
        self.text
    }
}
