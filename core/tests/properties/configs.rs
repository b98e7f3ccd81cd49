//! With any limits that pass the check a world goes on: no instant lasts for ever, nothing panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use peerless_core::{Config, Core, Input, Request, Setup, Span, Time, Turn};
use proptest::prelude::*;

use crate::world::{OWNER, P, World, host, name, record, small, tombstone};

const SPANS: &[fn(&mut Config) -> &mut Span] = &[
    |c| &mut c.reply_timeout,
    |c| &mut c.search_timeout,
    |c| &mut c.refresh_period,
    |c| &mut c.renew_period,
    |c| &mut c.host_life,
    |c| &mut c.known_life,
    |c| &mut c.reserve_life,
    |c| &mut c.install_timeout,
    |c| &mut c.deploy_grace,
    |c| &mut c.place_timeout,
    |c| &mut c.probe_period,
    |c| &mut c.guard_period,
    |c| &mut c.rank_delay,
    |c| &mut c.repair_backoff,
    |c| &mut c.retire_after,
    |c| &mut c.sync_period,
    |c| &mut c.host_pause,
    |c| &mut c.hostless_max,
    |c| &mut c.rehost_period,
];

const SHORTS: &[fn(&mut Config) -> &mut u16] = &[
    |c| &mut c.k,
    |c| &mut c.alpha,
    |c| &mut c.alpha_near,
    |c| &mut c.group_max,
    |c| &mut c.store_paths,
    |c| &mut c.user_paths,
    |c| &mut c.hosts_max,
    |c| &mut c.known_max,
    |c| &mut c.offers_max,
    |c| &mut c.loads_min,
    |c| &mut c.busier_max,
    |c| &mut c.siblings_max,
    |c| &mut c.sync_have_max,
    |c| &mut c.sync_records_max,
];

const LONGS: &[fn(&mut Config) -> &mut u32] = &[
    |c| &mut c.records_max,
    |c| &mut c.busier_permille,
    |c| &mut c.asks_max,
    |c| &mut c.items_ahead_max,
];

fn config(changes: &[(u8, u8)]) -> Config {
    let mut config = small();
    for (which, value) in changes {
        let (which, value) = (usize::from(*which), usize::from(*value));
        let spans = [0, 1, 10_000_000, 1_000_000_000, 20_000_000_000, u64::MAX];
        let numbers = [0, 1, 2, 5, 64, 128, 1000, u32::MAX];
        if let Some(span) = SPANS.get(which) {
            span(&mut config).0 = spans[value % spans.len()];
        } else if let Some(short) = SHORTS.get(which - SPANS.len()) {
            *short(&mut config) = numbers[value % numbers.len()] as u16;
        } else {
            let long = LONGS[(which - SPANS.len() - SHORTS.len()) % LONGS.len()];
            *long(&mut config) = numbers[value % numbers.len()];
        }
    }
    config
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_limits_that_pass_will_do(
        changes in proptest::collection::vec((0..35u8, any::<u8>()), 1..6),
    ) {
        let config = config(&changes);
        prop_assume!(config.check().is_ok());
        let mut world = World::new(config);
        let (f, owner) = (name('f', 5), Setup { owner: Some(OWNER), ..host(1, 1, 4) });
        for peer in [0, 4, 5, 6] {
            world.start(peer, owner.clone());
        }
        for peer in [4, 5, 6] {
            world.meet(peer, 0);
        }
        world.pass(Span::secs(2));
        world.deploy(0, &record(f, 1, 2));
        world.pass(Span::secs(2));
        world.call(6, f, Span::secs(2));
        world.many(0, f, 20, 1);
        world.crash(5);
        world.pass(Span::secs(3));
        world.ask(4, Request::Remove(tombstone(f, 2).into()));
        world.pass(Span::secs(3));
    }
}

#[test]
fn a_ticket_that_is_open_is_the_hosts_fault() {
    let (config, mut effects) = (small(), Vec::new());
    let mut core = Core::new(P(0), Setup::default(), 1, 0);
    core.seed_table([P(1)]);
    let mut ask = || {
        let request = Request::Hosts(name('f', 5));
        core.handle(Input::Ask(7, request), &mut Turn::new(Time(0), &config, &mut effects));
    };
    ask();
    let panic = catch_unwind(AssertUnwindSafe(ask)).expect_err("it is open");
    let said = panic.downcast_ref::<&str>().expect("it says why");
    assert_eq!(*said, "a ticket names one request in a core's life");
}
