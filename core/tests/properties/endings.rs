//! What a user hears of a call that falls silent.

use peerless_core::{
    Config, Core, Effect, Event, Failure, Got, Input, Item, Load, Request, Span, Tag, Time, Turn,
};

use crate::world::{P, host, name, record, small};

/// A host of one function that also calls it.
struct Caller {
    core: Core<P>,
    config: Config,
    now: Time,
}

impl Caller {
    fn new() -> Self {
        let core = Core::new(P(5), host(2, 2, 1), 1, 0);
        let mut this = Self { core, config: small(), now: Time(0) };
        this.input(Input::Restored(Item::Hosting(record(name('f', 5), 1, 1))));
        this.after(Span::secs(5));
        this
    }

    fn after(&mut self, span: Span) -> Vec<Effect<P>> {
        self.now = self.now + span;
        self.input(Input::Wake)
    }

    /// What it wants done; code and store are at hand.
    fn input(&mut self, input: Input<P>) -> Vec<Effect<P>> {
        let mut effects = Vec::new();
        self.core.handle(input, &mut Turn::new(self.now, &self.config, &mut effects));
        let mut follows = Vec::new();
        for effect in &effects {
            follows.extend(match effect {
                Effect::Fetch { tag, digest, .. } => {
                    self.input(Input::Fetched { tag: *tag, digest: *digest, got: Got::Code })
                }
                Effect::Install { tag, record } => {
                    let (function, version) = (record.function, record.version);
                    self.input(Input::Installed { tag: *tag, function, version, ok: true })
                }
                Effect::Keep { tag, .. } => self.input(Input::Kept { tag: *tag }),
                _ => Vec::new(),
            });
        }
        effects.extend(follows);
        effects
    }

    fn dispatched(effects: &[Effect<P>]) -> Option<Tag> {
        effects.iter().find_map(|effect| match effect {
            Effect::Dispatch { attempt, .. } => Some(*attempt),
            _ => None,
        })
    }
}

#[test]
fn a_call_whose_answer_had_begun_is_not_begun_again() {
    for begun in [false, true] {
        let mut caller = Caller::new();
        let (function, deadline) = (name('f', 5), caller.now + Span::secs(60));
        let call = Request::Call { function, deadline, kept: true, idempotent: true };
        let effects = caller.input(Input::Ask(1, call));
        let attempt = Caller::dispatched(&effects).expect("it is its own host");
        if begun {
            let load = Some(Load::default());
            caller.input(Input::Head { attempt, status: 200, load, stay: None });
        }
        // Ten seconds for the call, whatever became of its attempt.
        let effects = caller.after(Span::secs(11));
        let late = Effect::Tell(1, Event::Failed(Failure::Late));
        assert!(effects.contains(&late), "{effects:?}");
        assert!(effects.contains(&Effect::Abort { attempt }), "{effects:?}");
    }
}

#[test]
fn a_deadline_that_is_past_is_late_at_once() {
    let mut caller = Caller::new();
    caller.after(Span::secs(100));
    let (function, deadline) = (name('f', 5), Time(0) + Span::secs(50));
    let call = Request::Call { function, deadline, kept: true, idempotent: true };
    let effects = caller.input(Input::Ask(1, call));
    assert!(effects.contains(&Effect::Tell(1, Event::Failed(Failure::Late))), "{effects:?}");
    assert_eq!(Caller::dispatched(&effects), None);
}
