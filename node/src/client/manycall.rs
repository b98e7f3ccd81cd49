//! `manycall`: items go out and results come in over one request, both as NDJSON.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use indicatif::{ProgressBar, ProgressStyle};
use peerless_core::Quorum;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::failure::{Failure, INTERRUPTED, ITEMS_FAILED};
use super::functions::FullName;
use super::gateway;
use super::http::{Body, Gateway, streamed};
use super::output::{Output, count, line};
use crate::cli::ManycallArgs;
use crate::units::show_duration;

/// A result holds an answer's whole body; far more than a node sends is no result.
const LINE_BYTES_MAX: usize = 256 << 20;

pub(super) async fn manycall(args: ManycallArgs, output: Output) -> Result<(), Failure> {
    let gateway = gateway(&args.gateway)?;
    let name = FullName::parse(&args.name)?.path();
    let sent = Arc::new(Sent::default());
    let items = Counted { inner: items(&args.items).await?, sent: sent.clone() };
    if let Some(out) = &args.out {
        check_out(out, &args.items).await?;
    }
    let path = path(&name, args.retries, args.deadline, args.quorum);
    let mut progress = Progress::new(sent);
    let job = async {
        let mut results = Results::open(&gateway, &path, streamed(items)).await?;
        // What is in the file stays there until something comes in its place.
        let mut out = Out::open(args.out.as_deref()).await?;
        copy(&mut results, &mut out, &mut progress).await
    };
    let ended = tokio::select! {
        ended = job => ended,
        _ = tokio::signal::ctrl_c() => Err(Failure {
            exit: INTERRUPTED,
            message: String::new(),
        }),
    };
    progress.finish();
    match ended {
        Ok(summary) => finish(&summary, args.out.is_some(), output),
        Err(failure) if failure.exit == INTERRUPTED => {
            let done = count(progress.done as usize, "result");
            let message = format!("interrupted after {done}; a job cannot be resumed: call again");
            Err(Failure { exit: INTERRUPTED, message })
        }
        Err(failure) => Err(failure),
    }
}

