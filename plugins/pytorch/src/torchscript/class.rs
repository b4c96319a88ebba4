//! Names of TorchScript's classes.

/// A class as the archive names it, and as Python did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeName {
    /// `__torch__.torch.nn.modules.conv.___torch_mangle_12.Conv2d`
    pub qualified: String,
    /// `torch.nn.modules.conv`
    pub module: String,
    /// `Conv2d`
    pub name: String,
}

impl TypeName {
    /// Takes a qualified name apart.
    pub fn new(qualified: &str) -> Self {
        let parts: Vec<&str> = qualified
            .split('.')
            .filter(|part| *part != "__torch__" && !part.starts_with("___torch_mangle_"))
            .collect();
        let (name, module) =
            parts.split_last().map(|(name, module)| (*name, module.join("."))).unwrap_or_default();
        Self { qualified: qualified.to_owned(), module, name: name.to_owned() }
    }

    /// `torch.nn.modules.conv.Conv2d`
    pub fn full_name(&self) -> String {
        if self.module.is_empty() { self.name.clone() } else { format!("{}.{}", self.module, self.name) }
    }
}

/// Packages whose modules and functions are one layer each, whatever they compute.
const LIBRARIES: &[&str] = &["torch", "torchvision.ops", "torchao", "onnx2torch"];

/// Classes of libraries that are one layer although they hold modules: they compute with their parameters and never
/// call them.
const WHOLE: &[&str] =
    &["functional_modules", "torch.nn.modules.activation.", "torch.ao.nn.quantized.dynamic.modules.rnn"];

/// Whether a class, by the full name that Python gave it, is one layer whatever it holds.
pub fn is_whole(name: &str) -> bool {
    WHOLE.iter().any(|part| name.contains(part))
}

/// Whether a class or function, by the full name that Python gave it, is a library's: an fx module has the code of a
/// user's model.
pub fn is_library(name: &str) -> bool {
    let is_in = |package: &str| name.strip_prefix(package).is_some_and(|rest| rest.starts_with('.'));
    !is_in("torch.fx") && LIBRARIES.iter().any(|package| is_in(package))
}

#[cfg(test)]
mod tests {
    use super::{TypeName, is_library};

    #[test]
    fn the_name_that_python_had_is_found_in_a_mangled_one() {
        let name = TypeName::new("__torch__.torch.nn.modules.conv.___torch_mangle_12.Conv2d");
        assert_eq!((name.module.as_str(), name.name.as_str()), ("torch.nn.modules.conv", "Conv2d"));
        assert_eq!(TypeName::new("__torch__.Net").name, "Net");
    }

    #[test]
    fn libraries_are_told_from_what_users_write() {
        for name in [
            "torch.nn.modules.conv.Conv2d",
            "torchvision.ops.misc.FrozenBatchNorm2d",
            "torch.nn.functional.relu",
        ] {
            assert!(is_library(name), "{name}");
        }
        for name in [
            "Net",
            "torchlike.Net",
            "torch.fx.graph_module.GraphModule",
            "torchvision.models.resnet.BasicBlock",
        ] {
            assert!(!is_library(name), "{name}");
        }
    }
}
