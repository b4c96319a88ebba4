//! Modules as Python pickles them: an object whose state has `_parameters`, `_buffers` and `_modules`.

use super::attribute::{attribute, attribute_bytes, attributes};
use super::convolution;
use super::packed::{CELLS, PACKED, packed_parameters};
use super::quantization::{is_parameter_of_codes, quantization_of};
use crate::document::{Collector, value};
use crate::pickle::{Global, Object, Pickle, Ref, Value};
use crate::rebuild::{Rebuild, Rebuilt};
use qp_abi::sdk::{
    Attribute, BackendError, DType, LayerInfo, QuantizationParameters, RString, Result, TensorRole,
};
use std::collections::{HashMap, HashSet};

/// Modules within modules.
const MAX_DEPTH: usize = 128;
const MAX_MODULES: usize = 1 << 18;
/// Attributes of all modules together: a hundred thousand modules may share one dictionary.
const MAX_ALL_ATTRIBUTES: usize = 1 << 21;
/// Bytes of a module's path.
const MAX_PATH: usize = 2048;
/// Modules that only hold the packed parameters of the one they are in.
const PACKERS: [&str; 3] = ["LinearPackedParams", "EmbeddingPackedParams", "PackedParameter"];

/// A module as the pickle has it.
#[derive(Debug, Clone)]
pub struct Module {
    /// Its path; empty for the root.
    pub path: String,
    /// Its class.
    pub class: Global,
    /// The code of an fx graph: the imports, and the body with its `forward`.
    pub code: Option<Code>,
    /// Its children, in order.
    pub children: Vec<(String, Ref)>,
    /// Where among them each name is.
    places: HashMap<String, usize>,
    /// Its attributes that are neither modules nor tensors.
    pub attributes: HashMap<String, Ref>,
    /// The names in the file of its tensors, by the names of the attributes.
    pub tensors: HashMap<String, RString>,
}

impl Module {
    /// The child with that name.
    pub fn child(&self, name: &str) -> Option<Ref> {
        self.places.get(name).and_then(|place| self.children.get(*place)).map(|(_, at)| *at)
    }
}

/// The code of an fx graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code {
    /// The text of the imports.
    pub imports: Option<Ref>,
    /// The text of `forward`.
    pub forward: Ref,
}

/// All modules of a pickle.
#[derive(Debug, Default)]
pub struct Modules {
    /// By their place in the pickle.
    pub all: HashMap<Ref, Module>,
    /// The class of the root.
    pub class: String,
}

/// Whether the value at `at` is a module.
pub fn is_module(pickle: &Pickle, at: Ref) -> bool {
    state(pickle, at).is_some_and(|state| pickle.entry(state, "_modules").is_some())
}

/// The dictionary with a module's content: its state, or the body of `reduce_graph_module(body, imports)`.
fn state(pickle: &Pickle, at: Ref) -> Option<Ref> {
    let object = pickle.object(at)?;
    let body = if is_graph_module(pickle, object) { pickle.arguments(object).first().copied() } else { None };
    let state = body.or_else(|| pickle.attributes(object))?;
    matches!(pickle.get(state), Value::Dict(_)).then_some(state)
}

fn is_graph_module(pickle: &Pickle, object: &Object) -> bool {
    pickle
        .callable(object)
        .is_some_and(|global| global.module == "torch.fx.graph_module" && global.name.starts_with("reduce_"))
}

/// The code of the graph module at `at`.
fn code(pickle: &Pickle, at: Ref) -> Option<Code> {
    let object = pickle.object(at).filter(|object| is_graph_module(pickle, object))?;
    let arguments = pickle.arguments(object);
    let body = *arguments.first()?;
    let forward = pickle.entry(body, "_code").or_else(|| pickle.entry(body, "code"))?;
    let imports = arguments.iter().skip(1).rev().find(|at| pickle.text(**at).is_some()).copied();
    pickle.text(forward).map(|_| Code { imports, forward })
}

