//! What one of a million peers may weigh.

extern crate std;

use core::mem::size_of;

use super::*;
use crate::key::{Key, Peer};

/// A peer as small as the simulator's.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Index(u32);

impl Peer for Index {
    fn key(self) -> Key {
        Key([u64::from(self.0), 0, 0, 0])
    }

    fn position(name: &Name) -> Key {
        Key::from_bytes(&name.0)
    }
}

/// A feature that is idle costs a pointer, and what passes between cores stays small enough to be
/// moved: `cargo test -p peerless-core sizes -- --nocapture` prints what each part takes.
#[test]
#[expect(clippy::print_stdout, reason = "the sizes are for people")]
fn idle_features_cost_a_pointer() {
    let sizes = [
        ("core", size_of::<Core<Index>>(), 416),
        ("table", size_of::<table::Table<Index>>(), 88),
        ("slab", size_of::<slab::Slab<Index>>(), 8),
        ("timers", size_of::<timers::Timers>(), 8),
        ("admission", size_of::<admission::Admission<Index>>(), 24),
        ("idle feature", size_of::<idle::Idle<records::Records<Index>>>(), 8),
        ("search", size_of::<search::Search<Index>>(), 264),
        ("laws", size_of::<laws::Laws<Index>>(), 64),
        ("message", size_of::<Message<Index>>(), 112),
        ("input", size_of::<Input<Index>>(), 120),
        ("effect", size_of::<Effect<Index>>(), 120),
    ];
    for (part, size, most) in sizes {
        std::println!("{part}: {size} bytes, at most {most}");
    }
    let heavy = sizes.iter().find(|(_, size, most)| size > most);
    assert_eq!(heavy, None, "a part of a core weighs more than it may");
}
