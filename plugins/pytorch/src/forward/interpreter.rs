//! The state while code is followed, functions and statements.

use super::layers::Computed;
use super::library::Library;
use super::name::of_import;
use super::unsupported::unsupported;
use super::value::Value;
use crate::document::Document;
use crate::eager::{Code, Module, Modules};
use crate::pickle::Ref;
use crate::python::{Expression, Function, Statement, parse};
use crate::rebuild::Rebuild;
use crate::tensor::StoredTensor;
use qp_abi::abi_stable::std_types::Tuple2;
use qp_abi::sdk::Names;
use qp_abi::sdk::{QuantizationParameters, RString, Result, TensorInfo};
use qp_pytorch_contract::program::{Input, Program, Register};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Expressions within expressions, those of called functions counted on: a bound for the stack.
const MAX_NESTING: u32 = 100;
/// How many expressions a call counts as: it takes more of the stack.
pub(super) const CALL: u32 = 3;
/// Statements and expressions that are followed at all, and the elements of the values they have.
const MAX_STEPS: usize = 1 << 22;
/// Bytes of code that count as one step when it is read.
const CODE_BYTES: usize = 8;
/// Bytes of a name in the description that count as one.
pub(super) const NAME_BYTES: usize = 16;
/// Values in a list, those of lists in it too.
pub(super) const MAX_ELEMENTS: usize = 1 << 14;
/// Lists within lists.
pub(super) const MAX_LISTS: usize = 32;

/// Follows code.
pub(super) struct Interpreter<'a> {
    pub(super) library: &'static Library,
    pub(super) rebuild: Rebuild<'a>,
    pub(super) modules: &'a Modules,
    pub(super) document: &'a Document,
    pub(super) program: Program,
    /// The next value's number.
    pub(super) next: u32,
    /// The values of stored tensors that are in the program already.
    pub(super) stored: HashMap<RString, Register>,
    /// Values that depend on stored tensors alone.
    pub(super) fixed: HashSet<Register>,
    /// Values that are numbers or lists of numbers and no tensors.
    pub(super) numbers: HashSet<Register>,
    /// The stored tensors that values pass on.
    pub(super) passed_on: HashMap<Register, RString>,
    /// How many axes values have, as far as the operators that compute them suggest it.
    pub(super) ranks: HashMap<Register, i64>,
    /// The descriptions of stored tensors.
    described: HashMap<&'a str, &'a TensorInfo>,
    /// Of `numbers`, those that are lists.
    pub(super) lists: HashSet<Register>,
    /// The call and the result in it that a value comes from.
    pub(super) producers: HashMap<Register, (usize, usize)>,
    /// The name that a value, or the one it was taken from, has in the description of the model.
    pub(super) wires: HashMap<Register, RString>,
    pub(super) quantization: HashMap<Register, QuantizationParameters>,
    pub(super) names: Names,
    output_names: Names,
    pub(super) layers: Vec<Computed>,
    /// Modules that were called.
    pub(super) met: HashSet<Ref>,
    /// Parameters that hooks compute, by their module and name.
    pub(super) normalized: HashMap<(Ref, String), Value>,
    /// The code of graphs that was read: many modules may have the same, and one may be called often.
    parsed: HashMap<Code, (Arc<Function>, HashMap<String, Value>)>,
    steps: usize,
    /// Calls that the program may have.
    pub(super) most: usize,
    nesting: u32,
    returned: Value,
}

/// What following a module has found.
pub(super) struct Flow {
    pub(super) program: Program,
    pub(super) layers: Vec<Computed>,
    /// The quantization parameters of named values.
    pub(super) values: Vec<(RString, QuantizationParameters)>,
}

/// The variables of a function, and where it stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    pub(super) variables: HashMap<String, Value>,
    /// The path of the container whose code this is.
    pub(super) scope: String,
    /// The layer that this is a part of; nothing within it is listed.
    pub(super) layer: Option<usize>,
}

