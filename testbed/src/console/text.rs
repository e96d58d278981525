//! Numbers and tables as text.

use std::time::Duration;

/// Such as `12.3 s`.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Such as `[#####...............]  25 %  3.1 of 12.5 MiB`.
pub(super) fn bar(done: u64, total: u64) -> String {
    const WIDTH: usize = 20;
    let percent = done.saturating_mul(100) / total.max(1);
    let filled =
        usize::try_from(percent).map_or(WIDTH, |percent| (percent * WIDTH / 100).min(WIDTH));
    format!(
        "[{}{}] {percent:>3} %  {} of {} MiB",
        "#".repeat(filled),
        ".".repeat(WIDTH - filled),
        mebibytes(done),
        mebibytes(total)
    )
}

/// Bytes in MiB with one decimal, cut off.
fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Lines of left-aligned columns, two spaces between, without spaces at the end.
pub(super) fn columns(head: &[&str], rows: Vec<Vec<String>>) -> Vec<String> {
    let head = head.iter().map(|&cell| cell.to_owned()).collect();
    let all: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate();
        let padded = cells.map(|(index, cell)| format!("{cell:<width$}", width = width(index)));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_honest_at_their_ends() {
        assert_eq!(bar(0, 0), "[....................]   0 %  0.0 of 0.0 MiB");
        assert_eq!(
            bar(13_000_000, 13_000_001),
            "[###################.]  99 %  12.3 of 12.3 MiB"
        );
        assert_eq!(bar(5, 4), "[####################] 125 %  0.0 of 0.0 MiB");
    }
}