fn class(pickle: &Pickle, at: Ref) -> Global {
    let object = pickle.object(at);
    match object {
        Some(object) if is_graph_module(pickle, object) => {
            Global::new("torch.fx.graph_module", "GraphModule")
        }
        Some(object) => pickle.callable(object).cloned().unwrap_or_else(|| Global::new("", "?")),
        None => Global::new("", "?"),
    }
}

/// Adds the modules under the one at `root`, with their tensors.
///
/// # Errors
/// `CorruptFile` when a tensor's description makes no sense, or modules are nested too deep.
pub fn read(rebuild: Rebuild<'_>, root: Ref, collector: &mut Collector) -> Result<Modules> {
    let mut walk =
        Walk { rebuild, visited: HashSet::new(), scheme: "", modules: HashMap::new(), attributes: 0 };
    walk.module(root, "", 0, collector)?;
    let class = class(rebuild.pickle, root);
    if !walk.scheme.is_empty() {
        let scheme = if class.name == "GraphModule" && walk.scheme == "eager" { "FX" } else { walk.scheme };
        collector.document.info.scheme = scheme.into();
    }
    Ok(Modules { all: walk.modules, class: class.to_string() })
}

struct Walk<'a> {
    rebuild: Rebuild<'a>,
    /// A module that is used twice is listed once, as `named_modules` does.
    visited: HashSet<Ref>,
    scheme: &'static str,
    modules: HashMap<Ref, Module>,
    /// Attributes and children of the modules so far.
    attributes: usize,
}

