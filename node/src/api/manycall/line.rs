//! Results as they are written, for a line and for a document alike.

use bytes::Bytes;
use peerless_core::Summary;
use serde::{Serialize, Serializer};
use serde_json::json;

use super::super::ApiError;
use crate::bytes32::base64;

/// One item's result. Every one has the first six fields; the others say why there is no answer.
#[derive(Serialize)]
pub(super) struct ItemLine<'a> {
    /// The item's place in the input.
    pub(super) index: u64,
    pub(super) status: u16,
    pub(super) body: Body<'a>,
    /// Who answered.
    pub(super) host: Option<&'a str>,
    pub(super) attempts: u16,
    pub(super) seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    /// Where in the input a line is that is no item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<u64>,
}

impl ItemLine<'_> {
    /// An item without an answer.
    pub(super) fn failed(index: u64, status: u16, code: &'static str, error: String) -> Self {
        Self {
            index,
            status,
            body: Body(b""),
            host: None,
            attempts: 0,
            seconds: 0.0,
            error: Some(error),
            code: Some(code),
            line: None,
        }
    }

    /// As a line, with its end.
    pub(super) fn text(&self) -> Bytes {
        let mut text = serde_json::to_vec(self).expect("our own values are JSON");
        text.push(b'\n');
        text.into()
    }
}

/// Text as a string, other bytes as an object with the key `base64`.
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => json!({ "base64": base64(self.0) }).serialize(serializer),
        }
    }
}

/// The summary, which ends every manycall.
pub(super) fn summary(summary: &Summary, seconds: f64) -> String {
    let Summary { items, succeeded, failed, unknown, attempts, hedged, hosts } = *summary;
    let object = json!({
        "items": items, "succeeded": succeeded, "failed": failed, "unknown": unknown,
        "attempts": attempts, "hedged": hedged, "hosts": hosts, "seconds": seconds,
    });
    object.to_string()
}

/// Why a manycall ended before all its items had.
pub(super) fn error(error: &ApiError) -> Bytes {
    format!("{}\n", error.object()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_has_the_same_fields() {
        let failed = ItemLine::failed(3, 502, "unknown", "it broke off".into());
        let expected = r#"{"index":3,"status":502,"body":"","host":null,"attempts":0,"seconds":0.0,"error":"it broke off","code":"unknown"}
"#;
        assert_eq!(failed.text(), expected);
        let answered = ItemLine {
            body: Body(b"a\xff"),
            host: Some("12D3"),
            attempts: 1,
            seconds: 0.5,
            error: None,
            code: None,
            line: None,
            ..ItemLine::failed(0, 200, "", String::new())
        };
        let expected = r#"{"index":0,"status":200,"body":{"base64":"Yf8="},"host":"12D3","attempts":1,"seconds":0.5}
"#;
        assert_eq!(answered.text(), expected);
    }
}
