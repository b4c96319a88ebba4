//! Calls: of modules, of functions by their path, of methods.

use super::hook::Moment;
use super::interpreter::{CALL, Frame, Interpreter, NAME_BYTES, receiver};
use super::layers::Computed;
use super::unsupported::unsupported;
use super::value::{Keywords, Value};
use crate::eager::{Module, quantization_of};
use crate::pickle::Ref;
use crate::python::Function;
use crate::torchscript::operator::Operator;
use qp_abi::sdk::{BackendError, RString, Result};
use qp_pytorch_contract::program::PYTHON;
use qp_pytorch_contract::program::Register;

impl Interpreter<'_> {
    /// `callee(arguments)`.
    pub(super) fn call(
        &mut self,
        callee: Value,
        positional: Vec<Value>,
        keywords: Keywords,
        frame: &Frame,
    ) -> Result<Value> {
        self.deeper(CALL, |interpreter| match callee {
            Value::Path(path) => interpreter.call_path(&path, positional, keywords, frame),
            Value::Module(at) => interpreter.call_module(at, positional, keywords, frame),
            Value::Method(value, name) => interpreter.call_method(*value, &name, positional, keywords, frame),
            Value::Bound(function, at) => {
                let inner = frame.within(frame.layer);
                interpreter.call_function(&function, at, positional, keywords, inner, frame)
            }
            // `torch.float32` and its like are types that nothing calls.
            other => Err(unsupported(format!("the code calls {}", other.kind()))),
        })
    }

    /// A function by its path.
    fn call_path(
        &mut self,
        path: &str,
        positional: Vec<Value>,
        keywords: Keywords,
        frame: &Frame,
    ) -> Result<Value> {
        if let Some(function) = self.library.function(path).cloned() {
            if path.starts_with("qp.") {
                return self.run(&function, positional, keywords, frame.within(frame.layer));
            }
            let name = path.rsplit('.').next().unwrap_or(path).to_owned();
            let operator = Operator { namespace: "functional".to_owned(), name };
            let is_layer =
                frame.layer.is_none() && takes_tensor(&positional, &keywords) && operator.gives_tensor();
            if !is_layer {
                return self.run(&function, positional, keywords, frame.within(frame.layer));
            }
            let layer = self.function_layer(&operator, frame, &positional, &keywords)?;
            let result = self
                .run(&function, positional, keywords, frame.within(Some(layer)))
                .map_err(|error| within(error, format!("`{path}`")))?;
            return self.computed_by(layer, result);
        }
        let (module, name) = path.rsplit_once('.').unwrap_or(("", path));
        match module {
            "builtins" | "math" | "operator" => {
                if let Some(value) = self.builtin(module, name, &positional, frame)? {
                    return Ok(value);
                }
            }
            "qp" => {
                if let Some(value) = self.of_file(name, &positional, &keywords, frame)? {
                    return Ok(value);
                }
            }
            _ => {}
        }
        match (path, &positional[..]) {
            ("torch.device", _) => return Ok(Value::Device),
            ("torch.Size" | "torch.jit.annotate" | "typing.cast", [.., value]) => return Ok(value.clone()),
            (
                "torch._assert"
                | "torch._assert_async"
                | "torch._check"
                | "torch.fx._symbolic_trace._assert_is_none",
                _,
            ) => {
                return Ok(Value::None);
            }
            ("torch.fx._pytree.tree_flatten_spec", [structure, ..]) => {
                let mut leaves = Vec::new();
                flattened(structure, &mut leaves);
                return Ok(Value::List(leaves));
            }
            ("torch.utils._pytree.tree_unflatten", [Value::List(leaves), ..]) => {
                return Ok(match &leaves[..] {
                    [one] => one.clone(),
                    several => Value::Tuple(several.to_vec()),
                });
            }
            _ => {}
        }
        let Some((operator, overload)) = operator(path) else {
            return Err(unsupported(format!("the code calls `{path}`, which is not in the file")));
        };
        self.emit(&operator, overload, positional, keywords, frame)
    }

    fn call_method(
        &mut self,
        value: Value,
        name: &str,
        positional: Vec<Value>,
        keywords: Keywords,
        frame: &Frame,
    ) -> Result<Value> {
        match (&value, name) {
            (Value::Dictionary(entries), "items") => {
                let pairs = entries.iter().map(|(key, value)| Value::Tuple(vec![key.clone(), value.clone()]));
                return Ok(Value::List(pairs.collect()));
            }
            (Value::Dictionary(entries), "values") => {
                return Ok(Value::List(entries.iter().map(|(_, value)| value.clone()).collect()));
            }
            (Value::Dictionary(entries), "keys") => {
                return Ok(Value::List(entries.iter().map(|(key, _)| key.clone()).collect()));
            }
            (Value::List(_) | Value::Dictionary(_), _) => {
                return Err(unsupported(format!("the code calls `{name}` of {}", value.kind())));
            }
            (Value::Stored(stored), "size" | "dim") => {
                let known = self.stored_attribute(stored, if name == "size" { "shape" } else { "ndim" });
                if let Some(known) = known {
                    return match positional.first() {
                        Some(axis) => self.index(known, axis.clone()),
                        None => Ok(known),
                    };
                }
            }
            _ => {}
        }
        let mut all = vec![value];
        all.extend(positional);
        if self.library.function(&format!("torch.Tensor.{name}")).is_some() {
            return self.call_path(&format!("torch.Tensor.{name}"), all, keywords, frame);
        }
        self.emit(&format!("aten::{name}"), None, all, keywords, frame)
    }

    /// A module of the pickle.
    fn call_module(
        &mut self,
        at: Ref,
        positional: Vec<Value>,
        keywords: Keywords,
        frame: &Frame,
    ) -> Result<Value> {
        let at = self.unwrapped(at);
        let (function, inner) = self.forward(at, self.module(at)?)?;
        self.call_function(&function, at, positional, keywords, inner, frame)
    }

    /// A method of a module. Called by a container, it is the layer of the module, unless that is a container too.
    pub(super) fn call_function(
        &mut self,
        function: &Function,
        at: Ref,
        mut positional: Vec<Value>,
        keywords: Keywords,
        mut inner: Frame,
        frame: &Frame,
    ) -> Result<Value> {
        let module = self.module(at)?;
        if let Some(first) = positional.first_mut().filter(|_| function.name == "forward") {
            *first = self.hooked(module, Moment::Before, first.clone(), frame)?;
        }
        inner.variables.insert(receiver(function).to_owned(), Value::Module(at));
        let class = self.class_path(at);
        let is_container =
            module.code.is_some() || class.as_deref().is_some_and(|class| self.library.is_container(class));
        let is_first = self.met.insert(at);
        if frame.layer.is_some() || is_container {
            inner.layer = frame.layer;
            let result = self.run(function, positional, keywords, inner)?;
            return self.left_by(function, module, result, frame);
        }
        let path = match (module.path.as_str(), is_first) {
            // The model itself has no path.
            ("", _) => self.names.claim(&module.class.name, '_', 1),
            (path, true) => path.to_owned(),
            (path, false) => self.names.claim(path, '_', 1),
        };
        let inputs = self.wires_of(&positional, &keywords);
        self.note_layer(&path, &inputs)?;
        self.layers.push(Computed {
            path: path.clone(),
            module: module.path.clone(),
            op_type: module.class.name.clone(),
            domain: module.class.module.clone(),
            scope: module.path.rsplit_once('.').map(|(scope, _)| scope.to_owned()).unwrap_or_default(),
            inputs,
            outputs: Vec::new(),
            tensors: Vec::new(),
            quantization: quantization_of(&module.class.module),
        });
        let layer = self.layers.len() - 1;
        inner.layer = Some(layer);
        let result = self
            .run(function, positional, keywords, inner)
            .map_err(|error| within(error, format!("`{}` (`{}`)", path, module.class.name)))?;
        let result = self.computed_by(layer, result)?;
        self.left_by(function, module, result, frame)
    }

    /// What a module returns, after its hooks.
    fn left_by(
        &mut self,
        function: &Function,
        module: &Module,
        result: Value,
        frame: &Frame,
    ) -> Result<Value> {
        if function.name == "forward" {
            self.hooked(module, Moment::After, result, frame)
        } else {
            Ok(result)
        }
    }

    /// Lists a function that a container calls.
    pub(super) fn function_layer(
        &mut self,
        operator: &Operator,
        frame: &Frame,
        positional: &[Value],
        keywords: &[(String, Value)],
    ) -> Result<usize> {
        let scope = frame.scope.clone();
        let stem =
            if scope.is_empty() { operator.name.clone() } else { format!("{scope}.{}", operator.name) };
        let path = self.names.claim(&stem, '_', 1);
        let inputs = self.wires_of(positional, keywords);
        self.note_layer(&path, &inputs)?;
        self.layers.push(Computed {
            path,
            module: String::new(),
            op_type: operator.name.clone(),
            domain: operator.namespace.clone(),
            scope,
            inputs,
            outputs: Vec::new(),
            tensors: Vec::new(),
            quantization: if operator.is_quantized() { "static" } else { "" },
        });
        Ok(self.layers.len() - 1)
    }

    /// Counts what the description of a layer takes.
    fn note_layer(&mut self, path: &str, inputs: &[RString]) -> Result<()> {
        let inputs: usize = inputs.iter().map(|name| 1 + name.len() / NAME_BYTES).sum();
        self.step(inputs + path.len() / NAME_BYTES)
    }

    /// Gives the value that a layer returns the layer's name; of several values the first, and the others its name with
    /// their number. A first value that has a name already, or that no call of the program computes, is passed on under
    /// this one too.
    pub(super) fn computed_by(&mut self, layer: usize, result: Value) -> Result<Value> {
        self.computed_from(layer, result, &mut 0)
    }

    fn computed_from(&mut self, layer: usize, result: Value, number: &mut usize) -> Result<Value> {
        let mut all = |values: Vec<Value>| -> Result<Vec<Value>> {
            values.into_iter().map(|value| self.computed_from(layer, value, number)).collect()
        };
        match result {
            Value::Tuple(values) => Ok(Value::Tuple(all(values)?)),
            Value::List(values) => Ok(Value::List(all(values)?)),
            Value::Computed(_) | Value::Stored(_) => {
                *number += 1;
                if *number == 1 {
                    self.named(layer, result)
                } else {
                    Ok(self.numbered(layer, result, *number - 1))
                }
            }
            other => Ok(other),
        }
    }

    /// The call and the result in it that a value comes from, if the value is a tensor without a name.
    fn unnamed(&self, value: &Value) -> Option<(Register, (usize, usize))> {
        let Value::Computed(register) = value else { return None };
        let place = self.producers.get(register).copied()?;
        let results = &self.program.calls.get(place.0)?.results;
        let result = results.all().get(place.1).filter(|result| result.name.is_none())?;
        (!self.numbers.contains(&result.register)).then_some((result.register, place))
    }

    /// Names one more value that a layer computes, unless it only passes it on.
    fn numbered(&mut self, layer: usize, value: Value, number: usize) -> Value {
        let Some((register, place)) = self.unnamed(&value) else { return value };
        let path = self.layers.get(layer).map(|layer| layer.path.as_str()).unwrap_or_default();
        let name = format!("{path}:{number}");
        self.name_result(place, &name);
        self.wires.insert(register, name.as_str().into());
        if let Some(layer) = self.layers.get_mut(layer) {
            layer.outputs.push(name.into());
        }
        Value::Computed(register)
    }

    fn named(&mut self, layer: usize, value: Value) -> Result<Value> {
        let name = self.layers.get(layer).map(|layer| layer.path.clone()).unwrap_or_default();
        let register = match self.unnamed(&value) {
            Some((register, place)) => {
                self.name_result(place, &name);
                register
            }
            None => {
                let Value::Computed(register) = self.emit_plain(&format!("{PYTHON}::same"), vec![value])?
                else {
                    return Err(unsupported("a value is lost"));
                };
                if let Some(place) = self.producers.get(&register).copied() {
                    self.name_result(place, &name);
                }
                register
            }
        };
        self.wires.insert(register, name.as_str().into());
        if let Some(layer) = self.layers.get_mut(layer) {
            layer.outputs.push(name.into());
        }
        Ok(Value::Computed(register))
    }
}