/// Results must not go where the items come from, nor where nothing can be written.
async fn check_out(out: &Path, items: &Path) -> Result<(), Failure> {
    let what = out.display();
    match (tokio::fs::canonicalize(out).await, tokio::fs::canonicalize(items).await) {
        (Ok(file), Ok(items)) if file == items => {
            Err(Failure::usage(format!("--out {what} is the file that --items reads")))
        }
        (Ok(file), _) if file.is_dir() => {
            Err(Failure::usage(format!("--out {what} is a directory; expected a file")))
        }
        (Err(_), _) => {
            let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty());
            match dir.map(std::fs::metadata) {
                Some(Err(error)) => Err(Failure::usage(format!("--out {what}: {error}"))),
                Some(Ok(_)) | None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Where a manycall is asked for.
pub(crate) fn path(
    name: &str,
    retries: Option<u8>,
    deadline: Option<Duration>,
    quorum: Option<Quorum>,
) -> String {
    let retries = retries.map(|retries| format!("retries={retries}"));
    let deadline = deadline.map(|deadline| format!("deadline={}", show_duration(deadline)));
    let quorum = quorum.map(|quorum| format!("quorum={}/{}", quorum.agree(), quorum.of()));
    let options: Vec<_> = retries.into_iter().chain(deadline).chain(quorum).collect();
    let mark = if options.is_empty() { "" } else { "?" };
    format!("/manycall/{name}{mark}{}", options.join("&"))
}

/// Copies results as they come; returns the summary that ends them.
async fn copy(
    results: &mut Results,
    out: &mut Out,
    progress: &mut Progress,
) -> Result<Value, Failure> {
    let mut failed = None;
    while let Some(text) = results.next().await? {
        out.write(&text).await?;
        match Line::read(&text)? {
            Line::Summary(summary) => {
                out.flush().await?;
                return failed.map_or(Ok(summary), Err);
            }
            Line::Result(result) => progress.add(result.status),
            // The summary says how far it came.
            Line::Failed(failure) => failed = Some(failure),
        }
        if !results.holds_line() {
            out.flush().await?;
        }
    }
    out.flush().await?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    let done = count(progress.done as usize, "result");
    Err(Failure::failed(format!("the answer broke off after {done}, without a summary")))
}

fn finish(summary: &Value, in_file: bool, output: Output) -> Result<(), Failure> {
    let number = |key| summary.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (items, failed, unknown) = (number("items"), number("failed"), number("unknown"));
    if in_file && output.json {
        line(&serde_json::json!({ "summary": summary }).to_string())?;
    }
    if !output.json {
        let seconds = summary.get("seconds").and_then(Value::as_f64).unwrap_or(0.0);
        let on = count(number("hosts") as usize, "host");
        let attempts = count(number("attempts") as usize, "attempt");
        eprintln!(
            "{}: {} succeeded, {failed} failed, {unknown} unknown; {attempts} on {on}, {seconds:.1} s",
            count(items as usize, "item"),
            number("succeeded"),
        );
    }
    if failed + unknown > 0 { Err(Failure::silent(ITEMS_FAILED)) } else { Ok(()) }
}

/// A line of the answer.
pub(crate) enum Line {
    Result(ItemResult),
    Summary(Value),
    /// The whole job failed after it had begun; the summary follows.
    Failed(Failure),
}

/// What the line of a result must have; the rest of it is passed on unread.
#[derive(Debug, Deserialize)]
pub(crate) struct ItemResult {
    pub(crate) index: u64,
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) body: Value,
    pub(crate) host: Option<String>,
    #[serde(default)]
    pub(crate) attempts: u64,
}

impl Line {
    pub(crate) fn read(text: &[u8]) -> Result<Self, Failure> {
        let wrong = |error: serde_json::Error| {
            let shown = String::from_utf8_lossy(&text[..text.len().min(120)]).into_owned();
            Failure::failed(format!(
                "the node's answer has a line that is no result ({error}): {shown}"
            ))
        };
        let mut value: Value = serde_json::from_slice(text).map_err(wrong)?;
        if let Some(summary) = value.get_mut("summary") {
            return Ok(Self::Summary(summary.take()));
        }
        if value.get("index").is_none()
            && let Some(error) = value.get("error").and_then(Value::as_str)
        {
            let code = value.get("code").and_then(Value::as_str).unwrap_or("failed");
            let message = format!("the manycall failed: {error} ({code})");
            return Ok(Self::Failed(Failure::failed(message)));
        }
        serde_json::from_value(value).map(Self::Result).map_err(wrong)
    }
}

/// The answer's lines, as they come.
pub(crate) struct Results {
    body: Incoming,
    gateway: Gateway,
    buffer: BytesMut,
    /// Bytes of the buffer that hold no end of a line.
    searched: usize,
}

impl Results {
    /// Begins a manycall; `items` go out while results are read.
    pub(crate) async fn open(gateway: &Gateway, path: &str, items: Body) -> Result<Self, Failure> {
        let request = http::Request::post(path)
            .header(CONTENT_TYPE, "application/x-ndjson")
            .body(items)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let response = gateway.send(request).await?;
        if !response.status().is_success() {
            let name = path.trim_start_matches("/manycall/");
            let name = name.split('?').next().unwrap_or(name);
            let reply = gateway.rest(response).await?;
            return Err(reply.failure(gateway, &format!("call {name}")));
        }
        let (body, gateway) = (response.into_body(), gateway.clone());
        Ok(Self { body, gateway, buffer: BytesMut::new(), searched: 0 })
    }

    /// The next line, without its end; empty lines are left out.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(end) = self.line_end() {
                let text = self.buffer.split_to(end).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                if !text.trim_ascii().is_empty() {
                    return Ok(Some(text));
                }
                continue;
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_BYTES_MAX {
                return Err(Failure::failed("the node's answer has a line without end"));
            }
            let Some(frame) = self.body.frame().await else {
                let rest = self.buffer.split().freeze();
                return Ok((!rest.trim_ascii().is_empty()).then_some(rest));
            };
            let frame = frame.map_err(|error| self.gateway.broke(&error))?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    /// Whether the next line is here already.
    fn holds_line(&self) -> bool {
        self.line_end().is_some()
    }

    fn line_end(&self) -> Option<usize> {
        let rest = &self.buffer[self.searched..];
        rest.iter().position(|byte| *byte == b'\n').map(|at| self.searched + at)
    }
}

type Source = Pin<Box<dyn AsyncRead + Send>>;

async fn items(path: &Path) -> Result<Source, Failure> {
    if path == Path::new("-") {
        return Ok(Box::pin(tokio::io::stdin()));
    }
    let failed = |error: io::Error| Failure::unreadable(path, &error);
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    if file.metadata().await.map_err(failed)?.is_dir() {
        return Err(Failure::usage(format!("cannot read {}: it is a directory", path.display())));
    }
    Ok(Box::pin(file))
}

/// How many items went out.
#[derive(Default)]
struct Sent {
    lines: AtomicU64,
}

/// Items on their way, counted.
struct Counted {
    inner: Source,
    sent: Arc<Sent>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.inner.as_mut().poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = &polled {
            let piece = &buffer.filled()[before..];
            let lines = piece.split(|byte| *byte == b'\n').count() - 1;
            self.sent.lines.fetch_add(lines as u64, Ordering::Relaxed);
        }
        polled
    }
}

/// Where results go.
struct Out {
    what: String,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
}

impl Out {
    async fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            let writer = Box::pin(tokio::io::BufWriter::new(tokio::io::stdout()));
            return Ok(Self { what: "standard output".into(), writer });
        };
        let what = path.display().to_string();
        let file = tokio::fs::File::create(path).await;
        let file = file.map_err(|error| Failure::unwritable(&what, &error))?;
        Ok(Self { what, writer: Box::pin(tokio::io::BufWriter::new(file)) })
    }

    async fn write(&mut self, text: &[u8]) -> Result<(), Failure> {
        let written = async {
            self.writer.write_all(text).await?;
            self.writer.write_all(b"\n").await
        };
        written.await.map_err(|error| Failure::unwritable(&self.what, &error))
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().await.map_err(|error| Failure::unwritable(&self.what, &error))
    }
}

