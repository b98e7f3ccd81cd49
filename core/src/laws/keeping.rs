//! What was asked of a core by peers, what it keeps, and what it says of that.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;

use super::{Law, Short, Tags, Verdict, must};
use crate::few::Map;
use crate::key::Name;
use crate::message::{Answer, Query, Tag};
use crate::turn::{Item, ItemKey};

/// Which answer a query is due.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Found,
    Stored,
    Offered,
    Noted,
    Probed,
    Synced,
}

impl Kind {
    pub(super) const fn due<P>(query: &Query<P>) -> Self {
        match query {
            Query::Find(_) | Query::Hosts(_) => Self::Found,
            Query::Provide(..) | Query::Store(_) => Self::Stored,
            Query::Offer { .. } => Self::Offered,
            Query::Confirm { .. }
            | Query::Release { .. }
            | Query::Placed { .. }
            | Query::Withdraw(_) => Self::Noted,
            Query::Probe(_) => Self::Probed,
            Query::Sync { .. } => Self::Synced,
        }
    }

    pub(super) const fn of<P>(answer: &Answer<P>) -> Self {
        match answer {
            Answer::Found { .. } => Self::Found,
            Answer::Stored { .. } => Self::Stored,
            Answer::Offered { .. } => Self::Offered,
            Answer::Noted(_) => Self::Noted,
            Answer::Probed { .. } => Self::Probed,
            Answer::Synced { .. } => Self::Synced,
        }
    }
}

/// A query that was not answered yet: by what, and the record that came with it.
type Due = (Kind, Option<(Name, u64)>);

#[derive(Clone, Debug)]
pub(super) struct Store<P> {
    due: Map<(P, Tag), VecDeque<Due>>,
    tags: Tags,
    keeping: Map<Tag, Keeping>,
    items: Map<ItemKey, Kept>,
}

#[derive(Clone, Debug)]
struct Keeping {
    key: ItemKey,
    version: u64,
    /// How often the key had been forgotten.
    forgotten: u32,
}

/// What is under one key.
#[derive(Clone, Debug, Default)]
struct Kept {
    /// The highest version that is kept.
    version: Option<u64>,
    /// The highest version that the host was told to keep.
    told: Option<u64>,
    forgotten: u32,
    /// Keeps that have not ended.
    open: u32,
}

impl<P: Copy + Ord + Debug> Store<P> {
    pub(super) const fn new() -> Self {
        Self { due: Map::new(), tags: Tags::new(), keeping: Map::new(), items: Map::new() }
    }

    pub(super) fn asked(&mut self, from: P, tag: Tag, kind: Kind, record: Option<(Name, u64)>) {
        self.due.get_or_default((from, tag)).push_back((kind, record));
    }

    pub(super) fn answers(&mut self, to: P, tag: Tag, answer: &Answer<P>) -> Verdict {
        let kind = Kind::of(answer);
        let due = self.due.get_mut(&(to, tag));
        let at = due.as_ref().and_then(|due| due.iter().position(|(other, _)| *other == kind));
        let Some((due, at)) = due.zip(at) else {
            let what = format!("{kind:?} to {} of {to:?}, which waits for no such", Short(tag));
            return Err((Law::Query, what));
        };
        let record = due.remove(at).and_then(|(_, record)| record);
        if due.is_empty() {
            self.due.remove(&(to, tag));
        }
        match (answer, record) {
            (Answer::Stored { kept: true, .. }, Some((function, version))) => {
                let key = ItemKey::Record(function);
                self.acknowledges(key, version, || format!("{to:?} is told so"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn says_placed(&self, function: Name, version: u64) -> Verdict {
        self.acknowledges(ItemKey::Hosting(function), version, || "a placer is told so".into())
    }

    /// Somebody is told that this version, or what replaced it, is kept.
    pub(super) fn acknowledges(
        &self,
        key: ItemKey,
        version: u64,
        who: impl FnOnce() -> String,
    ) -> Verdict {
        let kept = self.items.get(&key).and_then(|kept| kept.version);
        must(kept.is_some_and(|kept| kept >= version), Law::KeptFirst, || {
            let is = kept.map_or_else(|| "nothing".into(), |kept| format!("version {kept}"));
            format!("{}, where version {version} of {} had to be kept and {is} is", who(), Key(key))
        })
    }

    pub(super) fn restored(&mut self, item: &Item) {
        let version = Some(item.record().version);
        let kept = self.items.get_or_default(item.key());
        (kept.version, kept.told) = (version, version);
    }

    pub(super) fn keep(&mut self, tag: Tag, item: &Item) -> Verdict {
        let (key, version) = (item.key(), item.record().version);
        let kept = self.items.get_or_default(key);
        let before = kept.told;
        kept.told = before.max(Some(version));
        kept.open += 1;
        let forgotten = kept.forgotten;
        self.keeping.insert(tag, Keeping { key, version, forgotten });
        self.tags.take(tag)?;
        must(before <= Some(version), Law::Keep, || {
            let before = before.unwrap_or_default();
            format!("version {version} of {} in place of version {before}", Key(key))
        })
    }

    pub(super) fn kept(&mut self, tag: Tag, ok: bool) -> Verdict {
        let Some(Keeping { key, version, forgotten }) = self.keeping.remove(&tag) else {
            return Err((Law::Keep, format!("{} was not being kept", Short(tag))));
        };
        let kept = self.items.get_or_default(key);
        kept.open = kept.open.saturating_sub(1);
        if ok && kept.forgotten == forgotten {
            kept.version = kept.version.max(Some(version));
        }
        if !ok && kept.forgotten == forgotten {
            // What takes its place need not be newer than what is not there.
            let open = self.keeping.values().filter(|open| open.key == key);
            let open = open.filter(|open| open.forgotten == forgotten).map(|open| open.version);
            kept.told = kept.version.max(open.max());
        }
        self.tidy(key);
        Ok(())
    }

    pub(super) fn forget(&mut self, key: ItemKey) {
        if let Some(kept) = self.items.get_mut(&key) {
            (kept.version, kept.told) = (None, None);
            kept.forgotten = kept.forgotten.wrapping_add(1);
            self.tidy(key);
        }
    }

    fn tidy(&mut self, key: ItemKey) {
        if self.items.get(&key).is_some_and(|kept| kept.version.is_none() && kept.open == 0) {
            self.items.remove(&key);
        }
    }

    pub(super) fn left(&self, left: &mut Vec<(Law, String)>) {
        let due = self.due.keys();
        left.extend(due.map(|(from, tag)| {
            (Law::Query, format!("{} of {from:?} was never answered", Short(*tag)))
        }));
        let keeping = self.keeping.iter();
        left.extend(keeping.map(|(tag, keeping)| {
            let what = format!("{}, {}, was neither kept nor not", Short(*tag), Key(keeping.key));
            (Law::Keep, what)
        }));
    }
}

/// A key in few characters.
struct Key(ItemKey);

impl core::fmt::Display for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (what, Name(name)) = match self.0 {
            ItemKey::Record(name) => ("record", name),
            ItemKey::Hosting(name) => ("hosting", name),
        };
        write!(f, "{what} {:02x}{:02x}{:02x}{:02x}…", name[0], name[1], name[2], name[3])
    }
}
