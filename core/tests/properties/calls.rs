//! One caller, whose peers and hosts a test plays.

use std::sync::Arc;

use peerless_core::{
    Answer, Config, Core, Effect, Ending, Event, Input, Load, Message, Name, Query, Record,
    Request, Setup, Span, Tag, Ticket, Time, Turn,
};

use crate::world::{P, World, function, host, name, record, small};

const FUNCTION: Name = name('f', 5);

/// A core that hosts nothing.
struct Caller {
    core: Core<P>,
    config: Config,
    now: Time,
    /// What it wanted and nobody has done yet.
    effects: Vec<Effect<P>>,
}

impl Caller {
    fn new(config: Config, knows: &[P]) -> Self {
        let mut core = Core::new(P(0), Setup::default(), 1, 0);
        core.seed_table(knows.iter().copied());
        Self { core, config, now: Time(0), effects: Vec::new() }
    }

    fn input(&mut self, input: Input<P>) {
        self.core.handle(input, &mut Turn::new(self.now, &self.config, &mut self.effects));
        assert!(self.core.check(), "the invariants hold");
    }

    /// Takes the first effect of which `what` makes something.
    fn take<T>(&mut self, what: impl Fn(&Effect<P>) -> Option<T>) -> Option<T> {
        let at = self.effects.iter().position(|effect| what(effect).is_some())?;
        what(&self.effects.remove(at))
    }

    fn asks_for_hosts(&mut self) -> Option<(P, Tag)> {
        self.take(|effect| match effect {
            Effect::Send { to, message: Message::Query(tag, Query::Hosts(_)) } => Some((*to, *tag)),
            _ => None,
        })
    }

    fn calls(&mut self) -> Option<(P, Tag)> {
        self.take(|effect| match effect {
            Effect::Dispatch { to, attempt, .. } => Some((*to, *attempt)),
            _ => None,
        })
    }

    fn told(&mut self, ticket: Ticket) -> Option<Event<P>> {
        self.take(|effect| match effect {
            Effect::Tell(other, event) if *other == ticket => Some(event.clone()),
            _ => None,
        })
    }

    /// The final word on a request, if that was said.
    fn told_last(&mut self, ticket: Ticket) -> Option<Event<P>> {
        self.take(|effect| match effect {
            Effect::Tell(other, event) if *other == ticket && event.is_final() => {
                Some(event.clone())
            }
            _ => None,
        })
    }

    fn found(&mut self, from: P, tag: Tag, hosts: &[P], record: &Arc<Record>) {
        let (hosts, record) = (hosts.to_vec(), Some(record.clone()));
        let answer = Answer::Found { closer: vec![], hosts, record, load: Load::default() };
        self.input(Input::Heard { from, message: Message::Answer(tag, answer) });
    }
}

/// Whoever answers a search first may lie: the hosts that it names cannot be reached. Those that
/// others name are tried all the same.
#[test]
fn a_liar_who_names_dead_hosts_does_not_end_a_call() {
    const LIAR: P = P(1);
    let dead = [P(8), P(9), P(10), P(11)];
    let config = Config { call_retries: 0, alpha: 1, ..small() };
    let mut caller = Caller::new(config, &[LIAR, P(4)]);
    let record = record(FUNCTION, 1, 1);
    let deadline = caller.now + Span::secs(5);
    let (function, kept, idempotent) = (FUNCTION, true, false);
    caller.input(Input::Ask(1, Request::Call { function, deadline, kept, idempotent }));
    let mut reached = None;
    for _ in 0..32 {
        if let Some((to, tag)) = caller.asks_for_hosts() {
            let hosts = if to == LIAR { &dead[..] } else { &[P(5)] };
            caller.found(to, tag, hosts, &record);
        } else if let Some((to, attempt)) = caller.calls() {
            if dead.contains(&to) {
                let how = Ending::NotSent { spent: false };
                caller.input(Input::Ended { attempt, how, body: None });
            } else {
                reached = Some(to);
                break;
            }
        }
    }
    assert_eq!(reached, Some(P(5)), "{:?}", caller.told(1));
}

