//! Each law can be broken: streams written by hand, and what the judge says of them. The lawful ones
//! beside them show that it can also be silent.

mod calls;
mod peers;
mod users;

use std::collections::BTreeSet;
use std::fmt::Write;

use peerless_core::laws::{Law, Laws};
use peerless_core::{
    Answer, Effect, Input, Item, Load, Message, Name, Query, Record, Request, Span, Tag, Ticket,
    Time,
};

use crate::world::{P, function, name};

/// What a core is told, or wants done, or the time that passes.
enum Step {
    In(Input<P>),
    Out(Effect<P>),
    At(Time),
}

impl From<Input<P>> for Step {
    fn from(input: Input<P>) -> Self {
        Self::In(input)
    }
}

impl From<Effect<P>> for Step {
    fn from(effect: Effect<P>) -> Self {
        Self::Out(effect)
    }
}

impl From<Time> for Step {
    fn from(time: Time) -> Self {
        Self::At(time)
    }
}

macro_rules! steps {
    ($($step:expr),* $(,)?) => { vec![$($crate::laws::Step::from($step)),*] };
}
use steps;

type Stream = (&'static str, Vec<Step>);

const F: Name = name('f', 5);
const ME: P = P(0);

fn tag(slot: u32) -> Tag {
    Tag { slot, epoch: 0, incarnation: 0 }
}

fn ask(ticket: Ticket) -> Input<P> {
    Input::Ask(ticket, Request::List)
}

fn version(version: u64, idempotent: Option<bool>) -> std::sync::Arc<Record> {
    let mut record = function(F, version, (1, 1));
    record.spec.as_mut().expect("it can run").idempotent = idempotent;
    record.into()
}

/// A core of one slot, at 1 s.
fn judged(stream: &[Step]) -> Vec<(Law, String)> {
    let mut now = Time(0) + Span::secs(1);
    let mut laws = Laws::new(ME, 1);
    for step in stream {
        match step {
            Step::In(input) => laws.input(now, input),
            Step::Out(effect) => laws.effect(effect),
            Step::At(time) => now = *time,
        }
    }
    laws.at_rest();
    laws.take_breaches().into_iter().map(|breach| (breach.law, breach.to_string())).collect()
}

#[test]
fn each_law_can_be_broken() {
    let mut text = String::new();
    let mut broken = BTreeSet::new();
    for (name, stream) in
        users::streams().into_iter().chain(calls::streams()).chain(peers::streams())
    {
        let breaches = judged(&stream);
        assert_eq!(breaches.is_empty(), name.starts_with("lawful"), "{name}: {breaches:?}");
        writeln!(text, "{name}").expect("text takes lines");
        for (law, what) in breaches {
            broken.insert(law);
            writeln!(text, "  {what}").expect("text takes lines");
        }
    }
    writeln!(text).expect("text takes lines");
    for law in Law::ALL {
        assert!(broken.contains(law), "no stream breaks {law}");
        writeln!(text, "{law}: {}", law.says()).expect("text takes lines");
    }
    crate::check("laws_broken", &text);
}

#[test]
fn a_host_whose_inputs_wait_in_line_may_be_late() {
    let (start, end) = users::aborted();
    let late = |laws: Laws<P>| {
        let mut laws = laws;
        for step in start.iter().chain(&end) {
            match step {
                Step::In(input) => laws.input(Time(1), input),
                Step::Out(effect) => laws.effect(effect),
                Step::At(_) => {}
            }
        }
        laws.breaches().len()
    };
    assert_eq!(late(Laws::new(ME, 1)), 2, "a head and an end follow the abort");
    assert_eq!(late(Laws::new(ME, 1).crossing()), 0);
}
