//! `explain`: which quantized layers change the class of one sample.

use super::evidence::{Choice, Evidence, settings_line};
use super::listing::counted;
use super::{Command, Example, Group, Scope};
use crate::backend::{Fetch, Progress, RunReport};
use crate::capture::switched::{Feed, Switched, classes, first};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::model::Property;
use crate::playground::Playground;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use serde::Serialize;
use std::collections::BTreeSet;

/// `explain SAMPLE`
pub(super) struct Explain;

/// The arguments of `explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The sample, counted from 0
    #[arg(value_name = "NUMBER")]
    sample: u64,
    /// The reference, an ONNX model; without it, those of the last `flips`
    #[arg(value_name = "MODEL", requires = "candidate")]
    reference: Option<String>,
    /// The candidate
    #[arg(value_name = "MODEL")]
    candidate: Option<String>,
    #[command(flatten)]
    evidence: Choice,
}

#[derive(Serialize)]
struct Found<'a> {
    reference: &'a str,
    candidate: &'a str,
    input: &'a str,
    sample: u64,
    label: Option<i64>,
    reference_class: usize,
    candidate_class: usize,
    /// The class with every layer quantized that can be emulated.
    emulated_class: usize,
    /// Whether the emulation sees what the candidate sees: if not, nothing is explained.
    is_reproduced: bool,
    /// How often the model was run for the answer.
    runs: usize,
    runtime: String,
    runtime_version: String,
    settings: Vec<Property>,
    /// The smallest set found whose layers, put back to float, give the reference's class again.
    smallest: Vec<&'a str>,
    /// Layers each of which alone is enough.
    single: Vec<&'a str>,
    /// Layers each of which, as the only one quantized, changes the class.
    only: Vec<&'a str>,
    layers: usize,
}

impl Command for Explain {
    type Arguments = Arguments;
    const NAME: &'static str = "explain";
    const SUMMARY: &'static str = "Find the smallest set of layers that changes a sample's class";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[Example {
        line: "explain 327 resnet8.onnx resnet8_int8.onnx --data digits.npz",
        shows: "which layers, put back to float, give the class back",
    }];

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
                return Err(Error::usage("it is not said which models").with_hint(
                    "Write `explain SAMPLE REF CAND`, or look for changed samples with `flips` first.",
                ));
            }
        };
        choice.samples = None;
        let task = scope.ui.task(scope.cancel);
        let evidence = Evidence::gather(playground, &reference, &candidate, &choice, &task)?;
        let (ours, theirs) = (evidence.reference(), evidence.candidate());
        let count = evidence.batches(&[&ours])?.samples();
        if arguments.sample >= count {
            return Err(Error::invalid_input(format!(
                "there is no sample {}: `{}` has {count}",
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
            feed: switched.feed(&sample)?,
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
        let (runtime, runtime_version, settings) = match report {
            Some(report) => (report.runtime, report.runtime_version, report.settings),
            None => Default::default(),
        };
        let label = usize::try_from(arguments.sample).ok();
        lay_out(&Found {
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
            runtime,
            runtime_version,
            settings,
            smallest: smallest.iter().map(path).collect(),
            single: single.iter().map(path).collect(),
            only: only.iter().map(path).collect(),
            layers: all.len(),
        })
    }
}

fn class_of(output: crate::model::Tensor) -> Result<usize> {
    classes(&output)?.first().copied().ok_or_else(|| Error::invalid_input("the output holds no scores"))
}

/// A search among sets of quantized layers.
struct Search<'a> {
    switched: &'a Switched<'a>,
    feed: Feed,
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
            self.switched.run(&mut self.feed, |index| quantized.contains(&index), self.progress)?;
        self.runs += 1;
        self.report = Some(report);
        class_of(output)
    }

    /// A set that gives `class` when its layers are float, and of which none can be left out: the set is halved as
    /// long as a half, or what is left without one, does it (delta debugging; Zeller and Hildebrandt, 2002).
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

fn lay_out(found: &Found<'_>) -> Result<Report> {
    let label = found.label.map(|label| format!(", label {label}")).unwrap_or_default();
    let mut report = Report::new(found)?
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
                settings_line(&found.runtime, &found.runtime_version, &found.settings),
                counted(found.runs, "run"),
                counted(found.layers, "quantized layer")
            ),
        )]);
    if found.reference_class == found.candidate_class {
        return Ok(
            report.toned_line([(Tone::Good, "both see the same class: nothing to explain".to_owned())])
        );
    }
    if !found.is_reproduced {
        return Ok(report.toned_line([(
            Tone::Warning,
            format!(
                "with all layers quantized the emulation sees class {}: what the candidate's kernels round inside decides here, no layer's scale",
                found.emulated_class
            ),
        )]));
    }
    let mut table = Table::new([
        Column::text("layer"),
        Column::text("put back to float"),
        Column::text("alone quantized"),
    ]);
    let how = match found.smallest.len() {
        1 => "put back to float, this layer alone gives the class back: ",
        _ => "put back to float, these together give the class back: ",
    };
    report = report.toned_line([(Tone::Plain, how.to_owned()), (Tone::Name, found.smallest.join(", "))]);
    let mut shown: Vec<&str> =
        found.smallest.iter().chain(&found.single).chain(&found.only).copied().collect();
    let mut seen = BTreeSet::new();
    shown.retain(|layer| seen.insert(*layer));
    for layer in shown {
        let yes = |is_so: bool, text: &str| {
            if is_so { Cell::text(text).tone(Tone::Good) } else { Cell::text("–").tone(Tone::Dim) }
        };
        let back = match (found.single.contains(&layer), found.smallest.contains(&layer)) {
            (true, _) => yes(true, "gives the class back"),
            (false, true) => yes(true, "does so with the others"),
            (false, false) => yes(false, ""),
        };
        table.row([Cell::name(layer), back, yes(found.only.contains(&layer), "changes the class")]);
    }
    Ok(report.table(table))
}