/// The bar on standard error; hidden where that is no terminal.
struct Progress {
    bar: ProgressBar,
    sent: Arc<Sent>,
    done: u64,
    failed: u64,
}

impl Progress {
    fn new(sent: Arc<Sent>) -> Self {
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} {msg}");
        let bar = ProgressBar::new(0).with_style(style.expect("a valid template"));
        Self { bar, sent, done: 0, failed: 0 }
    }

    fn add(&mut self, status: u16) {
        self.done += 1;
        if status >= 400 {
            self.failed += 1;
            self.bar.set_message(format!("{} failed", self.failed));
        }
        self.bar.set_length(self.sent.lines.load(Ordering::Relaxed).max(self.done));
        self.bar.set_position(self.done);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_a_query() {
        assert_eq!(path("f", None, None, None), "/manycall/f");
        let all = path("f", Some(2), Some(Duration::from_millis(1500)), Quorum::new(2, 3));
        assert_eq!(all, "/manycall/f?retries=2&deadline=1500ms&quorum=2/3");
    }

    #[test]
    fn a_line_is_a_result_or_the_summary() {
        let text = br#"{"index":1,"status":200,"body":"x","host":"12D3","attempts":2}"#;
        let Line::Result(result) = Line::read(text).unwrap() else { panic!("a result") };
        assert_eq!((result.index, result.status, result.attempts), (1, 200, 2));
        assert!(matches!(Line::read(br#"{"summary":{"items":0}}"#).unwrap(), Line::Summary(_)));
        let text = br#"{"error":"no host of f","code":"no-host"}"#;
        let Line::Failed(failure) = Line::read(text).unwrap() else { panic!("a failure") };
        assert_eq!(failure.message, "the manycall failed: no host of f (no-host)");
        let failure = Line::read(b"{\"index\":\"x\"}").err().unwrap();
        assert!(failure.message.contains("{\"index\":\"x\"}"), "{failure}");
    }
}
