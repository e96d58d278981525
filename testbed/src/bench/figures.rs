//! Numbers: percentiles, medians, and whole numbers as real ones.

use std::time::Duration;

/// A count as a real number.
pub(super) fn real(count: u64) -> f64 {
    let part = |it: u64| f64::from(u32::try_from(it).unwrap_or(u32::MAX));
    part(count >> 32) * 4_294_967_296.0 + part(count & 0xffff_ffff)
}

/// A length as a count.
pub(super) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// The time, in milliseconds, that so many per thousand do not exceed; sorts them.
pub(super) fn milliseconds(times: &mut [Duration], per_thousand: usize) -> f64 {
    times.sort_unstable();
    let index = (times.len() * per_thousand).div_ceil(1000);
    let at = times.get(index.saturating_sub(1));
    at.copied().unwrap_or_default().as_secs_f64() * 1000.0
}

/// The middle of them, or the mean of the middle two; `None` of none.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middles_and_percentiles() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let mut times: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(milliseconds(&mut times, 500).round(), 50.0);
        assert_eq!(milliseconds(&mut times, 990).round(), 99.0);
        assert_eq!(milliseconds(&mut [], 990), 0.0);
        assert_eq!(real(5_000_000_000), 5e9);
    }
}
