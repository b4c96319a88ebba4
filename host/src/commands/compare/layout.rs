//! A comparison for people.

use super::{Found, Row};
use crate::capture::order::Order;
use crate::commands::evidence::Ran;
use crate::commands::listing::{counted, first_of};
use crate::error::{Error, Result};
use crate::inspect::Errors;
use crate::render::chart::Chart;
use crate::render::number;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;

/// A bar as long as its column stands for this SQNR.
const FULL_BAR_DB: f64 = 60.0;

/// One line of what was done, a sentence, the table, and what was not matched.
pub(super) fn report(found: &Found<'_>) -> Result<Report> {
    let how = if found.is_optimized { "as the runtime executes them" } else { "graphs as written" };
    let mut report = Report::new(found)?
        .toned_line([
            (Tone::Name, found.candidate.to_owned()),
            (Tone::Plain, " against ".to_owned()),
            (Tone::Name, found.reference.to_owned()),
            (
                Tone::Plain,
                format!(
                    " on {} of {}, {how}",
                    counted(usize::try_from(found.samples).unwrap_or(usize::MAX), "sample"),
                    found.input
                ),
            ),
        ])
        .toned_line([(Tone::Dim, settings(found))])
        .toned_line(verdict(found));
    if found.is_batch_dependent && found.batch > 1 {
        let text = format!(
            "scales are computed from the {} samples of each batch: `--batch` changes the numbers",
            found.batch
        );
        report = report.toned_line([(Tone::Warning, text)]);
    }
    report = report.table(table(found));
    for (names, of) in
        [(&found.unmatched_reference, found.reference), (&found.unmatched_candidate, found.candidate)]
    {
        if !names.is_empty() {
            report = report.toned_line([
                (Tone::Dim, format!("{} not matched, of {of}: ", names.len())),
                (Tone::Plain, first_of(names)),
            ]);
        }
    }
    if let Some(obstacle) = &found.local_obstacle {
        report = report.toned_line([
            (Tone::Warning, "no layer was computed alone: ".to_owned()),
            (Tone::Plain, obstacle.one_line()),
        ]);
    }
    let not_compared = found.layers.iter().filter_map(|row| Some((row.obstacle.as_ref()?, row.layer)));
    let not_alone = found.layers.iter().filter_map(|row| Some((row.local_obstacle.as_ref()?, row.layer)));
    report = obstacles(report, (Tone::Warning, "not compared: "), not_compared);
    report = obstacles(report, (Tone::Dim, "not computed alone: "), not_alone);
    Ok(report)
}

/// One line for each obstacle, with the first of the layers that it stands before.
fn obstacles<'a>(
    mut report: Report,
    (tone, what): (Tone, &str),
    rows: impl Iterator<Item = (&'a Error, &'a str)>,
) -> Report {
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for (obstacle, layer) in rows {
        let text = obstacle.one_line();
        match reasons.iter_mut().find(|(known, _)| *known == text) {
            Some((_, layers)) => layers.push(layer),
            None => reasons.push((text, vec![layer])),
        }
    }
    for (text, layers) in reasons {
        report = report.toned_line([
            (tone, what.to_owned()),
            (Tone::Name, first_of(&layers)),
            (Tone::Plain, format!(": {text}")),
        ]);
    }
    report
}

/// What both runtimes say of their runs, once if it is the same.
fn settings(found: &Found<'_>) -> String {
    let mut texts: Vec<String> =
        [&found.reference_run, &found.candidate_run].into_iter().flatten().map(Ran::text).collect();
    texts.dedup();
    texts.join("; ")
}

