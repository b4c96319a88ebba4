//! A diagnosis in words.

use super::{Diagnosis, Finding};
use crate::commands::fields::judged::verdict_tone;
use crate::diagnosis::{Cause, Fault};
use crate::language::quoted;
use crate::render::number;
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;

/// Ways to mend that are spelled out.
const SHOWN: usize = 4;

/// What is wrong, and how to fix it.
pub(super) fn describe(cause: &Cause, reference: &str) -> (String, String) {
    let text = match cause.fault {
        Fault::WeightScale { factor, channels: None } => format!("the weight is {}", times(factor)),
        Fault::WeightScale { factor, channels: Some((count, first)) } => {
            format!("{} of the weight {}: {}", counted_channels(count, first), be(count), times(factor))
        }
        Fault::WeightZeroPoint { steps } => format!("the weight's zero point is {}", off(steps)),
        Fault::ZeroChannels { channels, first } => {
            format!(
                "{} of the weight {} zero here, but not in {reference}",
                counted_channels(channels, first),
                be(channels)
            )
        }
        Fault::SwappedChannels => {
            format!("its three input channels are in the opposite order (RGB or BGR) to those in {reference}")
        }
        Fault::SharedScale { channels, of } => {
            format!("{channels} of {of} channels use only a few codes of the shared scale")
        }
        Fault::BiasScale { factor } => format!("the bias is {}", times(factor)),
        Fault::Clipped { codes, values, share } => format!(
            "{} of the values are clipped: they reach {}, the codes {}",
            number::percent(share),
            range(values),
            range(codes)
        ),
        Fault::TooWide { codes, values } => format!(
            "the scale is {} too large: the codes reach {}, the values {}",
            factor_text((codes.1 - codes.0) / (values.1 - values.0)),
            range(codes),
            range(values)
        ),
        Fault::Extreme { codes, share } => format!(
            "{} of the values become 0: a few extreme ones have set the range, {}",
            number::percent(share),
            range(codes)
        ),
        Fault::ZeroPoint { steps, codes, values } => format!(
            "the zero point is {}: the codes reach {}, the values {}",
            off(steps),
            range(codes),
            range(values)
        ),
    };
    let is_input = cause.is_input;
    let mend = match cause.fault {
        Fault::WeightScale { .. } | Fault::WeightZeroPoint { .. } | Fault::ZeroChannels { .. } => {
            "Quantize this weight again from the float one."
        }
        Fault::SwappedChannels => "Feed each model the channel order that it was trained with.",
        Fault::SharedScale { .. } => "Quantize this weight per channel (`per_channel=True`).",
        Fault::BiasScale { .. } => "Quantize the bias again with input scale × weight scale.",
        Fault::Clipped { .. } | Fault::TooWide { .. } if is_input => {
            "Calibrate again with samples prepared like these: the same mean, standard deviation and scale."
        }
        Fault::Clipped { .. } => "Calibrate again with samples that cover the whole range, or with min-max.",
        Fault::TooWide { .. } => {
            "Calibrate again; if only a few values reach that far, clip them (percentile, entropy)."
        }
        Fault::Extreme { .. } => {
            "Leave the layer in float, or bound what it adds: an attention mask of -10000 masks as well as -3e38."
        }
        Fault::ZeroPoint { .. } => "Calibrate again, or write the zero point that fits the range.",
    };
    (text, mend.to_owned())
}

/// The command that shows it; `data` are the words that choose the samples.
pub(super) fn evidence_of(cause: &Cause, reference: &str, candidate: &str, data: &[String]) -> String {
    let layer = &cause.layer;
    match cause.fault {
        Fault::WeightScale { .. }
        | Fault::WeightZeroPoint { .. }
        | Fault::ZeroChannels { .. }
        | Fault::SwappedChannels
        | Fault::SharedScale { .. } => {
            line(&["weights", layer, "--model", reference, "--compare", candidate], &[])
        }
        Fault::Clipped { .. } | Fault::TooWide { .. } | Fault::Extreme { .. } if !cause.is_input => {
            line(&["compare", reference, candidate, "--match", layer], data)
        }
        _ => line(&["quant", &cause.candidate_layer, "--model", candidate], &[]),
    }
}

