//! Programs written by `torch.export.save`: a graph in JSON, and stored tensors. They are read, changed and written.

mod compiled;
mod compose;
mod edit;
mod expression;
mod graph;
mod json;
mod layers;
mod layout;
mod operator;
mod program;
mod quantize;
mod region;
mod subclass;
mod weights;
mod wiring;
mod write;

use crate::container::Archive;
use crate::document::{Collector, Document};
use crate::judge::Judgement;
use crate::tensor::Data;
use layout::Layout;
use qp_abi::manifest::pair;
use qp_abi::sdk::{
    Activations, BackendError, Edit, Finding, ModelInfo, Quantizable, QuantizableOf, RSome, RString, Result,
    Severity,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Major versions of the schema: 7 is that of PyTorch 2.5, and says the same in what is read here.
const SCHEMAS: std::ops::RangeInclusive<i64> = 7..=8;

/// The archive with changes to its program; the actions are listed in [`edit`].
///
/// # Errors
/// `NotFound`, `InvalidInput` and `UnsupportedOp` for edits that do not fit; those of reading the file.
pub fn edited(archive: &Arc<Archive>, edits: &[Edit]) -> Result<Archive> {
    edit::apply(archive, edits)
}

/// What of a program can be quantized. `info` is its description.
///
/// # Errors
/// `UnsupportedOp` for weights in forms of their own; those of reading the file.
pub fn quantizable(archive: &Arc<Archive>, info: &ModelInfo, of: &QuantizableOf) -> Result<Quantizable> {
    if of.activations == Activations::Dynamic || of.in_blocks {
        return Err(BackendError::unsupported_op(
            "exported programs get scales from calibration, and one for each tensor or channel of a weight",
        )
        .with_help("Leave out `--dynamic`; with `--weight-only` give `--block-size 0`."));
    }
    Ok(quantize::plan(edit::Editable::read(archive)?.module(), info, of))
}

pub use compose::{Composed, archive as composed};
pub use write::write;

/// Whether the archive is one of `torch.export.save`.
pub fn is_export(archive: &Archive) -> bool {
    archive.contains("archive_format")
        || !compiled::models(archive).is_empty()
        || Layout::of(archive).is_some()
}

/// Reads an exported program.
///
/// # Errors
/// `UnsupportedFormat` for programs of another schema, `CorruptFile` for what contradicts itself.
pub fn read(archive: &Arc<Archive>) -> Result<Document> {
    let Some(layout) = Layout::of(archive) else {
        if !compiled::models(archive).is_empty() {
            let mut document = Document::new("pt2", Data::of_archive(Arc::clone(archive)));
            compiled::describe(archive, &mut document)?;
            return Ok(document);
        }
        return Err(BackendError::unsupported_format("the package holds no exported program"));
    };
    let mut program = json::parse(archive, &layout.graph())?;
    let schema = |part: &str| program.pointer(&format!("/schema_version/{part}")).and_then(Value::as_i64);
    let (major, minor) = (schema("major").unwrap_or(-1), schema("minor").unwrap_or(-1));
    if !SCHEMAS.contains(&major) {
        let message = format!("the exported program has schema {major}.{minor}, this backend reads 7 and 8");
        return Err(
            BackendError::unsupported_format(message).with_help("Export it again with PyTorch 2.5 or newer.")
        );
    }
    let mut collector = Collector::new("pt2", Data::of_archive(Arc::clone(archive)));
    let info = &mut collector.document.info;
    info.versions.push(pair("schema version", format!("{major}.{minor}")));
    if let Some(opsets) = program.get("opset_version").and_then(Value::as_object) {
        info.versions
            .extend(opsets.iter().map(|(name, version)| pair(format!("opset {name}"), version.to_string())));
    }
    info.producer = match program.get("torch_version").and_then(Value::as_str) {
        Some(version) => format!("PyTorch {version}").into(),
        None => "PyTorch".into(),
    };
    let operators = Judgement::of(operators(&program).iter().map(String::as_str));
    let weights = weights::read(archive, &layout, &mut collector.document.data)?;
    if let Some(module) = program.get_mut("graph_module") {
        region::inline(module);
        subclass::resolve(module, &weights.subclasses);
    }
    graph::read(&program, &weights, &mut collector)?;
    let captured = collector.document.computed();
    match program::read(program.get("graph_module").unwrap_or(&Value::Null), &weights.all, &captured) {
        Ok(program) => collector.document.program = Some(program),
        Err(obstacle) => collector.document.info.run_obstacle = RSome(obstacle),
    }
    let info = &mut collector.document.info;
    operators.report(info);
    info.findings.extend(compiled::finding(archive));
    info.findings.extend(several_models(archive, &layout));
    Ok(collector.document)
}

/// The operators that a program and the programs within it call, each as `aten::add`. What Python computes with shapes,
/// `_operator.add` and `math.floor`, is none.
fn operators(program: &Value) -> BTreeSet<String> {
    const ARITHMETIC: [&str; 4] = ["_operator", "math", "operator", "torch.sym"];
    let mut found = BTreeSet::new();
    let mut left = vec![program];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(elements) => left.extend(elements),
            Value::Object(entries) => {
                let target =
                    entries.get("target").and_then(Value::as_str).filter(|_| entries.contains_key("outputs"));
                if let Some(target) = target {
                    let mut parts = target.strip_prefix("torch.ops.").unwrap_or_default().splitn(3, '.');
                    match (parts.next().filter(|part| !part.is_empty()), parts.next()) {
                        // Programs within the program, and what takes the parts of a tensor's subclass.
                        (Some("higher_order" | "export"), _) => {}
                        (Some(namespace), Some(name)) => {
                            found.insert(format!("{namespace}::{name}"));
                        }
                        _ if ARITHMETIC.iter().any(|prefix| target.starts_with(prefix)) => {}
                        _ => {
                            found.insert(target.to_owned());
                        }
                    }
                }
                left.extend(entries.values());
            }
            _ => {}
        }
    }
    found
}

/// A package may hold several programs; one is described.
fn several_models(archive: &Archive, layout: &Layout) -> Option<Finding> {
    let Layout::Package(chosen) = layout else { return None };
    let models = layout::programs(archive);
    (models.len() > 1).then(|| Finding {
        severity: Severity::NOTE,
        code: "pt2.several-models".into(),
        message: format!("the package holds {} programs; this is `{chosen}`", models.len()).into(),
        subjects: models.iter().map(|model| RString::from(*model)).collect(),
    })
}
