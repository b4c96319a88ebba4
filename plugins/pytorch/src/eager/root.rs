//! Finds the model in a pickle: the root itself, or what a training script put under a name.

use super::{module, state_dict};
use crate::document::Collector;
use crate::forward;
use crate::pickle::{Pickle, Ref, Value};
use crate::rebuild::{Rebuild, Rebuilt};
use qp_abi::manifest::pair;
use qp_abi::sdk::{BackendError, Finding, RSome, Result, Severity, TensorRole};
use std::collections::HashSet;

/// Where training scripts put the model, the likeliest first.
const MODEL_KEYS: &[&str] = &[
    "model",
    "module",
    "state_dict",
    "model_state_dict",
    "net",
    "network",
    "weights",
    "params",
    "generator",
    "student",
    "ema",
    "model_ema",
    "ema_model",
    "ema_state_dict",
    "state_dict_ema",
    "params_ema",
    "teacher",
];

/// What kind of thing a value of a pickle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Module,
    StateDict,
    Other,
}

/// Adds what the pickle holds to `collector`: layers, tensors, metadata, and why it cannot be run.
///
/// # Errors
/// `CorruptFile` when a tensor's description makes no sense.
pub fn read(rebuild: Rebuild<'_>, collector: &mut Collector) -> Result<()> {
    let pickle = rebuild.pickle;
    let root = pickle.root();
    let (found, kind) = match kind(rebuild, root)? {
        Kind::Other => inside(rebuild, root, collector)?,
        kind => (root, kind),
    };
    let obstacle = match kind {
        Kind::Module => {
            let modules = module::read(rebuild, found, collector)?;
            collector.document.info.metadata.push(pair("class", modules.class.clone()));
            match forward::follow(rebuild, &modules, found, collector) {
                Ok(()) => return Ok(()),
                Err(reason) => module_obstacle(reason, pickle, found == root),
            }
        }
        Kind::StateDict => {
            state_dict::read(rebuild, found, collector)?;
            BackendError::unsupported_op("a state dict holds weights and no computation")
                .with_help(trace_help("model.load_state_dict(torch.load(PATH, weights_only=True))"))
        }
        Kind::Other => {
            loose_tensors(rebuild, root, collector)?;
            BackendError::unsupported_op("the file holds no module").with_help(
                "Save the model itself: `torch.jit.trace(model.eval(), example).save(\"model_traced.pt\")`.",
            )
        }
    };
    collector.document.info.run_obstacle = RSome(obstacle);
    Ok(())
}

/// Why a module cannot be run, and how to export one that can.
fn module_obstacle(reason: BackendError, pickle: &Pickle, is_root: bool) -> BackendError {
    let key = pickle
        .entries(pickle.root())
        .filter(|_| !is_root)
        .and_then(|_| MODEL_KEYS.iter().find(|key| pickle.entry(pickle.root(), key).is_some()));
    let load = match key {
        Some(key) => format!("model = torch.load(PATH, weights_only=False)[\"{key}\"]"),
        None => "model = torch.load(PATH, weights_only=False)".to_owned(),
    };
    reason.with_help(trace_help(&load))
}

fn trace_help(load: &str) -> String {
    format!(
        "Export it in Python, where its code is trusted: `{load}`, then \
         `torch.jit.trace(model.eval(), example_input).save(\"model_traced.pt\")`."
    )
}

fn kind(rebuild: Rebuild<'_>, at: Ref) -> Result<Kind> {
    let pickle = rebuild.pickle;
    if module::is_module(pickle, at) {
        return Ok(Kind::Module);
    }
    let entries = pickle.named_entries(at);
    for &(_, value) in &entries {
        if rebuild.tensor(value)?.is_some() {
            return Ok(Kind::StateDict);
        }
    }
    Ok(Kind::Other)
}

/// The model in a dictionary; its other entries become metadata.
fn inside(rebuild: Rebuild<'_>, root: Ref, collector: &mut Collector) -> Result<(Ref, Kind)> {
    let pickle = rebuild.pickle;
    let mut models = Vec::new();
    for &key in MODEL_KEYS {
        if let Some(value) = pickle.entry(root, key) {
            let kind = kind(rebuild, value)?;
            if kind != Kind::Other {
                models.push((key, value, kind));
            }
        }
    }
    let info = &mut collector.document.info;
    for (key, value) in pickle.named_entries(root) {
        if let Some(text) = scalar(pickle, value) {
            info.metadata.push(pair(key, text));
        }
    }
    let Some(&(key, value, kind)) = models.first() else { return Ok((root, Kind::Other)) };
    info.extra.push(pair("pickle.key", key));
    // A module beside its own state dict is one model.
    models.retain(|&(_, value_of, kind_of)| value_of == value || kind_of == kind);
    if models.len() > 1 {
        info.findings.push(Finding {
            severity: Severity::NOTE,
            code: "pickle.several-models".into(),
            message: format!("the file holds several models; this is the one under `{key}`").into(),
            subjects: models.iter().map(|&(key, ..)| key.into()).collect(),
        });
    }
    Ok((value, kind))
}

/// The text of a number, a text or a boolean.
pub(super) fn scalar(pickle: &Pickle, at: Ref) -> Option<String> {
    const MAX_TEXT: usize = 1000;
    match pickle.get(at) {
        Value::Bool(flag) => Some(if *flag { "true" } else { "false" }.to_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Text(text) if text.len() <= MAX_TEXT => Some(text.to_string()),
        _ => None,
    }
}

/// Every tensor that the root reaches, named by the way to it.
fn loose_tensors(rebuild: Rebuild<'_>, root: Ref, collector: &mut Collector) -> Result<()> {
    let pickle = rebuild.pickle;
    let mut visited = HashSet::new();
    let mut waiting = vec![(root, String::new())];
    while let Some((at, path)) = waiting.pop() {
        // Names grow with every step: a path this long is no name any more.
        if !visited.insert(at) || path.len() > 1024 {
            continue;
        }
        match rebuild.tensor(at)? {
            Some(Rebuilt::Plain(found)) => {
                collector.add(&path, "", TensorRole::PARAMETER, found)?;
                continue;
            }
            Some(Rebuilt::Composite(composite)) => {
                for (part, found) in composite.parts {
                    collector.add(&format!("{path}.{part}"), "", TensorRole::PARAMETER, found)?;
                }
                continue;
            }
            None => {}
        }
        let join = |step: &str| if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
        let mut next = Vec::new();
        if let Some(elements) = pickle.sequence(at) {
            next.extend(
                elements.iter().enumerate().map(|(index, &element)| (element, join(&index.to_string()))),
            );
        }
        next.extend(pickle.named_entries(at).into_iter().map(|(name, value)| (value, join(name))));
        if let Some(object) = pickle.object(at) {
            next.extend(object.state.map(|state| (state, path.clone())));
        }
        next.reverse();
        waiting.extend(next);
    }
    Ok(())
}
