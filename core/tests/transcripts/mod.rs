//! The transcripts, each a function that plays a small world and returns what was written.

mod calls;
mod draining;
mod healing;
mod hosting;
mod labels;
mod liars;
mod lookups;
mod many;
mod placing;
#[cfg(feature = "planted")]
mod planted;
mod scaling;
mod ways;

/// Plays a world and returns what was written.
pub type Play = fn() -> String;

/// Every transcript by the name of its snapshot.
pub const ALL: &[(&str, Play)] = &[
    ("lookup_hop_by_hop", lookups::hop_by_hop),
    ("table_and_eviction", lookups::table),
    ("joining", lookups::joining),
    ("one_failed_dial", lookups::one_failed_dial),
    ("unknown_asker", lookups::unknown_asker),
    ("turned_away", ways::turned_away),
    ("alone_and_back", ways::alone),
    ("partition_heals", ways::partition),
    ("gone_for_good", ways::gone_for_good),
    ("deployment", placing::deployment),
    ("offer_declined", placing::declined),
    ("offer_beyond", placing::beyond),
    ("offer_busier", placing::busier),
    ("offers_end", placing::offers_end),
    ("deployment_overtaken", placing::overtaken),
    ("second_round", placing::second_round),
    ("reminded", placing::reminded),
    ("repair_by_rank", placing::repair),
    ("holders_heal", healing::holders_heal),
    ("holders_ask_first", healing::holders_ask_first),
    ("holders_also_host", healing::holders_also_host),
    ("handing_on", healing::handing_on),
    ("autoscaling", scaling::autoscaling),
    ("renewal", placing::renewal),
    ("removal", placing::removal),
    ("owners_set", placing::owners_set),
    ("signed_again", placing::signed_again),
    ("restart", placing::restart),
    ("labels", labels::carriers),
    ("labels_renewed", labels::renewed),
    ("places", hosting::places),
    ("installs", hosting::installs),
    ("sources", hosting::sources),
    ("same_code", hosting::same_code),
    ("update_retried", hosting::update),
    ("leaving", hosting::leaving),
    ("strangers", hosting::strangers),
    ("restart_unconfirmed", hosting::unconfirmed),
    ("suspicion", hosting::suspicion),
    ("retiring", hosting::retiring),
    ("repairs_by_need", hosting::repairs),
    ("sibling_that_lies", liars::sibling),
    ("records_of_strangers", liars::storing),
    ("hosts_that_are_not", liars::hosts),
    ("disjoint_paths", liars::paths),
    ("second_look", liars::second_look),
    ("address_groups", liars::groups),
    ("crowd_of_one_group", liars::crowd),
    ("holders_that_keep_nothing", liars::holders),
    ("renewal_of_removed", placing::renewal_of_removed),
    ("tombstone_told_again", placing::tombstone_told_again),
    ("removal_alone", placing::removal_alone),
    ("deployed_again", placing::deployed_again),
    ("removal_among_siblings", placing::removal_among_siblings),
    ("anycall_from_nowhere", calls::from_nowhere),
    ("ignorance_is_not_absence", calls::unknown),
    ("unknown_again", calls::unknown_again),
    ("anycall_second_host", calls::second_host),
    ("anycall_refused", calls::refused),
    ("anycall_overload", calls::overload),
    ("anycall_deadline", calls::deadline),
    ("anycall_not_sent", calls::not_sent),
    ("anycall_hedged", calls::hedged),
    ("admission_queue", calls::queue),
    ("admission_shares", calls::shares),
    ("cancel", calls::cancel),
    ("draining", draining::leaving),
    ("manycall_windows", many::with_windows),
    ("manycall_host_dies", many::host_dies),
    ("manycall_runs_once", many::runs_once),
    ("manycall_deadline", many::deadline),
    ("manycall_straggler", many::straggler),
    ("manycall_not_sent", many::not_sent),
    ("manycall_host_returns", many::host_returns),
    ("manycall_quorum", many::quorum),
    ("manycall_quorum_of_groups", many::quorum_of_groups),
    ("manycall_quorum_straggler", many::quorum_straggler),
];

#[cfg(not(feature = "planted"))]
#[test]
fn transcripts() {
    for (name, play) in ALL {
        crate::check(name, &play());
    }
}
