//! Users' requests, their items and attempts.

use peerless_core::{Answered, Digest, Ending, Event, Failure, Group, Quorum, Refusal, Summary};

use super::*;

fn tell(ticket: Ticket, event: Event<P>) -> Effect<P> {
    Effect::Tell(ticket, event)
}

fn listed(ticket: Ticket) -> Effect<P> {
    tell(ticket, Event::Listed(Vec::new()))
}

fn late() -> Time {
    Time(0) + Span::secs(9)
}

/// Ticket 1 calls, until 9 s.
fn call(kept: bool, idempotent: bool) -> Input<P> {
    Input::Ask(1, Request::Call { function: F, deadline: late(), kept, idempotent })
}

/// Ticket 1 calls many, and wants two items.
fn many() -> [Step; 2] {
    let ask =
        Input::Ask(1, Request::Many { function: F, deadline: None, retries: 3, quorum: None });
    [ask.into(), Effect::Want { ticket: 1, n: 2 }.into()]
}

fn items(n: u32, ended: bool) -> Input<P> {
    Input::Items { ticket: 1, n, ended }
}

fn seen(idempotent: Option<bool>) -> Input<P> {
    let record = Some(version(1, idempotent));
    let (closer, hosts, load) = (Vec::new(), Vec::new(), Load::default());
    let answer = Answer::Found { closer, hosts, record, load };
    Input::Heard { from: P(1), message: Message::Answer(tag(7), answer) }
}

fn dispatch(attempt: u32, item: u64, host: u8) -> Effect<P> {
    let (attempt, to) = (tag(attempt), P(host));
    Effect::Dispatch { attempt, ticket: 1, item, to, function: F, deadline: late() }
}

fn head(attempt: u32) -> Input<P> {
    Input::Head { attempt: tag(attempt), status: 200, load: None, stay: None }
}

fn ended(attempt: u32, how: Ending) -> Input<P> {
    Input::Ended { attempt: tag(attempt), how, body: None }
}

fn abort(attempt: u32) -> Effect<P> {
    Effect::Abort { attempt: tag(attempt) }
}

fn hears(attempt: u32, host: u8, attempts: u16) -> Effect<P> {
    tell(1, Event::Head { attempt: tag(attempt), host: P(host), attempts })
}

fn answer(index: u64, attempt: u32, host: u8, status: u16) -> Effect<P> {
    let answered = Answered { attempt: tag(attempt), host: P(host), status, took: Span::ZERO };
    tell(1, Event::Item { index, result: Ok(answered), attempts: 1 })
}

fn fails(index: u64, why: Failure, attempts: u16) -> Effect<P> {
    tell(1, Event::Item { index, result: Err(why), attempts })
}

fn finished(succeeded: u64, failed: u64, attempts: u64, hosts: u32) -> Effect<P> {
    let items = succeeded + failed;
    tell(
        1,
        Event::Finished(Summary {
            items,
            succeeded,
            failed,
            unknown: 0,
            attempts,
            hedged: 0,
            hosts,
        }),
    )
}

fn failed(why: Failure) -> Effect<P> {
    tell(1, Event::Failed(why))
}

/// One after the other.
fn all<const N: usize>(parts: [Vec<Step>; N]) -> Vec<Step> {
    parts.into_iter().flatten().collect()
}

/// Both items of a manycall are answered whole, by hosts 1 and 2.
fn both_answered() -> Vec<Step> {
    let begin = steps![items(2, true), dispatch(0, 0, 1), dispatch(1, 1, 2)];
    let end = steps![head(0), head(1), ended(0, Ending::Complete), ended(1, Ending::Complete)];
    all([many().into(), begin, end])
}

/// A call whose attempt is aborted, and what of that attempt comes afterwards.
pub(super) fn aborted() -> (Vec<Step>, Vec<Step>) {
    let start = steps![call(true, true), dispatch(0, 0, 1), abort(0), failed(Failure::Late)];
    (start, steps![head(0), ended(0, Ending::Complete)])
}

