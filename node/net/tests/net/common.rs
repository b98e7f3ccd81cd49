//! Nodes on loopback, and the waits that tests are made of.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use peerless_net::{
    Body, CallHandler, Event, Kind, Multiaddr, Net, PeerKey, Settings, body, full,
    identity::Keypair,
};
use tokio::{sync::mpsc, time::timeout};

/// Far more than anything here takes, so that only a hang ends by it.
pub(crate) const LONG: Duration = Duration::from_mins(1);

pub(crate) const NETWORK: &str = "test";

/// Echoes: `/echo` the body as it comes; any other path the request's line and headers.
pub(crate) struct Echo;

impl CallHandler for Echo {
    fn call(
        &self,
        from: PeerKey,
        request: http::Request<Body>,
    ) -> BoxFuture<'static, http::Response<Body>> {
        Box::pin(async move {
            if request.uri().path() == "/echo" {
                return http::Response::new(body(request.into_body()));
            }
            let text = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
            let response =
                http::Response::builder().status(418).header("x-from", u16::from(from[0]));
            response.body(full(text)).unwrap()
        })
    }
}

pub(crate) struct Node {
    pub(crate) net: Net,
    pub(crate) key: PeerKey,
    pub(crate) keypair: Keypair,
    pub(crate) events: mpsc::Receiver<Event>,
}

/// A node on a port of its own, with other limits or calls as a test needs.
pub(crate) async fn node_with(
    calls: Arc<dyn CallHandler>,
    change: impl FnOnce(&mut Settings),
) -> Node {
    let keypair = Keypair::generate_ed25519();
    let mut settings = Settings::new(keypair, NETWORK);
    settings.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    change(&mut settings);
    let keypair = settings.keypair.clone();
    let (net, events) = peerless_net::start(settings, calls).await.unwrap();
    Node { key: net.me(), net, keypair, events }
}

pub(crate) async fn node() -> Node {
    node_with(Arc::new(Echo), |_| {}).await
}

/// A node that answers every request by [`answer`].
pub(crate) async fn responder() -> Node {
    responder_with(|_| {}).await
}

pub(crate) async fn responder_with(change: impl FnOnce(&mut Settings)) -> Node {
    let mut node = node_with(Arc::new(Echo), change).await;
    let (_, unused) = mpsc::channel(1);
    let mut events = std::mem::replace(&mut node.events, unused);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let Event::Request { kind, body, reply, .. } = event {
                reply.send(answer(kind, &body));
            }
        }
    });
    node
}

/// What a responder answers.
pub(crate) fn answer(kind: Kind, body: &[u8]) -> Bytes {
    let mut answer = vec![if kind == Kind::Kad { b'k' } else { b'p' }];
    answer.extend_from_slice(body);
    answer.into()
}

impl Node {
    pub(crate) fn address(&self) -> Multiaddr {
        self.net.own_addresses().remove(0)
    }

    pub(crate) fn knows(&self, other: &Node) {
        self.net.learn(&other.key, [other.address()]);
    }

    /// A request that must be answered rightly.
    pub(crate) async fn asks(&self, other: &Node, kind: Kind, text: &str) {
        let body = Bytes::copy_from_slice(text.as_bytes());
        let got = self.net.request(&other.key, kind, body.clone(), LONG).await;
        assert_eq!(got.as_deref(), Ok(answer(kind, &body).as_ref()), "{text}");
    }

    /// Waits for the event that fits; others are passed over.
    pub(crate) async fn event<T>(&mut self, mut fits: impl FnMut(Event) -> Option<T>) -> T {
        soon("an event", async {
            loop {
                let event = self.events.recv().await.expect("network is up");
                if let Some(found) = fits(event) {
                    return found;
                }
            }
        })
        .await
    }
}

/// Waits, but not for ever.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    timeout(LONG, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// Waits until something has become so. For what has no event to wait for.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    soon(what, async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub(crate) async fn text(response: http::Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}
