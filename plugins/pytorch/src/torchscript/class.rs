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
}

#[cfg(test)]
mod tests {
    use super::TypeName;

    #[test]
    fn the_name_that_python_had_is_found_in_a_mangled_one() {
        let name = TypeName::new("__torch__.torch.nn.modules.conv.___torch_mangle_12.Conv2d");
        assert_eq!((name.module.as_str(), name.name.as_str()), ("torch.nn.modules.conv", "Conv2d"));
        assert_eq!(TypeName::new("__torch__.Net").name, "Net");
    }
}
