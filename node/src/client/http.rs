//! HTTP/1.1 to a node: one connection a request, bodies streaming both ways at once.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use serde_json::Value;
use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio_util::io::ReaderStream;

use super::failure::Failure;
use crate::bytes32::base64;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer that is kept whole is not larger: lists, statuses, errors.
const REPLY_BYTES_MAX: usize = 64 << 20;
/// What is read of a file or standard input at once.
const PIECE_BYTES: usize = 64 << 10;

/// What a request carries.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;
/// A request to a node; its address is a path with a query.
pub(crate) type Request = http::Request<Body>;
/// A node's answer, whose body is still to come.
pub(crate) type Response = http::Response<Incoming>;

/// The HTTP API of a node.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    /// For messages: without credentials.
    url: String,
    host: String,
    port: u16,
    prefix: String,
    authorization: Option<HeaderValue>,
}

impl Gateway {
    /// What a URL names.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong =
            |why: &str| Failure::usage(format!("gateway {:?}: {why}", without_credentials(text)));
        let expected = "expected a URL such as http://127.0.0.1:8080";
        let with_scheme =
            if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = with_scheme.parse().map_err(|_| wrong(expected))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(wrong("https is not supported; use http to a node nearby"));
            }
            _ => return Err(wrong(expected)),
        }
        let authority = uri.authority().ok_or_else(|| wrong(expected))?;
        let host = authority.host();
        if host.is_empty() || uri.query().is_some() {
            return Err(wrong(expected));
        }
        let credentials = authority.as_str().rsplit_once('@').map(|(user, _)| user);
        let authorization = credentials.map(|user| {
            authorization(user)
                .ok_or_else(|| wrong("its user and password are not percent-encoded UTF-8"))
        });
        let port = authority.port_u16().unwrap_or(80);
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self {
            url: format!("http://{host}:{port}{prefix}"),
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            prefix,
            authorization: authorization.transpose()?,
        })
    }

    /// Where it is, without credentials.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request; returns when the answer's head is there. Its body can be read while that of
    /// the request is still being sent.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, Failure> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.unreachable(&error)),
            Err(_) => return Err(self.unreachable(&io::ErrorKind::TimedOut.into())),
        };
        // Small pieces of a streamed body leave at once.
        let _ = stream.set_nodelay(true);
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.broke(&error))?;
        tokio::spawn(connection);
        let request = self.complete(request)?;
        sender.send_request(request).await.map_err(|error| self.broke(&error))
    }

    fn complete(&self, mut request: Request) -> Result<Request, Failure> {
        let path = request.uri().path_and_query();
        let path = path.map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        let uri = format!("{}{path}", self.prefix).parse::<Uri>();
        *request.uri_mut() = uri.map_err(|_| Failure::usage(format!("{path:?} is no path")))?;
        let authority = self.url["http://".len()..].trim_end_matches(&self.prefix);
        let headers = request.headers_mut();
        if !headers.contains_key(HOST) {
            let host = HeaderValue::from_str(authority);
            headers.insert(HOST, host.expect("a host of a parsed URL is a header's value"));
        }
        if !headers.contains_key(USER_AGENT) {
            let agent = HeaderValue::from_static(concat!("peerless/", env!("CARGO_PKG_VERSION")));
            headers.insert(USER_AGENT, agent);
        }
        // Functions are open, and what is sent to them is theirs to read.
        let is_function = ["/function/", "/async-function/"].iter().any(|it| path.starts_with(it));
        if let Some(value) = &self.authorization
            && !is_function
            && !headers.contains_key(AUTHORIZATION)
        {
            headers.insert(AUTHORIZATION, value.clone());
        }
        Ok(request)
    }

    /// A request whose body and answer are JSON, or nothing.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Reply, Failure> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::ACCEPT, "application/json");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(whole(bytes));
        let request = request.map_err(|_| Failure::usage(format!("{path:?} is no path")))?;
        self.reply(request, within).await
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn reply(&self, request: Request, within: Duration) -> Result<Reply, Failure> {
        let path = request.uri().path().to_owned();
        let exchange = async {
            let response = self.send(request).await?;
            self.rest(response).await
        };
        match tokio::time::timeout(within, exchange).await {
            Ok(reply) => reply,
            Err(_) => Err(Failure::failed(format!(
                "{} did not answer {path} within {} s",
                self.url,
                within.as_secs()
            ))),
        }
    }

    /// Reads the whole answer.
    pub(crate) async fn rest(&self, response: Response) -> Result<Reply, Failure> {
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), REPLY_BYTES_MAX);
        let bytes = body.collect().await.map_err(|error| self.broke(&*error))?.to_bytes();
        Ok(Reply { status, bytes })
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            io::ErrorKind::TimedOut => "no answer".to_owned(),
            _ => error.to_string(),
        };
        Failure::failed(format!(
            "cannot connect to a node at {}: {why}; start one with `peerless up`, or name another \
             with --gateway URL",
            self.url
        ))
    }

    /// The connection broke.
    pub(crate) fn broke(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            why = format!("{why}: {inner}");
            cause = inner.source();
        }
        Failure::failed(format!("the connection to {} broke: {why}", self.url))
    }
}

