//! Connections to the API: how many, how long, how large a head.

use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::node::Node;

/// Bytes of a request's head: OpenFaaS takes 1 MiB.
const HEAD_BYTES_MAX: usize = 1 << 20;
/// Headers of a request.
const HEADERS_MAX: usize = 256;

/// Takes connections until it is dropped.
pub(crate) async fn serve(node: Arc<Node>, listener: TcpListener) {
    let router = super::router(&node);
    let limits = &node.settings.limits;
    let places = Arc::new(Semaphore::new(limits.http_connections_max));
    let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.http_idle)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let server = Arc::new(server);
    loop {
        let place = places.clone().acquire_owned().await.expect("it is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: others have to end first.
                tracing::warn!(%error, "cannot take a connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let server = server.clone();
        tokio::spawn(async move {
            let served = server.serve_connection(TokioIo::new(stream), service).await;
            if let Err(error) = served {
                tracing::debug!(error, "a connection ended badly");
            }
            drop(place);
        });
    }
}
