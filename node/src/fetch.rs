//! Modules from other nodes and for them, by digest.

use std::sync::Arc;

use futures::StreamExt as _;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use peerless_core::{Digest, Input};
use peerless_net::Body;
use tokio_util::io::ReaderStream;

use crate::bytes32::{hex, unhex32};
use crate::headers;
use crate::id::NodeId;
use crate::modules::ModuleError;
use crate::node::Node;

/// Bytes of a module that are read from the disk at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// [`Effect::Fetch`](peerless_core::Effect::Fetch): from the first of these peers that has it.
pub(crate) fn fetch(node: &Arc<Node>, digest: Digest, size: u64, from: Vec<NodeId>) {
    let node = node.clone();
    tokio::spawn(async move {
        let mut ok = node.modules.verified(&digest).await;
        for peer in from {
            if ok {
                break;
            }
            if peer == node.me {
                continue;
            }
            match fetch_from(&node, &digest, size, peer).await {
                Ok(()) => ok = true,
                Err(error) => tracing::warn!(%peer, %error, "cannot fetch a module"),
            }
        }
        node.tell(Input::Fetched { digest, ok }).await;
    });
}

async fn fetch_from(
    node: &Node,
    digest: &Digest,
    size: u64,
    peer: NodeId,
) -> Result<(), ModuleError> {
    let broken = |why: String| ModuleError::Broken(why);
    let mut request = http::Request::new(peerless_net::empty());
    request.headers_mut().insert(headers::FETCH, headers::text(&hex(&digest.0)));
    let response = node.net().call(peer.key_bytes(), request).await;
    let response = response.map_err(|error| broken(error.to_string()))?;
    if response.status() != StatusCode::OK {
        return Err(broken(format!("the peer answered {}", response.status())));
    }
    let mut body = response.into_body();
    let mut writer = node.modules.writer().await?;
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(error.to_string()))?;
        if let Some(data) = frame.data_ref() {
            read += data.len() as u64;
            if read > size {
                return Err(broken(format!("it has more than the {size} bytes it should have")));
            }
            writer.write(data).await?;
        }
    }
    writer.finish(Some(digest)).await?;
    Ok(())
}

/// Gives another node a module.
pub(crate) async fn give(node: &Node, headers: &http::HeaderMap) -> http::Response<Body> {
    let digest = headers.get(headers::FETCH).and_then(|value| unhex32(value.to_str().ok()?));
    let response = match digest {
        Some(digest) => stream(node, &Digest(digest)).await,
        None => None,
    };
    response.unwrap_or_else(|| {
        let mut response = http::Response::new(peerless_net::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    })
}

/// A module as an answer; `None` if it is not here.
pub(crate) async fn stream(node: &Node, digest: &Digest) -> Option<http::Response<Body>> {
    let file = tokio::fs::File::open(node.modules.path(digest)).await.ok()?;
    let size = file.metadata().await.ok()?.len();
    let chunks = ReaderStream::with_capacity(file, CHUNK_BYTES);
    let body = peerless_net::body(StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))));
    let mut response = http::Response::new(body);
    response.headers_mut().insert(http::header::CONTENT_LENGTH, size.into());
    let wasm = http::HeaderValue::from_static("application/wasm");
    response.headers_mut().insert(http::header::CONTENT_TYPE, wasm);
    Some(response)
}
