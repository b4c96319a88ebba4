//! The graph of an exported program as calls that the engine can make.

use super::json::{self, rows};
use super::weights::Weight;
use crate::quant::dtype::{from_export_type, scalar_type};
use qp_abi::abi_stable::std_types::Tuple2;
use qp_abi::sdk::{BackendError, RNone, RSome, RString, RVec, Result};
use qp_pytorch_contract::program::{
    Argument, Branch, CONDITION, Call, CallResult, Input, Program, Register, Results, Stored,
};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Lists within lists in an argument, and branches within branches.
const MAX_DEPTH: u32 = 8;
/// The target of `torch.cond`.
const CONDITIONAL: &str = "torch.ops.higher_order.cond";

/// The calls of the program with that graph module. Of the values, `captured` are those that a run can deliver.
///
/// # Errors
/// `UnsupportedOp` for what the engine has no way to call, with the node; `CorruptFile` for a graph that contradicts
/// itself.
pub fn read(module: &Value, weights: &[Weight], captured: &HashSet<&str>) -> Result<Program> {
    let graph = module.get("graph").unwrap_or(&Value::Null);
    let nodes = rows(graph, "nodes");
    let signature = module.get("signature").unwrap_or(&Value::Null);
    let mut writer = Writer {
        captured,
        program: Program::default(),
        registers: HashMap::new(),
        constants: HashMap::new(),
        next: 0,
        depth: 0,
    };
    writer.inputs(signature, nodes, weights)?;
    for node in nodes {
        writer.node(node)?;
    }
    writer.outputs(module)?;
    Ok(writer.program)
}

struct Writer<'a> {
    captured: &'a HashSet<&'a str>,
    program: Program,
    /// The registers of the graph's values.
    registers: HashMap<String, Register>,
    /// Inputs that the export has fixed to a constant; within a branch, what it is given.
    constants: HashMap<String, Argument>,
    next: u32,
    /// Branches within branches.
    depth: u32,
}

