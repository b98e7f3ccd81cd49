//! Planted bugs: each breaks one rule in one line, to prove that a test would notice. Compiled in
//! only with the feature `planted`; a test picks one by number.

#[cfg(feature = "planted")]
use core::sync::atomic::{AtomicU32, Ordering};

#[cfg(feature = "planted")]
static ACTIVE: AtomicU32 = AtomicU32::new(0);

/// Makes this bug the one that is active in the whole process; 0: none.
#[cfg(feature = "planted")]
pub fn set(number: u32) {
    ACTIVE.store(number, Ordering::Relaxed);
}

/// Whether bug `number` is active.
#[cfg(feature = "planted")]
pub(crate) fn is(bug: Bug) -> bool {
    ACTIVE.load(Ordering::Relaxed) == bug as u32
}

/// Whether bug `number` is active.
#[cfg(not(feature = "planted"))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}

/// The rules that can be broken.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Bug {
    /// A lookup takes the farthest of the candidates instead of the closest.
    LookupFarthest = 1,
    /// A lookup ends at the first answer.
    LookupEndsEarly = 2,
    /// Peers that do not answer stay in the table.
    NeverEvict = 3,
    /// An unknown peer that asks is never checked, and so never known.
    NeverCheck = 4,
    /// Offers are made farthest first.
    OffersFarthest = 5,
    /// A host accepts whatever it is offered.
    NeverDecline = 6,
    /// A fellow host that misses its probes is not taken for dead.
    NeverLost = 7,
    /// Every host repairs at once, whatever its rank.
    NoRank = 8,
    /// A call is not tried on another host.
    NoSecondHost = 9,
    /// A manycall counts an item whose host died as done.
    LosesItem = 10,
    /// A manycall keeps one item in flight a host.
    NoWindow = 11,
    /// The host of a call is the first of the list, not the better of two.
    FirstHost = 12,
    /// A host runs calls beyond its slots.
    NoSlots = 13,
    /// A removed function is served on.
    IgnoresTombstone = 14,
    /// A host does not renew its record.
    NeverRenew = 15,
    /// A placer confirms every peer that accepted.
    ConfirmsAll = 16,
    /// A host never runs anything.
    RefusesAll = 17,
    /// A placer makes no offers.
    NoOffers = 18,
    /// No search is made for the hosts of a function.
    NoAttempts = 19,
    /// An item is answered twice.
    AnswersTwice = 20,
    /// A record counts as kept before it is.
    AcknowledgesEarly = 21,
    /// What runs for a cancelled call runs on.
    CancelRunsOn = 22,
    /// An owner's nodes do not compare their sets.
    NeverCompares = 23,
    /// A restarted host serves what it hosted without asking whether it still should.
    ServesUnasked = 24,
    /// A call that was refused is refused for good.
    RefusedForGood = 25,
    /// An item is answered with another item's attempt.
    AnswersOfAnother = 26,
    /// What may have been run is run again, whatever record and caller say.
    RunsAgain = 27,
    /// Nobody repeats what runs for long on a slow host.
    NoStragglers = 28,
}

impl Bug {
    /// Every bug, by number.
    pub const ALL: [Self; 28] = [
        Self::LookupFarthest,
        Self::LookupEndsEarly,
        Self::NeverEvict,
        Self::NeverCheck,
        Self::OffersFarthest,
        Self::NeverDecline,
        Self::NeverLost,
        Self::NoRank,
        Self::NoSecondHost,
        Self::LosesItem,
        Self::NoWindow,
        Self::FirstHost,
        Self::NoSlots,
        Self::IgnoresTombstone,
        Self::NeverRenew,
        Self::ConfirmsAll,
        Self::RefusesAll,
        Self::NoOffers,
        Self::NoAttempts,
        Self::AnswersTwice,
        Self::AcknowledgesEarly,
        Self::CancelRunsOn,
        Self::NeverCompares,
        Self::ServesUnasked,
        Self::RefusedForGood,
        Self::AnswersOfAnother,
        Self::RunsAgain,
        Self::NoStragglers,
    ];
}
