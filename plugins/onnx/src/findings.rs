//! What a careful user wants to know about a model, and why it cannot be run.

use crate::document::Document;
use crate::expansion;
use crate::graph::Layer;
use crate::quant::Quantization;
use crate::value_type::ValueType;
use qp_abi::sdk::{BackendError, DType, ErrorKind, Finding, RString, Severity, TensorRole};
use std::collections::{BTreeMap, BTreeSet};

/// Domains whose operators are part of ONNX Runtime.
const KNOWN_DOMAINS: [&str; 9] = [
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.microsoft.experimental",
    "com.ms.internal.nhwc",
];

/// How many operators a message names.
const MAX_OPERATORS: usize = 16;

/// The findings of one model.
#[derive(Debug, Default)]
pub struct Findings {
    /// In order of severity.
    pub list: Vec<Finding>,
    /// Why the model cannot be run anywhere.
    pub run_obstacle: Option<BackendError>,
}

impl Findings {
    fn add(&mut self, severity: Severity, code: &str, message: String, subjects: Vec<String>) {
        self.list.push(Finding {
            severity,
            code: code.into(),
            message: message.into(),
            subjects: subjects.into_iter().map(RString::from).collect(),
        });
    }

    fn stop(&mut self, error: BackendError) {
        self.run_obstacle.get_or_insert(error);
    }
}

/// Looks for everything that a user should know.
pub fn of(document: &Document, found: &Quantization) -> Findings {
    let mut findings = Findings::default();
    external_data(document, &mut findings);
    opsets(document, &mut findings);
    domains(document, &mut findings);
    types(document, &mut findings);
    parameters(document, found, &mut findings);
    if let Some(obstacle) = expansion::obstacle(&document.model) {
        findings.stop(obstacle);
    }
    findings.list.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn external_data(document: &Document, findings: &mut Findings) {
    let mut unreadable: BTreeMap<(u16, String), (BackendError, Vec<String>)> = BTreeMap::new();
    for tensor in document.tensors.descriptions() {
        if let Some(error) = &tensor.obstacle {
            let key = (error.kind.0, tensor.external_file.clone());
            let entry = unreadable.entry(key).or_insert_with(|| (error.clone(), Vec::new()));
            entry.1.push(tensor.name.clone());
        }
    }
    for (error, subjects) in unreadable.into_values() {
        let (severity, code) = match error.kind {
            ErrorKind::UNSAFE_FILE => (Severity::DANGER, "onnx.external-unsafe"),
            ErrorKind::NOT_FOUND => (Severity::WARNING, "onnx.external-missing"),
            _ => (Severity::WARNING, "onnx.external-unreadable"),
        };
        findings.add(severity, code, error.message.to_string(), subjects);
        findings.stop(error);
    }
}

fn opsets(document: &Document, findings: &mut Findings) {
    if document.model.opset_import.is_empty() {
        findings.add(
            Severity::WARNING,
            "onnx.no-opset",
            "the model does not say which operator versions it uses".to_owned(),
            vec![],
        );
        findings.stop(
            BackendError::corrupt_file("the model imports no operator set")
                .with_help("Export the model again, or add an `opset_import` to it."),
        );
    }
}

fn domains(document: &Document, findings: &mut Findings) {
    let mut foreign: BTreeMap<&str, Vec<&Layer>> = BTreeMap::new();
    for layer in &document.graph.layers {
        let is_own = document.graph.functions.contains(&(layer.domain.clone(), layer.op_type.clone()));
        if !KNOWN_DOMAINS.contains(&layer.domain.as_str()) && !is_own {
            foreign.entry(&layer.domain).or_default().push(layer);
        }
    }
    for (domain, layers) in foreign {
        let operators: BTreeSet<&str> = layers.iter().map(|layer| layer.op_type.as_str()).collect();
        let more = if operators.len() > MAX_OPERATORS { "`, `…" } else { "" };
        let operators = operators.into_iter().take(MAX_OPERATORS).collect::<Vec<_>>().join("`, `") + more;
        let message = format!("the domain `{domain}` of `{operators}` is not one of ONNX Runtime's");
        let subjects = layers.iter().map(|layer| layer.path.clone()).collect();
        findings.add(Severity::WARNING, "onnx.unknown-domain", message.clone(), subjects);
        findings.stop(
            BackendError::unsupported_op(message)
                .with_help("Run the model where the library with these operators is installed."),
        );
    }
}

/// Reports inputs and outputs of types that the runtime's interface lacks.
fn types(document: &Document, findings: &mut Findings) {
    let graph = &document.graph;
    for (&value, what) in
        graph.inputs.iter().map(|id| (id, "input")).chain(graph.outputs.iter().map(|id| (id, "output")))
    {
        let value = &graph.values[value];
        let is_supported = match &value.ty {
            None => true,
            Some(ValueType::Tensor(..)) => true,
            Some(_) if what == "input" => false,
            Some(ValueType::Sequence(inner)) => {
                matches!(**inner, ValueType::Tensor(..) | ValueType::Map(..))
            }
            Some(ValueType::Map(_, inner)) => matches!(**inner, ValueType::Tensor(..)),
            Some(_) => false,
        };
        if let Some(ty) = value.ty.as_ref().filter(|_| !is_supported) {
            findings.stop(BackendError::unsupported_op(format!(
                "the {what} `{}` is of type `{ty}`, which cannot be passed",
                value.name
            )));
        }
    }
}

fn parameters(document: &Document, found: &Quantization, findings: &mut Findings) {
    let tensors = document.tensors.descriptions();
    let is_code = |dtype: DType| dtype.is_integer() && (1..=8).contains(&dtype.bits());
    let bare: Vec<String> = tensors
        .iter()
        .enumerate()
        .filter(|(index, tensor)| {
            found.roles[*index] == TensorRole::PARAMETER
                && is_code(tensor.dtype)
                && found.tensors[*index].is_none()
        })
        .map(|(_, tensor)| tensor.name.clone())
        .collect();
    if !bare.is_empty() {
        let message = "integer weights without a scale: their real values are unknown".to_owned();
        findings.add(Severity::WARNING, "onnx.missing-scale", message, bare);
    }
    let mut bad: BTreeSet<String> = BTreeSet::new();
    let values = document.graph.values.iter().map(|value| value.name.as_str()).zip(&found.values);
    let stored = tensors.iter().map(|tensor| tensor.name.as_str()).zip(&found.tensors);
    for (name, parameters) in values.chain(stored) {
        let Some(parameters) = parameters else { continue };
        if parameters.scales.iter().any(|scale| !(scale.is_finite() && *scale > 0.0)) {
            let scale = parameters.scale_name.as_str();
            bad.insert(if scale.is_empty() { name } else { scale }.to_owned());
        }
    }
    if !bad.is_empty() {
        let message = "scales that are zero, negative or not finite".to_owned();
        findings.add(Severity::WARNING, "onnx.bad-scale", message, bad.into_iter().collect());
    }
}
