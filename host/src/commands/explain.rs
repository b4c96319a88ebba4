//! `explain`: which quantized layers change the class of one sample.

use super::arguments::evidence::{Choice, Evidence};
use super::fields::Ran;
use super::{Command, Example, Group, Scope};
use crate::backend::{Fetch, Progress, RunReport};
use crate::capture::scores::{classes, first};
use crate::capture::switched::{Switched, SwitchedBatch};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use std::collections::BTreeSet;

/// `explain SAMPLE`
pub(super) struct Explain;

/// The arguments of `explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The sample, counted from 0
    #[arg(value_name = "NUMBER")]
    sample: u64,
    /// The reference, an ONNX model; without it, the models of the last `flips`
    #[arg(value_name = "MODEL", requires = "candidate")]
    reference: Option<String>,
    /// The candidate
    #[arg(value_name = "MODEL")]
    candidate: Option<String>,
    #[command(flatten)]
    evidence: Choice,
}

struct Found<'a> {
    reference: &'a str,
    candidate: &'a str,
    input: &'a str,
    sample: u64,
    label: Option<i64>,
    reference_class: usize,
    candidate_class: usize,
    emulated_class: usize,
    /// If false, nothing is explained.
    is_reproduced: bool,
    runs: usize,
    ran: Ran,
    smallest: Vec<&'a str>,
    single: Vec<&'a str>,
    only: Vec<&'a str>,
    layers: usize,
}

/// A layer that changes the class, for people.
struct Row<'a> {
    layer: &'a str,
    /// Whether it is in the smallest set.
    is_in_smallest: bool,
    /// Whether it restores the class alone.
    is_single: bool,
    /// Whether it changes the class alone.
    is_only: bool,
}

impl Record for Found<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("reference", Unit::Name, "The reference", |found| found.reference),
            Self::field("candidate", Unit::Name, "The candidate", |found| found.candidate),
            Self::field("input", Unit::Text, "Where the sample comes from", |found| found.input),
            Self::field("sample", Unit::Index, "The sample, counted from 0", |found| found.sample),
            Self::field("label", Unit::Index, "The sample's label; null if unknown", |found| found.label),
            Self::field("reference_class", Unit::Index, "The class that the reference predicts", |found| {
                found.reference_class
            }),
            Self::field("candidate_class", Unit::Index, "The class that the candidate predicts", |found| {
                found.candidate_class
            }),
            Self::field(
                "emulated_class",
                Unit::Index,
                "The class that the reference predicts with every layer that can be emulated quantized",
                |found| found.emulated_class,
            ),
            Self::field(
                "is_reproduced",
                Unit::Flag,
                "Whether the emulation predicts the candidate's class; if not, nothing is explained",
                |found| found.is_reproduced,
            ),
            Self::field("runs", Unit::Count, "Runs that the search took", |found| found.runs),
            Self::flat(Ran::fields(), |found| Some(&found.ran)).always(),
            Self::field(
                "smallest",
                Unit::Name,
                "The smallest set found of layers that restore the reference's class when put back to float",
                |found| found.smallest.clone(),
            ),
            Self::field(
                "single",
                Unit::Name,
                "Layers that restore the class when only that layer is put back to float",
                |found| found.single.clone(),
            ),
            Self::field(
                "only",
                Unit::Name,
                "Layers that change the class when only that layer is quantized",
                |found| found.only.clone(),
            ),
            Self::field("layers", Unit::Count, "Quantized layers that were emulated", |found| found.layers),
        ]
    }
}

impl Record for Row<'_> {
    fn fields() -> Vec<Field<Self>> {
        let tone = |is_so: bool| if is_so { Tone::Good } else { Tone::Dim };
        vec![
            Self::field("layer", Unit::Name, "The layer of the reference", |row| row.layer).title("layer"),
            Self::field(
                "back_to_float",
                Unit::Text,
                "What putting this layer back to float does, alone or with the others of the smallest set",
                |row| match (row.is_single, row.is_in_smallest) {
                    (true, _) => Some("restores the class"),
                    (false, true) => Some("restores it with the others"),
                    (false, false) => None,
                },
            )
            .title("put back to float")
            .tone(move |row| tone(row.is_single || row.is_in_smallest)),
            Self::field("quantized_alone", Unit::Text, "What quantizing only this layer does", |row| {
                row.is_only.then_some("changes the class")
            })
            .title("quantized alone")
            .tone(move |row| tone(row.is_only)),
        ]
    }
}

