//! The layers of a graph.
//!
//! A module of PyTorch's or torchao's without modules in it is one layer under its path, however many operators it
//! computes with, as long as one value leaves it; so is any other that computes with a single operator. Everything else
//! is opened: each operator is a layer, under the path of its module and its own name. What quantizes and dequantizes
//! for PT2E stands between modules and is a layer under the name of its node.

use super::json;
use super::program::is_check;
use crate::quant::dtype::from_export_type;
use qp_abi::sdk::Names;
use qp_abi::sdk::{Attribute, AttributeValue, LayerInfo, RString, RVec};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The namespace of PT2E's operators.
pub(super) const QUANTIZERS: &str = "quantized_decomposed";
/// Where modules come from that are known from outside, and are never opened.
const LIBRARIES: [&str; 4] = ["torch.nn.", "torch.ao.", "torchao.", "torchvision.ops."];
/// Bytes of a module's path.
const MAX_PATH: usize = 2048;
/// Operators that an attribute names at most.
const MAX_OPERATORS: usize = 32;

/// The nodes of one layer.
pub(super) struct Layer<'a> {
    /// In the order in which they are computed.
    pub(super) nodes: Vec<&'a Value>,
    /// What is known of it from these alone: inputs, tensors and settings are missing.
    pub(super) info: LayerInfo,
    /// Whether it quantizes or dequantizes for PT2E.
    pub(super) is_quantizer: bool,
    /// The values that stay within it.
    pub(super) inner: HashSet<&'a str>,
}

/// The layers of a graph whose outputs are `returned`. Nodes that only check what was true at the export are none.
pub(super) fn of<'a>(nodes: &'a [Value], returned: &HashSet<&str>) -> Vec<Layer<'a>> {
    let nodes: Vec<&Value> = nodes.iter().filter(|node| !is_check(node_target(node))).collect();
    let modules = Modules::of(&nodes, returned);
    let mut names = Names::default();
    let mut layers = Vec::with_capacity(nodes.len());
    for (index, &node) in nodes.iter().enumerate() {
        let (domain, operator) = target(node);
        let (path, class) = module(node);
        let is_quantizer = domain == QUANTIZERS;
        let whole = modules.whole.get(path).filter(|_| !is_quantizer);
        if whole.is_some_and(|module| module.place != index) {
            continue;
        }
        let name = node.get("name").and_then(Value::as_str).or_else(|| outputs(node).first().copied());
        let stem = match (whole, is_quantizer, path) {
            (Some(_), ..) => path.to_owned(),
            (_, true, _) => name.unwrap_or(operator).to_owned(),
            (_, _, "") => operator.to_owned(),
            _ => format!("{path}.{operator}"),
        };
        let own: Vec<&Value> = match whole {
            Some(module) => module.nodes.iter().filter_map(|index| nodes.get(*index).copied()).collect(),
            None => vec![node],
        };
        let leaving = whole.and_then(|module| module.leaving);
        let mut inner: HashSet<&str> = own.iter().flat_map(|node| json::results(node)).collect();
        inner.retain(|name| leaving.is_some_and(|leaving| leaving != *name));
        let op_type = if whole.is_some() { class.rsplit('.').next().unwrap_or(operator) } else { operator };
        let scope = if whole.is_some() { path.rsplit_once('.').map_or("", |(scope, _)| scope) } else { path };
        let computed = leaving.map_or_else(|| outputs(node), |leaving| vec![leaving]);
        let mut info = LayerInfo {
            path: names.claim(&stem, '_', 1).into(),
            op_type: op_type.into(),
            domain: domain.into(),
            scope: scope.into(),
            outputs: computed.into_iter().map(RString::from).collect(),
            ..LayerInfo::default()
        };
        if own.len() > 1 {
            let operators: BTreeSet<&str> = own.iter().map(|node| target(node).1).collect();
            let operators: Vec<&str> = operators.into_iter().take(MAX_OPERATORS).collect();
            let value = AttributeValue::Text(operators.join(", ").into());
            info.attributes.push(Attribute { name: "operators".into(), value });
        }
        layers.push(Layer { nodes: own, info, is_quantizer, inner });
    }
    layers
}

/// The modules of a graph that are one layer each, by path.
struct Modules<'a> {
    whole: HashMap<&'a str, Whole<'a>>,
}

struct Whole<'a> {
    /// The places of its nodes.
    nodes: Vec<usize>,
    /// Where it stands among the nodes: where what leaves it is computed.
    place: usize,
    /// The one value that others read, if it has several.
    leaving: Option<&'a str>,
}