pub(super) fn streams() -> Vec<Stream> {
    let mut streams = requests();
    streams.extend(attempts());
    streams.extend(results());
    streams.extend(quorums());
    streams
}

fn requests() -> Vec<Stream> {
    let cancel = |did| tell(2, Event::Cancelled(did));
    let asked = || steps![ask(1), Input::Ask(2, Request::Cancel(1))];
    vec![
        ("lawful: told once", steps![ask(1), listed(1)]),
        ("never told", steps![ask(1)]),
        ("told twice", steps![ask(1), listed(1), listed(1)]),
        ("told unasked", steps![listed(1)]),
        ("head after the end", steps![ask(1), listed(1), hears(0, 1, 1)]),
        ("told something else", steps![ask(1), tell(1, Event::Done)]),
        ("an item of what has none", steps![ask(1), answer(0, 0, 1, 200), listed(1)]),
        ("a ticket twice", steps![ask(1), listed(1), ask(1), listed(1)]),
        ("lawful: cancelled", all([asked(), steps![failed(Failure::Cancelled), cancel(true)]])),
        ("cancelled, it says, and is open", all([asked(), steps![cancel(true), listed(1)]])),
        ("items unwanted", all([many().into(), steps![items(3, false), failed(Failure::NoHost)]])),
        (
            "items after the last",
            all([many().into(), steps![items(1, true), items(1, true), failed(Failure::NoHost)]]),
        ),
        ("wants of what takes none", steps![ask(1), Effect::Want { ticket: 1, n: 1 }, listed(1)]),
        (
            "wants after the last",
            all([
                many().into(),
                steps![items(0, true), Effect::Want { ticket: 1, n: 1 }, finished(0, 0, 0, 0)],
            ]),
        ),
        (
            "takes what was not told",
            all([many().into(), steps![Input::Taken { ticket: 1, n: 1 }, failed(Failure::NoHost)]]),
        ),
    ]
}