/// The same for a manycall, by one who is the only one to answer, and names others each time: its items
/// fail when no host was reached for as long as hosts are looked for.
#[test]
fn a_liar_who_names_ever_new_dead_hosts_does_not_hold_a_manycall() {
    const LIAR: P = P(1);
    let config = Config { hostless_max: Span::secs(20), ..small() };
    let mut caller = Caller::new(config, &[LIAR]);
    let record = record(FUNCTION, 1, 1);
    let request = Request::Many { function: FUNCTION, deadline: None, retries: 3, quorum: None };
    caller.input(Input::Ask(1, request));
    caller.input(Input::Items { ticket: 1, n: 2, ended: true });
    let mut dead = (8..=255).cycle().map(P);
    while caller.now < Time(0) + Span::secs(30) {
        if let Some((to, tag)) = caller.asks_for_hosts() {
            let hosts = [dead.next(), dead.next()].map(|host| host.expect("it never ends"));
            caller.found(to, tag, if to == LIAR { &hosts } else { &[] }, &record);
        } else if let Some((_, attempt)) = caller.calls() {
            let how = Ending::NotSent { spent: false };
            caller.input(Input::Ended { attempt, how, body: None });
        } else {
            caller.now = caller.now + Span::ms(100);
            caller.input(Input::Wake);
        }
        if let Some(Event::Finished(summary)) = caller.told_last(1) {
            assert_eq!((summary.items, summary.failed), (2, 2));
            assert!(caller.now > Time(0) + Span::secs(20), "{:?}", caller.now);
            return;
        }
    }
    panic!("it is still looking for hosts");
}

/// What one call saw of a host, the next one knows: it goes where less is under way, and where nothing
/// failed.
#[test]
fn calls_know_of_each_other() {
    let hosts = [P(5), P(6)];
    let mut caller = Caller::new(small(), &[P(4)]);
    let record = record(FUNCTION, 1, 2);
    let mut tickets = 0..;
    let mut call = |caller: &mut Caller| {
        let deadline = caller.now + Span::secs(5);
        let (function, kept, idempotent) = (FUNCTION, true, false);
        let request = Request::Call { function, deadline, kept, idempotent };
        caller.input(Input::Ask(tickets.next().expect("there are many"), request));
        if let Some((to, tag)) = caller.asks_for_hosts() {
            caller.found(to, tag, &hosts, &record);
        }
        caller.calls().expect("it calls")
    };
    let answer = |caller: &mut Caller, attempt| {
        let (status, load, stay) = (200, None, None);
        caller.input(Input::Head { attempt, status, load, stay });
        caller.input(Input::Ended { attempt, how: Ending::Complete, body: None });
    };
    for _ in 0..8 {
        let ((a, first), (b, second)) = (call(&mut caller), call(&mut caller));
        assert_ne!(a, b, "each has one");
        caller.now = caller.now + Span::ms(10);
        answer(&mut caller, first);
        answer(&mut caller, second);
    }
    let (slow, attempt) = call(&mut caller);
    caller.now = caller.now + Span::ms(300);
    answer(&mut caller, attempt);
    let mut to_slow = 0;
    for _ in 0..8 {
        let (to, attempt) = call(&mut caller);
        to_slow += u32::from(to == slow);
        answer(&mut caller, attempt);
    }
    assert_eq!(to_slow, 0, "{slow:?} took long");
    let (dead, attempt) = call(&mut caller);
    caller.input(Input::Ended { attempt, how: Ending::MayHaveStarted, body: None });
    caller.now = caller.now + Span::secs(1);
    for _ in 0..8 {
        let (to, attempt) = call(&mut caller);
        assert_ne!(to, dead, "it failed just now");
        answer(&mut caller, attempt);
    }
}

/// The only host is away when a job begins. Once it is back it runs for longer than a job looks for
/// hosts: what waits for it is not given up.
#[test]
fn a_host_that_came_back_is_waited_for_while_it_runs() {
    let mut world = World::new(Config { rehost_period: Span::secs(15), ..small() });
    world.converged(&[0, 1, 4, 5, 8, 9], &host(1, 1, 4));
    world.service = Span::secs(90);
    let mut slow = function(FUNCTION, 1, (1, 1));
    slow.spec.as_mut().expect("it can run").timeout = Span::minutes(10);
    world.given(0, &slow.into());
    world.crash(5);
    world.many(9, FUNCTION, 5, 3);
    world.pass(Span::ms(700));
    world.restart(5);
    world.meet(5, 4);
    world.pass(Span::minutes(10));
    let text = world.rest();
    assert!(text.contains("finished: 5 items, 5 succeeded"), "{text}");
}
