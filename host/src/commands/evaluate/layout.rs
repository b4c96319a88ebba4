//! An evaluation as people see it.

use super::{EvaluateReport, Evaluated, SHOWN_CONFUSIONS};
use crate::commands::fields::judged::{Accuracy, PairedAccuracy, verdict_tone};
use crate::render::number;
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use qp_analysis::Verdict;

pub(super) fn lay_out(evaluated: &EvaluateReport) -> Report {
    let mut report = Report::of(evaluated).toned_line([
        (Tone::Plain, format!("{} of {}", counted(evaluated.samples as usize, "sample"), evaluated.data)),
        (Tone::Dim, if evaluated.has_labels { String::new() } else { ", without labels".to_owned() }),
    ]);
    report = report.table(Table::of(&evaluated.models));
    let mut runs: Vec<String> = evaluated.models.iter().map(|model| model.judged.run.text()).collect();
    runs.dedup();
    report = report.toned_line([(Tone::Dim, runs.join("; "))]);
    for model in &evaluated.models {
        if let Some(paired) = &model.judged.paired {
            report = report.toned_line(verdict_line(model, paired, evaluated));
        }
    }
    // Of several models, the candidate.
    let judged =
        evaluated.models.iter().rev().find(|model| Some(&model.model) != evaluated.reference.as_ref());
    if let Some((model, accuracy)) = judged.and_then(|model| Some((model, model.judged.accuracy.as_ref()?)))
        && !accuracy.confusions.is_empty()
    {
        report = report
            .toned_line([(Tone::Dim, format!("{} errs most often: {}", model.model, confusions(accuracy)))]);
    }
    report
}

/// `3 for 5 (2 of 54)`: the labels that are taken for another class most often.
fn confusions(accuracy: &Accuracy) -> String {
    let of = |label: usize| {
        accuracy.classes.iter().find(|class| class.class == label).map_or(0, |class| class.samples)
    };
    let shown: Vec<String> = accuracy
        .confusions
        .iter()
        .take(SHOWN_CONFUSIONS)
        .map(|one| {
            let name =
                |name: &Option<String>, class: usize| name.clone().unwrap_or_else(|| class.to_string());
            let predicted = name(&one.predicted_name, one.predicted);
            let label = name(&one.label_name, one.label);
            format!("{predicted} for {label} ({} of {})", one.count, of(one.label))
        })
        .collect();
    shown.join(", ")
}

fn verdict_line(
    model: &Evaluated,
    paired: &PairedAccuracy,
    evaluated: &EvaluateReport,
) -> Vec<(Tone, String)> {
    let points = |share: f64| format!("{:+.2}", share * 100.0);
    let reference = evaluated.reference.clone().unwrap_or_default();
    let margin = number::real(evaluated.margin * 100.0);
    let (low, high) = match paired.verdict {
        Verdict::Same => (paired.equivalence.low, paired.equivalence.high),
        _ => (paired.interval.low, paired.interval.high),
    };
    let confidence = if paired.verdict == Verdict::Same { 90 } else { 95 };
    let range = format!(
        "difference {} pp, {confidence} % interval {} to {}",
        points(paired.difference),
        points(low),
        points(high)
    );
    let said = match paired.verdict {
        Verdict::Same => format!("as accurate as {reference} within ±{margin} pp"),
        Verdict::Worse => format!("less accurate than {reference}"),
        Verdict::Better => format!("more accurate than {reference}"),
        Verdict::Undecided => format!("undecided against {reference} within ±{margin} pp"),
    };
    let more = match (paired.verdict, paired.missing_samples) {
        (Verdict::Undecided, Some(more)) => {
            format!("; about {} more samples like these would decide it", number::count(more))
        }
        _ => String::new(),
    };
    vec![
        (Tone::Name, model.model.clone()),
        (Tone::Plain, ": ".to_owned()),
        (verdict_tone(paired.verdict), said),
        (Tone::Plain, format!(" ({range}){more}")),
    ]
}
