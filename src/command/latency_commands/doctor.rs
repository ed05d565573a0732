//! LATENCY DOCTOR: the events in words, and what may help against them.

use crate::command::latency::LatencyEvents;
use crate::config::Config;

/// An event and what to say when it has been seen.
struct Advice {
    event: &'static str,
    text: &'static str,
}

const ADVICES: &[Advice] = &[
    Advice {
        event: "command",
        text: "Look into SLOWLOG for the commands that take long, and replace those that visit many elements by ones that go in steps (SCAN instead of KEYS, UNLINK instead of DEL).",
    },
    Advice {
        event: "fast-command",
        text: "Commands that do little took long: the threads are not given the CPU. Look for other load on the machine, for a container's CPU limit, and pin the cores with server-cpulist.",
    },
    Advice {
        event: "expire-cycle",
        text: "Many keys expire at the same time, or large ones do: spread the times, split large values, or set lazyfree-lazy-expire to yes.",
    },
];

/// The report as of `now_s`.
pub fn report(events: &LatencyEvents, config: &Config, now_s: i64) -> String {
    let threshold_ms = config.latency_monitor_threshold;
    let seen = events.events().count();
    if seen == 0 && threshold_ms == 0 {
        return "The latency monitor is switched off. CONFIG SET latency-monitor-threshold <milliseconds> switches it on.\n".to_owned();
    }
    if seen == 0 {
        return format!("Nothing has taken {threshold_ms} ms or longer so far.\n");
    }
    let mut text = "These events took as long as latency-monitor-threshold or longer:\n\n".to_owned();
    for (number, (name, series)) in events.events().enumerate() {
        let summary = series.summary(now_s);
        let every_s = summary.period_s as f64 / summary.samples_count.max(1) as f64;
        text.push_str(&format!(
            "{}. {name}: {} times, one every {every_s:.2} s; {} ms on average, {} ms around that, {} ms at worst.\n",
            number + 1,
            summary.samples_count,
            summary.average_ms,
            summary.deviation_ms,
            series.longest_ms
        ));
    }
    let advices = advices(events, config);
    text.push_str(if advices.is_empty() { "\nThere is no ready advice for these.\n" } else { "\nWhat may help:\n\n" });
    for advice in advices {
        text.push_str(&format!("- {advice}\n"));
    }
    text
}

fn advices(events: &LatencyEvents, config: &Config) -> Vec<String> {
    let seen = |event: &str| events.get(event).is_some();
    let mut advices: Vec<String> =
        ADVICES.iter().filter(|advice| seen(advice.event)).map(|advice| advice.text.to_owned()).collect();
    let threshold_us = config.latency_monitor_threshold.saturating_mul(1000);
    let logs_them = u64::try_from(config.slowlog_log_slower_than).is_ok_and(|us| us <= threshold_us);
    if seen("command") && !logs_them {
        advices
            .push(format!("The slow log leaves such commands out: CONFIG SET slowlog-log-slower-than {threshold_us}."));
    }
    advices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_events_and_the_slow_log_that_misses_them() {
        let mut events = LatencyEvents::default();
        let mut config = Config::default();
        assert!(report(&events, &config, 0).contains("switched off"));
        config.latency_monitor_threshold = 5;
        assert!(report(&events, &config, 0).contains("5 ms or longer"));
        events.add("command", 10, 7);
        let text = report(&events, &config, 20);
        assert!(text.contains("1. command: 1 times, one every 10.00 s; 7 ms on average"), "{text}");
        assert!(text.contains("slowlog-log-slower-than 5000"), "{text}");
        config.slowlog_log_slower_than = 5000;
        assert!(!report(&events, &config, 20).contains("slowlog-log-slower-than"));
    }
}
