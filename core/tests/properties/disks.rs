//! Disks that fail.

use std::sync::Arc;

use peerless_core::{Core, Effect, Got, Input, Item, Time, Turn};

use crate::world::{P, host, name, record, small};

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
