//! `diff`: what differs between two models.

mod declaration;
mod layout;
mod tensors;

use super::{Command, Example, Group, Scope};
use crate::backend::Progress;
use crate::error::Result;
use crate::inspect::pairing::{self, Ground, LayerPair};
use crate::model::{LayerInfo, LayerKind, ModelInfo, ValueInfo, type_text};
use crate::playground::{Loaded, Playground};
use crate::regular_file;
use crate::render::record::ReportShape;
use crate::render::report::Report;
use std::io::Read;
use std::path::Path;

/// `diff A B`
pub(super) struct Diff;

/// The arguments of `diff`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The first model, the reference
    #[arg(value_name = "MODEL")]
    reference: String,
    /// The second model
    #[arg(value_name = "MODEL")]
    candidate: String,
    /// Also list what is equal
    #[arg(long)]
    all: bool,
    /// Do not compare the tensors' values
    #[arg(long)]
    no_values: bool,
}

/// Everything that differs; `reference` is the first model, `candidate` the second.
struct Difference<'a> {
    reference: &'a str,
    candidate: &'a str,
    /// Whether the files are the same byte by byte.
    is_identical: bool,
    properties: Vec<Property>,
    inputs: Vec<PortPair>,
    outputs: Vec<PortPair>,
    layers: Layers<'a>,
    tensors: tensors::Tensors<'a>,
}

/// A property of the two models as text.
struct Property {
    name: &'static str,
    reference: Option<String>,
    candidate: Option<String>,
    differs: bool,
}

/// An input or an output at the same position in both; none where one has fewer.
#[derive(Clone)]
struct PortPair {
    reference: Option<String>,
    candidate: Option<String>,
    differs: bool,
}

struct Layers<'a> {
    /// Pairs that do not differ in anything that both files state.
    same: usize,
    pairs: Vec<Pair<'a>>,
    only_reference: Vec<Lonely<'a>>,
    only_candidate: Vec<Lonely<'a>>,
    /// Layers that only quantize and dequantize.
    plumbing_reference: usize,
    plumbing_candidate: usize,
}

struct Pair<'a> {
    reference: &'a str,
    candidate: &'a str,
    ground: Ground,
    /// What differs, in words; empty for a pair that does not.
    changes: Vec<String>,
}

struct Lonely<'a> {
    path: &'a str,
    op_type: &'a str,
    kind: LayerKind,
}

impl Command for Diff {
    type Arguments = Arguments;
    const NAME: &'static str = "diff";
    const SUMMARY: &'static str = "Show what differs between two models";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "diff resnet8.onnx resnet8_int8.onnx", shows: "what the quantizer did" },
        Example { line: "diff resnet8_int8.onnx resnet8_uint8.onnx", shows: "two ways to quantize" },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![
            ReportShape::of::<Difference<'_>>(1)
                .draws::<layout::LayerLine<'_>>("layers", "The layers that differ, with `--all` all of them")
                .draws::<layout::TensorLine<'_>>(
                    "tensors",
                    "The tensors that differ, with `--all` all of them",
                ),
        ]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let reference = playground.model(Some(&arguments.reference), &task)?;
        let candidate = playground.model(Some(&arguments.candidate), &task)?;
        let (is_identical, tensors) = std::thread::scope(|scope| {
            let is_identical = scope.spawn(|| have_same_bytes(&reference, &candidate, &task));
            let tensors = tensors::compare(&reference, &candidate, !arguments.no_values, &task);
            (is_identical.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), tensors)
        });
        let difference = Difference {
            reference: &reference.id,
            candidate: &candidate.id,
            is_identical,
            properties: properties(&reference, &candidate),
            inputs: ports(&reference.info().inputs, &candidate.info().inputs),
            outputs: ports(&reference.info().outputs, &candidate.info().outputs),
            layers: layers(reference.info(), candidate.info()),
            tensors: tensors?,
        };
        drop(task);
        Ok(layout::report(&difference, arguments.all))
    }
}

