//! The result: for each work the best peer, the limit of the machine, bootd, and whether the goal
//! is reached.

use std::collections::BTreeMap;

use super::contest::{Figures, Sample};
use super::figures::median;

/// The contestant that all this is about.
pub(super) const BOOTD: &str = "bootd";

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    Higher,
    Lower,
}

/// What bootd is to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Goal {
    /// At least (or, where lower is better, at most) so many times the best peer.
    TimesPeer(f64),
    /// The same of the limit.
    TimesLimit(f64),
    /// At least, or at most, this value.
    Value(f64),
    /// For information.
    None,
}

/// A number of a sample.
pub(super) type Figure = fn(&Figures) -> Option<f64>;

/// A line of the table.
pub(super) struct Row {
    pub(super) work: &'static str,
    pub(super) unit: &'static str,
    pub(super) case: &'static str,
    pub(super) figure: Figure,
    /// Divide by the same figure of this case.
    pub(super) over: Option<&'static str>,
    pub(super) better: Better,
    /// Contestants that show the limit; the best of them counts.
    pub(super) limits: &'static [&'static str],
    pub(super) goal: Goal,
}

/// What a contestant did in one repetition.
type ByRepetition = BTreeMap<u32, f64>;

/// A contestant's result, whether all of its samples were disturbed, and whether something went
/// wrong in one of them.
struct Result {
    all: ByRepetition,
    disturbed: bool,
    failed: bool,
}

impl Result {
    fn middle(&self) -> f64 {
        median(self.all.values().copied().collect()).unwrap_or(f64::NAN)
    }

    /// The middle of the ratios within each repetition.
    fn ratio(&self, to: &Result) -> Option<f64> {
        let common = self.all.iter();
        let pairs = common.filter_map(|(at, it)| Some((*it, *to.all.get(at)?)));
        median(
            pairs
                .filter(|(_, to)| *to > 0.0)
                .map(|(it, to)| it / to)
                .collect(),
        )
    }
}

/// Prints both tables.
#[expect(clippy::print_stdout, reason = "the result of a bench")]
pub(super) fn print(rows: &[Row], samples: &[Sample]) {
    println!("{}\n{}", render(rows, samples), all(rows, samples));
}

/// All lines, as a Markdown table.
fn render(rows: &[Row], samples: &[Sample]) -> String {
    let mut text = "| work | best peer | limit | bootd | to peer | to limit | goal | reached |\n\
                    |---|---:|---:|---:|---:|---:|---|---|\n"
        .to_owned();
    for row in rows {
        text.push_str(&row.render(samples));
    }
    text
}

/// What every contestant did, work by work.
fn all(rows: &[Row], samples: &[Sample]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for sample in samples {
        if !names.contains(&sample.server) {
            names.push(sample.server);
        }
    }
    names.sort_unstable();
    let mut text = format!(
        "| work | {} |\n|---|{}\n",
        names.join(" | "),
        "---:|".repeat(names.len())
    );
    for row in rows {
        let cell = |name: &&str| row.result(samples, name).map_or("-".into(), |it| it.text());
        let cells: Vec<String> = names.iter().map(cell).collect();
        text.push_str(&format!(
            "| {}, {} | {} |\n",
            row.work,
            row.unit,
            cells.join(" | ")
        ));
    }
    text
}

impl Row {
    fn result(&self, samples: &[Sample], server: &str) -> Option<Result> {
        let mut result = self.of_case(samples, server, self.case)?;
        if let Some(case) = self.over {
            let under = self.of_case(samples, server, case)?;
            let ratio = |at: u32, it: f64| Some((at, it / under.all.get(&at).copied()?));
            let all = result.all.iter().filter_map(|(at, it)| ratio(*at, *it));
            result.all = all.collect();
            result.disturbed |= under.disturbed;
            result.failed |= under.failed;
        }
        (!result.all.is_empty()).then_some(result)
    }

    /// Disturbed samples count only where there are no others.
    fn of_case(&self, samples: &[Sample], server: &str, case: &str) -> Option<Result> {
        let here = || {
            samples
                .iter()
                .filter(|it| it.server == server && it.case == case)
        };
        let disturbed = here().all(Sample::is_disturbed);
        let valid = here().filter(|it| disturbed || !it.is_disturbed());
        let all: ByRepetition = valid
            .filter_map(|it| Some((it.repetition, (self.figure)(&it.figures)?)))
            .collect();
        let failed = here().any(|it| it.note.is_some());
        (!all.is_empty()).then_some(Result {
            all,
            disturbed,
            failed,
        })
    }