fn attempts() -> Vec<Stream> {
    let refused = Ending::Refused { why: Refusal::Busy, load: None, spent: false };
    let other = Effect::Dispatch {
        attempt: tag(0),
        ticket: 1,
        item: 0,
        to: P(1),
        function: name('g', 5),
        deadline: late(),
    };
    let overdue = Effect::Dispatch {
        attempt: tag(0),
        ticket: 1,
        item: 0,
        to: P(1),
        function: F,
        deadline: late() + Span::secs(1),
    };
    let again = |how| {
        steps![dispatch(0, 0, 1), ended(0, how), dispatch(1, 0, 2), abort(1), failed(Failure::Late)]
    };
    let on_many = |idempotent, how| {
        let begin = steps![seen(idempotent), items(1, true)];
        all([many().into(), begin, again(how)])
    };
    let not_sent = || ended(0, Ending::NotSent { spent: false });
    let (start, end) = aborted();
    vec![
        ("dispatched for nobody", steps![dispatch(0, 0, 1), not_sent()]),
        (
            "dispatched for who runs nothing",
            steps![ask(1), dispatch(0, 0, 1), not_sent(), listed(1)],
        ),
        ("another function", steps![call(true, true), other, not_sent(), failed(Failure::NoHost)]),
        (
            "beyond the deadline",
            steps![call(true, true), overdue, not_sent(), failed(Failure::NoHost)],
        ),
        (
            "an item that did not come",
            steps![call(true, true), dispatch(0, 1, 1), not_sent(), failed(Failure::NoHost)],
        ),
        ("never ended", steps![call(true, true), dispatch(0, 0, 1), failed(Failure::Late)]),
        (
            "ended twice",
            steps![
                call(true, true),
                dispatch(0, 0, 1),
                not_sent(),
                not_sent(),
                failed(Failure::NoHost)
            ],
        ),
        (
            "aborted after its end",
            steps![
                call(true, true),
                dispatch(0, 0, 1),
                not_sent(),
                abort(0),
                failed(Failure::Late)
            ],
        ),
        ("goes on after the abort", all([start, end])),
        (
            "two heads",
            steps![
                call(true, true),
                dispatch(0, 0, 1),
                head(0),
                head(0),
                abort(0),
                failed(Failure::Late)
            ],
        ),
        (
            "its tag twice",
            steps![
                call(true, true),
                dispatch(0, 0, 1),
                not_sent(),
                dispatch(0, 0, 1),
                not_sent(),
                failed(Failure::NoHost)
            ],
        ),
        (
            "a tag far beyond the others",
            steps![call(true, true), dispatch(5, 0, 1), ended(5, refused), failed(Failure::Late)],
        ),
        ("lawful: again after it was not sent", {
            all([steps![call(true, false)], again(Ending::NotSent { spent: false })])
        }),
        ("lawful: again after it was refused", all([steps![call(true, false)], again(refused)])),
        ("lawful: again, the caller allows it", {
            all([steps![call(true, true)], again(Ending::MayHaveStarted)])
        }),
        ("lawful: again, the record allows it", {
            all([steps![seen(Some(true)), call(true, false)], again(Ending::MayHaveStarted)])
        }),
        ("lawful: again, unsaid is yes for many", on_many(None, Ending::MayHaveStarted)),
        ("again, though nobody allows it", {
            all([steps![seen(None), call(true, false)], again(Ending::MayHaveStarted)])
        }),
        ("again, though the body is gone", {
            all([steps![call(false, true)], again(Ending::MayHaveStarted)])
        }),
        ("again, though the record forbids it", on_many(Some(false), Ending::Cut)),
        (
            "two at once, though nobody allows it",
            steps![
                call(true, false),
                dispatch(0, 0, 1),
                dispatch(1, 0, 2),
                abort(0),
                abort(1),
                failed(Failure::Late)
            ],
        ),
        ("lawful: two at once, on two hosts", {
            let begin = steps![call(true, true), dispatch(0, 0, 1), dispatch(1, 0, 2)];
            all([begin, steps![abort(0), abort(1), failed(Failure::Late)]])
        }),
        ("two at once on one host", {
            let begin = steps![call(true, true), dispatch(0, 0, 1), dispatch(1, 0, 1)];
            all([begin, steps![abort(0), abort(1), failed(Failure::Late)]])
        }),
    ]
}

