//! Queries, what is kept, and time.

use std::sync::Arc;

use peerless_core::{Dialled, Event, ItemKey, Target};

use super::*;

fn query(query: Query<P>) -> Input<P> {
    Input::Heard { from: P(1), message: Message::Query(tag(5), query) }
}

fn find() -> Query<P> {
    Query::Find(Target::Name(F))
}

fn found() -> Answer<P> {
    let load = Load { slots: 1, ..Load::default() };
    Answer::Found { closer: Vec::new(), hosts: Vec::new(), record: None, load }
}

fn stored() -> Answer<P> {
    Answer::Stored { kept: true, newer: None, hosts: Vec::new() }
}

fn answer(answer: Answer<P>) -> Effect<P> {
    Effect::Send { to: P(1), message: Message::Answer(tag(5), answer) }
}

fn send(to: P, tag: Tag, query: Query<P>) -> Effect<P> {
    Effect::Send { to, message: Message::Query(tag, query) }
}

fn record(n: u64) -> Arc<Record> {
    version(n, None)
}

fn keep(slot: u32, n: u64) -> Effect<P> {
    Effect::Keep { tag: tag(slot), item: Item::Record(record(n)) }
}

fn host(slot: u32) -> Effect<P> {
    Effect::Keep { tag: tag(slot), item: Item::Hosting(record(1)) }
}

fn kept(slot: u32) -> Input<P> {
    Input::Kept { tag: tag(slot) }
}

fn not_kept(slot: u32) -> Input<P> {
    Input::NotKept { tag: tag(slot) }
}

fn forget() -> Effect<P> {
    Effect::Forget(ItemKey::Record(F))
}

fn dials() -> Vec<Stream> {
    let dial = |slot| Effect::Dial { tag: tag(slot), contact: 7 };
    let dialled = |slot| Input::Dialled { tag: tag(slot), outcome: Dialled::Met(P(1)) };
    let later = || Time(0) + Span::minutes(2);
    let meet = || Input::Ask(1, Request::Meet(7));
    let met = || Effect::Tell(1, Event::Met(P(1)));
    vec![
        ("lawful dial", steps![meet(), dial(0), dialled(0), met()]),
        ("lawful: one that is under way at the end", steps![meet(), dial(0), met()]),
        ("a dial without an answer", steps![meet(), dial(0), met(), later(), Input::Wake]),
        ("a dial that ends twice", steps![meet(), dial(0), dialled(0), met(), dialled(0)]),
        ("a dial under a tag that is in use", steps![meet(), dial(0), dial(0), dialled(0), met()]),
        ("a meeting that was not asked for", steps![ask(1), met()]),
    ]
}

pub(super) fn streams() -> Vec<Stream> {
    let mut streams = queries();
    streams.extend(keeping());
    streams.extend(dials());
    streams.extend(times());
    streams
}

fn queries() -> Vec<Stream> {
    let tags = |slot, epoch, incarnation| Tag { slot, epoch, incarnation };
    let sent = |tag| send(P(1), tag, find());
    vec![
        ("lawful: answered", steps![query(find()), answer(found())]),
        ("never answered", steps![query(find())]),
        ("answered twice", steps![query(find()), answer(found()), answer(found())]),
        ("answered with something else", steps![query(find()), answer(Answer::Noted(true))]),
        ("says a wrong load", {
            let load = Load { slots: 1, queued: 2, ..Load::default() };
            steps![query(Query::Probe(vec![])), answer(Answer::Probed { serving: vec![], load })]
        }),
        ("to itself", steps![send(ME, tag(0), find())]),
        ("lawful: tags", steps![sent(tags(0, 0, 3)), sent(tags(1, 0, 3)), sent(tags(0, 1, 3))]),
        ("a query's tag twice", steps![sent(tag(0)), sent(tag(0))]),
        ("a tag of another start", steps![sent(tags(0, 0, 3)), sent(tags(1, 0, 4))]),
    ]
}

fn keeping() -> Vec<Stream> {
    let store = |n| query(Query::Store(record(n)));
    let ask_deploy = Input::Ask(1, Request::Deploy(record(1)));
    let ask_remove = Input::Ask(1, Request::Remove(record(1)));
    let deployed = || Effect::Tell(1, Event::Deployed { hosts: vec![], declined: vec![] });
    let removed = Effect::Tell(1, Event::Removed);
    let placed = || {
        let placed = Query::Placed { function: F, version: 1, failure: None };
        send(P(1), tag(0), placed)
    };
    vec![
        ("lawful: stored", steps![store(1), keep(0, 1), kept(0), answer(stored())]),
        ("lawful: stored, a newer one is kept", {
            steps![Input::Restored(Item::Record(record(2))), store(1), answer(stored())]
        }),
        ("stored, and nothing was kept", steps![store(1), answer(stored())]),
        ("stored before it is kept", { steps![store(1), keep(0, 1), answer(stored()), kept(0)] }),
        ("stored, and kept in a later turn", {
            steps![store(1), answer(stored()), Input::Wake, keep(0, 1), kept(0)]
        }),
        ("stored, and could not be kept", {
            steps![store(1), keep(0, 1), not_kept(0), answer(stored())]
        }),
        ("stored, and an older one is kept", {
            steps![keep(0, 1), kept(0), store(2), answer(stored())]
        }),
        ("stored, and forgotten meanwhile", {
            steps![store(1), keep(0, 1), forget(), kept(0), answer(stored())]
        }),
        ("provided before the record is kept", {
            steps![query(Query::Provide(F, Some(record(1)))), answer(stored())]
        }),
        ("lawful: provided without a record", {
            steps![query(Query::Provide(F, None)), answer(stored())]
        }),
        ("lawful: deployed", steps![ask_deploy.clone(), keep(0, 1), kept(0), deployed()]),
        ("deployed before it is kept", steps![ask_deploy, keep(0, 1), deployed(), kept(0)]),
        ("removed before it is kept", steps![ask_remove, keep(0, 1), removed, kept(0)]),
        ("lawful: placed", steps![host(0), kept(0), placed()]),
        ("placed before it is kept", steps![host(0), placed(), kept(0)]),
        ("kept twice", steps![keep(0, 1), kept(0), kept(0)]),
        ("neither kept nor not", steps![keep(0, 1)]),
        ("lawful: an older one where a newer could not be kept", {
            steps![keep(0, 2), not_kept(0), keep(1, 1), kept(1)]
        }),
        ("an older one in place of a newer", steps![keep(0, 2), keep(1, 1), kept(0), kept(1)]),
    ]
}

fn times() -> Vec<Stream> {
    let at = |s| Time(0) + Span::secs(s);
    let wake = |s| Effect::WakeAt(at(s));
    vec![
        ("lawful: woken", steps![Input::Wake, wake(5), wake(3), at(3), Input::Wake, wake(5)]),
        ("a wake that is past", steps![Input::Wake, at(2), Input::Wake, wake(1)]),
        ("a wake later than the one outstanding", steps![Input::Wake, wake(3), wake(4)]),
        ("time goes back", steps![at(3), Input::Wake, at(2), Input::Wake]),
        ("restored late", steps![Input::Wake, Input::Restored(Item::Record(record(1)))]),
    ]
}
