//! The transcripts, each a function that plays a small world and returns what was written.

mod calls;
mod lookups;
mod many;
mod placing;
#[cfg(feature = "planted")]
mod planted;

/// Plays a world and returns what was written.
pub type Play = fn() -> String;

/// Every transcript by the name of its snapshot.
pub const ALL: &[(&str, Play)] = &[
    ("lookup_hop_by_hop", lookups::hop_by_hop),
    ("table_and_eviction", lookups::table),
    ("joining", lookups::joining),
    ("unknown_asker", lookups::unknown_asker),
    ("deployment", placing::deployment),
    ("offer_declined", placing::declined),
    ("offer_beyond", placing::beyond),
    ("offer_busier", placing::busier),
    ("repair_by_rank", placing::repair),
    ("renewal", placing::renewal),
    ("removal", placing::removal),
    ("owners_set", placing::owners_set),
    ("restart", placing::restart),
    ("anycall_from_nowhere", calls::from_nowhere),
    ("anycall_second_host", calls::second_host),
    ("anycall_refused", calls::refused),
    ("anycall_deadline", calls::deadline),
    ("anycall_not_sent", calls::not_sent),
    ("admission_queue", calls::queue),
    ("cancel", calls::cancel),
    ("manycall_windows", many::with_windows),
    ("manycall_host_dies", many::host_dies),
    ("manycall_runs_once", many::runs_once),
    ("manycall_deadline", many::deadline),
    ("manycall_straggler", many::straggler),
    ("manycall_not_sent", many::not_sent),
];

#[cfg(not(feature = "planted"))]
#[test]
fn transcripts() {
    for (name, play) in ALL {
        crate::check(name, &play());
    }
}
