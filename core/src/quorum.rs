//! The answers to one item that wait for others like them.

use alloc::vec::Vec;

use crate::groups::Groups;
use crate::key::{Digest, Peer};
use crate::planted::{self, Bug};
use crate::turn::{Answered, Quorum};

/// What one host answered. Of two hosts of one address group only the first has a voice: they may be
/// one machine.
#[derive(Copy, Clone, Debug)]
struct Voice<P> {
    host: P,
    status: u16,
    /// What its whole body is; one of which that is not known is like no other.
    body: Option<Digest>,
}

impl<P> Voice<P> {
    fn is_like(&self, other: &Self) -> bool {
        self.status == other.status && self.body.is_some() && self.body == other.body
    }
}

/// The voices for one item: at most as many as its quorum asks for.
#[derive(Debug)]
pub(crate) struct Voices<P>(Vec<Voice<P>>);

/// What comes of an item when one more host has answered.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Its answer counts: enough are like it. Those before need not have been kept.
    Agreed,
    /// More hosts have to be heard.
    Open,
    /// However the others answer, too few would be alike.
    Lost,
}

impl<P: Peer> Voices<P> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many of them are alike, at most.
    pub(crate) fn agreed(&self) -> usize {
        let like = |voice: &Voice<P>| self.0.iter().filter(|other| voice.is_like(other)).count();
        self.0.iter().map(like).max().unwrap_or(0)
    }

    /// Whether a host, or one of its group, was heard.
    pub(crate) fn heard_of(&self, host: P, groups: &Groups<P>) -> bool {
        self.0.iter().any(|voice| are_one(voice.host, host, groups))
    }

    /// A host has answered.
    pub(crate) fn hear(
        &mut self,
        quorum: Quorum,
        answer: &Answered<P>,
        body: Option<Digest>,
        groups: &Groups<P>,
    ) -> Heard {
        let Answered { host, status, .. } = *answer;
        if self.heard_of(host, groups) {
            return Heard::Open;
        }
        self.0.push(Voice { host, status, body });
        let (agree, of) = (usize::from(quorum.agree()), usize::from(quorum.of()));
        let enough = if planted::is(Bug::TrustsOne) { 1 } else { agree };
        let (agreed, left) = (self.agreed(), of.saturating_sub(self.0.len()));
        if agreed >= enough {
            Heard::Agreed
        } else if agreed + left >= agree {
            Heard::Open
        } else {
            Heard::Lost
        }
    }
}

/// Whether two hosts have one voice between them.
pub(crate) fn are_one<P: Peer>(a: P, b: P, groups: &Groups<P>) -> bool {
    a == b || groups.share_one(a, b) && !planted::is(Bug::VoicesOfAGroup)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Tag;
    use crate::tests::P;
    use crate::time::Span;
    use crate::turn::Group;

    /// What comes of answers in this order: `a=0` is host a with the answer 0.
    fn heard(quorum: (u8, u8), answers: &str, groups: &Groups<P>) -> &'static str {
        let quorum = Quorum::new(quorum.0, quorum.1).expect("a quorum there can be");
        let mut voices = Voices::new();
        let mut last = "nothing";
        for answer in answers.split(' ') {
            let [host, _, body] = answer.as_bytes() else { panic!("{answer:?} is no answer") };
            let attempt = Tag { slot: 0, epoch: 0, incarnation: 0 };
            let host = P(host - b'a');
            let answer = Answered { attempt, host, status: 200, took: Span::ms(1) };
            let body = (*body != b'?').then_some(Digest([*body; 32]));
            last = match voices.hear(quorum, &answer, body, groups) {
                Heard::Agreed => "agreed",
                Heard::Open => "open",
                Heard::Lost => "lost",
            };
        }
        last
    }

    #[test]
    fn enough_that_are_alike_decide() {
        let none = Groups::new();
        assert_eq!(heard((2, 3), "a=0", &none), "open");
        assert_eq!(heard((2, 3), "a=0 b=0", &none), "agreed");
        assert_eq!(heard((2, 3), "a=0 b=1", &none), "open");
        assert_eq!(heard((2, 3), "a=0 b=1 c=1", &none), "agreed");
        assert_eq!(heard((2, 3), "a=0 b=1 c=2", &none), "lost");
        assert_eq!(heard((2, 2), "a=0 b=1", &none), "lost");
        assert_eq!(heard((3, 4), "a=0 b=1 c=2", &none), "lost", "the fourth cannot help");
        assert_eq!(heard((3, 5), "a=0 b=1 c=2", &none), "open");
    }

    #[test]
    fn a_host_and_a_group_have_one_voice() {
        let mut groups = Groups::new();
        assert_eq!(heard((2, 3), "a=0 a=0", &groups), "open");
        groups.met(P(0), Some(Group(7)), |_| true);
        groups.met(P(1), Some(Group(7)), |_| true);
        assert_eq!(heard((2, 3), "a=0 b=0", &groups), "open");
        assert_eq!(heard((2, 3), "a=0 b=0 c=0", &groups), "agreed");
        assert_eq!(heard((2, 3), "c=0 d=0", &groups), "agreed", "nothing is known of them");
    }

    #[test]
    fn a_body_that_is_not_known_is_like_no_other() {
        assert_eq!(heard((2, 3), "a=?", &Groups::new()), "open");
        assert_eq!(heard((2, 3), "a=? b=?", &Groups::new()), "lost");
        assert_eq!(heard((2, 4), "a=? b=? c=0 d=0", &Groups::new()), "agreed");
    }
}