fn results() -> Vec<Stream> {
    let called = || steps![call(true, true), dispatch(0, 0, 1), head(0)];
    let complete = || steps![ended(0, Ending::Complete)];
    let done = || steps![tell(1, Event::Done)];
    let many_end = |told: Vec<Step>, end: Effect<P>| all([both_answered(), told, steps![end]]);
    let two = |a, b| steps![a, b];
    vec![
        ("lawful: a call", all([called(), steps![hears(0, 1, 1)], complete(), done()])),
        ("the head of another host", {
            all([called(), steps![hears(0, 2, 1)], complete(), done()])
        }),
        ("the head of no attempt", all([called(), steps![hears(3, 1, 1)], complete(), done()])),
        ("attempts miscounted", all([called(), steps![hears(0, 1, 2)], complete(), done()])),
        ("done without a head", all([called(), complete(), done()])),
        ("done before the end", {
            all([called(), steps![hears(0, 1, 1), tell(1, Event::Done), abort(0)]])
        }),
        ("done though it broke off", {
            all([called(), steps![hears(0, 1, 1), ended(0, Ending::Cut)], done()])
        }),
        ("may have started, without an attempt", {
            steps![call(true, true), failed(Failure::MayHaveStarted)]
        }),
        ("lawful: a manycall", {
            many_end(two(answer(0, 0, 1, 200), answer(1, 1, 2, 200)), finished(2, 0, 2, 2))
        }),
        ("answers swapped", {
            many_end(two(answer(0, 1, 2, 200), answer(1, 0, 1, 200)), finished(2, 0, 2, 2))
        }),
        ("an answer invented", {
            many_end(two(answer(0, 0, 1, 200), answer(1, 9, 2, 200)), finished(2, 0, 2, 2))
        }),
        ("the wrong host", {
            many_end(two(answer(0, 0, 2, 200), answer(1, 1, 2, 200)), finished(2, 0, 2, 1))
        }),
        ("the wrong status", {
            many_end(two(answer(0, 0, 1, 404), answer(1, 1, 2, 200)), finished(1, 1, 2, 2))
        }),
        ("an item lost", many_end(steps![answer(0, 0, 1, 200)], finished(2, 0, 2, 2))),
        ("an item twice", {
            let told = steps![answer(0, 0, 1, 200), answer(0, 0, 1, 200), answer(1, 1, 2, 200)];
            many_end(told, finished(2, 0, 2, 2))
        }),
        ("the totals are wrong", {
            many_end(two(answer(0, 0, 1, 200), answer(1, 1, 2, 200)), finished(2, 0, 3, 2))
        }),
        ("an item unknown, without an attempt", {
            let unknown = fails(0, Failure::MayHaveStarted, 0);
            all([many().into(), steps![items(1, true), unknown, failed(Failure::NoHost)]])
        }),
        ("a result while an attempt runs", {
            let begin = steps![items(1, true), dispatch(0, 0, 1), fails(0, Failure::Late, 1)];
            all([many().into(), begin, steps![abort(0), finished(0, 1, 1, 0)]])
        }),
    ]
}

/// One item, which two hosts of three have to answer alike.
fn quorums() -> Vec<Stream> {
    let quorum = Quorum::new(2, 3);
    let ask = || Input::Ask(1, Request::Many { function: F, deadline: None, retries: 3, quorum });
    let whole = |attempt, body: u8| {
        let body = Some(Digest([body; 32]));
        Input::Ended { attempt: tag(attempt), how: Ending::Complete, body }
    };
    // As many hosts as there are bodies.
    let answered = |bodies: &[u8]| {
        let mut steps = steps![seen(None), ask(), Effect::Want { ticket: 1, n: 1 }, items(1, true)];
        for (n, body) in (0..).zip(bodies) {
            let host = n as u8 + 1;
            steps.extend(steps![dispatch(n, 0, host), head(n), whole(n, *body)]);
        }
        steps
    };
    let met =
        |peer| Input::Met { peer: P(peer), serves: false, group: Some(Group(7)), relayed: false };
    let told = |attempt: u32, attempts: u16| {
        let host = P(attempt as u8 + 1);
        let answered = Answered { attempt: tag(attempt), host, status: 200, took: Span::ZERO };
        let item = Event::Item { index: 0, result: Ok(answered), attempts };
        steps![tell(1, item), finished(1, 0, attempts.into(), 1)]
    };
    let lost = |attempts: u16| {
        steps![fails(0, Failure::NoQuorum, attempts), finished(0, 1, attempts.into(), 0)]
    };
    vec![
        ("lawful: two agree", all([answered(&[0, 1, 1]), told(1, 3)])),
        ("lawful: no two agree", all([answered(&[0, 1, 2]), lost(3)])),
        ("one host's word for two", all([answered(&[0]), told(0, 1)])),
        ("the word of whom the others deny", all([answered(&[0, 1, 1]), told(0, 3)])),
        ("no quorum, where there is one", all([answered(&[1, 1]), lost(2)])),
        ("four are heard of three", all([answered(&[0, 1, 2, 1]), told(1, 4)])),
        ("two of one group agree", {
            all([steps![met(1), met(2)], answered(&[1, 1]), told(0, 2)])
        }),
    ]
}
