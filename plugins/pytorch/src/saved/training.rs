//! What training scripts save beside the model: settings, epochs, the state of an optimizer; and tensors that lie
//! anywhere in what was saved.

use crate::document::Collector;
use crate::eager::StateDict;
use crate::eager::attribute::scalar;
use crate::pickle::{Pickle, Ref, Value};
use crate::rebuild::{Rebuild, Rebuilt};
use qp_abi::manifest::pair;
use qp_abi::sdk::{Result, TensorRole};
use std::collections::HashSet;

/// Bytes of the way to a tensor: a longer one is no name any more.
const MAX_PATH: usize = 1024;
/// Where settings are: Lightning's, then those of fairseq, timm, ultralytics and others.
const SETTINGS: &[&str] = &[
    "hyper_parameters",
    "hparams",
    "train_args",
    "args",
    "cfg",
    "config",
    "opt",
    "datamodule_hyper_parameters",
];
/// How the names of what only training needs begin.
const TRAINING: &[&str] = &[
    "optimizer",
    "optim",
    "lr_scheduler",
    "scheduler",
    "callbacks",
    "loops",
    "scaler",
    "amp",
    "grad_scaler",
    "last_optimizer_state",
    "rng_state",
    "MixedPrecision",
];
/// The version that Lightning writes.
const LIGHTNING: &str = "pytorch-lightning_version";
/// Settings that are listed at most, and how deep.
const MAX_SETTINGS: usize = 64;
const MAX_DEPTH: usize = 3;

/// Adds what a saved dictionary says beside its model to the metadata.
pub fn describe(pickle: &Pickle, root: Ref, models: &[&str], collector: &mut Collector) {
    let info = &mut collector.document.info;
    let mut others = Vec::new();
    for (key, value) in pickle.named_entries(root) {
        if let Some(text) = scalar(pickle, value) {
            if key == LIGHTNING {
                info.producer = format!("PyTorch Lightning {text}").into();
            }
            info.metadata.push(pair(key, text));
        } else if SETTINGS.contains(&key) {
            let mut found = Vec::new();
            settings(pickle, value, key, 0, &mut found);
            info.metadata.extend(found.into_iter().map(|(name, text)| pair(name, text)));
        } else if !models.contains(&key) && *pickle.get(value) != Value::None {
            others.push(key);
        }
    }
    if !models.is_empty() && !others.is_empty() {
        info.metadata.push(pair("also saved", others.join(", ")));
    }
}

/// The scalars among settings, by the way to them.
fn settings(pickle: &Pickle, at: Ref, path: &str, depth: usize, found: &mut Vec<(String, String)>) {
    for (name, value) in fields(pickle, at) {
        if found.len() >= MAX_SETTINGS {
            return;
        }
        let path = format!("{path}.{name}");
        match scalar(pickle, value) {
            Some(text) => found.push((path, text)),
            None if depth + 1 < MAX_DEPTH => settings(pickle, value, &path, depth + 1, found),
            None => {}
        }
    }
}

/// What a dictionary, a class derived from one, or a namespace holds under names.
fn fields(pickle: &Pickle, at: Ref) -> Vec<(&str, Ref)> {
    let entries = pickle.named_entries(at);
    let Some(object) = pickle.object(at).filter(|_| entries.is_empty()) else { return entries };
    let items = object.items.iter();
    let items: Vec<(&str, Ref)> =
        items.filter_map(|&(key, value)| Some((pickle.text(key)?, value))).collect();
    match object.state {
        Some(state) if items.is_empty() => pickle.named_entries(state),
        _ => items,
    }
}

/// Adds every tensor that the root reaches, named by the way to it. What only training needs is left out; where
/// there is nothing else, as in the saved state of an optimizer, its tensors are no parameters. Gives back whether
/// it is one.
///
/// # Errors
/// `CorruptFile` when a tensor's description makes no sense.
pub fn read_loose(rebuild: Rebuild<'_>, root: Ref, collector: &mut Collector) -> Result<bool> {
    let pickle = rebuild.pickle;
    let is_optimizer = pickle.entry(root, "param_groups").is_some() && pickle.entry(root, "state").is_some();
    let mut state = StateDict::default();
    let mut visited = HashSet::new();
    let mut waiting = vec![(root, String::new())];
    while let Some((at, path)) = waiting.pop() {
        // Names grow with every step.
        if !visited.insert(at) || path.len() > MAX_PATH {
            continue;
        }
        match rebuild.tensor(at)? {
            Some(Rebuilt::Plain(found)) if is_optimizer => {
                collector.add(&path, "", TensorRole::BUFFER, found)?;
                continue;
            }
            Some(rebuilt) => {
                state.add_rebuilt(rebuild, &path, rebuilt, collector)?;
                continue;
            }
            None => {}
        }
        // An optimizer's state is no part of the model, whatever it is called; it was the root itself if it is all there is.
        let is_within_optimizer =
            at != root && pickle.entry(at, "param_groups").is_some() && pickle.entry(at, "state").is_some();
        if is_within_optimizer {
            continue;
        }
        let join = |step: &str| if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
        let mut next = Vec::new();
        if let Some(elements) = pickle.sequence(at) {
            next.extend(
                elements.iter().enumerate().map(|(index, &element)| (element, join(&index.to_string()))),
            );
        }
        // `named_entries` leaves out numbers, which is what an optimizer calls its parameters.
        for (key, value) in pickle.entries(at).unwrap_or_default() {
            // Many entries may have one long key, which is copied for each.
            let name = pickle.text(key).filter(|name| name.len() <= MAX_PATH);
            let step = name.map(str::to_owned).or_else(|| pickle.int(key).map(|key| key.to_string()));
            let is_for_training = |step: &str| {
                at == root && (TRAINING.iter().any(|name| step.starts_with(name)) || step.contains("rng"))
            };
            next.extend(step.filter(|step| !is_for_training(step)).map(|step| (value, join(&step))));
        }
        if let Some(object) = pickle.object(at) {
            next.extend(object.state.map(|state| (state, path.clone())));
        }
        next.reverse();
        waiting.extend(next);
    }
    state.finish(collector)?;
    Ok(is_optimizer)
}
