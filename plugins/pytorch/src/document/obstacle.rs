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
const WRAPPERS: [&str; 3] = ["module.", COMPILED, "model."];
const COMPILED: &str = "_orig_mod.";
/// Nobody wraps a model more often.
const MAX_PREFIX: usize = 256;
/// Quantizers whose weights fit no plain module: their own loader builds the model.
const FOREIGN: [&str; 6] = ["bitsandbytes", "GPTQ", "AWQ", "compressed-tensors", "MXFP4", "block FP8"];

/// Ends the name of the part of a `DTensor` that the process had which saved it.
const LOCAL: &str = "._local_tensor";
/// How models are quantized whose modules have packed parameters.
const PACKED: [&str; 3] = ["eager", "FX", "dynamic"];

/// Of a file that holds weights alone, described by `info`.
pub fn weights_alone(loader: Loader<'_>, path: &Path, info: &ModelInfo) -> BackendError {
    let scheme = info.scheme.as_str();
    let help = if scheme.split(" + ").any(|scheme| FOREIGN.contains(&scheme)) {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => python(folder),
            _ => "\".\"".to_owned(),
        };
        let load = format!("model = transformers.AutoModelForCausalLM.from_pretrained({folder})");
        export_help("Let the library that quantized it build the model", &load, scheme)
    } else {
        let state = state(loader, path, scheme);
        let names: Vec<&str> = match loader {
            Loader::Pickle { .. } => info.tensors.iter().map(|tensor| tensor.name.as_str()).collect(),
            Loader::Safetensors | Loader::Shards { .. } => Vec::new(),
        };
        let name = unwrapped(&names, info.producer.starts_with("PyTorch Lightning"));
        // A plain parameter takes no `DTensor`.
        let has_local = names.iter().any(|name| name.ends_with(LOCAL));
        let tensor = if has_local { "getattr(tensor, \"_local_tensor\", tensor)" } else { "tensor" };
        let state = match name.or_else(|| has_local.then(|| "name".to_owned())) {
            Some(name) => format!("{{{name}: {tensor} for name, tensor in {state}.items()}}"),
            None => state,
        };
        // What a subclass stands for cannot be copied into a plain parameter.
        let assign = if scheme == "torchao" { ", assign=True" } else { "" };
        export_help("Build the model in Python", &format!("model.load_state_dict({state}{assign})"), scheme)
    };
    BackendError::unsupported_op("the file holds weights and no computation").with_help(help)
}

/// Of a pickle with tensors that are no state dict of one model.
pub fn loose_tensors(is_optimizer: bool, is_tar: bool, path: &Path) -> BackendError {
    if is_optimizer {
        return BackendError::unsupported_op("the file holds the state of an optimizer and no model")
            .with_help("Open the file with the model's weights.");
    }
    let weights_only = if is_tar { ", weights_only=False" } else { "" };
    let first = format!(
        "Build the model in Python, give it the tensors of `torch.load({}, map_location=\"cpu\"{weights_only})`",
        python(path)
    );
    BackendError::unsupported_op("the file holds tensors and no computation").with_help(export_help(
        &first,
        "model.load_state_dict(tensors)",
        "",
    ))
}

/// What to do in Python: `first` in words, `load` as a line, then export; `scheme` says how the model is quantized.
/// `torch.export` of PyTorch 2.13 fails at the packed parameters of quantized modules, which can be traced.
pub fn export_help(first: &str, load: &str, scheme: &str) -> String {
    if scheme.split(" + ").any(|scheme| PACKED.contains(&scheme)) {
        return format!(
            "{first}, `{load}`, then `torch.jit.trace(model.eval(), example).save(\"model_traced.pt\")`."
        );
    }
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
            format!("torch.load({file}, map_location=\"cpu\", weights_only={weights_only}){key}")
        }
        Loader::Shards { are_pickled } => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.map_or_else(|| "\".\"".to_owned(), python);
            let shard = format!("os.path.join({folder}, shard)");
            let load = if are_pickled {
                format!("torch.load({shard}, map_location=\"cpu\", weights_only=True)")
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

/// The expression of a name without what the wrappers of the model put before all names, in any nesting:
/// DataParallel, `torch.compile`, and the attribute of a Lightning module. An attribute `model` of another module is the
/// model's own, and what is compiled may be in it.
fn unwrapped(names: &[&str], is_lightning: bool) -> Option<String> {
    let all_have = |prefix: &str| !names.is_empty() && names.iter().all(|name| name.starts_with(prefix));
    let (mut outer, mut own) = (String::new(), false);
    let mut prefix = String::new();
    while prefix.len() < MAX_PREFIX
        && let Some(wrapper) = WRAPPERS.into_iter().find(|wrapper| all_have(&format!("{prefix}{wrapper}")))
    {
        prefix.push_str(wrapper);
        own |= wrapper == "model." && !is_lightning;
        if !own {
            outer.clone_from(&prefix);
        }
    }
    let inner = prefix.get(outer.len()..).unwrap_or_default();
    let mut expression = "name".to_owned();
    if !outer.is_empty() {
        expression.push_str(&format!(".removeprefix(\"{outer}\")"));
    }
    if inner.contains(COMPILED) {
        expression.push_str(&format!(".replace(\"{inner}\", \"{}\", 1)", inner.replace(COMPILED, "")));
    }
    (expression != "name").then_some(expression)
}

#[cfg(test)]
mod tests {
    use super::{export_help, unwrapped};

    /// What PyTorch 2.13 does to modules with packed parameters.
    #[test]
    fn what_has_packed_parameters_is_traced() {
        for (scheme, is_exported) in
            [("eager", false), ("eager + dynamic", false), ("FX", false), ("torchao", true), ("", true)]
        {
            let help = export_help("Build it", "load", scheme);
            assert_eq!(help.contains("torch.export"), is_exported, "{scheme}");
            assert!(help.contains("torch.jit.trace"), "{scheme}");
        }
    }

    /// What DistributedDataParallel and `torch.compile` of PyTorch 2.13 write.
    #[test]
    fn wrappers_are_taken_off_in_any_nesting() {
        let found = |prefix: &str, is_lightning: bool| {
            let names = ["fc.weight", "model.bias"].map(|name| format!("{prefix}{name}"));
            unwrapped(&names.each_ref().map(String::as_str), is_lightning)
        };
        assert_eq!(found("", false), None);
        assert_eq!(found("model.", false), None);
        for prefix in ["module.", "module._orig_mod.", "_orig_mod.module."] {
            assert_eq!(found(prefix, false), Some(format!("name.removeprefix(\"{prefix}\")")));
        }
        let compiled = "name.replace(\"model._orig_mod.\", \"model.\", 1)";
        assert_eq!(found("model._orig_mod.", false).as_deref(), Some(compiled));
        let lightning = "name.removeprefix(\"model._orig_mod.\")";
        assert_eq!(found("model._orig_mod.", true).as_deref(), Some(lightning));
        assert_eq!(unwrapped(&[], false), None);
    }
}
