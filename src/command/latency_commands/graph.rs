//! LATENCY GRAPH: the samples of one event as columns of characters, oldest first.

use crate::command::latency::EventSeries;

/// Columns of a line of the graph.
const COLUMNS: usize = 80;
/// Lines of characters that a column is high, and how many heights a character can show.
const ROWS: u64 = 4;
const TOPS: [char; 3] = ['_', 'o', '#'];

/// Draws the samples: a title, and for each 80 samples a band of columns with how long ago each was below it.
pub fn draw(event: &str, series: &EventSeries, now_s: i64) -> String {
    let summary = series.summary(now_s);
    let mut text = format!(
        "{event} - high {} ms, low {} ms (all time high {} ms)\n",
        summary.highest_ms, summary.lowest_ms, series.longest_ms
    );
    text.push_str(&"-".repeat(COLUMNS));
    text.push('\n');
    for band in series.samples.chunks(COLUMNS) {
        let heights: Vec<u64> = band.iter().map(|(_, ms)| height(*ms, summary.lowest_ms, summary.highest_ms)).collect();
        for row in (0..ROWS).rev() {
            push_line(&mut text, heights.iter().map(|height| cell(*height, row)));
        }
        let ages: Vec<Vec<char>> = band.iter().map(|(second, _)| age(now_s - second).chars().collect()).collect();
        let longest = ages.iter().map(Vec::len).max().unwrap_or(0);
        text.push('\n');
        for row in 0..longest {
            push_line(&mut text, ages.iter().map(|age| age.get(row).copied().unwrap_or(' ')));
        }
    }
    text
}

fn push_line(text: &mut String, cells: impl Iterator<Item = char>) {
    let line: String = cells.collect();
    text.push_str(line.trim_end());
    text.push('\n');
}

/// From 0 (the lowest sample) to the height of the graph less one.
fn height(ms: u64, lowest_ms: u64, highest_ms: u64) -> u64 {
    let steps = ROWS * TOPS.len() as u64 - 1;
    let scaled = u128::from(ms - lowest_ms) * u128::from(steps);
    u64::try_from(scaled / u128::from((highest_ms - lowest_ms).max(1))).unwrap_or(steps)
}

fn cell(height: u64, row: u64) -> char {
    let tops = TOPS.len() as u64;
    match row.cmp(&(height / tops)) {
        std::cmp::Ordering::Less => '|',
        std::cmp::Ordering::Equal => TOPS[(height % tops) as usize],
        std::cmp::Ordering::Greater => ' ',
    }
}

/// Seconds, minutes, hours or days ago.
fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{}s", seconds.max(0)),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_rise_with_their_samples_and_say_how_old_they_are() {
        let series = EventSeries { longest_ms: 900, samples: vec![(100, 300), (4000, 400), (7690, 500)] };
        let text = draw("command", &series, 7700);
        let title = "command - high 500 ms, low 300 ms (all time high 900 ms)";
        let columns = "  #\n  |\n #|\n_||\n\n211\nhh0\n  s\n";
        assert_eq!(text, format!("{title}\n{}\n{columns}", "-".repeat(80)));
    }

    #[test]
    fn equal_samples_lie_on_the_ground() {
        let series = EventSeries { longest_ms: 5, samples: vec![(1, 5), (2, 5)] };
        assert!(draw("x", &series, 2).contains("\n__\n"));
        assert_eq!((age(59), age(60), age(7200), age(200_000)), ("59s".into(), "1m".into(), "2h".into(), "2d".into()));
    }
}
