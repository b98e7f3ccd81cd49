//! Items as they come: a list, or lines of a body.

use axum::body::Body;
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::bytes32::unbase64;

/// A longer line is no item.
const LINE_BYTES_MAX: usize = 8 << 20;

/// Where items come from.
pub(super) enum Items {
    /// All at once.
    Whole(Whole),
    /// One a line.
    Lines(Box<Lines>),
}

/// One item, or why a line is none.
pub(super) struct Found {
    /// Counted from 1; 0 where items are no lines.
    pub(super) line: u64,
    pub(super) item: Result<Bytes, String>,
}

/// The elements of a JSON array, which are looked for one by one: an array of many small ones would
/// take a multiple of its size as anything else.
pub(super) struct Whole {
    /// What is left of the array, of which it is known that it is one.
    rest: Bytes,
}

impl Whole {
    fn next(&mut self) -> Option<Bytes> {
        let between = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
        let start = self.rest.iter().position(|byte| !between(byte))?;
        self.rest.advance(start);
        let mut values = serde_json::Deserializer::from_slice(&self.rest).into_iter::<&RawValue>();
        // The array's own end is no value.
        let text = values.next()?.ok()?.get().len();
        Some(self.rest.split_to(text))
    }
}

impl Items {
    /// The elements of `array`, which lies in `document`; `None` if it is none.
    pub(super) fn whole(document: &Bytes, array: &RawValue) -> Option<Self> {
        let inside = array.get().strip_prefix('[')?;
        Some(Self::Whole(Whole { rest: document.slice_ref(inside.as_bytes()) }))
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
    pub(super) fn ready(&mut self) -> Option<Found> {
        match self {
            Self::Whole(whole) => Some(Found { line: 0, item: read(&whole.next()?) }),
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
    fn ready(&mut self) -> Option<Found> {
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
                        return Some(Found { line: self.number, item: Err(why) });
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
                return Some(Found { line: self.number, item: read(&line) });
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

/// For tests that feed it bytes: reads them as an array of items, and as lines.
pub(crate) fn fuzz(bytes: &[u8]) {
    let document = Bytes::copy_from_slice(bytes);
    if let Ok(array) = serde_json::from_slice::<&RawValue>(&document)
        && let Some(mut items) = Items::whole(&document, array)
    {
        let mut found = 0;
        while items.ready().is_some() {
            found += 1;
        }
        assert!(found <= bytes.len(), "each item takes a byte at least");
    }
    for line in bytes.split(|byte| *byte == b'\n') {
        let is_object = line.trim_ascii_start().starts_with(b"{");
        if let Ok(item) = read(line)
            && !is_object
        {
            assert_eq!(read(&item), Ok(item.clone()), "what is compact stays as it is");
        }
    }
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
            while let Some(Found { line, item }) = items.ready() {
                found.push((line, item.map(|b| String::from_utf8_lossy(&b).into_owned())));
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
    fn elements_of_an_array_are_found_one_by_one() {
        let elements = |text: &'static str| {
            let document = Bytes::from_static(text.as_bytes());
            let array: &RawValue = serde_json::from_str(text).unwrap();
            let mut items = Items::whole(&document, array)?;
            let mut found = Vec::new();
            while let Some(Found { item, .. }) = items.ready() {
                found.push(String::from_utf8(item.unwrap().to_vec()).unwrap());
            }
            Some(found)
        };
        let found = elements("[ 1,2.50 ,\"],\",[ 3, [] ],{\"a\" : [4]}\n,null ]").unwrap();
        assert_eq!(found, ["1", "2.50", "\"],\"", "[3,[]]", "{\"a\":[4]}", "null"]);
        assert_eq!(elements("[]"), Some(Vec::new()));
        assert_eq!(elements("[ ]"), Some(Vec::new()));
        assert_eq!(elements("{}"), None);
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