/// An answer that was read whole.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) bytes: Bytes,
}

impl Reply {
    /// The JSON of an answer that went well; `doing` says what was tried otherwise.
    pub(crate) fn json(&self, gateway: &Gateway, doing: &str) -> Result<Value, Failure> {
        let reply = self.ok(gateway, doing)?;
        serde_json::from_slice(&reply.bytes).map_err(|error| {
            let url = gateway.url();
            Failure::failed(format!(
                "cannot {doing}: {url} answered no JSON ({error}): is it a node?"
            ))
        })
    }

    /// The answer, if it went well.
    pub(crate) fn ok(&self, gateway: &Gateway, doing: &str) -> Result<&Self, Failure> {
        if self.status.is_success() { Ok(self) } else { Err(self.failure(gateway, doing)) }
    }

    /// What went wrong, in the node's words.
    pub(crate) fn failure(&self, gateway: &Gateway, doing: &str) -> Failure {
        let url = gateway.url();
        let status = self.status.as_u16();
        let (error, code) = self.error();
        let code = code.map(|code| format!(" {code}")).unwrap_or_default();
        let error = match self.status {
            StatusCode::UNAUTHORIZED => format!(
                "{error}: the node asks for credentials; use --gateway http://USER:PASSWORD@…"
            ),
            _ => error,
        };
        let message = format!("cannot {doing}: {error} ({url} answered {status}{code})");
        match self.status {
            // What the node takes for bad input was typed or named here.
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE => Failure::usage(message),
            _ => Failure::failed(message),
        }
    }

    /// The error's text and code.
    pub(crate) fn error(&self) -> (String, Option<String>) {
        let text = |value: &Value, key| value.get(key).and_then(Value::as_str).map(str::to_owned);
        if let Ok(value) = serde_json::from_slice::<Value>(&self.bytes)
            && let Some(error) = text(&value, "error")
        {
            let hop = text(&value, "hop").map(|hop| format!(" (at {hop})")).unwrap_or_default();
            return (format!("{error}{hop}"), text(&value, "code"));
        }
        let plain = String::from_utf8_lossy(&self.bytes[..self.bytes.len().min(4096)]);
        let plain = plain.trim().replace(['\r', '\n'], " ");
        let reason = self.status.canonical_reason().unwrap_or("an unknown status");
        (if plain.is_empty() { reason.to_lowercase() } else { plain }, None)
    }
}

/// A body that is there already.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that comes as it is read.
pub(crate) fn streamed(reader: impl AsyncRead + Send + 'static) -> Body {
    let pieces = ReaderStream::with_capacity(reader, PIECE_BYTES);
    StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync()
}

/// A file as a body, with its length where it has one.
pub(crate) async fn file(path: &Path) -> Result<(Body, Option<u64>), Failure> {
    let failed = |error: io::Error| Failure::unreadable(path, &error);
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let meta = file.metadata().await.map_err(failed)?;
    if meta.is_dir() {
        return Err(Failure::usage(format!("cannot read {}: it is a directory", path.display())));
    }
    // A file that grows meanwhile is sent as long as it was, so the request stays well formed.
    let length = meta.is_file().then_some(meta.len());
    let body = match length {
        Some(length) => streamed(tokio::io::AsyncReadExt::take(file, length)),
        None => streamed(file),
    };
    Ok((body, length))
}

