//! A benchmark as people see it.

use super::declaration::tone;
use super::{BenchReport, DISTURBED, Relative, Row, Verdict, layers};
use crate::render::number;
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use std::collections::BTreeSet;

pub(super) fn lay_out(
    found: &BenchReport,
    (models, reference, top): (&[String], Option<usize>, usize),
) -> Report {
    let note = if found.is_input_chosen { "" } else { ", as no input is chosen" };
    let mut report = Report::of(found)
        .toned_line([(Tone::Plain, format!("on {}", found.input)), (Tone::Dim, note.to_owned())])
        .table(Table::of(&found.rows));
    let mut seen = BTreeSet::new();
    let runs: Vec<String> =
        found.rows.iter().map(|row| row.run.text()).filter(|run| seen.insert(run.clone())).collect();
    report = report.toned_line([(Tone::Dim, runs.join("; "))]);
    let configurations: BTreeSet<_> = found.rows.iter().map(|row| (row.batch, row.threads)).collect();
    let name = found.reference.as_deref().unwrap_or_default();
    let mut disturbed = Vec::new();
    for row in &found.rows {
        let slowdown = row.median_ms / row.alone_ms;
        if found.reference.is_some() && slowdown > DISTURBED {
            disturbed.push(format!("{} {slowdown:.1}", row.model));
        }
        if let Some(relative) = &row.relative {
            let prefix = if configurations.len() > 1 { configuration(row) } else { String::new() };
            report = report.toned_line(verdict_line(row, relative, name, prefix));
        }
    }
    if !disturbed.is_empty() {
        disturbed.dedup();
        report = report.toned_line([(
            Tone::Warning,
            format!(
                "the models disturb each other (times as long as alone: {}): threads of one may still be busy when the next \
                 one runs; `--threads 1` avoids that",
                disturbed.join(", ")
            ),
        )]);
    }
    if found.layers.is_empty() {
        return report;
    }
    let (shown, others) = found.layers.split_at(top.min(found.layers.len()));
    report = report.table(layers::table(shown, models, reference));
    let slower = found.rows.iter().filter_map(|row| {
        let profiled_ms = layers::profiled_ms(&found.layers, &row.model)?;
        let slowdown = profiled_ms / row.median_ms;
        (slowdown > DISTURBED).then(|| format!("{} {slowdown:.1}", row.model))
    });
    let slower = slower.collect::<Vec<_>>().join(", ");
    if !slower.is_empty() {
        let text = format!(
            "profiling takes time itself, between and in short kernels (times as long as above: {slower})"
        );
        report = report.toned_line([(Tone::Dim, text)]);
    }
    if !others.is_empty() {
        let text = format!("{} more: {}", counted(others.len(), "row"), layers::rest(others, models));
        report = report.toned_line([(Tone::Dim, text)]);
    }
    report
}

/// `batch 8, 2 threads: `
fn configuration(row: &Row) -> String {
    let threads = row.threads.map(|threads| format!(", {}", counted(threads as usize, "thread")));
    format!("batch {}{}: ", number::count(row.batch), threads.unwrap_or_default())
}

fn verdict_line(row: &Row, relative: &Relative, reference: &str, prefix: String) -> Vec<(Tone, String)> {
    let (low, high) = (relative.interval.low, relative.interval.high);
    let decimals = decimals(high - low);
    let said = |value: f64| format!("{value:.decimals$}");
    let ratio = said(relative.ratio);
    let interval = format!("95 % interval {} to {}", said(low), said(high));
    let (between, verdict, rest) = match relative.verdict {
        Verdict::Faster => {
            (" ".to_owned(), format!("takes {ratio} of the time"), format!(" of {reference} ({interval})"))
        }
        Verdict::Slower => {
            (" ".to_owned(), format!("takes {ratio} times as long"), format!(" as {reference} ({interval})"))
        }
        Verdict::Same => (
            " ".to_owned(),
            "takes the same time".to_owned(),
            format!(" as {reference} within 1 % (ratio {ratio}, {interval})"),
        ),
        Verdict::Undecided => (
            format!(" and {reference}: "),
            format!("no difference that {} rounds can tell", number::count(row.rounds as u64)),
            format!(" (ratio {ratio}, {interval})"),
        ),
    };
    vec![
        (Tone::Dim, prefix),
        (Tone::Name, row.model.clone()),
        (Tone::Plain, between),
        (tone(relative.verdict), verdict),
        (Tone::Plain, rest),
    ]
}

/// As many decimals as an interval of this width is worth.
fn decimals(width: f64) -> usize {
    match width {
        width if width >= 0.01 => 2,
        width if width >= 0.001 => 3,
        _ => 4,
    }
}