fn verdict(found: &Found<'_>) -> Vec<(Tone, String)> {
    let threshold = format!("{} dB", number::real(found.threshold_db));
    let Some((worst, sqnr)) = found.worst_layer.zip(found.min_sqnr_db.filter(|sqnr| sqnr.is_finite())) else {
        let is_equal =
            |row: &Row<'_>| row.errors.as_ref().is_some_and(|errors| errors.sqnr_db == Some(f64::INFINITY));
        return match &found.layers[..] {
            [] => vec![(Tone::Plain, "no layer was compared".to_owned())],
            rows if rows.iter().all(is_equal) => {
                vec![(Tone::Good, "all values are equal to the last bit".to_owned())]
            }
            rows => {
                let no_numbers = rows
                    .iter()
                    .filter(|row| row.errors.as_ref().is_some_and(|errors| errors.sqnr_db.is_none()));
                let why = match no_numbers.count() {
                    0 => String::new(),
                    1 => ": one has values that are NaN or infinite".to_owned(),
                    count => format!(": {count} have values that are NaN or infinite"),
                };
                vec![(Tone::Warning, format!("no layer has a finite SQNR{why}"))]
            }
        };
    };
    let mut pieces = match found.first_below {
        Some(first) => vec![
            (Tone::Warning, format!("first below {threshold}: ")),
            (Tone::Name, first.to_owned()),
            (Tone::Plain, "; ".to_owned()),
        ],
        None => {
            vec![(Tone::Good, format!("every layer is above {threshold}")), (Tone::Plain, "; ".to_owned())]
        }
    };
    pieces.extend([
        (Tone::Plain, "worst: ".to_owned()),
        (Tone::Name, worst.to_owned()),
        (Tone::Plain, format!(" with {sqnr:.1} dB")),
    ]);
    pieces
}

fn table(found: &Found<'_>) -> Table {
    let mut table = Table::new([
        Column::text("layer"),
        Column::text("type").rank(5),
        Column::text("why").rank(4),
        Column::text("through").rank(6),
        Column::number("SQNR dB"),
        Column::number("alone dB").rank(2),
        Column::chart("").rank(1),
        Column::number("cosine").rank(3),
        Column::number("max error"),
        Column::number("mean error").rank(7),
        Column::number("rel. L2").rank(8),
        Column::number("clipped").rank(2),
    ]);
    for row in &found.layers {
        table.row(cells(row, found.threshold_db));
    }
    table
}

/// Why the layers are a pair: what was found by values with how well they agree.
fn why(row: &Row<'_>) -> String {
    let mut why = row.ground.why.to_owned();
    if why == "value" {
        // Rounded down: only what is equal agrees by 1.
        let thousandths = (row.ground.confidence * 1000.0).floor() / 1000.0;
        why.push_str(&format!(" {thousandths:.3}"));
    }
    match row.order {
        Some(Order::ChannelsLast) => why.push_str(", NHWC"),
        Some(Order::ChannelsFirst) => why.push_str(", NCHW"),
        Some(Order::MiddleSwapped | Order::LastSwapped) => why.push_str(", transposed"),
        Some(Order::Same) | None => {}
    }
    why
}

fn cells(row: &Row<'_>, threshold: f64) -> Vec<Cell> {
    let of = |value: fn(&Errors) -> Option<f64>| row.errors.as_ref().and_then(value);
    let number = |value: fn(&Errors) -> Option<f64>| Cell::option(of(value), Cell::real);
    let sqnr = of(|errors| errors.sqnr_db);
    let tone = match sqnr {
        Some(sqnr) if sqnr < threshold => Tone::Bad,
        _ => Tone::Good,
    };
    let decibels = |sqnr: Option<f64>| Cell::option(sqnr, Cell::decibels);
    let bar = sqnr.map(|sqnr| Chart::Bar((sqnr / FULL_BAR_DB).clamp(0.0, 1.0)));
    vec![
        Cell::name(row.label),
        Cell::text(row.op_type),
        Cell::text(why(row)).tone(Tone::Dim),
        Cell::text(row.through.join(", ")).tone(Tone::Dim),
        decibels(sqnr).tone(if tone == Tone::Bad { Tone::Bad } else { Tone::Plain }),
        decibels(row.local.as_ref().and_then(|local| local.sqnr_db)),
        bar.map_or_else(Cell::default, |bar| Cell::chart(bar).tone(tone)),
        number(|errors| errors.cosine_similarity),
        number(|errors| errors.max_abs_error),
        number(|errors| errors.mean_abs_error),
        number(|errors| errors.relative_l2),
        Cell::option(row.clipped_share, Cell::percent),
    ]
}
