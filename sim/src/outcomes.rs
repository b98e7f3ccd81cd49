//! What came of the work, as it is counted.

use std::collections::BTreeMap;

use crate::work::Goodput;

/// What came of lookups.
#[derive(Clone, Debug, Default)]
pub struct Lookups {
    /// Lookups that ended.
    pub count: u64,
    /// Right at some instant between their start and end.
    pub succeeded: u64,
    /// Right at their end.
    pub exact: u64,
    /// Requests that were not answered.
    pub timeouts: u64,
    /// Those that found none of the k honest peers that are closest.
    pub eclipsed: u64,
    /// Of the honest among the truly closest, how many were missing from the answer.
    pub missing: Vec<u64>,
    /// Chain by which the closest was first heard of.
    pub hops: Vec<u64>,
    /// Longest chain.
    pub rounds: Vec<u64>,
    /// Requests.
    pub rpcs: Vec<u64>,
    /// Nanoseconds.
    pub latency: Vec<u64>,
}

/// What came of deployments.
#[derive(Clone, Debug, Default)]
pub struct Deployments {
    /// First deployments of their functions that ended well.
    pub placed: u64,
    /// Further ones.
    pub replaced: u64,
    /// And those that did not, with why.
    pub failures: Vec<String>,
    /// Nanoseconds.
    pub latency: Vec<u64>,
}

/// What came of anycalls.
#[derive(Clone, Debug, Default)]
pub struct Anycalls {
    /// Calls that ended.
    pub count: u64,
    /// Answered by the function.
    pub succeeded: u64,
    /// Answered by an adversary, and wrongly.
    pub wrong: u64,
    /// Refused as too much.
    pub refused: u64,
    /// Failed in any other way.
    pub failed: u64,
    /// Failures by their name.
    pub failures: BTreeMap<String, u64>,
    /// Calls made while a host lived.
    pub hosted: u64,
    /// Of those, answered by the function.
    pub hosted_succeeded: u64,
    /// Calls whose gateway went before they ended.
    pub orphaned: u64,
    /// Runs.
    pub executions: u64,
    /// Nanoseconds.
    pub latency: Vec<u64>,
    /// Nanoseconds of those that were refused.
    pub refusal_latency: Vec<u64>,
    /// Dispatches.
    pub attempts: Vec<u64>,
    /// What was served over time.
    pub goodput: Goodput,
}

/// What came of manycalls.
#[derive(Clone, Debug, Default)]
pub struct Manycalls {
    /// Manycalls that ended.
    pub jobs: u64,
    /// Items given to them.
    pub items: u64,
    /// Items answered with a status below 400.
    pub succeeded: u64,
    /// Items that failed.
    pub failed: u64,
    /// Items that may have been run.
    pub unknown: u64,
    /// Items with a wrong answer.
    pub wrong: u64,
    /// How many of those there should be, by the hosts that answer wrongly.
    pub wrong_expected: f64,
    /// The square of the standard error of that.
    pub wrong_variance: f64,
    /// Items without a result.
    pub lost: u64,
    /// Results beyond an item's first.
    pub doubled: u64,
    /// Dispatches.
    pub attempts: u64,
    /// Of these, those that repeated an item that ran for long elsewhere.
    pub hedged: u64,
    /// Runs.
    pub executions: u64,
    /// Items that got a result, of manycalls under way too.
    pub results: u64,
    /// The first manycalls that ended.
    pub spans: Vec<JobSpan>,
    /// Nanoseconds.
    pub makespan: Vec<u64>,
    /// Nanoseconds.
    pub ideal: Vec<u64>,
}

/// When a manycall was under way, and what came of it.
#[derive(Copy, Clone, Debug)]
pub struct JobSpan {
    /// When it began, in nanoseconds of the world's life.
    pub start: u64,
    /// How long it took, in nanoseconds.
    pub took: u64,
    /// Items given to it.
    pub items: u64,
    /// Of these, those that succeeded.
    pub succeeded: u64,
}
