//! The laws by name, each in a sentence.

use core::fmt;

macro_rules! laws {
    ($($law:ident $name:literal $says:literal)*) => {
        /// What must hold at the boundary, whatever the rules behind it are.
        #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Law {
            $(#[doc = $says] $law,)*
        }

        impl Law {
            /// Every law.
            pub const ALL: &'static [Self] = &[$(Self::$law,)*];

            /// What it is called.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$law => $name,)* }
            }

            /// What it says.
            pub const fn says(self) -> &'static str {
                match self { $(Self::$law => $says,)* }
            }
        }
    };
}

laws! {
    Clock "clock" "Time never goes back."
    Restored "restored" "What was kept comes at the start, before anything else."
    Ticket "ticket" "A ticket is used once."
    FinalTell "final-tell" "Each request ends in exactly one final Tell, and nothing follows that."
    Asked "asked" "A user is told what was asked for."
    Credit "credit" "Items come as far as they are wanted, results are taken as far as they are told."
    OneResult "one-result" "Each item that came has exactly one result, and the totals are theirs."
    Execution "execution" "An answer is that of an attempt of the same request and item, as it ended."
    Quorum "quorum" "An item is answered if, and only if, enough hosts of distinct groups gave that answer."
    Dispatch "dispatch" "An attempt is for an open request, its function, an item that came, in its time."
    Attempt "attempt" "An attempt ends in one Ended or one Abort; nothing follows either."
    Aborted "aborted" "What runs for a request that ends is aborted in the same turn."
    AtMostOnce "at-most-once" "What may have started is not run again unless record or caller allow it."
    Call "call" "Each call that came is run or refused once, unless its caller hung up."
    Run "run" "A call is run before its deadline, as its function, in a version installed here."
    Slots "slots" "No more calls run than there are slots."
    RunEnd "run-end" "Each run ends once; it is stopped if, and only if, its caller hung up."
    Respond "respond" "The head of an answer is passed on once, as soon as there is one."
    Load "load" "A load says what runs and waits at the one that says it."
    Runtime "runtime" "Each Fetch and Install is answered once; Install follows the code, Uninstall Installed."
    Dial "dial" "Each Dial is answered once, within a minute."
    Keep "keep" "Each Keep ends in one Kept or NotKept, and none replaces what is newer."
    KeptFirst "kept-first" "Nothing is acknowledged before it is kept."
    Query "query" "Each query is answered once, by an answer of its kind."
    Tag "tag" "A tag is a slot, its uses before and the start of the core: it never repeats."
    Elsewhere "elsewhere" "A core sends nothing to itself."
    Wake "wake" "A wake is asked for an instant to come, earlier than the one outstanding."
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
