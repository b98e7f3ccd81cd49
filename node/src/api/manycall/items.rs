//! Items as they come: a list, or lines of a body.

use axum::body::Body;
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::bytes32::unbase64;

/// A longer line is no item.
const LINE_BYTES_MAX: usize = 8 << 20;

/// Where items come from.
pub(super) enum Items {
    /// All at once, as JSON texts.
    Whole(std::vec::IntoIter<String>),
    /// One a line.
    Lines(Box<Lines>),
}

/// One item, or why a line is none.
pub(super) struct Line {
    /// Counted from 1; 0 where items are no lines.
    pub(super) number: u64,
    pub(super) item: Result<Bytes, String>,
}

impl Items {
    pub(super) fn whole(items: impl Iterator<Item = String>) -> Self {
        Self::Whole(items.collect::<Vec<_>>().into_iter())
    }

    pub(super) fn lines(body: Body) -> Self {
        Self::Lines(Box::new(Lines {
            body,
            buffer: BytesMut::new(),
            seen: 0,
            number: 0,
            skipping: false,
            ended: false,
        }))
    }

    /// An item that is here already.
    pub(super) fn ready(&mut self) -> Option<Line> {
        match self {
            Self::Whole(items) => {
                let text = items.next()?;
                Some(Line { number: 0, item: read(text.as_bytes()) })
            }
            Self::Lines(lines) => lines.ready(),
        }
    }

    /// Waits for more; false at the end.
    pub(super) async fn more(&mut self) -> Result<bool, String> {
        match self {
            Self::Whole(_) => Ok(false),
            Self::Lines(lines) => lines.more().await,
        }
    }
}

/// Lines of a body.
pub(super) struct Lines {
    body: Body,
    buffer: BytesMut,
    /// Bytes of the buffer that are known to hold no line's end.
    seen: usize,
    number: u64,
    /// Whether the rest of a line that was too long is being passed over.
    skipping: bool,
    ended: bool,
}

impl Lines {
    fn ready(&mut self) -> Option<Line> {
        loop {
            let end = self.buffer[self.seen..].iter().position(|byte| *byte == b'\n');
            let line = match end {
                Some(at) => {
                    let line = self.buffer.split_to(self.seen + at);
                    self.buffer.advance(1);
                    self.seen = 0;
                    line
                }
                None if self.buffer.len() > LINE_BYTES_MAX => {
                    self.buffer.clear();
                    self.seen = 0;
                    if !std::mem::replace(&mut self.skipping, true) {
                        self.number += 1;
                        let why = format!("longer than {LINE_BYTES_MAX} bytes");
                        return Some(Line { number: self.number, item: Err(why) });
                    }
                    return None;
                }
                None if self.ended && !self.buffer.is_empty() => {
                    self.seen = 0;
                    self.buffer.split()
                }
                None => {
                    self.seen = self.buffer.len();
                    return None;
                }
            };
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            self.number += 1;
            if !line.trim_ascii().is_empty() {
                return Some(Line { number: self.number, item: read(&line) });
            }
        }
    }

    async fn more(&mut self) -> Result<bool, String> {
        if self.ended {
            return Ok(false);
        }
        match self.body.frame().await {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.buffer.extend_from_slice(data);
                }
                Ok(true)
            }
            Some(Err(error)) => Err(error.to_string()),
            None => {
                self.ended = true;
                // A last line may lack its end.
                Ok(!self.buffer.is_empty())
            }
        }
    }
}

/// What an item's JSON sends: bytes for an object with the single key `base64`, else its compact
/// text.
fn read(line: &[u8]) -> Result<Bytes, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Encoded {
        base64: String,
    }
    let text = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
    if let Ok(Encoded { base64 }) = serde_json::from_str(text)
        && text.trim_start().starts_with('{')
    {
        let bytes = unbase64(&base64).ok_or("base64 that is none")?;
        return Ok(bytes.into());
    }
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| format!("no JSON: {error}"))?;
    Ok(compact(text).into())
}

/// JSON without the white space between its parts; numbers and the order of keys stay as written.
fn compact(text: &str) -> Vec<u8> {
    let (mut compact, mut quoted, mut escaped) = (Vec::with_capacity(text.len()), false, false);
    for byte in text.bytes() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            quoted = byte == b'"';
        }
        compact.push(byte);
    }
    compact
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(chunks: &[&'static str]) -> Vec<(u64, Result<String, String>)> {
        let chunks: Vec<_> =
            chunks.iter().map(|chunk| Ok::<_, std::convert::Infallible>(*chunk)).collect();
        let mut items = Items::lines(Body::from_stream(futures::stream::iter(chunks)));
        let mut found = Vec::new();
        loop {
            while let Some(Line { number, item }) = items.ready() {
                found.push((number, item.map(|b| String::from_utf8_lossy(&b).into_owned())));
            }
            if !items.more().await.unwrap() {
                return found;
            }
        }
    }

    #[tokio::test]
    async fn lines_come_in_any_pieces() {
        let found =
            lines(&["1\n\"a b\"", "\n\n{ \"k\" : [1, \"x y\\\" z\"] }\r\n", "no\n", "2.50"]).await;
        assert_eq!(found[0], (1, Ok("1".into())));
        assert_eq!(found[1], (2, Ok("\"a b\"".into())));
        assert_eq!(found[2], (4, Ok("{\"k\":[1,\"x y\\\" z\"]}".into())));
        assert_eq!(found[3].0, 5);
        assert!(found[3].1.as_ref().unwrap_err().starts_with("no JSON"), "{:?}", found[3]);
        assert_eq!(found[4], (6, Ok("2.50".into())));
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn an_object_with_the_one_key_base64_is_bytes() {
        assert_eq!(read(b"{\"base64\":\"YWI=\"}").unwrap(), "ab");
        assert!(read(b"{\"base64\":\"*\"}").is_err());
        let two = b"{\"base64\":\"YWI=\",\"x\":1}";
        assert_eq!(&*read(two).unwrap(), two);
        assert_eq!(read(b"[\"YWI=\"]").unwrap(), "[\"YWI=\"]");
    }
}
