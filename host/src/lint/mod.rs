//! What a model file alone reveals: numbers that cannot be right, and structures that cost accuracy or speed. No
//! runtime is needed. Nothing here is displayed.

mod arithmetic;
mod rule;
mod structure;

pub use rule::{Level, Rule};

use crate::backend::Progress;
use crate::capture::products::{Product, products};
use crate::error::{ErrorKind, Result};
use crate::inspect::graph::Graph;
use crate::inspect::quantized::Quantized;
use crate::model::{ModelInfo, Severity};
use crate::playground::Loaded;

/// Something that looks wrong, or is worth knowing.
#[derive(Clone, Debug, PartialEq)]
pub struct LintFinding {
    /// The kind of finding.
    pub rule: Rule,
    /// The layer concerned; `None` for the model as a whole.
    pub layer: Option<String>,
    /// The layer's operator or class.
    pub op_type: Option<String>,
    /// The stored tensor or value concerned.
    pub tensor: Option<String>,
    /// What was found, with its numbers.
    pub text: String,
    /// Channels or blocks concerned; 1 for the tensor or layer as a whole.
    pub count: u64,
    /// The scale, ratio, share or bound in question.
    pub value: Option<f64>,
}

impl LintFinding {
    fn new(rule: Rule, text: impl Into<String>) -> Self {
        Self { rule, layer: None, op_type: None, tensor: None, text: text.into(), count: 1, value: None }
    }

    /// Where it is: the tensor, the layer, or nothing.
    pub fn place(&self) -> &str {
        self.tensor.as_deref().or(self.layer.as_deref()).unwrap_or_default()
    }
}

/// All findings in a model's file: the most severe first, findings of one rule together, in the order of the layers.
///
/// # Errors
/// `Cancelled`; those of reading the tensors.
pub fn lint(model: &Loaded, progress: &dyn Progress) -> Result<Vec<LintFinding>> {
    let products = match products(model, progress) {
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        // A weight that cannot be read has a finding of its own.
        products => products.unwrap_or_default(),
    };
    lint_with(model, &products, progress)
}

/// The same for a model whose products are known.
///
/// # Errors
/// As [`lint`].
pub fn lint_with(
    model: &Loaded,
    products: &[Product<'_>],
    progress: &dyn Progress,
) -> Result<Vec<LintFinding>> {
    let info = model.info();
    let graph = Graph::of(info, false);
    let mut findings = of_reader(info);
    for quantized in Quantized::of(model, None, progress)? {
        let reader = quantized.layers.last().copied();
        findings.extend(quantized.suspicions.iter().map(|suspicion| LintFinding {
            layer: reader.map(str::to_owned),
            tensor: Some(quantized.name.to_owned()),
            count: suspicion.count,
            value: Some(suspicion.value),
            ..LintFinding::new(Rule::Parameters(suspicion.reason), suspicion.to_string())
        }));
    }
    findings.extend(arithmetic::accumulators(model, &graph, progress)?);
    findings.extend(arithmetic::pairs(products));
    findings.extend(arithmetic::ties(info, &graph));
    findings.extend(structure::left_in_float(info, &graph));
    findings.extend(structure::untyped(info));
    let places = info.places();
    let place_of = |finding: &LintFinding| places.get(finding.layer.as_deref()?).copied();
    for finding in &mut findings {
        finding.op_type = place_of(finding).map(|place| info.layers[place].op_type.clone());
    }
    let place = |finding: &LintFinding| place_of(finding).unwrap_or(usize::MAX);
    findings
        .sort_by_cached_key(|finding| (finding.rule.level(), finding.rule.code().to_owned(), place(finding)));
    Ok(findings)
}

/// What the reader of the file noticed.
fn of_reader(info: &ModelInfo) -> Vec<LintFinding> {
    let finding = |found: &crate::model::Finding| {
        let level = match found.severity {
            Severity::Danger => Level::Error,
            Severity::Warning => Level::Warning,
            Severity::Note => Level::Note,
        };
        let subjects: u64 = found.subjects.len().max(1) as u64;
        LintFinding {
            tensor: found.subjects.first().cloned(),
            count: subjects,
            ..LintFinding::new(Rule::Reader { code: found.code.clone(), level }, found.message.clone())
        }
    };
    info.findings.iter().map(finding).collect()
}
