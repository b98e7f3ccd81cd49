//! A host that shares more functions with another than fit into one probe.

use peerless_core::{Answer, Config, Input, Load, Message, Name, Query, Span};

use crate::world::{Bench, P, host, name, record, small};

const MATE: u8 = 6;

/// A host of 300 functions, all of which another peer says it hosts as well.
fn sharing() -> Bench {
    let config = Config { probe_period: Span::secs(10), ..small() };
    let mut bench = Bench::new(5, host(1, 1, 400), config);
    let names = (0..300_u16).map(|n| name(char::from(b'a' + (n % 25) as u8), (n / 25) as u8));
    for function in names {
        bench.placed(1, &record(function, 1, 1));
        bench.all_ends();
        bench.asks(MATE, Query::Probe(vec![(function, 1)]));
    }
    bench.sent.clear();
    bench
}

fn answer(bench: &mut Bench, at: usize, serves: impl Fn(&Name) -> bool) -> usize {
    let (from, tag, query) = bench.sent.remove(at);
    let Query::Probe(asked) = query else { panic!("only probes are sent") };
    assert_eq!(from, P(MATE));
    let serving = asked.iter().filter(|(name, _)| serves(name)).copied().collect();
    let answer = Answer::Probed { serving, load: Load::default() };
    bench.tell("an answer", Input::Heard { from, message: Message::Answer(tag, answer) });
    asked.len()
}

#[test]
fn all_are_asked_about_and_only_what_was_asked_is_judged() {
    let mut bench = sharing();
    bench.pass(Span::secs(9));
    assert_eq!(bench.sent.len(), 2, "one message a page");
    // Of the second page no function is served; what the first asks about is not judged by it.
    assert_eq!(answer(&mut bench, 1, |_| false), 300 - 256);
    assert_eq!(answer(&mut bench, 0, |_| true), 256);
    let lost = bench.rest().matches("(lost p6").count();
    assert_eq!(lost, 300 - 256);
}