impl Walk<'_> {
    fn module(&mut self, at: Ref, path: &str, depth: usize, collector: &mut Collector) -> Result<()> {
        let pickle = self.rebuild.pickle;
        if let Some(fields) = convolution::state(pickle, at) {
            return self.convolution(at, path, fields, collector);
        }
        let Some(state) = state(pickle, at) else { return Ok(()) };
        if depth > MAX_DEPTH || path.len() > MAX_PATH || self.visited.len() > MAX_MODULES {
            return Err(BackendError::corrupt_file("the modules are nested too deep"));
        }
        if !self.visited.insert(at) {
            return Ok(());
        }
        collector.check_modules(self.visited.len())?;
        let class = class(pickle, at);
        collector.spend(2 * path.len() + class.module.len() + class.name.len())?;
        let quantization = quantization_of(&class.module);
        if !PACKERS.contains(&class.name.as_str()) {
            self.note_scheme(quantization);
        }
        let tensors = self.tensors(state, path, collector)?;
        let mut module = self.described(at, state, path, &class, &tensors);
        self.attributes += module.attributes.len() + module.children.len();
        if self.attributes > MAX_ALL_ATTRIBUTES {
            return Err(BackendError::corrupt_file("the modules have too many attributes"));
        }
        if !path.is_empty() {
            let mut layer = layer(path, &class, quantization);
            layer.tensors = tensors.into_iter().map(|(_, name)| name).collect();
            layer.attributes = attributes(pickle, state);
            layer.attributes.iter().try_for_each(|attribute| collector.spend(attribute_bytes(attribute)))?;
            if let Some(parameters) = self.output(state).filter(|_| quantization == "static") {
                layer.outputs.push(path.into());
                collector.document.info.values.push(value(path, Some(parameters)));
            }
            // Packed parameters are a container of their owner's tensors, which are listed there.
            let is_packer =
                PACKERS.contains(&class.name.as_str()) || path.ends_with(CELLS.trim_end_matches('.'));
            if !is_packer {
                collector.document.info.layers.push(layer);
            }
        }
        for (name, child) in module.children.clone() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.module(child, &path, depth + 1, collector)?;
            // What is packed there is the weight and the bias of this module.
            if name == "_packed_params"
                && let Some(packed) = self.modules.get(&child)
            {
                module.tensors.extend(packed.tensors.clone());
            }
        }
        self.modules.insert(at, module);
        Ok(())
    }

    fn note_scheme(&mut self, quantization: &str) {
        self.scheme = match (quantization, self.scheme) {
            ("dynamic", "" | "dynamic") => "dynamic",
            ("", known) => known,
            ("dynamic", _) | (_, "dynamic" | "eager + dynamic") => "eager + dynamic",
            _ => "eager",
        };
    }

    fn described(
        &self,
        at: Ref,
        state: Ref,
        path: &str,
        class: &Global,
        tensors: &[(String, RString)],
    ) -> Module {
        let pickle = self.rebuild.pickle;
        let group =
            |name: &str| pickle.entry(state, name).map(|at| pickle.named_entries(at)).unwrap_or_default();
        let own = pickle.named_entries(state);
        let tensors: HashMap<String, RString> = tensors.iter().cloned().collect();
        let cell = pickle.entry(state, "param").and_then(|at| reduced_range(pickle, at));
        let own = own.into_iter().chain(cell.map(|at| ("reduce_range", at)));
        // A bias that is `None` is among the parameters too.
        let attributes = own.chain(group("_parameters")).chain(group("_buffers"));
        let children: Vec<(String, Ref)> =
            group("_modules").into_iter().map(|(name, at)| (name.to_owned(), at)).collect();
        Module {
            path: path.to_owned(),
            class: class.clone(),
            code: code(pickle, at),
            places: children.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect(),
            children,
            attributes: attributes
                .filter(|(name, _)| !tensors.contains_key(*name))
                .map(|(name, at)| (name.to_owned(), at))
                .collect(),
            tensors,
        }
    }

    /// A quantized convolution, whose state is a tuple.
    fn convolution(&mut self, at: Ref, path: &str, fields: &[Ref], collector: &mut Collector) -> Result<()> {
        let pickle = self.rebuild.pickle;
        if !self.visited.insert(at) {
            return Ok(());
        }
        collector.check_modules(self.visited.len())?;
        let class = class(pickle, at);
        collector.spend(2 * path.len() + class.module.len() + class.name.len())?;
        let quantization = quantization_of(&class.module);
        let is_dynamic = quantization == "dynamic";
        self.note_scheme(if is_dynamic { "dynamic" } else { "static" });
        let mut layer = layer(path, &class, quantization);
        let mut module = Module {
            path: path.to_owned(),
            class,
            code: None,
            children: Vec::new(),
            places: HashMap::new(),
            attributes: convolution::FIELDS
                .iter()
                .zip(fields)
                .map(|(name, at)| ((*name).to_owned(), *at))
                .collect(),
            tensors: HashMap::new(),
        };
        let (mut scale, mut zero_point) = (None, None);
        for (&name, &field) in convolution::FIELDS.iter().zip(fields) {
            match name {
                "weight" | "bias" => {
                    if let Some(found) = self.rebuild.plain(field)? {
                        let full = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                        let full = collector.add(&full, path, TensorRole::PARAMETER, found)?;
                        module.tensors.insert(name.to_owned(), full.clone());
                        layer.tensors.push(full);
                    }
                }
                "scale" => scale = pickle.float(field),
                "zero_point" => zero_point = pickle.float(field),
                "training" => {}
                name => {
                    let value = attribute(pickle, field);
                    layer.attributes.extend(value.map(|value| Attribute { name: name.into(), value }));
                }
            }
        }
        if let Some((scale, zero_point)) = scale.zip(zero_point).filter(|_| !is_dynamic) {
            let parameters = QuantizationParameters::per_tensor(DType::UINT8, scale, zero_point);
            layer.outputs.push(path.into());
            collector.document.info.values.push(value(path, Some(parameters)));
        }
        self.modules.insert(at, module);
        if !path.is_empty() {
            collector.document.info.layers.push(layer);
        }
        Ok(())
    }

    /// Adds the tensors of a module; gives back the attribute and the name of each.
    fn tensors(&self, state: Ref, path: &str, collector: &mut Collector) -> Result<Vec<(String, RString)>> {
        let pickle = self.rebuild.pickle;
        let mut names = Vec::new();
        let owner = path.strip_suffix("._packed_params").unwrap_or(path);
        let join = |name: &str| if owner.is_empty() { name.to_owned() } else { format!("{owner}.{name}") };
        if let Some((recurrent, _)) = path.rsplit_once(CELLS)
            && let Some(parameters) = pickle.entry(state, "param")
        {
            for (name, found) in packed_parameters(self.rebuild, "param", parameters)? {
                let owner = recurrent.trim_end_matches('.');
                let full = collector.add(&join(&name), owner, TensorRole::PARAMETER, found)?;
                names.push((name, full));
            }
        }
        for (group, role) in [("_parameters", TensorRole::PARAMETER), ("_buffers", TensorRole::BUFFER)] {
            let Some(group) = pickle.entry(state, group) else { continue };
            for (name, value) in pickle.named_entries(group) {
                let role = if role == TensorRole::BUFFER && is_parameter_of_codes(name) {
                    TensorRole::QUANTIZATION
                } else {
                    role
                };
                match self.rebuild.tensor(value)? {
                    Some(Rebuilt::Plain(found)) => {
                        names.push((name.to_owned(), collector.add(&join(name), owner, role, found)?));
                    }
                    Some(Rebuilt::Composite(composite)) => {
                        for (part, found) in composite.parts {
                            let part = format!("{name}.{part}");
                            let full = collector.add(&join(&part), owner, role, found)?;
                            names.push((part, full));
                        }
                    }
                    None => {}
                }
            }
        }
        for attribute in PACKED {
            let Some(packed) = pickle.entry(state, attribute) else { continue };
            for (name, found) in packed_parameters(self.rebuild, attribute, packed)? {
                let full = collector.add(&join(&name), owner, TensorRole::PARAMETER, found)?;
                names.push((name, full));
            }
        }
        // A quantized convolution gives its weight and bias as plain attributes. Weight and spectral normalization and
        // pruning leave there what they last computed of the parameters.
        let has_parameter = |name: &str| names.iter().any(|(known, _)| known == name);
        let is_computed = |name: &str| {
            has_parameter(&format!("{name}_orig"))
                || (has_parameter(&format!("{name}_g")) && has_parameter(&format!("{name}_v")))
        };
        let computed = ["weight", "bias"].map(is_computed);
        for (name, is_computed) in ["weight", "bias"].into_iter().zip(computed) {
            if let Some(value) = pickle.entry(state, name)
                && let Some(found) = self.rebuild.plain(value)?
            {
                let role = if is_computed { TensorRole::CONSTANT } else { TensorRole::PARAMETER };
                let full = collector.add(&join(name), owner, role, found)?;
                names.push((name.to_owned(), full));
            }
        }
        Ok(names)
    }

    /// The parameters of what a quantized module computes.
    fn output(&self, state: Ref) -> Option<QuantizationParameters> {
        let pickle = self.rebuild.pickle;
        let scale = pickle.entry(state, "scale").and_then(|at| pickle.float(at))?;
        let zero_point = pickle.entry(state, "zero_point").and_then(|at| pickle.float(at))?;
        // PyTorch's quantized modules compute `quint8`.
        Some(QuantizationParameters::per_tensor(DType::UINT8, scale, zero_point))
    }
}

/// A layer of that class with nothing in it yet.
pub fn layer(path: &str, class: &Global, quantization: &str) -> LayerInfo {
    LayerInfo {
        path: path.into(),
        op_type: class.name.rsplit('.').next().unwrap_or_default().into(),
        domain: class.module.as_str().into(),
        scope: path.rsplit_once('.').map(|(scope, _)| scope).unwrap_or_default().into(),
        quantization: quantization.into(),
        ..LayerInfo::default()
    }
}

/// Whether a cell's codes of activations keep to 7 bits, in `(kind, tensors, numbers, [this], packed)`.
fn reduced_range(pickle: &Pickle, at: Ref) -> Option<Ref> {
    let [content, ..] = pickle.sequence(pickle.object(at)?.state?)? else { return None };
    let [_, _, _, whole_numbers, ..] = pickle.sequence(*content)? else { return None };
    pickle.sequence(*whole_numbers)?.first().copied()
}