    /// The best of these contestants.
    fn best<'a>(
        &self,
        samples: &[Sample],
        names: impl Iterator<Item = &'a str>,
    ) -> Option<(&'a str, Result)> {
        let results = names.filter_map(|name| Some((name, self.result(samples, name)?)));
        results.reduce(|a, b| {
            let first = match self.better {
                Better::Higher => a.1.middle() >= b.1.middle(),
                Better::Lower => a.1.middle() <= b.1.middle(),
            };
            if first { a } else { b }
        })
    }

    fn render(&self, samples: &[Sample]) -> String {
        let is_peer = |name: &&str| *name != BOOTD && !name.starts_with("ideal");
        let mut peers: Vec<&str> = samples.iter().map(|it| it.server).filter(is_peer).collect();
        peers.sort_unstable();
        peers.dedup();
        let peer = self.best(samples, peers.into_iter());
        let limit = self.best(samples, self.limits.iter().copied());
        let own = self.result(samples, BOOTD);
        let cell = |it: Option<String>| it.unwrap_or_else(|| "-".into());
        let to = |other: &Option<(&str, Result)>| {
            let (own, (_, other)) = (own.as_ref()?, other.as_ref()?);
            own.ratio(other)
        };
        let (to_peer, to_limit) = (to(&peer), to(&limit));
        let value = own.as_ref().map(Result::middle);
        let named = |(name, it): &(&str, Result)| format!("{} ({name})", it.text());
        format!(
            "| {}, {} | {} | {} | {} | {} | {} | {} | {} |\n",
            self.work,
            self.unit,
            cell(peer.as_ref().map(named)),
            cell(limit.as_ref().map(named)),
            cell(own.as_ref().map(Result::text)),
            cell(to_peer.map(number)),
            cell(to_limit.map(number)),
            self.goal_text(),
            cell(
                self.reached(value, to_peer, to_limit)
                    .map(|it| if it { "yes" } else { "**no**" }.into())
            ),
        )
    }

    fn goal_text(&self) -> String {
        let sign = match self.better {
            Better::Higher => "≥",
            Better::Lower => "≤",
        };
        match self.goal {
            Goal::TimesPeer(times) => format!("{sign} {times} × peer"),
            Goal::TimesLimit(times) => format!("{sign} {times} × limit"),
            Goal::Value(value) => format!("{sign} {value}"),
            Goal::None => "-".into(),
        }
    }

    fn reached(
        &self,
        value: Option<f64>,
        to_peer: Option<f64>,
        to_limit: Option<f64>,
    ) -> Option<bool> {
        let (is, goal) = match self.goal {
            Goal::TimesPeer(goal) => (to_peer?, goal),
            Goal::TimesLimit(goal) => (to_limit?, goal),
            Goal::Value(goal) => (value?, goal),
            Goal::None => return None,
        };
        Some(match self.better {
            Better::Higher => is >= goal,
            Better::Lower => is <= goal,
        })
    }
}

impl Result {
    fn text(&self) -> String {
        let mark = if self.disturbed { "~" } else { "" };
        let failed = if self.failed { "!" } else { "" };
        format!("{mark}{}{failed}", number(self.middle()))
    }
}

/// Three digits or more.
fn number(value: f64) -> String {
    match value.abs() {
        it if it >= 1000.0 => {
            let whole = format!("{value:.0}");
            let split = whole.len().saturating_sub(3);
            format!("{},{}", &whole[..split], &whole[split..])
        }
        it if it >= 100.0 => format!("{value:.0}"),
        it if it >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(server: &'static str, repetition: u32, rate: f64, foreign: f64) -> Sample {
        Sample {
            case: "work".into(),
            server,
            repetition,
            figures: Figures::from([("rate", rate)]),
            foreign: Some(foreign),
            note: None,
        }
    }

    fn row(goal: Goal, better: Better) -> Row {
        Row {
            work: "work",
            unit: "1/s",
            case: "work",
            figure: |it| it.get("rate").copied(),
            over: None,
            better,
            limits: &["ideal"],
            goal,
        }
    }

    #[test]
    fn ratios_are_taken_within_a_repetition() {
        let samples = [
            sample("kea", 0, 100.0, 0.0),
            sample("kea", 1, 50.0, 0.0),
            sample("isc", 0, 10.0, 0.0),
            sample("ideal", 0, 1000.0, 0.0),
            sample("ideal", 1, 600.0, 0.0),
            sample("bootd", 0, 300.0, 0.0),
            sample("bootd", 1, 150.0, 0.0),
        ];
        let row = row(Goal::TimesPeer(2.5), Better::Higher);
        assert_eq!(
            row.render(&samples),
            "| work, 1/s | 75.0 (kea) | 800 (ideal) | 225 | 3.00 | 0.28 | ≥ 2.5 × peer | yes |\n"
        );
    }

    #[test]
    fn disturbed_samples_count_only_without_others() {
        let samples = [
            sample("bootd", 0, 5.0, 0.5),
            sample("bootd", 1, 1234.0, 0.0),
            Sample {
                note: Some("3 gave up".into()),
                ..sample("kea", 0, 7.0, 0.5)
            },
        ];
        let row = row(Goal::Value(1000.0), Better::Lower);
        assert_eq!(
            row.render(&samples),
            "| work, 1/s | ~7.00! (kea) | - | 1,234 | - | - | ≤ 1000 | **no** |\n"
        );
    }
}
