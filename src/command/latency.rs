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
            ours.samples.sort_unstable();
            let surplus = ours.samples.len().saturating_sub(SAMPLES_MAX);
            ours.samples.drain(..surplus);
        }
    }
}

impl EventSeries {
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
