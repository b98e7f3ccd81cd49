//! `POST /manycall/{function}`: one function over many items, over all its hosts.
//!
//! [`feed`] brings items as the core wants them; this file writes results as the core has them.
//! Both go on at once, so results stream out while items still come in.

mod feed;
mod items;
mod job;
mod line;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::{ApiError, FunctionRef, Segment, parameters, read_body, resolve};
use crate::budget::{Budget, Share};
use crate::node::Node;
use items::Items;
pub(crate) use items::fuzz as fuzz_items;
use job::{Job, Next};

/// Further attempts of an item unless said.
const RETRIES: u8 = 3;
/// Lines of results between the core and a user who reads slowly, and their bytes.
const LINES_MAX: usize = 64;
const LINES_BYTES_MAX: usize = 16 << 20;
/// How long the status of an NDJSON answer waits for the first thing to be known: an unknown
/// function is 404 within this, and a user who sends slowly still gets a head.
const HEAD_TIME: Duration = Duration::from_secs(3);
/// Results of a JSON document, together.
const DOCUMENT_RESULTS_MAX: usize = 256 << 20;
/// What a result takes beside its text while others are waited for.
const RESULT_BYTES: usize = 64;

/// What a user can choose.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    retries: Option<u8>,
    deadline: Option<String>,
    quorum: Option<String>,
}

impl Options {
    fn from_query(request: &Request) -> Result<Self, ApiError> {
        let mut options = Self::default();
        for (key, value) in parameters(request) {
            match key.as_str() {
                "retries" => {
                    let wrong = || ApiError::bad(format!("retries: {value:?} is not 0..255"));
                    options.retries = Some(value.parse().map_err(|_| wrong())?);
                }
                "deadline" => options.deadline = Some(value),
                "quorum" => options.quorum = Some(value),
                other => {
                    let why =
                        format!("unknown option {other:?}; there are retries, deadline and quorum");
                    return Err(ApiError::bad(why));
                }
            }
        }
        Ok(options)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    #[serde(borrow)]
    items: &'a RawValue,
    #[serde(default)]
    options: Options,
}

/// The route.
pub(super) async fn manycall(
    State(node): State<Arc<Node>>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, ApiError> {
    let function = resolve(&node, &name, None)?;
    if request.headers().contains_key("x-job-id") {
        return Err(ApiError::bad("X-Job-Id: jobs cannot be resumed here"));
    }
    let of = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match of.map(|of| of.split(';').next().unwrap_or("").trim()) {
        Some("application/json") => whole(&node, &function, request).await,
        Some("application/x-ndjson") => streaming(&node, &function, request).await,
        _ => {
            let why = "Content-Type must be application/json or application/x-ndjson";
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", why))
        }
    }
}

/// One document in, one out, in the order of the items.
async fn whole(
    node: &Arc<Node>,
    function: &FunctionRef,
    request: Request,
) -> Result<Response, ApiError> {
    if let Some((key, _)) = parameters(&request).first() {
        return Err(ApiError::bad(format!("option {key:?} belongs into the document's options")));
    }
    // What all documents take together, this one's own bytes first.
    let mut share = node.documents.share();
    let max = node.settings.limits.json_bytes_max as usize;
    let text = read_body(node, request, max, &mut share).await?;
    let document: Document<'_> = serde_json::from_slice(&text)
        .map_err(|error| ApiError::bad(format!("the document: {error}")))?;
    let source = Items::whole(&text, document.items)
        .ok_or_else(|| ApiError::bad("the document: items: expected an array"))?;
    let mut job = Job::begin(node, function, &document.options, source).await?;
    let (mut results, mut bytes) = (Vec::new(), 0);
    loop {
        match job.next().await {
            Next::Result(result) => {
                let size = result.text.len() + RESULT_BYTES;
                bytes += size;
                if bytes > DOCUMENT_RESULTS_MAX {
                    let why =
                        "the results are too large for one document; use application/x-ndjson";
                    return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", why));
                }
                if !share.try_grow(size) {
                    return Err(ApiError::too_many("documents"));
                }
                let end = result.text.len() - 1;
                results.push((result.index, result.text.slice(..end)));
            }
            Next::Failed(error) => return Err(error),
            Next::Finished => {
                results.sort_unstable_by_key(|(index, _)| *index);
                return Ok(written(results, &job.summary(), share));
            }
        }
    }
}

/// The document of all results, written piece by piece. The share is given back with its last.
fn written(results: Vec<(u64, Bytes)>, summary: &str, share: Share) -> Response {
    let last = Bytes::from(format!("],\"summary\":{summary}}}"));
    let pieces = results.into_iter().enumerate().flat_map(|(n, (_, text))| {
        let before = if n == 0 { "" } else { "," };
        [Bytes::from_static(before.as_bytes()), text]
    });
    let pieces = std::iter::once(Bytes::from_static(b"{\"results\":["))
        .chain(pieces)
        .chain(std::iter::once(last))
        .filter(|piece| !piece.is_empty());
    let body = stream::unfold((pieces, share), |(mut pieces, share)| async move {
        let piece = pieces.next()?;
        Some((Ok::<_, std::convert::Infallible>(piece), (pieces, share)))
    });
    let json = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::OK, json, Body::from_stream(body)).into_response()
}

/// Lines in, lines out, in the order of their completion.
async fn streaming(
    node: &Arc<Node>,
    function: &FunctionRef,
    request: Request,
) -> Result<Response, ApiError> {
    let options = Options::from_query(&request)?;
    let source = Items::lines(request.into_body());
    let mut job = Job::begin(node, function, &options, source).await?;
    let first = match tokio::time::timeout(HEAD_TIME, job.next()).await {
        Ok(Next::Failed(error)) => return Err(error),
        Ok(next) => Some(next),
        Err(_) => None,
    };
    let (lines, receiver) = mpsc::channel(LINES_MAX);
    tokio::spawn(write(job, first, lines));
    let body = stream::unfold((receiver, None), |(mut receiver, written)| async move {
        // The line before has been taken over by the connection.
        drop::<Option<Line>>(written);
        let line: Line = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(line.text.clone()), (receiver, Some(line))))
    });
    let ndjson = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((StatusCode::OK, ndjson, Body::from_stream(body)).into_response())
}

