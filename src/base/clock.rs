//! Time: unix milliseconds, a cached reading of the clocks, and the LRU and LFU clocks of keys.
//!
//! A core refreshes its `Clock` once per turn of its loop and hands the value down; handlers never read a clock
//! themselves. LRU and LFU fields have stock Redis's widths and meanings, because OBJECT IDLETIME, OBJECT FREQ, RESTORE
//! and RDB files show them.

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// Milliseconds since the unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The milliseconds as a number.
    #[inline]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Whole seconds since the unix epoch.
    #[inline]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The time `millis` later; stops at the ends of the range.
    #[inline]
    pub const fn plus(self, millis: i64) -> UnixMillis {
        UnixMillis(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this time; negative when `earlier` is later, stops at the ends of the range.
    #[inline]
    pub const fn since(self, earlier: UnixMillis) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One reading of the wall clock and of the monotonic clock, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    unix_us: i64,
    monotonic_us: u64,
}

impl Clock {
    /// Reads both clocks (two calls into the vDSO, some 40 ns).
    pub fn read() -> Clock {
        Clock {
            unix_us: microseconds(ClockId::CLOCK_REALTIME),
            monotonic_us: microseconds(ClockId::CLOCK_MONOTONIC).cast_unsigned(),
        }
    }

    /// A made-up reading, for tests and simulations.
    pub const fn at(unix_us: i64, monotonic_us: u64) -> Clock {
        Clock { unix_us, monotonic_us }
    }

    /// Both clocks `us` microseconds later.
    #[inline]
    const fn plus_us(self, us: u64) -> Clock {
        Clock { unix_us: self.unix_us.saturating_add_unsigned(us), monotonic_us: self.monotonic_us.saturating_add(us) }
    }

    /// Wall-clock milliseconds.
    #[inline]
    pub const fn unix(&self) -> UnixMillis {
        UnixMillis(self.unix_us.div_euclid(1000))
    }

    /// Wall-clock microseconds.
    #[inline]
    pub const fn unix_us(&self) -> i64 {
        self.unix_us
    }

    /// Microseconds since some moment before the process began (the machine's start); never goes back.
    #[inline]
    pub const fn monotonic_us(&self) -> u64 {
        self.monotonic_us
    }
}

/// One clock in microseconds. Linux has always had both clocks: not being able to read one is no state to go on in.
fn microseconds(clock: ClockId) -> i64 {
    let time: TimeSpec = clock_gettime(clock).expect("the clock can be read");
    time.tv_sec() * 1_000_000 + time.tv_nsec() / 1000
}

/// Processor time that the calling thread has used, in nanoseconds: its own and the kernel's for it, without what it slept.
pub fn thread_cpu_ns() -> u64 {
    let used: TimeSpec = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the clock can be read");
    (used.tv_sec() * 1_000_000_000 + used.tv_nsec()).cast_unsigned()
}

/// Monotonic nanoseconds for timing calls. Reads the processor's time stamp counter where that runs at a constant rate: a
/// third of the cost of the system's clock.
#[derive(Clone, Debug, Default)]
pub struct NanoClock(quanta::Clock);

impl NanoClock {
    /// The first one in a process calibrates, which takes some milliseconds.
    #[must_use]
    pub fn new() -> NanoClock {
        NanoClock(quanta::Clock::new())
    }

    /// Nanoseconds since some moment before the process began.
    #[inline]
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.0.delta_as_nanos(0, self.0.raw())
    }
}

/// The clock of a turn loop that has read a `NanoClock` anyway: the system's clocks are read once in `REREAD_NS`, and in
/// between the nanoseconds that have passed are added. A step of the wall clock is seen that much later at most.
#[derive(Clone, Copy, Debug)]
pub struct TurnClock {
    read: Clock,
    read_ns: Option<u64>,
}

/// Short enough that the drift between the counter and the system's clock stays below a microsecond.
const REREAD_NS: u64 = 10_000_000;

impl TurnClock {
    /// Reads the system's clocks for the first time.
    pub fn read() -> TurnClock {
        TurnClock { read: Clock::read(), read_ns: None }
    }

    /// The time at `now_ns` of the nanosecond clock that it is always used with. The monotonic part never goes back.
    #[inline]
    pub fn at(&mut self, now_ns: u64) -> Clock {
        let passed_ns = self.read_ns.map_or(u64::MAX, |read_ns| now_ns.saturating_sub(read_ns));
        if passed_ns < REREAD_NS {
            return self.read.plus_us(passed_ns / 1000);
        }
        // Nothing later than this was handed out; after a long sleep the counter is not asked how long it was.
        let latest = if self.read_ns.is_some() { self.read.plus_us(REREAD_NS / 1000) } else { self.read };
        let read = Clock::read();
        let monotonic_us = read.monotonic_us.max(latest.monotonic_us);
        self.read = Clock { monotonic_us, ..read };
        self.read_ns = Some(now_ns);
        self.read
    }
}

/// The largest value of the LRU clock: 24 bits of seconds, which wrap after 194 days.
pub const LRU_CLOCK_MAX: u32 = (1 << 24) - 1;

