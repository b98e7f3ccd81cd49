//! How a run went over virtual time: counts at the ends of a bounded number of equal buckets.
//!
//! The buckets begin narrow. Whenever there are too many, each two neighbours become one, so that a
//! run of any length costs one comparison a happening and has between half of the most buckets and
//! the most. As every width is the narrowest times a power of two, the series of two runs can be laid
//! over each other. Nothing here takes part in what happens.

use peerless_core::{Span, Time};
use serde::{Deserialize, Serialize};

use crate::world::{START, World};

/// Buckets at most.
pub const BUCKETS_MAX: usize = 200;

/// The narrowest bucket.
const NARROWEST: Span = Span::ms(1);

/// What was counted so far, and how many there are now.
#[derive(Copy, Clone, Default, Debug)]
pub struct Sample {
    messages: u64,
    bytes: u64,
    lookups: u64,
    lookups_succeeded: u64,
    anycalls: u64,
    anycalls_succeeded: u64,
    items: u64,
    peers: u64,
    hosts: u64,
    connections: u64,
}

/// Takes the samples of a run.
#[derive(Clone, Debug)]
pub struct Sampler {
    width: u64,
    /// The end of the bucket under way; it belongs to it.
    end: u64,
    samples: Vec<Sample>,
}

impl Default for Sampler {
    fn default() -> Self {
        let width = NARROWEST.0;
        Self { width, end: START.0 + width, samples: Vec::new() }
    }
}

impl Sampler {
    /// Whether what happens at `time` is beyond the bucket under way.
    pub fn is_due(&self, time: Time) -> bool {
        time.0 > self.end
    }

    /// Ends every bucket that `time` is beyond; nothing changed since `sample`.
    pub fn take(&mut self, time: Time, sample: Sample) {
        while self.is_due(time) {
            self.samples.push(sample);
            if self.samples.len() == BUCKETS_MAX {
                let mut at = 0;
                self.samples.retain(|_| {
                    at += 1;
                    at % 2 == 0
                });
                self.width = self.width.saturating_mul(2);
            }
            let next = self.width.saturating_mul(self.samples.len() as u64 + 1);
            self.end = START.0.saturating_add(next);
        }
    }
}

/// What went on in each bucket of virtual time; the last one may be cut off by the run's end. What a
/// scenario has not is left out.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Series {
    /// How long each bucket is.
    pub bucket_seconds: f64,
    /// Messages sent.
    pub messages: Vec<u64>,
    /// Their bytes.
    pub bytes: Vec<u64>,
    /// Peers there at its end.
    pub peers: Vec<u64>,
    /// Lookups that ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lookups: Vec<u64>,
    /// Of these, those that succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lookups_succeeded: Vec<u64>,
    /// Anycalls that ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anycalls: Vec<u64>,
    /// Of these, those that succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anycalls_succeeded: Vec<u64>,
    /// Items of manycalls that got a result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<u64>,
    /// Hosts of functions at its end, each counted once a function.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<u64>,
    /// Connections that were made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<u64>,
}

impl World {
    /// Samples, if it is time to, before what happens at `time`.
    pub(crate) fn sample(&mut self, time: Time) {
        if self.sampler.is_due(time) {
            self.end_buckets(time);
        }
    }

    /// Apart, so that the loop of happenings holds nothing but the comparison.
    #[cold]
    #[inline(never)]
    fn end_buckets(&mut self, time: Time) {
        let sample = self.counted();
        self.sampler.take(time, sample);
    }

    fn counted(&self) -> Sample {
        let Self { count, work, census, oracle, .. } = self;
        Sample {
            messages: count.messages,
            bytes: count.bytes,
            lookups: work.lookups.count,
            lookups_succeeded: work.lookups.succeeded,
            anycalls: work.anycalls.count,
            anycalls_succeeded: work.anycalls.succeeded,
            items: work.manycalls.results,
            peers: oracle.live().into(),
            hosts: census.functions.iter().map(|function| function.hosts.len() as u64).sum(),
            connections: self.wired().handshakes,
        }
    }

    /// How it went until now.
    pub fn series(&self) -> Series {
        let mut sampler = self.sampler.clone();
        let last = self.counted();
        sampler.take(self.now, last);
        sampler.samples.push(last);
        let samples = &sampler.samples;
        let gauge = |of: fn(&Sample) -> u64| samples.iter().map(of).collect();
        let rise = |of: fn(&Sample) -> u64| {
            let before = std::iter::once(0).chain(samples.iter().map(of));
            samples.iter().map(of).zip(before).map(|(now, before)| now - before).collect()
        };
        let only = |there: bool, values: Vec<u64>| if there { values } else { Vec::new() };
        let scenario = self.scenario();
        let (lookups, calls) = (scenario.lookups.is_some(), scenario.anycalls.is_some());
        Series {
            bucket_seconds: sampler.width as f64 / 1e9,
            messages: rise(|sample| sample.messages),
            bytes: rise(|sample| sample.bytes),
            peers: gauge(|sample| sample.peers),
            lookups: only(lookups, rise(|sample| sample.lookups)),
            lookups_succeeded: only(lookups, rise(|sample| sample.lookups_succeeded)),
            anycalls: only(calls, rise(|sample| sample.anycalls)),
            anycalls_succeeded: only(calls, rise(|sample| sample.anycalls_succeeded)),
            items: only(scenario.manycalls.is_some(), rise(|sample| sample.items)),
            hosts: only(scenario.functions.is_some(), gauge(|sample| sample.hosts)),
            connections: only(scenario.connections.is_some(), rise(|sample| sample.connections)),
        }
    }
}
