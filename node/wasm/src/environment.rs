//! The request as the classic watchdog puts it into a function's environment.
//!
//! | variable | value |
//! |---|---|
//! | `Http_Method` | as sent |
//! | `Http_Path` | decoded, or as sent where the decoded one is not text |
//! | `Http_Query` | as sent, if not empty |
//! | `Http_Host` | the header, else the URI's authority |
//! | `Http_Content_Length`, `Http_ContentLength` | the header; 0 without it for GET and HEAD; else -1 |
//! | `Http_Transfer_Encoding` | the header, if there is one |
//! | `Http_X_Forwarded_For` and so on | each other header's first value, with `_` for `-` |
//! | `GATEWAY_INTERFACE` | `CGI/1.1`, if a header block is expected |
//!
//! A header whose name would give a variable of the first five rows is left out, so that nobody
//! can send `Method:` to be taken for a method.

use std::collections::BTreeMap;

use http::Method;
use http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;

/// Variables that no header may set.
const OWN: [&str; 6] = ["Method", "Path", "Query", "Host", "ContentLength", "Content_Length"];

/// The whole environment of a call, by name: the request's variables, and the function's own where
/// the request has none of that name.
pub fn of(request: &Parts, cgi: bool, own: &[(String, String)]) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> =
        own.iter().filter(|own| is_sound(own)).cloned().collect();
    let mut set = |name: &str, value: String| all.insert(format!("Http_{name}"), value);
    for name in request.headers.keys() {
        let variable = variable(name);
        if !OWN.contains(&variable.as_str()) && name != TRANSFER_ENCODING {
            set(&variable, text(&request.headers[name]));
        }
    }
    set("Method", request.method.to_string());
    set("Path", decoded(request.uri.path()));
    if let Some(query) = request.uri.query().filter(|query| !query.is_empty()) {
        set("Query", query.to_owned());
    }
    let host = request.headers.get(HOST).map(text);
    if let Some(host) = host.or_else(|| request.uri.authority().map(ToString::to_string)) {
        set("Host", host);
    }
    let length = length(request);
    set("ContentLength", length.clone());
    set("Content_Length", length);
    if let Some(encoding) = request.headers.get(TRANSFER_ENCODING) {
        set("Transfer_Encoding", text(encoding));
    }
    if cgi {
        all.insert("GATEWAY_INTERFACE".to_owned(), "CGI/1.1".to_owned());
    }
    all
}

/// Whether a variable can be in an environment at all.
fn is_sound((name, value): &(String, String)) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

fn length(request: &Parts) -> String {
    let sent = request.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match sent.and_then(|value| value.parse::<u64>().ok()) {
        Some(length) => length.to_string(),
        None if matches!(request.method, Method::GET | Method::HEAD)
            && !request.headers.contains_key(TRANSFER_ENCODING) =>
        {
            "0".to_owned()
        }
        None => "-1".to_owned(),
    }
}

/// `x-forwarded-for` as `X_Forwarded_For`.
fn variable(name: &HeaderName) -> String {
    let mut first = true;
    let turn = |c: char| {
        let turned = match c {
            '-' => '_',
            c if first => c.to_ascii_uppercase(),
            c => c,
        };
        first = c == '-';
        turned
    };
    name.as_str().chars().map(turn).collect()
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The path with `%41` for `A` and so on undone; as it is where that gives no text, or a NUL, which
/// no environment can hold.
fn decoded(path: &str) -> String {
    let hex = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match after {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            bytes.push(high << 4 | low);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text,
        _ => path.to_owned(),
    }
}
