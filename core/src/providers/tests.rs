//! The bounds hold whatever is said, and the counts are what is there.

use proptest::prelude::*;

use super::*;
use crate::tests::P;

const ME: P = P(0);
const BOUNDS: Bounds = Bounds { entries: 12, of_peer: 4, of_name: 3 };

fn worth(bare: bool, place: u8) -> Worth {
    let mut name = Name([0; 32]);
    name.0[0] = place;
    (bare, ME.key().distance(P::position(&name)), name)
}

fn add(providers: &mut Providers<P>, peer: u8, worth: Worth, at: Time) -> bool {
    providers.add(ME, P(peer), worth, (at, at + Span::secs(10)), (BOUNDS, &Groups::new()))
}

fn of(providers: &Providers<P>, place: u8) -> Vec<P> {
    providers.of(worth(false, place).2, P(255), Time(0)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bounds_hold_and_counts_are_right(
        steps in proptest::collection::vec(any::<(u8, u8, u8, bool)>(), 0..300),
    ) {
        let mut providers = Providers::new(7);
        for (at, (what, peer, place, bare)) in steps.into_iter().enumerate() {
            let (now, worth) = (Time(0) + Span::ms(200 * at as u64), worth(bare, place % 16));
            let peer = peer % 8 + 1;
            match what % 8 {
                0 => {
                    providers.drop_one(worth.2, P(peer));
                }
                1 => providers.drop_all(worth.2),
                2 => providers.sweep(now),
                _ => {
                    let noted = add(&mut providers, peer, worth, now);
                    prop_assert_eq!(providers.of(worth.2, ME, now).any(|p| p == P(peer)), noted);
                }
            }
            let all: Vec<_> = providers.by_name.values().collect();
            let entries: usize = all.iter().map(|named| named.peers.len()).sum();
            prop_assert_eq!(entries, providers.entries);
            prop_assert!(entries <= BOUNDS.entries);
            prop_assert!(all.iter().all(|named| (1..=3).contains(&named.peers.len())));
            for named in all {
                for one in &named.peers {
                    prop_assert!((1..=4).contains(&providers.provided_by(one.peer)));
                }
            }
            // The index says what a scan would.
            if let Some(index) = providers.index.take() {
                providers.make_index(ME.key());
                let made = providers.index.as_ref().expect("it was just made");
                prop_assert_eq!(&index.worth, &made.worth);
                prop_assert_eq!(&index.by_peer, &made.by_peer);
            }
        }
    }
}

#[test]
fn names_without_a_record_give_way_then_the_farthest() {
    let mut providers = Providers::new(7);
    for place in 0..12 {
        assert!(add(&mut providers, 1 + place / 4, worth(place < 6, place), Time(0)));
    }
    assert!(!add(&mut providers, 9, worth(true, 30), Time(0)), "it is the farthest of its kind");
    assert!(add(&mut providers, 9, worth(false, 30), Time(0)), "it has a record");
    assert_eq!(of(&providers, 5), [], "the farthest without a record gave way");
    assert_eq!(of(&providers, 4), [P(2)]);
}

/// Its record has been learnt since its first provider came: that counts before anything gives way.
#[test]
fn a_name_does_not_give_way_to_itself() {
    let mut providers = Providers::new(7);
    for place in 0..11 {
        assert!(add(&mut providers, 1 + place / 4, worth(false, place), Time(0)));
    }
    assert!(add(&mut providers, 4, worth(true, 11), Time(0)));
    assert!(!add(&mut providers, 5, worth(false, 11), Time(0)), "all others are nearer");
    assert_eq!(of(&providers, 11), [P(4)]);
}

/// A crowd that says so a hundred times as often as three honest peers gets no more of the places
/// than it has heads.
#[test]
fn saying_it_often_is_no_use() {
    let bounds = Bounds { entries: 1000, of_peer: 1000, of_name: 32 };
    let mut honest = 0;
    for secret in 0..50 {
        let mut providers = Providers::new(secret);
        for round in 0..100 {
            for peer in 1..=64 {
                if peer > 8 || round == 50 {
                    let until = Time(0) + Span::secs(10);
                    providers.add(
                        ME,
                        P(peer),
                        worth(false, 1),
                        (Time(0), until),
                        (bounds, &Groups::new()),
                    );
                }
            }
        }
        honest += of(&providers, 1).iter().filter(|peer| peer.0 <= 8).count();
    }
    // 8 of 64 for 32 places: 4 on average, 200 in 50 draws; three standard errors are 36.
    assert!((160..=240).contains(&honest), "{honest}");
}