impl Frame {
    /// The frame of a function that is called here, as a part of `layer`.
    pub(super) fn within(&self, layer: Option<usize>) -> Self {
        Self { layer, scope: self.scope.clone(), ..Self::default() }
    }
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(rebuild: Rebuild<'a>, modules: &'a Modules, document: &'a Document) -> Self {
        Self {
            library: Library::get(),
            rebuild,
            modules,
            document,
            program: Program::default(),
            next: 0,
            stored: HashMap::new(),
            fixed: HashSet::new(),
            numbers: HashSet::new(),
            passed_on: HashMap::new(),
            lists: HashSet::new(),
            ranks: HashMap::new(),
            described: document.described(),
            producers: HashMap::new(),
            wires: HashMap::new(),
            quantization: HashMap::new(),
            names: Names::default(),
            output_names: Names::default(),
            layers: Vec::new(),
            met: HashSet::new(),
            normalized: HashMap::new(),
            parsed: HashMap::new(),
            steps: 0,
            most: document.parts(),
            nesting: 0,
            returned: Value::None,
        }
    }

    /// Follows the root module from its inputs to what it returns.
    pub(super) fn root(&mut self, root: Ref) -> Result<()> {
        let root = self.unwrapped(root);
        let module = self.module(root)?;
        let (function, frame) = self.forward(root, module)?;
        let paths: Vec<&str> = self.modules.all.values().map(|module| module.path.as_str()).collect();
        for path in paths.into_iter().filter(|path| !path.is_empty()) {
            self.names.claim(path, '_', 1);
        }
        let mut given = Vec::new();
        for parameter in function.parameters.iter().skip(1) {
            if parameter.is_rest {
                return Err(unsupported("the number of inputs is not known before the run"));
            }
            if parameter.default.is_some() {
                break;
            }
            let register = self.register();
            let name = self.names.claim(&parameter.name, '_', 1);
            self.wires.insert(register, name.as_str().into());
            self.program.inputs.push(Input { register, name: name.into(), is_int: false });
            given.push(Value::Computed(register));
        }
        self.returned = self.call_function(&function, root, given, Vec::new(), frame, &Frame::default())?;
        Ok(())
    }

    /// What was followed, with its outputs.
    pub(super) fn finish(mut self) -> Result<Flow> {
        let returned = std::mem::replace(&mut self.returned, Value::None);
        self.outputs(&returned, None)?;
        if self.program.outputs.is_empty() {
            return Err(unsupported("the model returns nothing that is computed"));
        }
        let named = self.program.calls.iter().flat_map(|call| call.results.all());
        let values = named.filter_map(|result| {
            let parameters = self.quantization.get(&result.register)?;
            Some((result.name.clone().into_option()?, parameters.clone()))
        });
        Ok(Flow { values: values.collect(), program: self.program, layers: self.layers })
    }

