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

/// Whether any bug is active. Then the core does not judge itself: the laws and the oracle have to.
#[cfg(feature = "planted")]
pub(crate) fn any() -> bool {
    ACTIVE.load(Ordering::Relaxed) != 0
}

/// Whether any bug is active.
#[cfg(not(feature = "planted"))]
pub(crate) const fn any() -> bool {
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
    /// A slow deployment takes the place of a newer record.
    OverwritesNewer = 28,
    /// Peers that were let go are not asked again when a confirmed one fails.
    ForgetsSpares = 29,
    /// One placer may hold all the room of a host.
    HoldsAll = 30,
    /// What is served is uninstalled when an older install of it ends.
    UninstallsServed = 31,
    /// That a newer version is hosted is forgotten with the older one.
    ForgetsServed = 32,
    /// A host whose update failed serves the old version for ever.
    NeverUpdates = 33,
    /// A restarted host serves again though too few of the holders answered.
    ServesUnconfirmed = 34,
    /// A host that gives a function up stops what runs.
    LeavesBusy = 35,
    /// A host takes over what a stranger says of its fellow hosts.
    BelievesStrangers = 36,
    /// A host never suspects itself.
    NeverSuspectsItself = 37,
    /// A host begins every repair that is due at once.
    RepairsAllAtOnce = 38,
    /// A host that is one too many goes at once.
    RetiresAtOnce = 39,
    /// A host that gives a function up does not tell the holders.
    LeavesUnsaid = 40,
    /// A sibling gets whatever it says it wants, as often as it says so.
    HonoursAnyWant = 41,
    /// Who comes first takes all the places for records.
    KeepsForAnyone = 42,
    /// A search takes all the hosts that one answerer names, in the order of hearing.
    BelievesHosts = 43,
    /// Holders are told what was true before the search for them.
    PublishesStale = 44,
    /// It counts as done when no holder keeps it.
    NeedsNoHolder = 45,
    /// Nobody tells the holders of a tombstone again.
    TombstonesFade = 46,
    /// A failed dial counts once for itself and once for each query that waited for it.
    MissesTwice = 47,
    /// What too few holders could say nothing of counts as unknown.
    IgnoranceIsAbsence = 48,
    /// Nobody repeats what runs for long on a slow host.
    NoStragglers = 49,
    /// A host that is busy giving code to others counts as one that has none.
    BusyIsGone = 50,
    /// What a peer says on one path of a search is heard on all of them.
    PathsShare = 51,
    /// Address groups limit nobody.
    NoGroups = 52,
    /// A holder lists any number of hosts of one address group.
    ListsCrowds = 53,
    /// What one path did not find is not searched for again.
    LooksOnce = 54,
    /// A lookup does not wait for the answers that are still to come.
    EndsInFlight = 68,
    /// A request of a lookup that failed keeps its place among those in flight.
    FailedHoldsPlace = 69,
    /// A repair that found no place is not begun again.
    RepairsOnce = 70,
    /// The second closest host repairs at once as well, the third after one wait, and so on.
    RanksOffByOne = 71,
    /// Of an item that runs twice when its request is cancelled, only the first attempt is aborted.
    AbortsOnlyFirst = 72,
    /// An attempt may last longer than its request.
    OutlivesDeadline = 73,
    /// An item whose repetition fails is tried again, though its first attempt still runs.
    ForgetsTheOther = 74,
    /// Items are wanted before the results of earlier ones are taken.
    CreditsEarly = 75,
    /// A slot is free as soon as its caller hangs up, before the run has ended.
    FreesEarly = 76,
    /// An answer is passed on though its caller has hung up.
    RespondsToGone = 77,
    /// An item that was repeated counts once for each attempt.
    CountsStragglers = 78,
    /// Each host that knows of too many goes, not only the farthest.
    RetiresOutOfTurn = 79,
    /// An anycall goes from host to host while all of them refuse it.
    TriesAll = 62,
    /// Where an anycall goes after a host refused it is left to chance.
    SecondBlindly = 63,
    /// Who has calls waiting takes the last place in a queue too.
    LastForAnyone = 64,
    /// An anycall that was refused does not look for further hosts.
    KnowsFew = 65,
    /// A host that leaves looks for no other host first.
    DrainsAtOnce = 66,
    /// Holders do not make up for the loss of all hosts.
    NeverGuards = 56,
    /// A holder takes hosts for dead at the first question that they leave unanswered.
    GuardsInHaste = 57,
    /// No host hands a function on.
    NeverHandsOn = 58,
    /// What a holder's installs kept from being repaired is not begun when they have ended.
    HostsWaitForever = 83,
    /// The first answer counts, however many hosts should agree.
    TrustsOne = 67,
    /// Hosts of one address group have each a voice.
    VoicesOfAGroup = 90,
    /// Voices go to items in the order of their turns.
    PairsInOrder = 91,
    /// A manycall goes on searching while it is told of hosts that cannot be reached.
    SearchesForEver = 92,
    /// A caller may have all places in the queue but one.
    OneCallersQueue = 93,
    /// An owner's functions may have all places in the queue.
    OneOwnersQueue = 94,
    /// However long a host is silent, no other one is called.
    NeverHedges = 95,
    /// What must not be run twice is sent to another host while one is silent.
    HedgesAnything = 96,
    /// Who left the table is never asked again, and who is alone stays so.
    NeverRegains = 81,
    /// A contact that has no room is not dialled again.
    DialsOnce = 82,
    /// No host tells that it carries a label.
    LabelsUntold = 120,
    /// Nobody has its owner's records signed again.
    LetsExpire = 121,
    /// A name that nobody knew is searched for again at once.
    SearchesAgain = 122,
    /// However busy its hosts are, a function never gets more.
    NeverLeases = 84,
    /// What was leased for a busy time is wanted for ever.
    LeaseNeverLapses = 85,
}

