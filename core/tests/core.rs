//! The core's behaviour: transcripts of small worlds, kept as snapshots; and what must hold in any.
// Nothing outside a test binary could reach what it calls public.
#![allow(unreachable_pub)]

// A planted bug is a matter of the whole process: what must hold is not judged beside it.
#[cfg(not(feature = "planted"))]
mod laws;
#[cfg(not(feature = "planted"))]
mod properties;
mod transcripts;
// The transcripts alone do not use all of it.
#[cfg_attr(feature = "planted", allow(dead_code, unused_imports))]
mod world;

fn check(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "../../snapshots/core",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, { insta::assert_snapshot!(name, text) });
}