    /// Adds what is returned to the outputs: tensors under their own names or the keys of a dictionary.
    fn outputs(&mut self, value: &Value, key: Option<&str>) -> Result<()> {
        let join = |step: &str| key.map_or_else(|| step.to_owned(), |key| format!("{key}.{step}"));
        match value {
            Value::Computed(_) | Value::Stored(_) => {
                let own = match value {
                    Value::Computed(register) => self.wires.get(register).map(RString::to_string),
                    _ => None,
                };
                let name = key.map(str::to_owned).or(own).unwrap_or_else(|| "output".to_owned());
                let name = self.output_names.claim(&name, '_', 1);
                let argument = self.argument(value)?;
                self.program.outputs.push(Tuple2(name.into(), argument));
            }
            Value::List(elements) | Value::Tuple(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    let key = key.map(|_| join(&index.to_string()));
                    self.outputs(element, key.as_deref())?;
                }
            }
            Value::Dictionary(entries) => {
                for (name, element) in entries {
                    let name = match name {
                        Value::Text(name) => name.clone(),
                        Value::Int(name) => name.to_string(),
                        _ => {
                            return Err(unsupported(
                                "the model returns a dictionary whose keys are not text",
                            ));
                        }
                    };
                    self.outputs(element, Some(&join(&name)))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The stored tensor `name` and its description.
    pub(super) fn tensor(&self, name: &str) -> Result<(&'a StoredTensor, &'a TensorInfo)> {
        let (tensor, info) = (self.document.tensors.get(name), self.described.get(name).copied());
        tensor.zip(info).ok_or_else(|| unsupported(format!("the file has no tensor `{name}`")))
    }

    /// The module at `at`.
    pub(super) fn module(&self, at: Ref) -> Result<&'a Module> {
        self.modules.all.get(&at).ok_or_else(|| unsupported("the code calls something that is not a module"))
    }

    /// The `forward` of a module, and the frame it starts with: the imports of a graph.
    pub(super) fn forward(&mut self, at: Ref, module: &Module) -> Result<(Arc<Function>, Frame)> {
        let frame = Frame { scope: module.path.clone(), ..Frame::default() };
        if let Some(code) = module.code {
            let (function, imports) = match self.parsed.get(&code) {
                Some(known) => known,
                None => {
                    let read = self.graph(code)?;
                    self.parsed.entry(code).or_insert(read)
                }
            };
            let (function, variables) = (Arc::clone(function), imports.clone());
            self.step(variables.len())?;
            return Ok((function, Frame { variables, ..frame }));
        }
        let class = self.class_path(at);
        let function = class.as_deref().and_then(|class| self.library.method(class, "forward"));
        let function = function.ok_or_else(|| {
            let shown =
                if module.path.is_empty() { "the model".to_owned() } else { format!("`{}`", module.path) };
            unsupported(format!("{shown} is a `{}`, whose computation is not in the file", module.class))
        })?;
        Ok((Arc::clone(function), frame))
    }

    /// The `forward` of a graph, and what it imports, which counts as variables.
    fn graph(&mut self, code: Code) -> Result<(Arc<Function>, HashMap<String, Value>)> {
        let pickle = self.rebuild.pickle;
        let imports = code.imports.and_then(|at| pickle.text(at)).unwrap_or_default();
        let forward = pickle.text(code.forward).unwrap_or_default();
        self.step((imports.len() + forward.len()) / CODE_BYTES)?;
        let mut variables = HashMap::new();
        for statement in parse(imports)? {
            if let Statement::Import(name, path) = statement {
                variables.insert(name, of_import(&path));
            }
        }
        let found = parse(forward)?.into_iter().find_map(|statement| match statement {
            Statement::Function(function) if function.name == "forward" => Some(function),
            _ => None,
        });
        let function = found.ok_or_else(|| unsupported("the code of the graph has no `forward`"))?;
        Ok((Arc::new(function), variables))
    }

    /// The path by which the library has the class of a module.
    pub(super) fn class_path(&self, at: Ref) -> Option<String> {
        /// Bytes of the name of a class.
        const MAX_CLASS: usize = 1024;
        let class = &self.modules.all.get(&at)?.class;
        if class.module.len() + class.name.len() > MAX_CLASS {
            return None;
        }
        self.library.class_path(&class.module, &class.name)
    }

    /// Calls a function: its parameters get the arguments, its receiver is in the frame already.
    pub(super) fn run(
        &mut self,
        function: &Function,
        positional: Vec<Value>,
        keywords: Vec<(String, Value)>,
        mut frame: Frame,
    ) -> Result<Value> {
        let mut given = positional.into_iter();
        // Of two arguments of one name the first counts, and the other is one too many.
        let mut named: HashMap<String, Value> = HashMap::with_capacity(keywords.len());
        let mut unknown = None;
        for (name, value) in keywords {
            match named.entry(name) {
                Entry::Vacant(place) => drop(place.insert(value)),
                Entry::Occupied(place) => unknown = unknown.or_else(|| Some(place.key().clone())),
            }
        }
        let has_receiver =
            function.parameters.first().is_some_and(|first| frame.variables.contains_key(&first.name));
        for parameter in function.parameters.iter().skip(usize::from(has_receiver)) {
            if parameter.is_rest {
                frame.variables.insert(parameter.name.clone(), Value::Tuple(given.by_ref().collect()));
                continue;
            }
            let value = match (given.next(), named.remove(&parameter.name), &parameter.default) {
                (Some(value), None, _) | (None, Some(value), _) => value,
                (None, None, Some(default)) => self.evaluate(default, &frame)?,
                _ => {
                    let message =
                        format!("`{}` is called with arguments that it does not take", function.name);
                    return Err(unsupported(message));
                }
            };
            frame.variables.insert(parameter.name.clone(), value);
        }
        if let Some(name) = unknown.or_else(|| named.into_keys().min()) {
            return Err(unsupported(format!(
                "`{}` is called with the unknown argument `{name}`",
                function.name
            )));
        }
        if given.next().is_some() {
            return Err(unsupported(format!("`{}` is called with too many arguments", function.name)));
        }
        Ok(self.body(&function.body, &mut frame)?.unwrap_or(Value::None))
    }

    /// Follows statements; gives back what is returned.
    fn body(&mut self, statements: &[Statement], frame: &mut Frame) -> Result<Option<Value>> {
        for statement in statements {
            self.step(1)?;
            match statement {
                Statement::Return(value) => return self.evaluate(value, frame).map(Some),
                Statement::Evaluate(value) => drop(self.evaluate(value, frame)?),
                Statement::Assign(targets, value) => {
                    let value = self.evaluate(value, frame)?;
                    self.assign(targets, value, frame)?;
                }
                Statement::If(condition, branch, other) => {
                    let condition = self.evaluate(condition, frame)?;
                    let is_true = condition.is_true().ok_or_else(|| {
                        unsupported("what the code does depends on values that only a run can tell")
                    })?;
                    if let Some(value) = self.body(if is_true { branch } else { other }, frame)? {
                        return Ok(Some(value));
                    }
                }
                Statement::Augment(target, operator, value) => {
                    let before = self.evaluate(target, frame)?;
                    let value = self.evaluate(value, frame)?;
                    let after = self.in_place(*operator, before, value, frame)?;
                    self.assign(std::slice::from_ref(target), after, frame)?;
                }
                Statement::For(names, values, body) => {
                    let values = self.evaluate(values, frame)?;
                    for value in self.iterated(&values)? {
                        self.bind(names, value, frame)?;
                        if let Some(value) = self.body(body, frame)? {
                            return Ok(Some(value));
                        }
                    }
                }
                Statement::Import(name, path) => {
                    frame.variables.insert(name.clone(), of_import(path));
                }
                Statement::Raise(text) => return Err(unsupported(text.clone())),
                Statement::Function(_) | Statement::Class(_) => {
                    return Err(unsupported("the code defines functions of its own"));
                }
            }
        }
        Ok(None)
    }

    /// Gives the names of a loop their values.
    pub(super) fn bind(&mut self, names: &[String], value: Value, frame: &mut Frame) -> Result<()> {
        if let [name] = names {
            frame.variables.insert(name.clone(), value);
            return Ok(());
        }
        let parts = self.unpacked(value, names.len())?;
        frame.variables.extend(names.iter().cloned().zip(parts));
        Ok(())
    }

    fn assign(&mut self, targets: &[Expression], value: Value, frame: &mut Frame) -> Result<()> {
        if let [Expression::Name(name)] = targets {
            frame.variables.insert(name.clone(), value);
            return Ok(());
        }
        let targets = match targets {
            [Expression::Tuple(targets) | Expression::List(targets)] => targets.as_slice(),
            targets => targets,
        };
        let parts = self.unpacked(value, targets.len())?;
        for (target, part) in targets.iter().zip(parts) {
            match target {
                Expression::Name(name) => drop(frame.variables.insert(name.clone(), part)),
                nested @ (Expression::Tuple(_) | Expression::List(_)) => {
                    self.assign(std::slice::from_ref(nested), part, frame)?;
                }
                _ => return Err(unsupported("the code writes into something that is not a variable")),
            }
        }
        Ok(())
    }

    /// Counts `steps` steps.
    pub(super) fn step(&mut self, steps: usize) -> Result<()> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MAX_STEPS { Err(unsupported("the code is too long to be followed")) } else { Ok(()) }
    }

    /// Goes `levels` deeper for `work`.
    pub(super) fn deeper<T>(&mut self, levels: u32, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.nesting + levels > MAX_NESTING {
            return Err(unsupported("the code is nested too deep to be followed"));
        }
        self.nesting += levels;
        let done = work(self);
        self.nesting -= levels;
        done
    }

    /// A number for a new value.
    pub(super) fn register(&mut self) -> Register {
        let register = Register(self.next);
        self.next += 1;
        register
    }
}

/// The name of a function's first parameter.
pub(super) fn receiver(function: &Function) -> &str {
    function.parameters.first().map_or("self", |first| first.name.as_str())
}
