//! Requests of users under way: what the core tells them, until each has its end.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use peerless_core::{Event, Input, Request, Ticket};
use tokio::sync::Notify;

use crate::id::NodeId;
use crate::node::Node;

/// All requests under way.
#[derive(Default)]
pub(crate) struct Asks {
    last: AtomicU64,
    open: Mutex<HashMap<Ticket, Arc<Mailbox>>>,
}

/// What was told and not yet read. It is bounded by the core: two events for anything but a
/// manycall, and for that its limit on results not taken.
#[derive(Default)]
struct Mailbox {
    told: Mutex<VecDeque<Told>>,
    more: Notify,
}

/// What the core has for one request.
#[derive(Debug)]
pub(crate) enum Told {
    /// An event.
    Event(Event<NodeId>),
    /// Room for so many more items.
    Want(u32),
}

impl Asks {
    fn next(&self) -> Ticket {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Ticket, Arc<Mailbox>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what the core says; nobody may be listening any more.
    pub(crate) fn told(&self, ticket: Ticket, told: Told) {
        let ended = matches!(&told, Told::Event(event) if event.is_final());
        let mailbox =
            if ended { self.lock().remove(&ticket) } else { self.lock().get(&ticket).cloned() };
        if let Some(mailbox) = mailbox {
            mailbox.told.lock().unwrap_or_else(PoisonError::into_inner).push_back(told);
            mailbox.more.notify_one();
        }
    }
}

/// One request under way. Dropping it before its end cancels it.
pub(crate) struct Asking {
    node: Arc<Node>,
    pub(crate) ticket: Ticket,
    mailbox: Arc<Mailbox>,
    ended: bool,
}

impl Asking {
    /// A request that the core has not heard of yet; see [`Asking::ask`].
    pub(crate) fn new(node: &Arc<Node>) -> Self {
        let ticket = node.asks.next();
        let mailbox = Arc::new(Mailbox::default());
        node.asks.lock().insert(ticket, mailbox.clone());
        Self { node: node.clone(), ticket, mailbox, ended: false }
    }

    /// Tells the core.
    pub(crate) async fn ask(&self, request: Request<NodeId>) {
        self.node.tell(Input::Ask(self.ticket, request)).await;
    }

    /// What the core says next.
    pub(crate) async fn told(&mut self) -> Told {
        loop {
            let told = self.mailbox.told.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(told) = told {
                self.ended |= matches!(&told, Told::Event(event) if event.is_final());
                return told;
            }
            self.mailbox.more.notified().await;
        }
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Event<NodeId> {
        loop {
            if let Told::Event(event) = self.told().await {
                return event;
            }
        }
    }
}

impl Asking {
    /// The user has all of the answer: what the core still says is for nobody.
    pub(crate) fn finish(mut self) {
        self.ended = true;
        self.node.asks.lock().remove(&self.ticket);
    }
}

/// Asks and waits for the one event that answers.
pub(crate) async fn ask(node: &Arc<Node>, request: Request<NodeId>) -> Event<NodeId> {
    let mut asking = Asking::new(node);
    asking.ask(request).await;
    asking.event().await
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.node.calls.forget(self.ticket);
        if self.ended {
            return;
        }
        self.node.asks.lock().remove(&self.ticket);
        let cancel = Input::Ask(self.node.asks.next(), Request::Cancel(self.ticket));
        let node = self.node.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { node.tell(cancel).await });
        }
    }
}