impl Writer<'_> {
    fn claim(&mut self, name: &str) -> Register {
        let register = Register(self.next);
        self.registers.insert(name.to_owned(), register);
        self.next += 1;
        register
    }

    fn inputs(&mut self, signature: &Value, nodes: &[Value], weights: &[Weight]) -> Result<()> {
        for (name, is_int) in json::given(signature) {
            let register = self.claim(name);
            self.program.inputs.push(Input { register, name: name.into(), is_int });
        }
        let known: HashSet<&str> = weights.iter().map(|weight| weight.name.as_str()).collect();
        let used: HashSet<&str> = nodes.iter().flat_map(json::inputs).flat_map(json::tensor_names).collect();
        let returned =
            rows(signature, "output_specs").iter().filter_map(|spec| spec.pointer("/user_output/arg"));
        let returned: HashSet<&str> = returned.flat_map(json::tensor_names).collect();
        let mut stored: HashMap<&str, Register> = HashMap::new();
        for (in_graph, name) in json::stored_names(signature) {
            if !used.contains(in_graph) && !returned.contains(in_graph) {
                continue;
            }
            if !known.contains(name) {
                return Err(corrupt(format!("has no elements for `{name}`")));
            }
            // One tensor may have several names in the graph: it is stored once.
            if let Some(known) = stored.get(name) {
                self.registers.insert(in_graph.to_owned(), *known);
                continue;
            }
            let register = self.claim(in_graph);
            stored.insert(name, register);
            self.program.stored.push(Stored { register, name: name.into(), is_quantized: false });
        }
        for spec in rows(signature, "input_specs") {
            if let Some(name) = spec.pointer("/constant_input/name").and_then(Value::as_str)
                && let Some(value) = spec.pointer("/constant_input/value")
            {
                let value = self.argument(value, "", 0)?;
                check_plain(&value, name)?;
                self.constants.insert(name.to_owned(), value);
            }
            if let Some(class) = spec.pointer("/custom_obj/arg/class_fqn").and_then(Value::as_str) {
                return Err(unsupported(format!("the program needs an object of the class `{class}`")));
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &Value) -> Result<()> {
        let target = node.get("target").and_then(Value::as_str).unwrap_or_default();
        let name = json::node_name(node);
        if is_check(target) {
            return Ok(());
        }
        if target == CONDITIONAL {
            return self.condition(node);
        }
        let (operator, overload) = operator(target, name)?;
        let (mut arguments, mut keywords) = (Vec::new(), Vec::new());
        for input in rows(node, "inputs") {
            let Some(argument) = input.get("arg") else { continue };
            let argument = self.argument(argument, name, 0)?;
            match input.get("name").and_then(Value::as_str) {
                Some(argument_name) if overload.is_some() && !argument_name.is_empty() => {
                    keywords.push(Tuple2(argument_name.into(), argument));
                }
                _ => arguments.push(argument),
            }
        }
        let number = number_kind(&operator, node);
        let mut results = self.results(node);
        // What is taken out of a tensor is any number to TorchScript, and of one kind to the program.
        let converted = number.map(|convert| {
            let any = Register(self.next);
            self.next += 1;
            let given = CallResult { register: any, name: RNone };
            (convert, any, std::mem::replace(&mut results, Results::One(given)))
        });
        self.program.calls.push(Call {
            operator: operator.into(),
            overload: overload.map(RString::from).into(),
            arguments: arguments.into(),
            keywords: keywords.into(),
            branches: RVec::new(),
            results,
            place: name.into(),
        });
        if let Some((convert, any, results)) = converted {
            self.program.calls.push(Call {
                operator: convert.into(),
                overload: RSome("Scalar".into()),
                arguments: vec![Argument::Value(any)].into(),
                keywords: RVec::new(),
                branches: RVec::new(),
                results,
                place: name.into(),
            });
        }
        Ok(())
    }

    /// Adds the node of `torch.cond`: what decides, a graph for each way, and what both are given.
    fn condition(&mut self, node: &Value) -> Result<()> {
        let place = json::node_name(node).to_owned();
        let arguments: Vec<&Value> = json::inputs(node).collect();
        let [decides, first, second, given @ ..] = &arguments[..] else {
            return Err(corrupt(format!("has a condition without branches at `{}`", place.escape_debug())));
        };
        let decides = self.argument(decides, &place, 0)?;
        let mut operands = Vec::new();
        for argument in given {
            match self.argument(argument, &place, 0)? {
                Argument::List(elements) => operands.extend(elements),
                other => operands.push(other),
            }
        }
        // A list for a name would be as large as one likes at the end of a few conditions within each other.
        operands.iter().try_for_each(|operand| check_plain(operand, &place))?;
        let branches = vec![self.branch(first, &operands, &place)?, self.branch(second, &operands, &place)?];
        let results = self.results(node);
        self.program.calls.push(Call {
            operator: CONDITION.into(),
            overload: RNone,
            arguments: vec![decides].into(),
            keywords: RVec::new(),
            branches: branches.into(),
            results,
            place: place.into(),
        });
        Ok(())
    }

    /// A graph within a node, whose values have names of their own.
    fn branch(&mut self, graph: &Value, operands: &[Argument], place: &str) -> Result<Branch> {
        let missing = || corrupt(format!("has a condition without branches at `{}`", place.escape_debug()));
        let graph = graph.pointer("/as_graph/graph").ok_or_else(missing)?;
        let names = |part: &str| -> Vec<&str> {
            rows(graph, part).iter().flat_map(json::value_names).map(|(name, _)| name).collect()
        };
        let inputs = names("inputs");
        if inputs.len() != operands.len() || self.depth >= MAX_DEPTH {
            return Err(missing());
        }
        let given = inputs.into_iter().map(str::to_owned).zip(operands.iter().cloned()).collect();
        let registers = std::mem::take(&mut self.registers);
        let constants = std::mem::replace(&mut self.constants, given);
        let calls = std::mem::take(&mut self.program.calls);
        self.depth += 1;
        let done = rows(graph, "nodes").iter().try_for_each(|node| self.node(node));
        let results = names("outputs").into_iter().map(|name| self.register(name)).collect::<Result<_>>();
        self.depth -= 1;
        (self.registers, self.constants) = (registers, constants);
        let calls = std::mem::replace(&mut self.program.calls, calls);
        done?;
        Ok(Branch { calls, results: results? })
    }

    /// The values that a node computes. What is not a tensor cannot be captured, nor what is within a branch.
    fn results(&mut self, node: &Value) -> Results {
        let outputs = rows(node, "outputs");
        let names = outputs.iter().flat_map(json::value_names);
        let mut results: Vec<CallResult> = names
            .map(|(name, is_int)| CallResult {
                register: self.claim(name),
                name: (!is_int && self.depth == 0 && self.captured.contains(name))
                    .then(|| name.into())
                    .into(),
            })
            .collect();
        let is_list = outputs.iter().any(|output| output.get("as_tensors").is_some());
        match (results.len(), is_list) {
            (1, false) => Results::One(results.remove(0)),
            _ => Results::Each(results.into()),
        }
    }

    fn outputs(&mut self, module: &Value) -> Result<()> {
        for (value, name) in json::returned(module) {
            let register = self.register(value)?;
            self.program.outputs.push(Tuple2(name.into(), register));
        }
        match self.program.outputs.is_empty() {
            true => Err(unsupported("the program returns nothing that is computed")),
            false => Ok(()),
        }
    }

    fn register(&self, name: &str) -> Result<Argument> {
        let computed = self.registers.get(name).map(|register| Argument::Value(*register));
        let found = computed.or_else(|| self.constants.get(name).cloned());
        found.ok_or_else(|| corrupt(format!("reads `{}` before it is computed", name.escape_debug())))
    }

    /// An argument in the words of the export schema: an object with one key that says its kind.
    fn argument(&self, argument: &Value, node: &str, depth: u32) -> Result<Argument> {
        let (kind, value) = argument
            .as_object()
            .and_then(|object| object.iter().next())
            .ok_or_else(|| corrupt(format!("has an argument without a kind at `{}`", node.escape_debug())))?;
        let wrong = || corrupt(format!("has an argument `{}` that is none at `{node}`", kind.escape_debug()));
        let int = || value.as_i64().ok_or_else(wrong);
        if depth > MAX_DEPTH {
            return Err(wrong());
        }
        let list = |kind: &str| -> Result<Argument> {
            let elements = value.as_array().ok_or_else(wrong)?;
            let elements = elements.iter().map(|element| {
                let wrapped = Value::Object(serde_json::Map::from_iter([(kind.to_owned(), element.clone())]));
                self.argument(&wrapped, node, depth + 1)
            });
            Ok(Argument::List(elements.collect::<Result<RVec<_>>>()?))
        };
        Ok(match kind.as_str() {
            "as_none" => Argument::None,
            "as_bool" => Argument::Bool(value.as_bool().ok_or_else(wrong)?),
            "as_int" => Argument::Int(int()?),
            "as_float" => Argument::Float(json::real(value).ok_or_else(wrong)?),
            "as_string" => Argument::Text(value.as_str().ok_or_else(wrong)?.into()),
            "as_complex" => {
                let part = |name: &str| value.get(name).and_then(json::real).ok_or_else(wrong);
                Argument::Complex(part("real")?, part("imag")?)
            }
            "as_tensor" | "as_name" => {
                let name = value.as_str().or_else(|| value.get("name").and_then(Value::as_str));
                self.register(name.ok_or_else(wrong)?)?
            }
            // Each holds one more object that says the kind, or `None`.
            "as_sym_int" | "as_sym_bool" | "as_sym_float" | "as_optional_tensor" => {
                self.argument(value, node, depth + 1)?
            }
            "as_scalar_type" => Argument::Code(
                from_export_type(int()?).and_then(|element| scalar_type(element.dtype)).ok_or_else(wrong)?,
            ),
            "as_memory_format" => Argument::Code(match int()? {
                2 => 2,
                3 => 3,
                4 => 1,
                _ => 0,
            }),
            "as_layout" if int()? == 7 => Argument::Code(0),
            "as_device" => Argument::Device,
            "as_ints" => list("as_int")?,
            "as_floats" => list("as_float")?,
            "as_bools" => list("as_bool")?,
            "as_strings" => list("as_string")?,
            "as_tensors" => list("as_tensor")?,
            "as_sym_ints" => list("as_sym_int")?,
            "as_sym_bools" => list("as_sym_bool")?,
            "as_sym_floats" => list("as_sym_float")?,
            "as_optional_tensors" => list("as_optional_tensor")?,
            "as_nested_tensors" => list("as_tensors")?,
            "as_int_lists" => list("as_ints")?,
            "as_float_lists" => list("as_floats")?,
            other => {
                let what = other.strip_prefix("as_").unwrap_or(other).replace('_', " ");
                return Err(unsupported(format!(
                    "node `{node}` takes a {what}, which the engine does not support"
                )));
            }
        })
    }
}

/// A name stands for one value: a list would be copied wherever it is named.
fn check_plain(argument: &Argument, place: &str) -> Result<()> {
    match argument {
        Argument::List(_) | Argument::Tuple(_) => Err(unsupported(format!(
            "`{}` is given a list, which the engine does not support",
            place.escape_debug()
        ))),
        _ => Ok(()),
    }
}

/// The conversion of the number that a node takes out of a tensor to the kind that the program knows it as.
fn number_kind(operator: &str, node: &Value) -> Option<&'static str> {
    if !matches!(operator, "aten::item" | "aten::_local_scalar_dense") {
        return None;
    }
    let output = node.get("outputs")?.as_array()?.first()?;
    let kinds = [("as_sym_int", "aten::Int"), ("as_sym_float", "aten::Float")];
    kinds.into_iter().find(|(kind, _)| output.get(*kind).is_some()).map(|(_, convert)| convert)
}

