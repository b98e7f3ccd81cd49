//! What the demo counts for itself, without a network.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::manycall::ItemResult;

/// Words as the sample function `words` counts them: runs of bytes that are not white space.
pub(super) fn count_words(text: &[u8]) -> u64 {
    let space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    text.split(space).filter(|word| !word.is_empty()).count() as u64
}

/// Cuts a text at white space into pieces of about `size` bytes.
pub(super) fn pieces(text: &[u8], size: usize) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > size {
        let cut = rest[size..].iter().position(u8::is_ascii_whitespace);
        let Some(cut) = cut else { break };
        let (piece, tail) = rest.split_at(size + cut);
        pieces.push(piece);
        rest = tail;
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}

/// Results of a manycall as they were received.
#[derive(Default)]
pub(super) struct Tally {
    seen: BTreeMap<u64, u64>,
    pub(super) received: u64,
    /// Results that took more than one attempt.
    pub(super) retried: u64,
    pub(super) hosts: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Tally {
    /// Counts a result; `expected` is the body that it must have.
    pub(super) fn add(&mut self, result: &ItemResult, expected: Option<&str>) {
        *self.seen.entry(result.index).or_default() += 1;
        self.received += 1;
        self.retried += u64::from(result.attempts >= 2);
        if let Some(host) = &result.host {
            self.hosts.insert(host.clone());
        }
        let body = result.body.as_str();
        if result.status != 200 || expected.is_some_and(|text| body != Some(text)) {
            let (index, status, body) = (result.index, result.status, &result.body);
            self.wrong.push(format!("item {index} was answered with {status} and {body}"));
        }
    }

    /// Whether each of `items` items has its one result, and a right one.
    pub(super) fn check(&self, items: u64) -> Result<(), String> {
        let lost: Vec<_> = (0..items).filter(|item| !self.seen.contains_key(item)).collect();
        let twice: Vec<_> =
            self.seen.iter().filter(|(_, n)| **n > 1).map(|(item, _)| item).collect();
        let strange = self.seen.keys().find(|item| **item >= items);
        if !lost.is_empty() {
            return Err(format!("{} of {items} items lost, the first {}", lost.len(), lost[0]));
        }
        if !twice.is_empty() {
            return Err(format!("{} results came twice, the first {}", twice.len(), twice[0]));
        }
        if let Some(item) = strange {
            return Err(format!("there is a result of item {item}, but there were {items}"));
        }
        match self.wrong.first() {
            Some(first) => Err(format!("{} results are wrong: {first}", self.wrong.len())),
            None => Ok(()),
        }
    }
}

/// The value in the middle.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn result(index: u64, body: &str, attempts: u64) -> ItemResult {
        let value = json!({
            "index": index, "status": 200, "body": body, "host": "h", "attempts": attempts
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn words_are_runs() {
        for (text, words) in [("", 0), (" \n", 0), ("a", 1), (" In the\n\tbeginning ", 3)] {
            assert_eq!(count_words(text.as_bytes()), words, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_hold_all_words(text in "[a-c \n]{0,400}", size in 1_usize..50) {
            let pieces = pieces(text.as_bytes(), size);
            prop_assert_eq!(pieces.concat(), text.as_bytes());
            let sum: u64 = pieces.iter().map(|piece| count_words(piece)).sum();
            prop_assert_eq!(sum, count_words(text.as_bytes()));
        }
    }

    #[test]
    fn a_tally_finds_what_is_lost_doubled_or_wrong() {
        let mut tally = Tally::default();
        tally.add(&result(0, "a", 1), Some("a"));
        assert!(tally.check(2).unwrap_err().contains("1 of 2 items lost, the first 1"));
        tally.add(&result(1, "a", 2), Some("a"));
        assert_eq!((tally.check(2), tally.retried, tally.hosts.len()), (Ok(()), 1, 1));
        tally.add(&result(1, "a", 1), Some("a"));
        assert!(tally.check(2).unwrap_err().contains("1 results came twice"));
        let mut tally = Tally::default();
        tally.add(&result(0, "b", 1), Some("a"));
        assert!(tally.check(1).unwrap_err().contains("item 0 was answered with 200 and \"b\""));
        tally.add(&result(5, "a", 1), None);
        assert!(tally.check(1).unwrap_err().contains("a result of item 5"));
    }

    #[test]
    fn the_middle_is_the_median() {
        assert!((median(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(&mut []) == 0.0);
    }
}
