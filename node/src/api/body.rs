//! Bodies of requests: how large they may be, and how long a client may be silent.

use std::time::Duration;

use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body;
use http_body_util::BodyExt as _;

use super::ApiError;
use crate::budget::Share;
use crate::node::Node;

/// The next piece of a body; `None` at its end. A client that sends nothing for `idle` is cut off.
pub(super) async fn piece<B>(body: &mut B, idle: Duration) -> Result<Option<Bytes>, ApiError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    loop {
        let frame = tokio::time::timeout(idle, body.frame()).await;
        match frame.map_err(|_| ApiError::silent(idle))? {
            None => return Ok(None),
            Some(Err(error)) => {
                return Err(ApiError::bad(format!("the body broke off: {error}")));
            }
            Some(Ok(frame)) => {
                // What follows a body in place of data says nothing here.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A whole body of bounded size, whose bytes count in `share`.
pub(super) async fn read_body(
    node: &Node,
    request: Request,
    max: usize,
    share: &mut Share,
) -> Result<Bytes, ApiError> {
    let idle = node.settings.limits.body_idle;
    let mut body = request.into_body();
    let too_large = || {
        let why = format!("the document has more than {max} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", why)
    };
    let known = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
    if known.is_some_and(|size| size > max) {
        return Err(too_large());
    }
    // No more room than has come: whoever announces much may send little.
    let mut whole = BytesMut::new();
    while let Some(data) = piece(&mut body, idle).await? {
        if whole.len() + data.len() > max {
            return Err(too_large());
        }
        if !share.try_grow(data.len()) {
            return Err(ApiError::too_many("documents"));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// A small JSON document.
pub(super) async fn document<T: serde::de::DeserializeOwned>(
    node: &Node,
    request: Request,
    max: usize,
) -> Result<T, ApiError> {
    let bytes = read_body(node, request, max, &mut node.documents.share()).await?;
    serde_json::from_slice(&bytes).map_err(|error| ApiError::bad(format!("bad JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};

    use super::*;

    #[tokio::test]
    async fn a_silent_client_is_cut_off() {
        let pieces = stream::iter(["x", "y"].map(Ok::<_, std::io::Error>)).chain(stream::pending());
        let mut body = axum::body::Body::from_stream(pieces);
        let idle = Duration::from_millis(50);
        for expected in ["x", "y"] {
            assert_eq!(piece(&mut body, idle).await.unwrap().unwrap(), expected);
        }
        let error = piece(&mut body, idle).await.unwrap_err();
        assert_eq!((error.status.as_u16(), error.code), (408, "body-timeout"));
        assert!(error.error.contains("for 50ms"), "{}", error.error);
    }
}