impl Command for Explain {
    type Arguments = Arguments;
    const NAME: &'static str = "explain";
    const SUMMARY: &'static str = "Find the smallest set of layers that changes a sample's class";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[Example {
        line: "explain 327 resnet8.onnx resnet8_int8.onnx --data digits.npz",
        shows: "which layers restore the class when put back to float",
    }];

    fn reports() -> Vec<ReportShape> {
        let report = ReportShape::of::<Found<'_>>(1);
        vec![report.draws::<Row<'_>>("explanation", "The layers that change the class")]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let last = playground.flips.clone();
        let (reference, candidate, mut choice) = match (&arguments.reference, &arguments.candidate, last) {
            (Some(reference), Some(candidate), _) => {
                (reference.clone(), candidate.clone(), arguments.evidence.clone())
            }
            (_, _, Some(last)) => {
                let mut choice = arguments.evidence.clone();
                // Labels belong to their samples.
                if choice.data.is_none() {
                    choice.data = last.data;
                    choice.labels = choice.labels.or(last.labels);
                }
                choice.running.or(&last.options);
                (last.reference, last.candidate, choice)
            }
            _ => {
                return Err(Error::usage("no models given").with_hint(
                    "Write `explain SAMPLE REF CAND`, or find changed samples with `flips` first.",
                ));
            }
        };
        choice.samples.first = None;
        let task = scope.ui.task(scope.cancel);
        let evidence = Evidence::gather(playground, &reference, &candidate, &choice, &task)?;
        let (ours, theirs) = (evidence.reference(), evidence.candidate());
        let count = evidence.batches(&[&ours])?.samples();
        if arguments.sample >= count {
            return Err(Error::invalid_input(format!(
                "sample {} does not exist: `{}` has {count}",
                arguments.sample, evidence.input.source
            )));
        }
        let sample = match count {
            1 => Input::clone(&evidence.input),
            _ => evidence.input.samples(arguments.sample, arguments.sample + 1),
        };
        let values = evidence.pairs(&ours, &theirs, &task)?;
        let switched = Switched::new(&ours, &theirs, &values.pairs, None, &task)?;
        let mut search = Search {
            switched: &switched,
            batch: switched.fit(&sample)?,
            progress: &task,
            runs: 0,
            report: None,
        };
        let reference_class = search.class(&BTreeSet::new())?;
        let output = first(theirs.run(&sample, &Fetch::Outputs, &task)?.tensors, &theirs)?;
        let candidate_class = class_of(output)?;
        let all: BTreeSet<usize> = switched.layers.iter().copied().collect();
        let emulated_class = search.class(&all)?;
        let is_reproduced = emulated_class == candidate_class;
        let (mut smallest, mut single, mut only) = (Vec::new(), Vec::new(), Vec::new());
        if is_reproduced && candidate_class != reference_class {
            for layer in &all {
                let without = all.iter().copied().filter(|other| other != layer).collect();
                if search.class(&without)? == reference_class {
                    single.push(*layer);
                }
                if search.class(&BTreeSet::from([*layer]))? != reference_class {
                    only.push(*layer);
                }
            }
            smallest = match single.first() {
                Some(layer) => vec![*layer],
                None => search.smallest(&all, reference_class)?,
            };
        }
        let Search { runs, report, .. } = search;
        drop(task);
        let path = |index: &usize| values.pairs[*index].reference.path.as_str();
        let label = usize::try_from(arguments.sample).ok();
        Ok(lay_out(&Found {
            reference: &evidence.reference_model.id,
            candidate: &evidence.candidate_model.id,
            input: &evidence.input.source,
            sample: arguments.sample,
            label: label.and_then(|place| evidence.labels.as_ref()?.get(place).copied()),
            reference_class,
            candidate_class,
            emulated_class,
            is_reproduced,
            runs,
            ran: report.map(Ran::from).unwrap_or_default(),
            smallest: smallest.iter().map(path).collect(),
            single: single.iter().map(path).collect(),
            only: only.iter().map(path).collect(),
            layers: all.len(),
        }))
    }
}

fn class_of(output: crate::model::Tensor) -> Result<usize> {
    classes(&output)?.first().copied().ok_or_else(|| Error::invalid_input("the output holds no scores"))
}