/// A line on its way, with what it takes of the job's budget and of that for lines.
struct Line {
    text: Bytes,
    _shares: (Option<Share>, Share),
}

/// Writes lines until the end, or until the user hangs up, which cancels the job.
async fn write(mut job: Job, first: Option<Next>, lines: mpsc::Sender<Line>) {
    let writing = async {
        let mut out = Out { budget: Budget::new(LINES_BYTES_MAX), lines: lines.clone() };
        let mut pending = first;
        loop {
            let next = match pending.take() {
                Some(next) => next,
                None => job.next().await,
            };
            match next {
                Next::Result(result) => out.line(result.text, result.share).await?,
                Next::Failed(error) => {
                    out.line(line::error(&error), None).await?;
                    break;
                }
                Next::Finished => break,
            }
        }
        let summary = format!("{{\"summary\":{}}}\n", job.summary());
        out.line(summary.into(), None).await
    };
    tokio::select! {
        // It ends with what it wrote, or because nobody reads.
        _ = writing => {}
        () = lines.closed() => {}
    }
}

/// Where lines go.
struct Out {
    budget: Budget,
    lines: mpsc::Sender<Line>,
}

impl Out {
    /// Sends a line, as soon as those before leave room for it.
    async fn line(&mut self, text: Bytes, held: Option<Share>) -> Option<()> {
        let mut share = self.budget.share();
        share.grow(text.len()).await;
        self.lines.send(Line { text, _shares: (held, share) }).await.ok()
    }
}
