//! What an eager module computes: the code in an fx pickle, and the modules that it calls, followed step by step
//! into a [`Program`](qp_pytorch_contract::program::Program).
//!
//! Nothing is executed: numbers, texts and the structure of modules are known, tensors are names for what a run will
//! compute, and each operator that would be called on them becomes one call of the program. The code is that of the
//! file (`crate::python` reads it) and, for the modules and functions of PyTorch, that of our own library (`library/`).
//!
//! Layers are found on the way: a module whose `forward` the library has is one layer, and so is each function that a
//! graph or a container calls.

mod arithmetic;
mod builtin;
mod call;
mod emit;
mod evaluate;
mod hook;
mod index;
mod interpreter;
mod layers;
mod library;
mod name;
mod object;
mod of_file;
mod unsupported;
mod value;

use crate::document::listing::GraphCode;
use crate::document::{self, Collector};
use crate::eager::Modules;
use crate::pickle::Ref;
use crate::rebuild::Rebuild;
use interpreter::Interpreter;
use qp_abi::sdk::Result;
use std::collections::HashMap;
use std::sync::Arc;

/// Follows the module at `root`: the layers of `collector` become those of the computation, in its order, and its
/// program is there.
///
/// # Errors
/// `UnsupportedOp` when the file does not say what a module computes, or says it with what is not known here. The
/// collector is then as it was.
pub fn follow(rebuild: Rebuild<'_>, modules: &Modules, root: Ref, collector: &mut Collector) -> Result<()> {
    let mut interpreter = Interpreter::new(rebuild, modules, &collector.document);
    interpreter.root(root)?;
    let flow = interpreter.finish()?;
    let info = &mut collector.document.info;
    info.layers = layers::merged(std::mem::take(&mut info.layers).into(), flow.layers).into();
    let quantized = flow.values;
    info.values =
        quantized.iter().map(|(name, parameters)| document::value(name, Some(parameters.clone()))).collect();
    info.inputs = flow.program.inputs.iter().map(|input| document::value(&input.name, None)).collect();
    let parameters: HashMap<&str, _> =
        quantized.iter().rev().map(|(name, parameters)| (name.as_str(), parameters)).collect();
    let outputs = flow.program.outputs.iter();
    let outputs =
        outputs.map(|output| document::value(&output.0, parameters.get(output.0.as_str()).copied().cloned()));
    info.outputs = outputs.collect();
    collector.document.program = Some(flow.program);
    // Many modules may have the same code.
    let mut texts: HashMap<Ref, Arc<str>> = HashMap::new();
    let graphs = modules.all.values().filter_map(|module| {
        let at = module.code?.forward;
        let text = rebuild.pickle.text(at)?;
        let text = Arc::clone(texts.entry(at).or_insert_with(|| text.into()));
        Some(GraphCode { path: module.path.clone(), class: module.class.to_string(), text })
    });
    collector.document.code = graphs.collect();
    Ok(())
}
