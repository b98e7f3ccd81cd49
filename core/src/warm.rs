//! Reading ahead. With a million cores in one process a turn waits for memory more than for anything
//! else. A host that knows what comes next reads, for several cores at once, what their turns will
//! read, and so waits once for all of them. Nothing here decides or changes anything.

use crate::key::{Key, Peer};
use crate::machine::Core;
use crate::message::Tag;
use crate::queries::{Asked, Purpose};
use crate::search::Search;

impl<P: Peer> Core<P> {
    /// Reads of the core itself what nearly every input makes it read, one word of each 64 bytes.
    #[inline]
    pub fn warm(&self) -> u64 {
        let calls = u64::from(self.admission.running()) ^ u64::from(self.admission.queued());
        self.wake.0 ^ u64::from(self.table.depth()) ^ calls ^ u64::from(self.probing)
    }

    /// The peers of the table that share as many bits with this one as `position` does: an answer
    /// names these first.
    #[inline]
    pub fn bucket(&self, position: Key) -> &[P] {
        self.table.bucket(self.me.key(), position)
    }

    /// How far from the core lies what an answer makes it read.
    pub const ANSWER_DEPTH: u32 = 4;

    /// Reads of what an answer with this tag makes the core read what lies `depth` pointers away, at
    /// least 1 and at most [`Self::ANSWER_DEPTH`]. One after the other, for several cores in turn.
    pub fn warm_answer(&self, tag: Tag, depth: u32) -> u64 {
        match depth {
            1 => (self.queries.len() ^ self.searches.len()) as u64 ^ self.timers.warm(),
            2 => {
                let timer = self.timers.earliest().map_or(0, |(at, _)| at.0);
                let search = self.searches.iter().next().map_or(0, |(search, _)| search.epoch);
                timer ^ u64::from(search) ^ u64::from(self.queries.get(tag).is_some())
            }
            3 => self.searched(tag).map_or(0, Search::warm),
            _ => self.searched(tag).map_or(0, |search| search.paths.warm()),
        }
    }

    fn searched(&self, tag: Tag) -> Option<&Search<P>> {
        match self.queries.get(tag)? {
            Asked { purpose: Purpose::Search(search), .. } => {
                self.searches.get(*search).map(|search| &**search)
            }
            _ => None,
        }
    }
}
