//! Finds the model in a pickle: the root itself, or what a training script put under a name.

use super::training;
use crate::document::Collector;
use crate::document::obstacle::{self, Loader, export_help, python};
use crate::eager::{is_packed, module, state_dict};
use crate::forward;
use crate::pickle::{Ref, verdict};
use crate::rebuild::{Rebuild, Storages};
use qp_abi::manifest::pair;
use qp_abi::sdk::{BackendError, Finding, RSome, Result, Severity};
use std::path::Path;

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

/// Adds what a pickle holds; of a dangerous one as much as can be read.
///
/// # Errors
/// `CorruptFile` when a tensor's description makes no sense.
pub(super) fn add(rebuild: Rebuild<'_>, collector: &mut Collector, is_dangerous: bool) -> Result<()> {
    collector.document.info.versions.push(pair("pickle protocol", rebuild.pickle.protocol().to_string()));
    let read = read(rebuild, collector).and_then(|()| rebuild.pickle.check_whole());
    match read {
        Err(error) if is_dangerous => {
            collector.document.info.metadata.push(pair("unreadable", error.message.to_string()));
            Ok(())
        }
        read => read,
    }
}

/// Adds what the pickle holds to `collector`: layers, tensors, metadata, and why it cannot be run.
///
/// # Errors
/// `CorruptFile` when a tensor's description makes no sense.
fn read(rebuild: Rebuild<'_>, collector: &mut Collector) -> Result<()> {
    let pickle = rebuild.pickle;
    let root = pickle.root();
    let (found, kind) = match kind(rebuild, root)? {
        Kind::Module => (root, Kind::Module),
        // A loose tensor beside a model, such as the best accuracy, makes no state dict of a checkpoint.
        Kind::StateDict if !holds_models(rebuild, root)? => (root, Kind::StateDict),
        Kind::StateDict | Kind::Other => inside(rebuild, root, collector)?,
    };
    let entries = pickle.named_entries(root);
    let key = entries.iter().find(|(_, value)| *value == found && found != root).map(|(key, _)| *key);
    let obstacle = match kind {
        Kind::Module => {
            let modules = module::read(rebuild, found, collector)?;
            collector.document.info.metadata.push(pair("class", modules.class.clone()));
            match forward::follow(rebuild, &modules, found, collector) {
                Ok(()) => return Ok(()),
                Err(reason) => {
                    let document = &collector.document;
                    module_obstacle(reason, key, document.data.path(), &document.info.scheme)
                }
            }
        }
        Kind::StateDict => {
            state_dict::read(rebuild, found, collector)?;
            let loader = Loader::Pickle { key, is_plain: is_plain(rebuild) };
            obstacle::weights_alone(loader, collector.document.data.path(), &collector.document.info)
        }
        Kind::Other => {
            let is_optimizer = training::read_loose(rebuild, root, collector)?;
            obstacle::loose_tensors(is_optimizer, is_tar(rebuild), collector.document.data.path())
        }
    };
    collector.document.info.run_obstacle = RSome(obstacle);
    Ok(())
}

fn is_tar(rebuild: Rebuild<'_>) -> bool {
    matches!(rebuild.storages, Storages::Tensors(_))
}

/// Whether `weights_only` takes the file; it takes no tar archive.
fn is_plain(rebuild: Rebuild<'_>) -> bool {
    !is_tar(rebuild) && verdict::is_plain(rebuild.pickle)
}

/// Why a module cannot be run, and how to export one that can.
fn module_obstacle(reason: BackendError, key: Option<&str>, path: &Path, scheme: &str) -> BackendError {
    let path = python(path);
    let load = match key {
        Some(key) => {
            format!("model = torch.load({path}, map_location=\"cpu\", weights_only=False)[\"{key}\"]")
        }
        None => format!("model = torch.load({path}, map_location=\"cpu\", weights_only=False)"),
    };
    reason.with_help(export_help("Export it in Python, where its code is trusted", &load, scheme))
}

fn kind(rebuild: Rebuild<'_>, at: Ref) -> Result<Kind> {
    let pickle = rebuild.pickle;
    if module::is_module(pickle, at) {
        return Ok(Kind::Module);
    }
    let entries = pickle.named_entries(at);
    for &(name, value) in &entries {
        if rebuild.tensor(value)?.is_some() || (is_packed(name) && !rebuild.all_within(value)?.is_empty()) {
            return Ok(Kind::StateDict);
        }
    }
    Ok(Kind::Other)
}

/// Whether a dictionary holds others with tensors, or modules.
fn holds_models(rebuild: Rebuild<'_>, at: Ref) -> Result<bool> {
    for (_, value) in rebuild.pickle.named_entries(at) {
        if rebuild.tensor(value)?.is_none() && kind(rebuild, value)? != Kind::Other {
            return Ok(true);
        }
    }
    Ok(false)
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
    training::describe(pickle, root, &models.iter().map(|&(key, ..)| key).collect::<Vec<_>>(), collector);
    let info = &mut collector.document.info;
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