/// Whether a call only checks what was true at the export.
pub(super) fn is_check(target: &str) -> bool {
    let name = target.strip_prefix("torch.ops.aten.").unwrap_or_default();
    name.starts_with("_assert") || name.starts_with("sym_constrain_range")
}

/// The operator that a target is, with its overload; without one where Python computes with numbers.
fn operator(target: &str, node: &str) -> Result<(String, Option<String>)> {
    if let Some(rest) = target.strip_prefix("torch.ops.") {
        let parts: Vec<&str> = rest.split('.').collect();
        if let ["higher_order", name, ..] = parts[..] {
            let message = format!(
                "node `{node}` is the higher-order operator `{name}`, which the engine does not support"
            );
            return Err(unsupported(message));
        }
        let [namespace, name, overload] = parts[..] else {
            return Err(corrupt(format!("calls `{}` at `{node}`", target.escape_debug())));
        };
        // The symbolic forms differ from these in what they give to a tracer alone.
        let name = match (namespace, name) {
            ("aten", "sym_size") => "size",
            ("aten", "sym_stride") => "stride",
            ("aten", "sym_numel") => "numel",
            ("aten", "sym_storage_offset") => "storage_offset",
            _ => name,
        };
        let overload = if overload == "default" { "" } else { overload };
        return Ok((format!("{namespace}::{name}"), Some(overload.to_owned())));
    }
    let name = match target {
        "_operator.add" => "aten::add",
        "_operator.sub" => "aten::sub",
        "_operator.mul" => "aten::mul",
        "_operator.floordiv" => "aten::floordiv",
        "_operator.truediv" => "aten::div",
        "_operator.mod" => "aten::remainder",
        "_operator.pow" => "aten::pow",
        "_operator.neg" => "aten::neg",
        "_operator.eq" => "aten::eq",
        "_operator.ne" => "aten::ne",
        "_operator.le" => "aten::le",
        "_operator.ge" => "aten::ge",
        "_operator.lt" => "aten::lt",
        "_operator.gt" => "aten::gt",
        "_operator.and_" => "aten::__and__",
        "_operator.or_" => "aten::__or__",
        "_operator.lshift" => "aten::__lshift__",
        "_operator.rshift" => "aten::__rshift__",
        "math.trunc" | "torch.sym_int" => "aten::Int",
        "torch.sym_float" => "aten::Float",
        "torch.sym_not" => "aten::__not__",
        "torch.sym_max" => "prim::max",
        "torch.sym_min" => "prim::min",
        "torch._sym_sqrt" | "torch.sym_sqrt" => "aten::sqrt",
        other => {
            let message =
                format!("node `{node}` calls `{}`, which the engine does not support", other.escape_debug());
            return Err(unsupported(message));
        }
    };
    Ok((name.to_owned(), None))
}

fn corrupt(what: impl std::fmt::Display) -> BackendError {
    BackendError::corrupt_file(format!("the graph of the program {what}"))
}

fn unsupported(message: impl Into<String>) -> BackendError {
    BackendError::unsupported_op(message).with_help(
        "Run it in Python with `torch.export.load(PATH).module()`; `layers` shows what it computes.",
    )
}
