//! The code of one module, for people.

use super::inlined::inlined;
use super::modules::{Module, Modules};
use super::record;
use crate::container::Archive;
use crate::document::Collector;
use crate::document::listing::{Listing, Method};
use crate::pickle::decode;
use crate::rebuild::{Rebuild, Storages};
use crate::tensor::Data;
use qp_abi::sdk::{BackendError, LayerInfo, Result};
use std::sync::Arc;

/// The code of the module that `layer` is, or that computes it; without one that of the root.
///
/// # Errors
/// `NotFound` when there is no such module; `CorruptFile` as in reading.
pub fn listing(archive: &Arc<Archive>, layer: Option<&LayerInfo>) -> Result<Listing> {
    let mut collector = Collector::new("torchscript", Data::of_archive(Arc::clone(archive)));
    let code = record::code(archive)?;
    let data = decode(&archive.content("data.pkl")?)?;
    let storages = Storages::Folder("data/".to_owned());
    let rebuild = Rebuild { pickle: &data, storages: &storages, is_big_endian: archive.is_big_endian()? };
    let modules = Modules::read(rebuild, &code, &mut collector)?;
    let (index, module) = find(&modules, layer)
        .ok_or_else(|| BackendError::not_found("the file holds no code of this layer"))?;
    let forward = code.method(&module.class.qualified, "forward");
    let source = record::source(archive, &module.class.qualified)?;
    Ok(Listing {
        language: "TorchScript",
        layer: module.path.clone(),
        class: module.class.full_name(),
        methods: methods(&source, module.class.qualified.rsplit('.').next().unwrap_or_default()),
        inlined: forward.map(|forward| inlined(&modules, &code, index, forward)).unwrap_or_default(),
    })
}

/// The module of that path; that which is called once more, as `fc_1`; that which calls the operator.
fn find<'a>(modules: &'a Modules, layer: Option<&LayerInfo>) -> Option<(usize, &'a Module)> {
    let named = |path: &str| modules.all.iter().enumerate().find(|(_, module)| module.path == path);
    let Some(layer) = layer else { return named("") };
    let path = layer.path.as_str();
    let once_more = || {
        let (stem, number) = path.rsplit_once('_')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        named(stem).filter(|(_, module)| is_number && layer.op_type == module.class.name.as_str())
    };
    named(path).or_else(once_more).or_else(|| named(&layer.scope))
}

/// The methods of `class` in the text of a record, `forward` first, then in the order of the text.
fn methods(source: &str, class: &str) -> Vec<Method> {
    let mut methods: Vec<Method> = Vec::new();
    let (mut is_within, mut is_method) = (false, false);
    for line in source.lines() {
        if !line.starts_with([' ', '\t']) && !line.is_empty() {
            let name = line.strip_prefix("class ").and_then(|rest| rest.split(['(', ':']).next());
            is_within = name.is_some_and(|name| name.trim() == class);
            is_method = false;
            continue;
        }
        if !is_within {
            continue;
        }
        let inner = line.strip_prefix("  ").unwrap_or(line);
        if let Some(header) = inner.strip_prefix("def ") {
            let name = header.split('(').next().unwrap_or_default().trim().to_owned();
            methods.push(Method { name, text: inner.to_owned() });
            is_method = true;
        } else if !inner.starts_with(' ') && !inner.is_empty() {
            is_method = false;
        } else if let (true, Some(method)) = (is_method, methods.last_mut()) {
            method.text.push('\n');
            method.text.push_str(inner);
        }
    }
    for method in &mut methods {
        method.text.truncate(method.text.trim_end().len());
    }
    methods.sort_by_key(|method| method.name != "forward");
    methods
}

#[cfg(test)]
mod tests {
    use super::methods;

    #[test]
    fn methods_are_taken_from_their_own_class_without_its_indentation() {
        let source = "class A(Module):\n  x : int\n  def forward(self) -> int:\n    return 1\nclass B(Module):\n  \
                      def other(self) -> int:\n    return 3\n  def forward(self: B,\n    x: Tensor) -> int:\n    \
                      if True:\n      return 2\n";
        let found = methods(source, "B");
        let names: Vec<&str> = found.iter().map(|method| method.name.as_str()).collect();
        assert_eq!(names, ["forward", "other"]);
        assert_eq!(found[0].text, "def forward(self: B,\n  x: Tensor) -> int:\n  if True:\n    return 2");
    }
}