/// A search among sets of quantized layers.
struct Search<'a> {
    switched: &'a Switched<'a>,
    batch: SwitchedBatch,
    progress: &'a dyn Progress,
    runs: usize,
    report: Option<RunReport>,
}

impl Search<'_> {
    /// The class with these layers quantized.
    fn class(&mut self, quantized: &BTreeSet<usize>) -> Result<usize> {
        if self.progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        self.progress.update(&format!("putting layers back to float, run {}", self.runs + 1), 0, 0);
        let (output, report) =
            self.switched.run(&mut self.batch, |index| quantized.contains(&index), self.progress)?;
        self.runs += 1;
        self.report = Some(report);
        class_of(output)
    }

    /// A minimal set of layers that gives `class` when they are in float: the set is halved as long as a half, or the
    /// rest without one, still does (delta debugging; Zeller and Hildebrandt, 2002).
    fn smallest(&mut self, all: &BTreeSet<usize>, class: usize) -> Result<Vec<usize>> {
        let mut kept: Vec<usize> = all.iter().copied().collect();
        let mut parts = 2;
        while kept.len() > 1 {
            let size = kept.len().div_ceil(parts);
            let chunks: Vec<Vec<usize>> = kept.chunks(size).map(<[usize]>::to_vec).collect();
            let complements = chunks.iter().map(|chunk| {
                let rest = kept.iter().copied().filter(|layer| !chunk.contains(layer));
                rest.collect::<Vec<_>>()
            });
            let candidates: Vec<(Vec<usize>, bool)> = chunks
                .iter()
                .cloned()
                .map(|chunk| (chunk, true))
                .chain(complements.map(|complement| (complement, false)))
                .filter(|(set, _)| !set.is_empty() && set.len() < kept.len())
                .collect();
            let mut next = None;
            for (set, is_chunk) in candidates {
                let quantized = all.iter().copied().filter(|layer| !set.contains(layer)).collect();
                if self.class(&quantized)? == class {
                    next = Some((set, is_chunk));
                    break;
                }
            }
            match next {
                Some((set, is_chunk)) => {
                    kept = set;
                    parts = if is_chunk { 2 } else { (parts - 1).max(2) };
                }
                None if size == 1 => break,
                None => parts = (parts * 2).min(kept.len()),
            }
        }
        Ok(kept)
    }
}

fn lay_out(found: &Found<'_>) -> Report {
    let label = found.label.map(|label| format!(", label {label}")).unwrap_or_default();
    let report = Report::of(found)
        .toned_line([
            (
                Tone::Plain,
                format!(
                    "sample {} of {}{label}: class {} in ",
                    found.sample, found.input, found.reference_class
                ),
            ),
            (Tone::Name, found.reference.to_owned()),
            (Tone::Plain, format!(", {} in ", found.candidate_class)),
            (Tone::Name, found.candidate.to_owned()),
        ])
        .toned_line([(
            Tone::Dim,
            format!(
                "{}; {} of {}",
                found.ran.text(),
                counted(found.runs, "run"),
                counted(found.layers, "quantized layer")
            ),
        )]);
    if found.reference_class == found.candidate_class {
        return report
            .toned_line([(Tone::Good, "both predict the same class: nothing to explain".to_owned())]);
    }
    if !found.is_reproduced {
        return report.toned_line([(
            Tone::Warning,
            format!(
                "with all layers quantized the emulation predicts class {}: rounding inside the candidate's kernels decides here, not any layer's scale",
                found.emulated_class
            ),
        )]);
    }
    let how = match found.smallest.len() {
        1 => "putting this layer alone back to float restores the class: ",
        _ => "putting these layers back to float together restores the class: ",
    };
    let mut shown: Vec<&str> =
        found.smallest.iter().chain(&found.single).chain(&found.only).copied().collect();
    let mut seen = BTreeSet::new();
    shown.retain(|layer| seen.insert(*layer));
    let row = |layer| Row {
        layer,
        is_in_smallest: found.smallest.contains(&layer),
        is_single: found.single.contains(&layer),
        is_only: found.only.contains(&layer),
    };
    let rows: Vec<Row<'_>> = shown.into_iter().map(row).collect();
    report
        .toned_line([(Tone::Plain, how.to_owned()), (Tone::Name, found.smallest.join(", "))])
        .table(Table::of(&rows))
}