impl Bug {
    /// Every bug but those of order and timing, by number.
    pub const ALL: [Self; 78] = [
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
        Self::OverwritesNewer,
        Self::ForgetsSpares,
        Self::HoldsAll,
        Self::UninstallsServed,
        Self::ForgetsServed,
        Self::NeverUpdates,
        Self::ServesUnconfirmed,
        Self::LeavesBusy,
        Self::BelievesStrangers,
        Self::NeverSuspectsItself,
        Self::RepairsAllAtOnce,
        Self::RetiresAtOnce,
        Self::LeavesUnsaid,
        Self::HonoursAnyWant,
        Self::KeepsForAnyone,
        Self::BelievesHosts,
        Self::PublishesStale,
        Self::NeedsNoHolder,
        Self::TombstonesFade,
        Self::MissesTwice,
        Self::IgnoranceIsAbsence,
        Self::NoStragglers,
        Self::BusyIsGone,
        Self::PathsShare,
        Self::NoGroups,
        Self::ListsCrowds,
        Self::LooksOnce,
        Self::TriesAll,
        Self::SecondBlindly,
        Self::LastForAnyone,
        Self::KnowsFew,
        Self::DrainsAtOnce,
        Self::NeverGuards,
        Self::GuardsInHaste,
        Self::NeverHandsOn,
        Self::HostsWaitForever,
        Self::TrustsOne,
        Self::VoicesOfAGroup,
        Self::PairsInOrder,
        Self::SearchesForEver,
        Self::OneCallersQueue,
        Self::OneOwnersQueue,
        Self::NeverHedges,
        Self::HedgesAnything,
        Self::NeverRegains,
        Self::DialsOnce,
        Self::LabelsUntold,
        Self::LetsExpire,
        Self::SearchesAgain,
        Self::NeverLeases,
        Self::LeaseNeverLapses,
    ];

    /// Bugs of order and timing, for fuzzing: none of them shows where all goes as it mostly does.
    pub const OF_ORDER: [Self; 12] = [
        Self::EndsInFlight,
        Self::FailedHoldsPlace,
        Self::RepairsOnce,
        Self::RanksOffByOne,
        Self::AbortsOnlyFirst,
        Self::OutlivesDeadline,
        Self::ForgetsTheOther,
        Self::CreditsEarly,
        Self::FreesEarly,
        Self::RespondsToGone,
        Self::CountsStragglers,
        Self::RetiresOutOfTurn,
    ];

    /// Whether it shows only at a rare turn, or where somebody lies, floods or is silent: in the core's
    /// transcripts, which play that turn, and not for sure in a scenario.
    pub fn needs_a_transcript(self) -> bool {
        matches!(
            self,
            Self::OverwritesNewer
                | Self::ForgetsSpares
                | Self::HoldsAll
                | Self::UninstallsServed
                | Self::ForgetsServed
                | Self::NeverUpdates
                | Self::ServesUnconfirmed
                | Self::LeavesBusy
                | Self::BelievesStrangers
                | Self::NeverSuspectsItself
                | Self::RepairsAllAtOnce
                | Self::RetiresAtOnce
                | Self::LeavesUnsaid
                | Self::HonoursAnyWant
                | Self::KeepsForAnyone
                | Self::BelievesHosts
                | Self::PublishesStale
                | Self::NeedsNoHolder
                | Self::TombstonesFade
                | Self::MissesTwice
                | Self::IgnoranceIsAbsence
                | Self::BusyIsGone
                | Self::ListsCrowds
                | Self::LooksOnce
                | Self::RefusedForGood
                | Self::SecondBlindly
                | Self::LastForAnyone
                | Self::KnowsFew
                | Self::DrainsAtOnce
                | Self::GuardsInHaste
                | Self::NeverHandsOn
                | Self::HostsWaitForever
                | Self::TrustsOne
                | Self::VoicesOfAGroup
                | Self::PairsInOrder
                | Self::SearchesForEver
                | Self::OneCallersQueue
                | Self::OneOwnersQueue
                | Self::NeverHedges
                | Self::HedgesAnything
                | Self::NeverRegains
                | Self::DialsOnce
                | Self::LabelsUntold
                | Self::LetsExpire
                | Self::SearchesAgain
                | Self::NeverLeases
                | Self::LeaseNeverLapses
        )
    }
}