impl<'a> Modules<'a> {
    fn of(nodes: &[&'a Value], returned: &HashSet<&str>) -> Self {
        // By path: the nodes, and the values that are read elsewhere.
        let mut modules: BTreeMap<&str, (Vec<usize>, BTreeSet<&str>)> = BTreeMap::new();
        let mut owners: HashMap<&str, &str> = HashMap::new();
        for (index, &node) in nodes.iter().enumerate().filter(|(_, node)| target(node).0 != QUANTIZERS) {
            let path = module(node).0;
            modules.entry(path).or_default().0.push(index);
            owners.extend(json::results(node).map(|name| (name, path)));
        }
        for &node in nodes {
            let reader = (target(node).0 != QUANTIZERS).then(|| module(node).0);
            for (name, _) in json::inputs(node).flat_map(json::value_names) {
                if let Some((name, owner)) = owners.get_key_value(name)
                    && reader != Some(*owner)
                    && let Some((_, leaving)) = modules.get_mut(owner)
                {
                    leaving.insert(name);
                }
            }
        }
        for (name, owner) in owners.iter().filter(|(name, _)| returned.contains(**name)) {
            if let Some((_, leaving)) = modules.get_mut(owner) {
                leaving.insert(name);
            }
        }
        // The paths in a module follow its own and a dot.
        let is_parent = |path: &str| {
            let first = format!("{path}.");
            modules.range(first.as_str()..).next().is_some_and(|(next, _)| next.starts_with(&first))
        };
        let parents: HashSet<&str> = modules.keys().copied().filter(|path| is_parent(path)).collect();
        let whole = modules.into_iter().filter_map(|(path, (places, leaving))| {
            if path.is_empty() || parents.contains(path) {
                return None;
            }
            if places.len() == 1 {
                let place = *places.first()?;
                return Some((path, Whole { nodes: places, place, leaving: None }));
            }
            let class = module(nodes.get(*places.first()?)?).1;
            let is_known = LIBRARIES.iter().any(|library| class.starts_with(library));
            let leaving =
                (leaving.len() == 1).then(|| leaving.first().copied()).flatten().filter(|_| is_known)?;
            let computes = |index: &&usize| {
                nodes.get(**index).is_some_and(|node| json::results(node).any(|name| name == leaving))
            };
            let place = *places.iter().find(computes)?;
            Some((path, Whole { nodes: places, place, leaving: Some(leaving) }))
        });
        Self { whole: whole.collect() }
    }
}

pub(super) fn node_target(node: &Value) -> &str {
    node.get("target").and_then(Value::as_str).unwrap_or_default()
}

/// The namespace and the name of a node's operator: `torch.ops.aten.conv2d.default`.
pub(super) fn target(node: &Value) -> (&str, &str) {
    let target = node_target(node);
    match target.strip_prefix("torch.ops.").map(|rest| rest.splitn(3, '.').collect::<Vec<_>>()).as_deref() {
        Some([namespace, name, ..]) => (namespace, name),
        _ => ("", target.rsplit('.').next().unwrap_or(target)),
    }
}

/// The path and the class of the module a node is in, the innermost of `nn_module_stack`.
pub(super) fn module(node: &Value) -> (&str, &str) {
    let stack = node.pointer("/metadata/nn_module_stack").and_then(Value::as_str).unwrap_or_default();
    let innermost = stack.split(';').next_back().unwrap_or_default();
    let mut parts = innermost.splitn(3, ',').skip(1);
    let path = parts.next().unwrap_or_default();
    // A path of any length would be looked at in all its parts.
    let path = if path.len() > MAX_PATH { "" } else { path };
    // What Dynamo calls the model: `L['self'].fc`, by the name that its `forward` has for it.
    let named =
        path.strip_prefix("L['").and_then(|rest| rest.split_once("'].")).map_or(path, |(_, path)| path);
    (named.trim_start_matches("L__self__."), parts.next().unwrap_or_default())
}

/// The tensors that a node computes.
pub(super) fn outputs(node: &Value) -> Vec<&str> {
    json::rows(node, "outputs").iter().flat_map(json::tensor_names).collect()
}

/// The arguments of a node that are not tensors.
pub(super) fn settings(node: &Value) -> impl Iterator<Item = Attribute> {
    json::rows(node, "inputs").iter().filter_map(|input| {
        let name = input.get("name").and_then(Value::as_str).unwrap_or_default();
        Some(Attribute { name: name.into(), value: setting(input.get("arg")?)? })
    })
}

/// An argument that is not a tensor.
fn setting(argument: &Value) -> Option<AttributeValue> {
    let (kind, value) = argument.as_object()?.iter().next()?;
    match kind.as_str() {
        "as_int" => value.as_i64().map(AttributeValue::Int),
        "as_bool" => value.as_bool().map(|flag| AttributeValue::Int(flag.into())),
        "as_float" => value.as_f64().map(AttributeValue::Float),
        "as_string" => value.as_str().map(|text| AttributeValue::Text(text.into())),
        "as_ints" => {
            let numbers: Option<RVec<i64>> = value.as_array()?.iter().map(Value::as_i64).collect();
            numbers.map(AttributeValue::Ints)
        }
        "as_scalar_type" => {
            let dtype = from_export_type(value.as_i64()?)?.dtype;
            Some(AttributeValue::Text(dtype.to_string().into()))
        }
        _ => None,
    }
}