/// An error of a layer's computation, with the layer in front of its message.
fn within(error: BackendError, place: String) -> BackendError {
    BackendError { message: format!("{place}: {}", error.message).into(), ..error }
}

/// The operator that a path of Python's stands for, with its overload where the path has one.
fn operator(path: &str) -> Option<(String, Option<&str>)> {
    if let Some(rest) = path.strip_prefix("torch.ops.") {
        let parts: Vec<&str> = rest.split('.').collect();
        return match parts[..] {
            [namespace, name] => Some((format!("{namespace}::{name}"), None)),
            [namespace, name, "default"] => Some((format!("{namespace}::{name}"), Some(""))),
            [namespace, name, overload] => Some((format!("{namespace}::{name}"), Some(overload))),
            _ => None,
        };
    }
    let (module, name) = path.rsplit_once('.')?;
    let family = |prefix: &str| format!("aten::{prefix}{}", name.trim_start_matches(prefix));
    let operator = match module {
        "torch"
        | "torch.nn.functional"
        | "torch._C._nn"
        | "torch._C._VariableFunctions"
        | "torch._VF"
        | "torch._C._VariableFunctionsClass"
        | "torch.functional"
        | "torch.Tensor"
        | "torch._tensor.Tensor" => format!("aten::{name}"),
        "torch.special" | "torch._C._special" => family("special_"),
        "torch.linalg" | "torch._C._linalg" => family("linalg_"),
        "torch.fft" | "torch._C._fft" => family("fft_"),
        _ => return None,
    };
    Some((operator, None))
}

/// Whether one of the arguments is computed or stored.
pub(super) fn takes_tensor(positional: &[Value], keywords: &[(String, Value)]) -> bool {
    positional.iter().chain(keywords.iter().map(|(_, value)| value)).any(Value::is_computed)
}

/// The leaves of a structure of lists, tuples and dictionaries.
fn flattened(value: &Value, leaves: &mut Vec<Value>) {
    match value {
        Value::List(elements) | Value::Tuple(elements) => {
            elements.iter().for_each(|element| flattened(element, leaves));
        }
        Value::Dictionary(entries) => entries.iter().for_each(|(_, value)| flattened(value, leaves)),
        leaf => leaves.push(leaf.clone()),
    }
}
