//! What a change does to the network, as a readable difference.

use crate::support;

#[test]
fn transcripts() {
    for (name, transcript) in support::TRANSCRIPTS {
        insta::with_settings!({
            snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
        }, { insta::assert_snapshot!(name, transcript()) });
    }
}
