//! A comparison for people.

use super::{CompareReport, ComparedLayer};
use crate::commands::fields::Ran;
use crate::error::Error;
use crate::render::number;
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::{counted, first_of};

/// One line of what was done, a sentence, the table, and what was not matched.
pub(super) fn report(found: &CompareReport<'_>) -> Report {
    let how = if found.is_optimized { "as the runtime executes them" } else { "graphs as written" };
    let mut report = Report::of(found)
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
    report = report.table(Table::of(&found.layers));
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
    report
}

/// One line for each obstacle, with the first layers that it affects.
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

/// How both models were run, once if it is the same.
fn settings(found: &CompareReport<'_>) -> String {
    let mut texts: Vec<String> =
        [&found.reference_run, &found.candidate_run].into_iter().flatten().map(Ran::text).collect();
    texts.dedup();
    texts.join("; ")
}

fn verdict(found: &CompareReport<'_>) -> Vec<(Tone, String)> {
    let threshold = format!("{} dB", number::real(found.threshold_db));
    let Some((worst, sqnr)) = found.worst_layer.zip(found.min_sqnr_db.filter(|sqnr| sqnr.is_finite())) else {
        let is_equal = |row: &ComparedLayer<'_>| row.sqnr_db() == Some(f64::INFINITY);
        return match &found.layers[..] {
            [] => vec![(Tone::Plain, "no layer was compared".to_owned())],
            rows if rows.iter().all(is_equal) => {
                vec![(Tone::Good, "all values are equal to the last bit".to_owned())]
            }
            rows => {
                let no_numbers = rows.iter().filter(|row| row.errors.is_some() && row.sqnr_db().is_none());
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
