//! `call`: one request to a function, the bodies streaming.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;

use super::failure::{FAILED, Failure};
use super::functions::FullName;
use super::gateway;
use super::http::{Body, Gateway, Request, Response, file, streamed, whole};
use super::output::{Output, line};
use crate::bytes32::base64;
use crate::cli::CallArgs;
use crate::clock::Stopwatch;
use crate::units::show_duration;

/// How much longer than a call's deadline its gateway may take to say so.
const GRACE: Duration = Duration::from_secs(5);

pub(super) async fn call(args: CallArgs, output: Output) -> Result<(), Failure> {
    let gateway = gateway(&args.gateway)?;
    let name = FullName::parse(&args.name)?.path();
    let request = request(&args, &name).await?;
    let timeout = args.timeout;
    let calling = exchange(&gateway, request, &name, output);
    match timeout {
        None => calling.await,
        Some(timeout) => match tokio::time::timeout(timeout + GRACE, calling).await {
            Ok(ended) => ended,
            Err(_) => Err(Failure::failed(format!(
                "{} did not answer the call of {name} within {}",
                gateway.url(),
                show_duration(timeout)
            ))),
        },
    }
}

async fn request(args: &CallArgs, name: &str) -> Result<Request, Failure> {
    let path = args.path.as_deref().unwrap_or("");
    let slash = if path.is_empty() || path.starts_with(['/', '?']) { "" } else { "/" };
    let target = format!("/function/{name}{slash}{path}");
    let uri = target.parse::<http::Uri>().map_err(|error| {
        Failure::usage(format!("path {path:?}: {error}; expected /PATH?QUERY, percent-encoded"))
    })?;
    let (body, length, given) = body(args).await?;
    let method = method(args.method.as_deref(), given)?;
    let mut request = http::Request::builder().method(method).uri(uri);
    for (name, value) in &args.header {
        request = request.header(name, value);
    }
    let mut request = request.body(body).map_err(|error| Failure::usage(error.to_string()))?;
    let headers = request.headers_mut();
    if given && !headers.contains_key(CONTENT_TYPE) {
        let kind = if args.data.is_some() { "text/plain" } else { "application/octet-stream" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if let Some(timeout) = args.timeout {
        let value = HeaderValue::from_str(&show_duration(timeout));
        let name = HeaderName::from_static("x-timeout");
        headers.insert(name, value.expect("a duration is plain text"));
    }
    if let Some(length) = length
        && !headers.contains_key(CONTENT_LENGTH)
    {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    Ok(request)
}

/// The body, its length where it is known, and whether one was given at all.
async fn body(args: &CallArgs) -> Result<(Body, Option<u64>, bool), Failure> {
    let stdin = args.stdin.is_some() || args.data_file.as_deref().is_some_and(|it| it == "-");
    if stdin {
        return Ok((streamed(tokio::io::stdin()), None, true));
    }
    if let Some(path) = &args.data_file {
        let (body, length) = file(path).await?;
        return Ok((body, length, true));
    }
    match &args.data {
        Some(data) => Ok((whole(data.clone()), Some(data.len() as u64), true)),
        None => Ok((whole(""), None, false)),
    }
}

fn method(text: Option<&str>, with_body: bool) -> Result<Method, Failure> {
    let Some(text) = text else {
        return Ok(if with_body { Method::POST } else { Method::GET });
    };
    text.to_ascii_uppercase()
        .parse()
        .map_err(|_| Failure::usage(format!("method {text:?}: expected one such as GET or POST")))
}

async fn exchange(
    gateway: &Gateway,
    request: Request,
    name: &str,
    output: Output,
) -> Result<(), Failure> {
    let watch = Stopwatch::start();
    let response = gateway.send(request).await?;
    let status = response.status();
    let (host, attempts) = served_by(response.headers());
    if output.json {
        print_json(gateway, response, watch).await?;
    } else {
        print_body(gateway, response).await?;
    }
    if status.as_u16() < 400 {
        return Ok(());
    }
    let reason = status.canonical_reason().unwrap_or("an unknown status");
    let tried = if attempts > 1 { format!(" after {attempts} attempts") } else { String::new() };
    let by = host.map(|host| format!(" (host {host})")).unwrap_or_default();
    let status = status.as_u16();
    Err(Failure { exit: FAILED, message: format!("{name} answered {status} {reason}{tried}{by}") })
}

/// Passes the body on as it comes.
async fn print_body(gateway: &Gateway, response: Response) -> Result<(), Failure> {
    let mut body = response.into_body();
    let mut out = tokio::io::stdout();
    let failed = |error: std::io::Error| Failure::unwritable("standard output", &error);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| gateway.broke(&error))?;
        if let Some(bytes) = frame.data_ref() {
            out.write_all(bytes).await.map_err(failed)?;
            out.flush().await.map_err(failed)?;
        }
    }
    Ok(())
}

async fn print_json(
    gateway: &Gateway,
    response: Response,
    watch: Stopwatch,
) -> Result<(), Failure> {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.map_err(|error| gateway.broke(&error))?.to_bytes();
    let (host, attempts) = served_by(&head.headers);
    let object = json!({
        "status": head.status.as_u16(),
        "headers": headers(&head.headers),
        "body": text_or_base64(&bytes),
        "host": host,
        "attempts": attempts,
        "seconds": watch.seconds(),
    });
    line(&object.to_string())
}

fn served_by(headers: &HeaderMap) -> (Option<String>, u64) {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let attempts = text("x-peerless-attempts").and_then(|text| text.parse().ok());
    (text("x-peerless-host").map(str::to_owned), attempts.unwrap_or(0))
}

/// One value a name; a list where a header came more than once.
fn headers(headers: &HeaderMap) -> Value {
    let mut object = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let mut values: Vec<Value> =
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).into()).collect();
        let value = if values.len() == 1 { values.remove(0) } else { Value::from(values) };
        object.insert(name.as_str().to_owned(), value);
    }
    Value::Object(object)
}

/// As results of a manycall spell bodies, too.
fn text_or_base64(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": base64(bytes) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_a_body_gets() {
        assert_eq!(method(None, false).unwrap(), Method::GET);
        assert_eq!(method(None, true).unwrap(), Method::POST);
        assert_eq!(method(Some("patch"), true).unwrap(), Method::PATCH);
        assert_eq!(method(Some("a b"), true).unwrap_err().exit, 2);
    }

    #[test]
    fn headers_and_bodies_have_json() {
        let mut map = HeaderMap::new();
        for value in ["a", "b"] {
            map.append("set-cookie", HeaderValue::from_static(value));
        }
        map.insert("x", HeaderValue::from_static("y"));
        assert_eq!(headers(&map), json!({"set-cookie": ["a", "b"], "x": "y"}));
        assert_eq!(text_or_base64(b"a\xff"), json!({"base64": "Yf8="}));
        assert_eq!(text_or_base64("é".as_bytes()), json!("é"));
    }
}
