//! The node decides nothing: with one rule of the core inert, the node does not make up for it.

use crate::journals::replay_with;
use crate::network::{Network, Plan};
use crate::scenario::{QUICK, Step, life};
use peerless_core::planted::Bug;

/// Enough for three hosts, one to take the place of the one that dies, and a gateway.
const NODES: usize = 5;

async fn ends_at(bug: Option<Bug>, step: Option<Step>) {
    let planted = bug.map_or(0, |bug| bug as u32);
    let plan = Plan { config: QUICK, planted, ..Plan::default() };
    let mut network = Network::start(plan, NODES).await;
    let ended = life(&mut network).await;
    assert_eq!(ended.as_ref().err().map(|(step, _)| *step), step, "{bug:?}: {ended:?}");
}

#[tokio::test]
async fn without_a_bug_it_ends_well() {
    ends_at(None, None).await;
}

#[tokio::test]
async fn without_offers_nothing_is_deployed() {
    ends_at(Some(Bug::NoOffers), Some(Step::Deploy)).await;
}

#[tokio::test]
async fn without_admission_no_call_is_answered() {
    ends_at(Some(Bug::RefusesAll), Some(Step::Call)).await;
}

#[tokio::test]
async fn without_a_search_no_host_is_called() {
    ends_at(Some(Bug::NoAttempts), Some(Step::Call)).await;
}

#[tokio::test]
async fn without_a_second_attempt_items_fail() {
    ends_at(Some(Bug::NoSecondHost), Some(Step::Death)).await;
}

#[tokio::test]
async fn without_the_loss_of_a_host_nobody_makes_up_for_it() {
    ends_at(Some(Bug::NeverLost), Some(Step::Repair)).await;
}

#[tokio::test]
async fn a_core_that_decides_otherwise_is_told_from_the_one_that_was_recorded() {
    let plan = Plan { config: QUICK, journal: true, ..Plan::default() };
    let mut network = Network::start(plan, NODES).await;
    life(&mut network).await.unwrap();
    let recorded: Vec<_> = (0..NODES).map(|number| network.journal_dir(number)).collect();
    for number in 0..NODES {
        if network.nodes[number].alive {
            network.kill(number).await;
        }
    }
    let mut differing = 0;
    for path in &recorded {
        assert_eq!(replay_with(path, 0).await.status, Some(0));
        let said = replay_with(path, Bug::NoSecondHost as u32).await;
        let differs = said.lines.iter().any(|line| line["equal"] == false);
        assert_eq!(said.status, Some(i32::from(differs)));
        differing += u32::from(differs);
    }
    assert_eq!(differing, 1, "only the gateway of the manycall tried anything again");
}
