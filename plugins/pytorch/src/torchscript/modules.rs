//! The module tree of a TorchScript archive, from the objects in `data.pkl`.

use super::class::{TypeName, is_library, is_whole};
use super::code::{Class, Code, Statement};
use super::expression::Expression;
use crate::document::Collector;
use crate::eager::{
    attribute, attribute_bytes, is_parameter_of_codes, owner_of_packed, packed_parameters, quantization_of,
    without_packer,
};
use crate::pickle::{Pickle, Ref, Value};
use crate::rebuild::{Rebuild, Rebuilt};
use crate::tensor::StoredTensor;
use qp_abi::sdk::{Attribute, BackendError, LayerInfo, RString, Result, TensorRole};
use std::collections::{HashMap, HashSet};

/// Modules within modules.
const MAX_DEPTH: usize = 128;
const MAX_MODULES: usize = 1 << 18;
/// Bytes of a module's path.
const MAX_PATH: usize = 2048;

/// One module.
#[derive(Debug)]
pub struct Module {
    /// Its path; empty for the root.
    pub path: String,
    /// Its class.
    pub class: TypeName,
    /// Its attributes by name.
    pub fields: HashMap<String, Field>,
    /// Its description, of which inputs and outputs are not known yet.
    pub layer: LayerInfo,
}

/// An attribute of a module.
#[derive(Debug, Clone)]
pub enum Field {
    /// A module, by its index.
    Module(usize),
    /// A tensor.
    Tensor(RString, Box<StoredTensor>),
    /// A number.
    Number(f64),
    /// True or false.
    Flag(bool),
    /// Anything else.
    Other,
}

/// All modules; the root is the first.
#[derive(Debug, Default)]
pub struct Modules {
    /// The modules, parents before children.
    pub all: Vec<Module>,
    index: HashMap<Ref, usize>,
    /// Where the last module of a path is.
    places: HashMap<String, usize>,
}

impl Modules {
    /// Reads the tree under the root of the pickle, and adds its tensors to `collector`.
    ///
    /// # Errors
    /// `CorruptFile` when the root is not a module, or a tensor's description makes no sense.
    pub fn read(rebuild: Rebuild<'_>, code: &Code, collector: &mut Collector) -> Result<Self> {
        let mut modules = Self::default();
        let mut reader = Reader { rebuild, code, collector };
        let root = rebuild.pickle.root();
        if script_class(rebuild.pickle, root).is_none() {
            return Err(BackendError::corrupt_file("`data.pkl` holds no module"));
        }
        reader.module(&mut modules, root, "", 0)?;
        Ok(modules)
    }

    /// Whether a module holds others; packed parameters are none.
    pub fn has_children(&self, module: usize) -> bool {
        let is_child = |field: &Field| match field {
            Field::Module(child) => {
                self.all.get(*child).is_some_and(|child| child.class.name != "LinearPackedParams")
            }
            _ => false,
        };
        self.all.get(module).is_some_and(|module| module.fields.values().any(is_child))
    }

    /// Whether a module is one layer: nothing within it is listed.
    pub fn is_layer(&self, module: usize) -> bool {
        let Some(class) = self.all.get(module).map(|module| &module.class) else { return false };
        let name = class.full_name();
        is_whole(&name) || (is_library(&name) && !self.has_children(module))
    }
}

struct Reader<'a> {
    rebuild: Rebuild<'a>,
    code: &'a Code,
    collector: &'a mut Collector,
}

/// The class of an object of TorchScript's.
fn script_class(pickle: &Pickle, at: Ref) -> Option<TypeName> {
    let global = pickle.callable(pickle.object(at)?)?;
    let is_script = global.module == "__torch__" || global.module.starts_with("__torch__.");
    is_script.then(|| TypeName::new(&format!("{}.{}", global.module, global.name)))
}

