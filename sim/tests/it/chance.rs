//! Chance and the network are functions of their arguments alone.

use peerless_core::{Name, Peer, Span, Time};
use peerless_sim::chance::{Chance, Concern, Share};
use peerless_sim::network::{Network, Passage, Verdict};
use peerless_sim::peer::{Index, limb};

use crate::support;

fn network(seed: u64, loss: f64) -> Network {
    let text = format!("[network]\nloss = {loss:?}\nbandwidth = \"1MiB\"");
    Network::new(&support::parse(&text), Chance::new(seed))
}

fn passage(from: u32, to: u32, counter: u64) -> Passage {
    Passage { from, to, counter, time: Time(0), bytes: 100 }
}

#[test]
fn a_packet_fares_the_same_whatever_was_asked_before() {
    let (one, other) = (network(7, 0.3), network(7, 0.3));
    let packets: Vec<(u32, u32, u64)> =
        (0..500).map(|n| (n % 7, n % 5, u64::from(n) * 3)).collect();
    let forth: Vec<_> = packets.iter().map(|(a, b, n)| one.judge(&passage(*a, *b, *n))).collect();
    // In another order, with other questions between.
    let mut back: Vec<_> = packets
        .iter()
        .rev()
        .map(|(a, b, n)| {
            let _ = other.reliable(&passage(*b, *a, *n));
            other.judge(&passage(*a, *b, *n))
        })
        .collect();
    back.reverse();
    assert_eq!(forth, back);
    assert_ne!(
        forth,
        packets
            .iter()
            .map(|(a, b, n)| network(8, 0.3).judge(&passage(*a, *b, *n)))
            .collect::<Vec<_>>()
    );
}

#[test]
fn about_as_much_is_lost_as_is_said() {
    let network = network(1, 0.02);
    let lost = (0..100_000).filter(|n| network.judge(&passage(1, 2, *n)) == Verdict::Drop).count();
    assert!((1_800..2_200).contains(&lost), "{lost} of 100,000 lost");
}

#[test]
fn a_call_loses_time_instead() {
    let network = network(1, 0.02);
    let mut delays: Vec<Span> = (0..100_000).map(|n| network.reliable(&passage(1, 2, n))).collect();
    delays.sort_unstable();
    let late = delays.iter().filter(|delay| **delay > Span::ms(25)).count();
    assert!((1_800..2_200).contains(&late), "{late} of 100,000 sent again");
    assert_eq!(delays[0], Span::ms(25));
    assert_eq!(delays[99_000], Span::ms(225));
    assert_eq!(network.reliable(&passage(3, 3, 1)), Span::ZERO);
}

#[test]
fn concerns_do_not_move_each_other() {
    let chance = Chance::new(5);
    let seen: Vec<u64> = (0..22)
        .map(|n| {
            // Each concern by a number of its own.
            let all = [
                Concern::Core,
                Concern::Table,
                Concern::Loss,
                Concern::Resend,
                Concern::Asker,
                Concern::Target,
                Concern::Function,
                Concern::Called,
                Concern::Service,
                Concern::Victim,
                Concern::Manner,
                Concern::Bootstrap,
                Concern::Instant,
                Concern::Crash,
                Concern::Site,
                Concern::Access,
                Concern::Jitter,
                Concern::Link,
                Concern::Wiring,
                Concern::Side,
                Concern::Session,
                Concern::Leave,
            ];
            chance.bits(all[n], 1, 2, 3)
        })
        .collect();
    let mut distinct = seen.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), seen.len());
    // A golden value: the streams are the same on every machine, and for good.
    insta::with_settings!({
        snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
    }, {
        insta::assert_snapshot!("chance", format!("{:016x}\n{:016x}", seen[0], seen[13]));
    });
}

#[test]
fn draws_below_a_number_are_even() {
    let chance = Chance::new(9);
    let mut counts = [0; 10];
    for n in 0..100_000 {
        counts[chance.below(10, Concern::Asker, n, 0, 0) as usize] += 1;
    }
    assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
    assert_eq!(chance.below(0, Concern::Asker, 1, 1, 1), 0);
}

#[test]
fn shares_are_exact_at_their_ends() {
    let (none, all) = (Share::new(0.0).expect("a share"), Share::new(1.0).expect("a share"));
    assert!(!none.takes(0) && all.takes(u64::MAX));
    assert_eq!((none.of(1000), all.of(1000)), (0, 1000));
    assert_eq!(Share::new(0.05).expect("a share").of(1000), 50);
    assert_eq!((Share::new(1.5), Share::new(-0.1), Share::new(f64::NAN)), (None, None, None));
}

#[test]
fn positions_are_distinct_and_even() {
    let mut limbs: Vec<u64> = (0..10_000).map(limb).collect();
    limbs.sort_unstable();
    limbs.dedup();
    assert_eq!(limbs.len(), 10_000);
    let high = limbs.iter().filter(|limb| **limb >= 1 << 63).count();
    assert!((4_800..5_200).contains(&high), "{high} of 10,000 in the upper half");
    assert_eq!(Index(17).key().0[0], limb(17));
    // Every byte of a name moves its position's first limb.
    let plain = Index::position(&Name([0; 32]));
    for byte in 0..32 {
        let mut name = [0; 32];
        name[byte] = 1;
        assert_ne!(Index::position(&Name(name)).0[0], plain.0[0], "byte {byte}");
    }
}
