//! The latency monitor: for each event, the last samples that took at least latency-monitor-threshold.

use std::collections::BTreeMap;

/// Samples kept per event, one per second (Redis's LATENCY_TS_LEN).
pub const SAMPLES_MAX: usize = 160;

/// One event's samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSeries {
    /// Longest ever, in ms.
    pub longest_ms: u64,
    /// (unix second, ms), oldest first; the worst of each second.
    pub samples: Vec<(i64, u64)>,
}

/// Events by name (`command`, `fast-command`, `expire-cycle`, ...).
#[derive(Clone, Debug, Default)]
pub struct LatencyEvents {
    series: BTreeMap<String, EventSeries>,
}

impl LatencyEvents {
    /// Records a sample; the caller has compared it with the threshold.
    pub fn add(&mut self, event: &str, unix_s: i64, duration_ms: u64) {
        let series = match self.series.get_mut(event) {
            Some(series) => series,
            None => self.series.entry(event.to_owned()).or_default(),
        };
        series.add(unix_s, duration_ms);
    }

    pub fn events(&self) -> impl Iterator<Item = (&str, &EventSeries)> {
        self.series.iter().map(|(name, series)| (name.as_str(), series))
    }

    pub fn get(&self, event: &str) -> Option<&EventSeries> {
        self.series.get(event)
    }

    pub fn remove(&mut self, event: &str) -> bool {
        self.series.remove(event).is_some()
    }

    /// Forgets everything; says how many events there were.
    pub fn clear(&mut self) -> usize {
        std::mem::take(&mut self.series).len()
    }

    /// Adds another core's samples.
    pub fn merge(&mut self, other: LatencyEvents) {
        for (name, theirs) in other.series {
            let ours = self.series.entry(name).or_default();
            ours.longest_ms = ours.longest_ms.max(theirs.longest_ms);
            ours.samples.extend(theirs.samples);
            // The worst of a second stands first, and the others of that second go.
            ours.samples.sort_unstable_by_key(|(second, ms)| (*second, std::cmp::Reverse(*ms)));
            ours.samples.dedup_by_key(|(second, _)| *second);
            let surplus = ours.samples.len().saturating_sub(SAMPLES_MAX);
            ours.samples.drain(..surplus);
        }
    }
}

/// What the samples of an event have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub samples_count: u64,
    pub lowest_ms: u64,
    pub highest_ms: u64,
    pub average_ms: u64,
    /// Mean distance from the average.
    pub deviation_ms: u64,
    /// Since the oldest sample; at least 1 when there is one.
    pub period_s: u64,
}

impl EventSeries {
    /// The samples in figures, as of `now_s`.
    pub fn summary(&self, now_s: i64) -> Summary {
        let durations = || self.samples.iter().map(|(_, ms)| *ms);
        let (Some(lowest_ms), Some(highest_ms), Some((oldest_s, _))) =
            (durations().min(), durations().max(), self.samples.first())
        else {
            return Summary::default();
        };
        let samples_count = self.samples.len() as u64;
        let average_ms = durations().sum::<u64>() / samples_count;
        Summary {
            samples_count,
            lowest_ms,
            highest_ms,
            average_ms,
            deviation_ms: durations().map(|ms| ms.abs_diff(average_ms)).sum::<u64>() / samples_count,
            period_s: u64::try_from(now_s - oldest_s).unwrap_or(0).max(1),
        }
    }

    fn add(&mut self, unix_s: i64, duration_ms: u64) {
        self.longest_ms = self.longest_ms.max(duration_ms);
        if let Some((second, worst)) = self.samples.last_mut()
            && *second == unix_s
        {
            *worst = (*worst).max(duration_ms);
            return;
        }
        if self.samples.len() == SAMPLES_MAX {
            self.samples.remove(0);
        }
        self.samples.push((unix_s, duration_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(samples: &[(i64, u64)]) -> LatencyEvents {
        let mut events = LatencyEvents::default();
        samples.iter().for_each(|(second, ms)| events.add("command", *second, *ms));
        events
    }

    #[test]
    fn a_second_keeps_its_worst_sample_on_one_core_and_over_cores() {
        let mut events = series(&[(1, 5), (1, 9), (1, 7), (3, 2)]);
        assert_eq!(events.get("command").unwrap().samples, [(1, 9), (3, 2)]);
        events.merge(series(&[(1, 11), (2, 1), (3, 1)]));
        let merged = events.get("command").unwrap();
        assert_eq!((merged.longest_ms, merged.samples.as_slice()), (11, &[(1, 11), (2, 1), (3, 2)][..]));
    }

    #[test]
    fn only_the_newest_samples_are_kept() {
        let samples: Vec<(i64, u64)> = (0..SAMPLES_MAX as i64 + 5).map(|second| (second, 1)).collect();
        let events = series(&samples);
        let kept = &events.get("command").unwrap().samples;
        assert_eq!((kept.len(), kept[0].0), (SAMPLES_MAX, 5));
    }

    #[test]
    fn a_summary_has_average_and_mean_distance() {
        let events = series(&[(10, 100), (12, 300), (15, 200)]);
        let summary = events.get("command").unwrap().summary(20);
        let expected = Summary {
            samples_count: 3,
            lowest_ms: 100,
            highest_ms: 300,
            average_ms: 200,
            deviation_ms: 66,
            period_s: 10,
        };
        assert_eq!(summary, expected);
        assert_eq!(EventSeries::default().summary(20), Summary::default());
    }
}
