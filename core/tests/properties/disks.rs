//! Disks that fail.

use std::sync::Arc;

use peerless_core::{Core, Effect, Got, Input, Item, Query, Span, Time, Turn};

use crate::world::{Bench, P, host, name, record, small};

/// A host that starts again and can't keep that it serves a function uninstalls what it installed for
/// that: by the next time it may be another version that it should serve.
#[test]
fn what_cannot_be_kept_is_uninstalled() {
    let config = small();
    let mut core = Core::new(P(0), host(1, 1, 4), 1, 1);
    let f = record(name('f', 5), 1, 1);
    let (mut inputs, mut installed) = (vec![Input::Restored(Item::Hosting(Arc::clone(&f)))], 0);
    let mut failed = 0;
    for second in 0..120 {
        inputs.push(Input::Wake);
        while !inputs.is_empty() {
            let mut effects = Vec::new();
            let input = inputs.remove(0);
            core.handle(input, &mut Turn::new(Time(second * 1_000_000_000), &config, &mut effects));
            for effect in effects {
                match effect {
                    Effect::Fetch { tag, digest, .. } => {
                        inputs.push(Input::Fetched { tag, digest, got: Got::Code });
                    }
                    Effect::Install { tag, record } => {
                        installed += 1;
                        let (function, version) = (record.function, record.version);
                        inputs.push(Input::Installed { tag, function, version, ok: true });
                    }
                    Effect::Uninstall { .. } => installed -= 1,
                    Effect::Keep { tag, .. } => {
                        failed += 1;
                        inputs.push(Input::NotKept { tag });
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(installed, 0, "after {second} s");
    }
    assert!(failed > 1, "it tries again");
}

/// The store holds an update that came too late in place of what is served, which can't be kept again:
/// a placer that confirms what is served hears that it is once it is kept.
#[test]
fn what_could_not_be_kept_again_is_not_acknowledged() {
    let mut bench = Bench::new(5, host(1, 1, 4), small());
    let v = |version| record(name('f', 5), version, 1);
    bench.placed(1, &v(1));
    bench.all_ends();
    bench.asks(1, Query::Store(v(2)));
    bench.ends(0, true);
    bench.ends(0, true);
    bench.pass(Span::secs(150));
    while bench.keeps.iter().any(|(_, item)| !matches!(item, Item::Hosting(it) if it.version == 1))
    {
        bench.kept();
    }
    let (tag, _) = bench.keeps.remove(0);
    bench.tell("the store fails", Input::NotKept { tag });
    bench.confirms(1, &v(1));
    let placed = |bench: &Bench| bench.sent.iter().filter(|(.., it)| is_placed(it)).count();
    let before = placed(&bench);
    bench.kept();
    bench.confirms(1, &v(1));
    assert_eq!(placed(&bench), before + 1);
}

fn is_placed(query: &Query<P>) -> bool {
    matches!(query, Query::Placed { failure: None, .. })
}
