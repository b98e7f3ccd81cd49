//! What a person at a terminal sees while something runs: one line on standard error, and nothing
//! where that is no terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use peerless_core::{Span, Time};

use crate::world::START;

/// A bar that fills while so many worlds are run.
pub fn worlds(count: u64) -> ProgressBar {
    bar(count, "{bar:40} {pos} of {len} worlds, {eta} left{msg}")
}

/// How far one world has come.
#[derive(Debug)]
pub struct Run {
    bar: ProgressBar,
    /// Nothing is shown until something happens at this instant or later.
    next: Time,
}

/// Parts of its time after which a run is shown again.
const PARTS: u64 = 500;

impl Run {
    /// Of a world whose work is over at `end`, if all goes well.
    pub fn new(end: Time) -> Self {
        let lasts = end.since(START);
        // In milliseconds: a long run's nanoseconds say nothing.
        let bar = bar(lasts.as_ms(), "{bar:40} {percent} % of {msg} of virtual time, {eta} left");
        bar.set_message(format!("{:.0} s", lasts.0 as f64 / 1e9));
        let next = if bar.is_hidden() { Time::NEVER } else { START };
        Self { bar, next }
    }

    /// Whether it is to be shown what happens at `time`.
    #[inline]
    pub fn is_due(&self, time: Time) -> bool {
        time >= self.next
    }

    /// The world has come to `time`.
    #[cold]
    pub fn show(&mut self, time: Time) {
        let (is, all) = (time.since(START).as_ms(), self.bar.length().unwrap_or(0));
        // What is still open at the end is waited for.
        self.bar.set_position(is.min(all));
        self.next = START + Span::ms(is + (all / PARTS).max(1));
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn bar(count: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    bar.with_style(style)
}