fn properties(reference: &Loaded, candidate: &Loaded) -> Vec<Property> {
    let property = |name, of: &dyn Fn(&Loaded) -> Option<String>| {
        let (reference, candidate) = (of(reference), of(candidate));
        Property { name, differs: reference != candidate, reference, candidate }
    };
    let versions = |model: &Loaded| {
        let texts = model.info().versions.iter().map(|version| format!("{} {}", version.name, version.value));
        Some(texts.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
    };
    vec![
        property("format", &|model| Some(model.info().format.clone())),
        property("precision", &|model| Some(model.info().precision.clone())),
        property("scheme", &|model| model.info().scheme.clone()),
        property("producer", &|model| model.info().producer.clone()),
        property("versions", &versions),
        property("bytes", &|model| Some(model.bytes.to_string())),
        property("parameters", &|model| Some(model.info().parameter_count().to_string())),
        property("stored bytes", &|model| Some(model.info().stored_bytes().to_string())),
        property("layers", &|model| Some(model.info().layers.len().to_string())),
    ]
}

fn ports(reference: &[ValueInfo], candidate: &[ValueInfo]) -> Vec<PortPair> {
    let text = |value: &ValueInfo| format!("{} {}", value.name, type_text(value));
    (0..reference.len().max(candidate.len()))
        .map(|index| {
            let (reference, candidate) = (reference.get(index).map(text), candidate.get(index).map(text));
            PortPair { differs: reference != candidate, reference, candidate }
        })
        .collect()
}

fn layers<'a>(reference: &'a ModelInfo, candidate: &'a ModelInfo) -> Layers<'a> {
    let paired = pairing::layers(reference, candidate);
    let has_same_language = reference.format == candidate.format;
    let pairs: Vec<Pair<'_>> = paired
        .pairs
        .iter()
        .map(|pair| Pair {
            reference: &pair.reference.path,
            candidate: &pair.candidate.path,
            ground: pair.ground,
            changes: changes(pair, has_same_language),
        })
        .collect();
    let lonely = |layers: &[&'a LayerInfo]| {
        layers
            .iter()
            .map(|layer| Lonely { path: &layer.path, op_type: &layer.op_type, kind: layer.kind })
            .collect()
    };
    let plumbing = |info: &ModelInfo| info.layers.iter().filter(|layer| layer.kind.is_plumbing()).count();
    Layers {
        same: pairs.iter().filter(|pair| pair.changes.is_empty()).count(),
        only_reference: lonely(&paired.unmatched_reference),
        only_candidate: lonely(&paired.unmatched_candidate),
        plumbing_reference: plumbing(reference),
        plumbing_candidate: plumbing(candidate),
        pairs,
    }
}

/// Operators and attributes are compared literally only if both files write them the same way.
fn changes(pair: &LayerPair<'_>, has_same_language: bool) -> Vec<String> {
    let LayerPair { reference, candidate, .. } = pair;
    let mut changes = Vec::new();
    let is_other_kind = !has_same_language && !reference.is_like(candidate);
    if is_other_kind || (has_same_language && reference.op_type != candidate.op_type) {
        changes.push(format!("{} → {}", reference.op_type, candidate.op_type));
    }
    match (&reference.quantization, &candidate.quantization) {
        (left, right) if left == right => {}
        (None, Some(form)) => changes.push(format!("quantized ({form})")),
        (Some(form), None) => changes.push(format!("no longer quantized ({form})")),
        (Some(left), Some(right)) => changes.push(format!("quantized {left} → {right}")),
        (None, None) => {}
    }
    if has_same_language && reference.op_type == candidate.op_type {
        for attribute in &reference.attributes {
            match candidate.attribute(&attribute.name) {
                Some(value) if *value == attribute.value => {}
                Some(_) => changes.push(format!("{} changed", attribute.name)),
                None => changes.push(format!("{} gone", attribute.name)),
            }
        }
        let is_new = |name: &str| reference.attribute(name).is_none();
        let added = candidate.attributes.iter().filter(|attribute| is_new(&attribute.name));
        changes.extend(added.map(|attribute| format!("{} added", attribute.name)));
    }
    changes
}

/// Whether the files of two models are the same, byte by byte. Unreadable files are not.
fn have_same_bytes(reference: &Loaded, candidate: &Loaded, progress: &dyn Progress) -> bool {
    /// Bytes that are compared at once, and where in memory they begin: some processors are many times slower when they
    /// copy to an address just after the start of a page.
    const BLOCK: usize = 1 << 18;
    const PAGE: usize = 1 << 12;
    let mut memory = (vec![0; BLOCK + PAGE], vec![0; BLOCK + PAGE]);
    let block = |memory: &Vec<u8>| {
        let begin = memory.as_ptr().align_offset(PAGE).min(PAGE);
        begin..begin + BLOCK
    };
    let (left_block, right_block) = (block(&memory.0), block(&memory.1));
    let mut is_same = |left: &Path, right: &Path| {
        let (Ok(mut left_file), Ok(mut right_file)) = (regular_file::open(left), regular_file::open(right))
        else {
            return false;
        };
        if matches!((left.canonicalize(), right.canonicalize()), (Ok(left), Ok(right)) if left == right) {
            return true;
        }
        let (left, right) = (&mut memory.0[left_block.clone()], &mut memory.1[right_block.clone()]);
        while !progress.is_cancelled() {
            match (fill(&mut left_file, left), fill(&mut right_file, right)) {
                (Some(0), Some(0)) => return true,
                (Some(first), Some(second)) if first == second && left[..first] == right[..second] => {}
                _ => return false,
            }
        }
        false
    };
    let (left, right) = (reference.files(), candidate.files());
    reference.bytes == candidate.bytes
        && left.len() == right.len()
        && left.iter().zip(&right).all(|(left, right)| is_same(left, right))
}

/// Reads until the buffer is full or the file ends.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> Option<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    Some(filled)
}
