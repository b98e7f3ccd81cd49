//! `[clocks]`: machines whose clocks are wrong. A core knows no other time than its machine's, and
//! nobody sets a clock while the world lasts.

use peerless_core::{Span, Time};

use crate::chance::{Chance, Concern, Share};
use crate::scenario::{Bad, Keys, section};
use crate::world::{START, World};

section! {
    /// Clocks that are wrong.
    "clocks" => pub struct Clocks {
        /// Share of the machines whose clocks are wrong.
        wrong: Share = Share::percent(100),
        /// How far they are ahead or behind when the world begins, at most; each is wrong by its own time.
        offset_max: Span = Span::minutes(5),
        /// By how many millionths they go too fast or too slowly, at most.
        drift_ppm_max: u32 = 100,
    }
}

/// No clock is farther off: times stay far from where numbers end.
const OFFSET_MAX: Span = Span::minutes(366 * 24 * 60);
/// Nor does any go at half the speed, or at one and a half.
const DRIFT_PPM_MAX: u32 = 500_000;
const MILLION: i128 = 1_000_000;

/// How one machine's clock goes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Clock {
    /// Nanoseconds that it was ahead when the world began.
    pub ahead: i64,
    /// Millionths by which it goes too fast.
    pub fast_ppm: i64,
}

impl Clock {
    /// What it shows at `time`.
    pub fn shows(self, time: Time) -> Time {
        let since = i128::from(time.0) - i128::from(START.0);
        let drift = (since * i128::from(self.fast_ppm)).div_euclid(MILLION);
        within(i128::from(time.0) + i128::from(self.ahead) + drift)
    }

    /// When it shows `time`, or has just passed it.
    pub fn reaches(self, time: Time) -> Time {
        if time == Time::NEVER {
            return time;
        }
        let shown = i128::from(time.0) - i128::from(START.0) - i128::from(self.ahead);
        let since = (shown * MILLION).div_euclid(MILLION + i128::from(self.fast_ppm));
        let mut at = within(i128::from(START.0) + since);
        while self.shows(at) < time && at < Time::NEVER {
            at.0 += 1;
        }
        at
    }
}

/// No time lies before 1970, or as far off as never.
fn within(nanos: i128) -> Time {
    Time(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX).min(u64::MAX - 1))
}

impl Clocks {
    pub(crate) fn check(&self, keys: &Keys) -> Result<(), Bad> {
        if self.offset_max > OFFSET_MAX {
            return Err(keys.bad("clocks.offset_max", "expected at most a year"));
        }
        if self.drift_ppm_max > DRIFT_PPM_MAX {
            let what = format!("expected at most {DRIFT_PPM_MAX}");
            return Err(keys.bad("clocks.drift_ppm_max", &what));
        }
        Ok(())
    }

    /// How a peer's clock goes.
    pub fn of(&self, peer: u32, chance: &Chance) -> Clock {
        let draw = |which| chance.bits(Concern::Clock, peer.into(), which, 0);
        if !self.wrong.takes(draw(0)) {
            return Clock { ahead: 0, fast_ppm: 0 };
        }
        // Evenly from as far behind as ahead.
        let up_to = |max: u64, which| {
            let drawn = chance.below(2 * max + 1, Concern::Clock, peer.into(), which, 0);
            drawn.cast_signed() - max.cast_signed()
        };
        let ahead = up_to(self.offset_max.0, 1);
        let fast_ppm = up_to(self.drift_ppm_max.into(), 2);
        Clock { ahead, fast_ppm }
    }
}

impl World {
    /// What a peer's clock shows now.
    #[inline]
    pub fn shown(&self, peer: u32) -> Time {
        match &self.scenario.clocks {
            None => self.now,
            Some(clocks) => clocks.of(peer, &self.chance).shows(self.now),
        }
    }

    /// When a peer's clock shows `time`, or has just passed it.
    #[inline]
    pub(crate) fn when_shown(&self, peer: u32, time: Time) -> Time {
        match &self.scenario.clocks {
            None => time,
            Some(clocks) => clocks.of(peer, &self.chance).reaches(time),
        }
    }
}