impl Reader<'_> {
    fn module(&mut self, modules: &mut Modules, at: Ref, path: &str, depth: usize) -> Result<usize> {
        let pickle = self.rebuild.pickle;
        if let Some(&known) = modules.index.get(&at) {
            return Ok(known);
        }
        if depth > MAX_DEPTH || path.len() > MAX_PATH || modules.all.len() > MAX_MODULES {
            return Err(BackendError::corrupt_file("the modules are nested too deep"));
        }
        self.collector.check_modules(modules.all.len())?;
        let class = script_class(pickle, at).unwrap_or_default();
        self.collector.spend(2 * path.len() + 2 * class.qualified.len())?;
        let index = modules.all.len();
        modules.index.insert(at, index);
        modules.places.insert(path.to_owned(), index);
        let layer = LayerInfo {
            path: path.into(),
            op_type: class.name.as_str().into(),
            domain: class.module.as_str().into(),
            scope: path.rsplit_once('.').map(|(scope, _)| scope).unwrap_or_default().into(),
            quantization: quantization_of(&class.module).into(),
            ..LayerInfo::default()
        };
        let nothing = Class::default();
        let definition = self.code.classes.get(&class.qualified).unwrap_or(&nothing);
        modules.all.push(Module { path: path.to_owned(), class, fields: HashMap::new(), layer });
        for (name, value) in self.fields(at, definition) {
            let field = self.field(modules, index, definition, &name, value, depth)?;
            if let Some(module) = modules.all.get_mut(index) {
                module.fields.insert(name, field);
            }
        }
        Ok(index)
    }

    /// The attributes of an object: its state by name, or what its `__setstate__` makes of it.
    fn fields(&self, at: Ref, definition: &Class) -> Vec<(String, Ref)> {
        let pickle = self.rebuild.pickle;
        let Some(state) = pickle.object(at).and_then(|object| object.state) else { return Vec::new() };
        if matches!(pickle.get(state), Value::Dict(_)) {
            return pickle.named_entries(state).into_iter().map(|(name, at)| (name.to_owned(), at)).collect();
        }
        let (Some(parts), Some(method)) = (pickle.sequence(state), definition.methods.get("__setstate__"))
        else {
            return Vec::new();
        };
        let part = |expression: &Expression| match expression {
            Expression::Index(_, index) => match **index {
                Expression::Number(number, _) => parts.get(number as usize).copied(),
                _ => None,
            },
            _ => None,
        };
        let mut fields = Vec::new();
        for statement in &method.body {
            let (targets, value) = match statement {
                Statement::Assign(targets, value) => (targets.as_slice(), value),
                Statement::Evaluate(value) | Statement::Return(value) => (&[][..], value),
                _ => continue,
            };
            match (targets, value) {
                ([Expression::Attribute(_, name)], value) => {
                    fields.extend(part(value).map(|at| (name.clone(), at)))
                }
                // `(self).set_weight_bias((state)[10], (state)[11], )`
                (_, Expression::Call(callee, arguments)) => {
                    let method = match &**callee {
                        Expression::Attribute(_, method) => method.as_str(),
                        _ => "",
                    };
                    if method == "set_weight_bias" {
                        let names = ["weight", "bias"].iter().zip(arguments);
                        fields.extend(
                            names.filter_map(|(name, value)| Some(((*name).to_owned(), part(value)?))),
                        );
                    }
                }
                _ => {}
            }
        }
        fields
    }

    fn field(
        &mut self,
        modules: &mut Modules,
        owner: usize,
        definition: &Class,
        name: &str,
        value: Ref,
        depth: usize,
    ) -> Result<Field> {
        let pickle = self.rebuild.pickle;
        let path = modules.all.get(owner).map(|module| module.path.clone()).unwrap_or_default();
        let is_quantized = modules.all.get(owner).is_some_and(|module| !module.layer.quantization.is_empty());
        let join =
            |path: &str, name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        if let Some(class) = script_class(pickle, value) {
            if !class.qualified.starts_with("__torch__.torch.classes.") {
                return Ok(Field::Module(self.module(modules, value, &join(&path, name), depth + 1)?));
            }
            // Packed parameters belong to the module that computes with them.
            let layer = owner_of_packed(&path).to_owned();
            let scope = without_packer(&path);
            let state = pickle.object(value).and_then(|object| object.state).unwrap_or(value);
            for (name, found) in packed_parameters(self.rebuild, name, state)? {
                let name = self.collector.add(&join(scope, &name), &layer, TensorRole::PARAMETER, found)?;
                let owner = modules.places.get(&layer).and_then(|place| modules.all.get_mut(*place));
                if let Some(module) = owner {
                    module.layer.tensors.push(name);
                }
            }
            return Ok(Field::Other);
        }
        match self.rebuild.tensor(value)? {
            Some(Rebuilt::Plain(found)) => {
                let has = |names: &HashSet<String>| names.contains(name);
                let role = if found.quantizer.is_none() && is_parameter_of_codes(name) {
                    TensorRole::QUANTIZATION
                } else if has(&definition.parameters) || (is_quantized && matches!(name, "weight" | "bias")) {
                    TensorRole::PARAMETER
                } else if has(&definition.buffers) {
                    TensorRole::BUFFER
                } else {
                    TensorRole::CONSTANT
                };
                let tensor = found.tensor.clone();
                let full = self.collector.add(&join(&path, name), &path, role, found)?;
                if let Some(module) = modules.all.get_mut(owner) {
                    module.layer.tensors.push(full.clone());
                }
                Ok(Field::Tensor(full, Box::new(tensor)))
            }
            _ => {
                let is_public = !name.starts_with('_') && name != "training";
                if let (true, Some(value), Some(module)) =
                    (is_public, attribute(pickle, value), modules.all.get_mut(owner))
                {
                    let attribute = Attribute { name: name.into(), value };
                    self.collector.spend(attribute_bytes(&attribute))?;
                    module.layer.attributes.push(attribute);
                }
                Ok(match pickle.get(value) {
                    Value::Bool(flag) => Field::Flag(*flag),
                    _ => pickle.float(value).map_or(Field::Other, Field::Number),
                })
            }
        }
    }
}
