//! Follows the data through `forward`, without computing anything.
//!
//! A module of a library that has no modules of its own is one layer, and so is each operator and each function of
//! a library that another module calls. A module of the user's own is opened; if it has no modules of its own, its
//! path names what it returns. What an `if` or a loop yields is one layer where it stands, and what is computed within is
//! none. Scales and zero points are taken from the arguments of quantized operators, as numbers or as stored tensors.
//!
//! The engine walks the graph of the same code by the same rules (`engine/shim/tapper.cpp`), so that both give a value
//! the same name.

use super::code::{Code, Statement};
use super::entry::{Entry, part_name, place_of};
use super::expression::Expression;
use super::modules::Modules;
use super::symbol::Symbol;
use super::tracer::{Place, Tracer};
use crate::document::{self, Collector};
use crate::tensor::StoredTensor;
use qp_abi::sdk::Names;
use qp_abi::sdk::{LayerInfo, RString, ValueInfo};
use std::collections::{HashMap, HashSet};

/// Bytes of a type as it is shown.
const MAX_TYPE: usize = 1024;

/// What following `forward` found.
#[derive(Debug, Default)]
pub struct Flow {
    /// The layers in the order of computation.
    pub layers: Vec<LayerInfo>,
    /// The inputs: names and types.
    pub inputs: Vec<(String, String)>,
    /// The names of inputs that have a default.
    pub optional: Vec<String>,
    /// The outputs.
    pub outputs: Vec<ValueInfo>,
    /// The values with quantization parameters.
    pub values: Vec<ValueInfo>,
}

/// Follows `forward` of the first module.
pub fn follow(
    modules: &Modules,
    code: &Code,
    constants: &HashMap<String, (RString, StoredTensor)>,
    collector: &Collector,
) -> Flow {
    let mut flow = Flow::default();
    let document = &collector.document;
    let mut tracer = Tracer::new(modules, code, constants, &document.data, mutable(code), document.parts());
    let forward = modules.all.first().and_then(|root| code.method(&root.class.qualified, "forward"));
    if let Some(forward) = forward {
        flow.inputs.clone_from(&forward.arguments);
        flow.optional.clone_from(&forward.optional);
        let inputs =
            forward.arguments.iter().zip(&forward.kinds).map(|((name, _), kind)| match kind.has_tensor() {
                true => Symbol::Value { name: name.as_str().into(), quantization: None },
                false => Symbol::Other,
            });
        let result = tracer.call(forward, inputs.collect(), Place::root());
        flow.outputs = outputs(&result, &forward.returns);
    }
    let (entries, met, values) = tracer.finish();
    flow.values = values;
    let mut names = Names::default();
    for module in &modules.all {
        names.claim(&module.path, '_', 1);
    }
    for (name, _) in &flow.inputs {
        names.claim(name, '_', 1);
    }
    flow.layers = named(entries, &mut names, &mut flow.outputs, &mut flow.values);
    for (index, module) in modules.all.iter().enumerate() {
        let is_listed = !module.path.is_empty() && module.class.name != "LinearPackedParams";
        if is_listed && !met.contains(&index) {
            flow.layers.push(module.layer.clone());
        }
    }
    flow
}

/// The layers under their final names; those of `outputs` and `values` are replaced, too.
fn named(
    entries: Vec<Entry>,
    names: &mut Names,
    outputs: &mut [ValueInfo],
    values: &mut [ValueInfo],
) -> Vec<LayerInfo> {
    let mut called: HashSet<RString> = HashSet::new();
    let mut finals: HashMap<usize, String> = HashMap::new();
    let mut layers = Vec::with_capacity(entries.len());
    for Entry { mut layer, is_module, id, is_dropped, .. } in entries {
        if is_dropped {
            continue;
        }
        if let Some(id) = id {
            // The path itself is the name of what the first call computes.
            let is_first = is_module && called.insert(layer.path.clone());
            if !is_first {
                layer.path = names.claim(&layer.path, '_', 1).into();
            }
            finals.insert(id, layer.path.to_string());
        }
        layers.push(layer);
    }
    let rename = |name: &mut RString| {
        if let Some((id, part)) = place_of(name)
            && let Some(layer) = finals.get(&id)
        {
            *name = part_name(layer, part);
        }
    };
    for layer in &mut layers {
        layer.inputs.iter_mut().chain(layer.outputs.iter_mut()).for_each(rename);
    }
    outputs.iter_mut().chain(values).for_each(|value| rename(&mut value.name));
    layers
}

/// The names of the attributes that some method sets: their values in the file are not those of a run.
fn mutable(code: &Code) -> HashSet<String> {
    fn collect(statements: &[Statement], names: &mut HashSet<String>) {
        for statement in statements {
            match statement {
                Statement::Assign(targets, _) => {
                    names.extend(targets.iter().filter_map(|target| match target {
                        Expression::Attribute(_, name) => Some(name.clone()),
                        _ => None,
                    }))
                }
                Statement::If(_, then, otherwise) => {
                    collect(then, names);
                    collect(otherwise, names);
                }
                Statement::For(_, _, body) | Statement::While(_, body) | Statement::With(_, body) => {
                    collect(body, names);
                }
                Statement::Return(_) | Statement::Evaluate(_) => {}
            }
        }
    }
    let mut names = HashSet::new();
    for class in code.classes.values() {
        let methods = class.methods.iter().filter(|(name, _)| *name != "__setstate__");
        methods.for_each(|(_, method)| collect(&method.body, &mut names));
    }
    names
}

/// A type as it is shown.
pub(super) fn shortened(annotation: &str) -> String {
    match annotation.char_indices().nth(MAX_TYPE) {
        Some((end, _)) => format!("{}…", annotation.get(..end).unwrap_or_default()),
        None => annotation.to_owned(),
    }
}

/// The outputs of the graph under their names.
fn outputs(result: &Symbol, returns: &str) -> Vec<ValueInfo> {
    let named = |symbol: &Symbol, fallback: &str| match &symbol.clone().surely() {
        Symbol::Value { name, quantization } if !name.is_empty() => {
            document::value(name, quantization.clone())
        }
        _ => document::value(fallback, None),
    };
    let mut outputs = match result {
        Symbol::List(elements) | Symbol::Tuple(elements) => elements
            .iter()
            .enumerate()
            .map(|(index, element)| named(element, &format!("output_{index}")))
            .collect(),
        Symbol::Named(entries) => entries
            .iter()
            .map(|(key, value)| {
                let mut value = named(value, key);
                value.name = key.as_str().into();
                value
            })
            .collect(),
        symbol => vec![named(symbol, "output")],
    };
    if let [output] = outputs.as_mut_slice()
        && !matches!(returns, "Tensor" | "")
        && !matches!(result, Symbol::List(_) | Symbol::Tuple(_) | Symbol::Named(_))
    {
        output.type_name = shortened(returns).into();
    }
    let mut taken = HashSet::new();
    for (index, output) in outputs.iter_mut().enumerate() {
        if !taken.insert(output.name.clone()) {
            output.name = format!("output_{index}").into();
        }
    }
    outputs
}
