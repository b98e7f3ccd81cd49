//! Calls that are served, and what is installed for them.

use peerless_core::{Call, Digest, Got, Refusal, Stay};

use super::*;

fn arrived(call: Call) -> Input<P> {
    Input::Arrived { call, from: P(1), function: F, left: Span::secs(4) }
}

fn until() -> Time {
    Time(0) + Span::secs(5)
}

fn run(job: u32, call: Call) -> Effect<P> {
    Effect::Run { job: tag(job), call, function: F, version: 1, deadline: until() }
}

fn refuse(call: Call, running: u16, queued: u16) -> Effect<P> {
    let load = Load { slots: 1, running, queued, ..Load::default() };
    Effect::Refuse { call, why: Refusal::Busy, load }
}

fn respond(call: Call) -> Effect<P> {
    let (load, stay) = (Load { slots: 1, running: 1, ..Load::default() }, Stay::default());
    Effect::Respond { call, load, stay }
}

fn head(job: u32) -> Input<P> {
    Input::RanHead { job: tag(job) }
}

fn ran(job: u32) -> Input<P> {
    Input::RanEnd { job: tag(job) }
}

fn gone(call: Call) -> Input<P> {
    Input::Gone { call }
}

fn cancel(job: u32) -> Effect<P> {
    Effect::Cancel { job: tag(job) }
}

fn code() -> Digest {
    version(1, None).spec.as_ref().expect("it can run").digest
}

fn much_later() -> Time {
    Time(0) + Span::minutes(2)
}

fn fetch() -> Effect<P> {
    Effect::Fetch { tag: tag(0), digest: code(), size: 1, from: None }
}

fn fetched() -> Input<P> {
    Input::Fetched { tag: tag(0), digest: code(), got: Got::Code }
}

fn install_as(work: u32) -> Effect<P> {
    Effect::Install { tag: tag(work), record: version(1, None) }
}

fn installed_as(work: u32) -> Input<P> {
    Input::Installed { tag: tag(work), function: F, version: 1, ok: true }
}

/// What follows the fetch.
fn install() -> Effect<P> {
    install_as(1)
}

fn installed() -> Input<P> {
    installed_as(1)
}

fn uninstall() -> Effect<P> {
    Effect::Uninstall { function: F, version: 1 }
}

/// After the function was installed.
fn serving(then: Vec<Step>) -> Vec<Step> {
    let mut all = steps![fetch(), fetched(), install(), installed()];
    all.extend(then);
    all
}

pub(super) fn streams() -> Vec<Stream> {
    let other =
        Effect::Run { job: tag(0), call: 1, function: name('g', 5), version: 1, deadline: until() };
    let overdue = Effect::Run {
        job: tag(0),
        call: 1,
        function: F,
        version: 1,
        deadline: until() + Span::secs(1),
    };
    vec![
        ("lawful: run, refused, answered", {
            let one = steps![arrived(1), run(0, 1), arrived(2), refuse(2, 1, 0)];
            serving(one.into_iter().chain(steps![head(0), respond(1), ran(0)]).collect())
        }),
        ("lawful: stopped", {
            serving(steps![arrived(1), run(0, 1), gone(1), cancel(0), head(0), ran(0)])
        }),
        ("neither run nor refused", steps![arrived(1)]),
        ("came twice", steps![arrived(1), arrived(1), refuse(1, 0, 1)]),
        ("run and refused", serving(steps![arrived(1), run(0, 1), refuse(1, 1, 0), ran(0)])),
        ("refused unasked", steps![refuse(1, 0, 0)]),
        ("run for nobody", serving(steps![arrived(1), gone(1), run(0, 1), ran(0)])),
        ("run and not installed", steps![arrived(1), run(0, 1), ran(0)]),
        ("run after it was uninstalled", {
            serving(steps![arrived(1), uninstall(), run(0, 1), ran(0)])
        }),
        ("run as another function", serving(steps![arrived(1), other, ran(0)])),
        ("run beyond its deadline", serving(steps![arrived(1), overdue, ran(0)])),
        ("run too late", serving(steps![arrived(1), until(), Input::Wake, run(0, 1), ran(0)])),
        ("beyond the slots", {
            serving(steps![arrived(1), arrived(2), run(0, 1), run(1, 2), ran(0), ran(1)])
        }),
        ("a slot leaked", serving(steps![arrived(1), run(0, 1)])),
        ("a run ended twice", serving(steps![arrived(1), run(0, 1), ran(0), ran(0)])),
        ("runs on for nobody", serving(steps![arrived(1), run(0, 1), gone(1), ran(0)])),
        ("stopped unasked", serving(steps![arrived(1), run(0, 1), cancel(0), ran(0)])),
        ("answered without a head", serving(steps![arrived(1), run(0, 1), respond(1), ran(0)])),
        ("answered and does not run", steps![arrived(1), respond(1), refuse(1, 0, 0)]),
        ("the head stays here", serving(steps![arrived(1), run(0, 1), head(0), ran(0)])),
        ("a head of no run", steps![head(0)]),
        ("a wrong load", steps![arrived(1), refuse(1, 1, 0)]),
        ("a wrong queue", steps![arrived(1), refuse(1, 0, 1)]),
        ("fetched unasked", steps![fetched()]),
        ("lawful: fetching at the end", steps![fetch()]),
        ("never fetched", steps![fetch(), much_later(), Input::Wake]),
        ("installed without code", steps![install_as(0), installed_as(0)]),
        ("installed twice", serving(steps![installed()])),
        ("never installed", steps![fetch(), fetched(), install(), much_later(), Input::Wake]),
        ("uninstalled twice", serving(steps![uninstall(), uninstall()])),
    ]
}
