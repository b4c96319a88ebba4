//! Why a file cannot be run, and the Python lines that make one of it that can.

use qp_abi::sdk::{BackendError, ModelInfo};
use std::path::Path;

/// How Python reads the weights of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loader<'a> {
    /// `safetensors.torch.load_file`.
    Safetensors,
    /// `torch.load` of a state dict.
    Pickle {
        /// The key of what was saved that it is under.
        key: Option<&'a str>,
        /// Whether there is nothing beside it that `weights_only` would refuse.
        is_plain: bool,
    },
    /// The same for each shard that an index in JSON names.
    Shards {
        /// Whether the shards are pickles, not safetensors.
        are_pickled: bool,
    },
}

/// Prefixes that the wrapper of a model puts before all names, and the model itself does not have.
const WRAPPERS: [&str; 3] = ["module.", "_orig_mod.", "model."];
/// Quantizers whose weights fit no plain module: their own loader builds the model.
const FOREIGN: [&str; 6] = ["bitsandbytes", "GPTQ", "AWQ", "compressed-tensors", "MXFP4", "block FP8"];

/// Of a file that holds weights alone, described by `info`.
pub fn weights_alone(loader: Loader<'_>, path: &Path, info: &ModelInfo) -> BackendError {
    let scheme = info.scheme.as_str();
    let help = if scheme.split(" + ").any(|scheme| FOREIGN.contains(&scheme)) {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => python(folder),
            _ => "\".\"".to_owned(),
        };
        let load = format!("model = transformers.AutoModelForCausalLM.from_pretrained({folder})");
        export_help("Let the library that quantized it build the model", &load)
    } else {
        let state = state(loader, path, scheme);
        let prefix = wrapper(loader, info);
        let state = match prefix {
            Some(prefix) => {
                format!("{{name.removeprefix(\"{prefix}\"): tensor for name, tensor in {state}.items()}}")
            }
            None => state,
        };
        // What a subclass stands for cannot be copied into a plain parameter.
        let assign = if scheme == "torchao" { ", assign=True" } else { "" };
        export_help("Build the model in Python", &format!("model.load_state_dict({state}{assign})"))
    };
    BackendError::unsupported_op("the file holds weights and no computation").with_help(help)
}

/// Of a pickle with tensors that are no state dict of one model.
pub fn loose_tensors(is_optimizer: bool, path: &Path) -> BackendError {
    if is_optimizer {
        return BackendError::unsupported_op("the file holds the state of an optimizer and no model")
            .with_help("Open the file with the model's weights.");
    }
    let first = format!("Build the model in Python, give it the tensors of `torch.load({})`", python(path));
    BackendError::unsupported_op("the file holds tensors and no computation")
        .with_help(export_help(&first, "model.load_state_dict(tensors)"))
}

/// What to do in Python: `first` in words, `load` as a line, then export.
pub fn export_help(first: &str, load: &str) -> String {
    format!(
        "{first}, `{load}`, then \
         `torch.export.save(torch.export.export(model.eval(), (example,)), \"model.pt2\")`, or \
         `torch.jit.trace(model.eval(), example).save(\"model_traced.pt\")`."
    )
}

/// A path as a text of Python.
pub fn python(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}

/// The expression that is the state dict.
fn state(loader: Loader<'_>, path: &Path, scheme: &str) -> String {
    let file = python(path);
    match loader {
        Loader::Safetensors if scheme == "torchao" => format!(
            "torchao.prototype.safetensors.safetensors_support.unflatten_tensor_state_dict(\
             safetensors.torch.load_file({file}), safetensors.safe_open({file}, \"pt\").metadata())[0]"
        ),
        Loader::Safetensors => format!("safetensors.torch.load_file({file})"),
        Loader::Pickle { key, is_plain } => {
            let weights_only = if is_plain { "True" } else { "False" };
            let key = key.map(|key| format!("[\"{}\"]", key.escape_debug())).unwrap_or_default();
            format!("torch.load({file}, weights_only={weights_only}){key}")
        }
        Loader::Shards { are_pickled } => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.map_or_else(|| "\".\"".to_owned(), python);
            let shard = format!("os.path.join({folder}, shard)");
            let load = if are_pickled {
                format!("torch.load({shard}, weights_only=True)")
            } else {
                format!("safetensors.torch.load_file({shard})")
            };
            format!(
                "{{name: tensor for shard in set(json.load(open({file}))[\"weight_map\"].values()) \
                 for name, tensor in {load}.items()}}"
            )
        }
    }
}

/// The prefix that all names have and the model does not: that of DataParallel and `torch.compile`, and the
/// attribute of a Lightning module.
fn wrapper(loader: Loader<'_>, info: &ModelInfo) -> Option<&'static str> {
    let is_lightning = info.producer.starts_with("PyTorch Lightning");
    let prefix = WRAPPERS.into_iter().find(|prefix| {
        info.tensors.iter().all(|tensor| tensor.name.starts_with(prefix)) && !info.tensors.is_empty()
    })?;
    let belongs_to_the_model = prefix == "model." && !is_lightning;
    (matches!(loader, Loader::Pickle { .. }) && !belongs_to_the_model).then_some(prefix)
}