/// A text as one segment of a path, or one value of a query.
pub(crate) fn escape(text: &str) -> String {
    const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(text, &PLAIN).to_string()
}

fn unescape(text: &str) -> Option<String> {
    // An escape that is none would be kept as it is; in a password that is surely a mistake.
    let whole =
        |piece: &str| piece.len() >= 2 && piece.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    if !text.split('%').skip(1).all(whole) {
        return None;
    }
    let text = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
    Some(text.into_owned())
}

fn authorization(user_info: &str) -> Option<HeaderValue> {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let pair = format!("{}:{}", unescape(user)?, unescape(password)?);
    let mut value = HeaderValue::from_str(&format!("Basic {}", base64(pair.as_bytes()))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Credentials have no place in a message.
fn without_credentials(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            format!("{scheme}://…@{host}")
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_a_url() {
        let gateway = Gateway::parse("http://127.0.0.1:8080/").unwrap();
        assert_eq!((gateway.url(), gateway.port), ("http://127.0.0.1:8080", 8080));
        let gateway = Gateway::parse("http://me:a%40b@[::1]:81/x/").unwrap();
        assert_eq!((gateway.url(), gateway.host.as_str()), ("http://[::1]:81/x", "::1"));
        let request = http::Request::get("/a?b=c").body(whole("")).unwrap();
        let request = gateway.complete(request).unwrap();
        assert_eq!(request.uri(), "/x/a?b=c");
        assert_eq!(request.headers()[HOST], "[::1]:81");
        assert_eq!(request.headers()[AUTHORIZATION], "Basic bWU6YUBi");
        let call = http::Request::get("/function/f").body(whole("")).unwrap();
        assert!(!gateway.complete(call).unwrap().headers().contains_key(AUTHORIZATION));
        assert_eq!(Gateway::parse("localhost:8080").unwrap().url(), "http://localhost:8080");
        assert_eq!(Gateway::parse("http://node").unwrap().port, 80);
    }

    #[test]
    fn a_wrong_gateway_is_named_without_its_password() {
        for (text, words) in [
            ("https://u:secret@node", ["https://…@node", "https is not supported"]),
            ("ftp://node", ["ftp://node", "expected a URL"]),
            ("http://", ["http://", "expected a URL"]),
            ("http://a b", ["http://a b", "expected a URL"]),
            ("http://u:%zz@node", ["http://…@node", "percent"]),
        ] {
            let failure = Gateway::parse(text).unwrap_err();
            assert_eq!(failure.exit, 2);
            for word in words {
                assert!(failure.message.contains(word), "{}", failure.message);
            }
            assert!(!failure.message.contains("secret"));
        }
    }

    #[test]
    fn errors_are_read_in_both_forms() {
        let gateway = Gateway::parse("http://node:1").unwrap();
        let reply = |status: u16, text: &str| Reply {
            status: StatusCode::from_u16(status).unwrap(),
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        };
        let json = reply(503, r#"{"error":"4 of 20","code":"lookup-incomplete","hop":"gateway"}"#);
        let text = json.failure(&gateway, "find x").message;
        let expected =
            "cannot find x: 4 of 20 (at gateway) (http://node:1 answered 503 lookup-incomplete)";
        assert_eq!(text, expected);
        for (status, exit) in [(400, 2), (413, 2), (415, 2), (401, 1), (404, 1), (503, 1)] {
            assert_eq!(reply(status, "").failure(&gateway, "find x").exit, exit, "{status}");
        }
        let text = reply(500, "broken\nhere\n").failure(&gateway, "find x").message;
        assert_eq!(text, "cannot find x: broken here (http://node:1 answered 500)");
        let text = reply(404, "").failure(&gateway, "find x").message;
        assert_eq!(text, "cannot find x: not found (http://node:1 answered 404)");
    }
}