/// A line of the command language.
pub(super) fn line(words: &[&str], more: &[String]) -> String {
    let words: Vec<_> = words.iter().copied().chain(more.iter().map(String::as_str)).map(quoted).collect();
    words.join(" ")
}

fn counted_channels(count: u64, first: u64) -> String {
    match count {
        1 => format!("channel {first}"),
        count => format!("{count} channels (the first is {first})"),
    }
}

fn be(count: u64) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// `8 times too large`.
fn times(factor: f64) -> String {
    if factor >= 1.0 {
        format!("{} too large", factor_text(factor))
    } else {
        format!("{} too small", factor_text(1.0 / factor))
    }
}

fn factor_text(factor: f64) -> String {
    format!("{} times", number::rounded(factor, 3))
}

/// `12 codes too large`.
fn off(steps: f64) -> String {
    let direction = if steps > 0.0 { "large" } else { "small" };
    format!("about {:.0} codes too {direction}", steps.abs())
}

fn range((low, high): (f64, f64)) -> String {
    format!("{} to {}", number::short(low), number::short(high))
}

pub(super) fn lay_out(found: &Diagnosis) -> Report {
    let mut report = Report::of(found).toned_line(verdict_line(found));
    if found.causes.is_empty() {
        report = report.toned_line([
            (Tone::Good, "No fault found: ".to_owned()),
            (
                Tone::Plain,
                "weights, biases, ranges, kernels and layers are what quantization normally gives."
                    .to_owned(),
            ),
        ]);
    } else {
        report = report.table(Table::of(&found.causes));
        // What mends several is said once, at the most costly.
        let mut said: Vec<&str> = Vec::new();
        for cause in &found.causes {
            if said.len() < SHOWN && !said.contains(&cause.mend.as_str()) {
                said.push(&cause.mend);
                report = report.toned_line(mend_line(cause));
            }
        }
    }
    for note in &found.notes {
        report = report.toned_line([(Tone::Dim, format!("note: {note}"))]);
    }
    for left_out in &found.left_out {
        report = report.toned_line([
            (Tone::Warning, format!("not examined: {}", left_out.step)),
            (Tone::Dim, format!(": {}", left_out.error.one_line())),
        ]);
    }
    report
}

fn mend_line(cause: &Finding) -> Vec<(Tone, String)> {
    let place = cause.layer.as_deref().map_or_else(String::new, |layer| format!("{layer}: "));
    vec![
        (Tone::Name, place),
        (Tone::Plain, cause.mend.clone()),
        (Tone::Dim, format!(" See `{}`.", cause.evidence)),
    ]
}

fn verdict_line(found: &Diagnosis) -> Vec<(Tone, String)> {
    let mut line = vec![
        (Tone::Name, found.candidate.clone()),
        (Tone::Plain, " against ".to_owned()),
        (Tone::Name, found.reference.clone()),
        (Tone::Plain, format!(" on {} of {}: ", counted(found.samples as usize, "sample"), found.data)),
    ];
    if let (Some(verdict), Some((reference, candidate))) = (found.verdict(), found.accuracies()) {
        line.push((verdict_tone(verdict), verdict.text().to_owned()));
        line.push((
            Tone::Plain,
            format!(", accuracy {} → {}", number::percent(reference), number::percent(candidate)),
        ));
    } else if let Some(same) = found.same_share() {
        line.push((Tone::Plain, format!("same class in {}", number::percent(same))));
    }
    if let Some(sqnr) = found.sqnr_db() {
        line.push((Tone::Plain, format!("; output SQNR {}", number::decibels(sqnr))));
    }
    line
}