/// The LRU clock at a time: seconds, 24 bits.
#[inline]
pub const fn lru_clock(now: UnixMillis) -> u32 {
    (now.seconds() & LRU_CLOCK_MAX as i64) as u32
}

/// How long ago, in milliseconds, a key with the LRU field `last` was used when the LRU clock reads `clock`; correct
/// while fewer than 194 days have passed (stock: one second short after a wrap).
#[inline]
pub const fn lru_idle_ms(clock: u32, last: u32) -> u64 {
    let seconds = if clock >= last { clock - last } else { clock + (LRU_CLOCK_MAX - last) };
    seconds as u64 * 1000
}

/// The LFU counter of a new key.
pub const LFU_INIT_VAL: u8 = 5;

/// The LFU clock at a time: minutes, 16 bits.
#[inline]
pub const fn lfu_minutes(now: UnixMillis) -> u16 {
    ((now.seconds() / 60) & 0xFFFF) as u16
}

/// Minutes from the LFU time `last` to `now`, taking one wrap at most (stock: one minute short after a wrap).
#[inline]
pub const fn lfu_elapsed_minutes(now: u16, last: u16) -> u16 {
    if now >= last { now - last } else { u16::MAX - last + now }
}

/// The counter after decay: one less for every `decay_time` minutes since `last`; `decay_time` 0 means never.
#[inline]
pub const fn lfu_decayed(counter: u8, now: u16, last: u16, decay_time: u32) -> u8 {
    if decay_time == 0 {
        return counter;
    }
    let periods = lfu_elapsed_minutes(now, last) as u32 / decay_time;
    if periods >= counter as u32 { 0 } else { counter - periods as u8 }
}

/// The counter after one more use: it grows with probability `1 / ((counter - 5) * log_factor + 1)`, up to 255.
/// `random` is uniform over all of `u32`.
#[inline]
pub fn lfu_incremented(counter: u8, log_factor: u32, random: u32) -> u8 {
    if counter == u8::MAX {
        return counter;
    }
    let above = counter.saturating_sub(LFU_INIT_VAL);
    let odds = 1.0 / (f64::from(above) * f64::from(log_factor) + 1.0);
    if f64::from(random) / 4_294_967_296.0 < odds { counter + 1 } else { counter }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_go_forward() {
        let first = Clock::read();
        let second = Clock::read();
        assert!(second.monotonic_us() >= first.monotonic_us());
        assert!(first.unix().get() > 1_600_000_000_000);
        assert_eq!(Clock::at(1_999_999, 7).unix(), UnixMillis(1999));
    }

    #[test]
    fn a_turn_clock_follows_the_system_and_never_goes_back() {
        let nanos = NanoClock::new();
        let (mut clock, begun) = (TurnClock::read(), Clock::read());
        let mut last = begun.monotonic_us() - 1000;
        while Clock::read().monotonic_us() - begun.monotonic_us() < 30_000 {
            let now = clock.at(nanos.now_ns());
            assert!(now.monotonic_us() >= last);
            last = now.monotonic_us();
        }
        let (ours, system) = (clock.at(nanos.now_ns()), Clock::read());
        assert!(system.monotonic_us().abs_diff(ours.monotonic_us()) < 20_000);
        assert!(system.unix_us().abs_diff(ours.unix_us()) < 20_000);
    }

    #[test]
    fn times_stop_at_the_ends() {
        assert_eq!(UnixMillis(i64::MAX).plus(1), UnixMillis(i64::MAX));
        assert_eq!(UnixMillis(i64::MIN).since(UnixMillis(1)), i64::MIN);
    }

    #[test]
    fn lru_idle_time_survives_the_wrap() {
        assert_eq!(lru_clock(UnixMillis(1000 * ((1 << 24) + 5) + 999)), 5);
        assert_eq!(lru_idle_ms(100, 40), 60_000);
        assert_eq!(lru_idle_ms(5, LRU_CLOCK_MAX - 5), 10_000);
    }

    #[test]
    fn lfu_counter_decays_by_periods() {
        assert_eq!(lfu_decayed(10, 100, 97, 1), 7);
        assert_eq!(lfu_decayed(10, 100, 97, 2), 9);
        assert_eq!(lfu_decayed(10, 1000, 0, 1), 0);
        assert_eq!(lfu_decayed(10, 1000, 0, 0), 10);
        assert_eq!(lfu_elapsed_minutes(3, u16::MAX - 3), 6);
        assert_eq!(lfu_minutes(UnixMillis(60_000 * 65_537)), 1);
    }

    #[test]
    fn lfu_counter_grows_less_and_less_likely() {
        assert_eq!(lfu_incremented(0, 10, u32::MAX), 1);
        assert_eq!(lfu_incremented(LFU_INIT_VAL, 10, u32::MAX), 6);
        assert_eq!(lfu_incremented(6, 10, u32::MAX / 11 - 1), 7);
        assert_eq!(lfu_incremented(6, 10, u32::MAX / 11 + 2), 6);
        assert_eq!(lfu_incremented(255, 0, 0), 255);
        assert_eq!(lfu_incremented(254, 0, u32::MAX), 255);
    }
}
