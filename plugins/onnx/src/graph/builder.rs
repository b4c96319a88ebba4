//! Walks all graphs of a model and builds the index.

use super::circle::circle;
use super::constant::{attribute_type, constant_tensor, is_constant};
use super::{Graph, Layer, Stored, TensorData, Value, ValueId, domain};
use crate::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, code};
use crate::value_type;
use qp_abi::sdk::{Attribute, AttributeValue, BackendError, Names, RString, Result};
use std::collections::HashMap;

/// The longest name in bytes, including those generated for graphs inside nodes.
const MAX_NAME: usize = 4096;
/// The total bytes of generated names: what is in a graph inside a node has the name of that graph as a prefix.
const MAX_MADE_BYTES: usize = 32 << 20;

/// Builds the index, and takes the tensors out of the model in the process.
///
/// # Errors
/// `CorruptFile` for names that are too long, and for layers that read what is computed from their own results.
pub fn index(model: &mut ModelProto) -> Result<Graph> {
    let mut builder = Builder::new(model);
    let main = builder.scope(String::new(), None);
    if let Some(graph) = model.graph.as_mut() {
        let (inputs, outputs) = builder.graph(graph, main);
        builder.graph.inputs = inputs;
        builder.graph.outputs = outputs;
    }
    for function in &mut model.functions {
        builder.function(function);
    }
    if let Some(fault) = builder.fault {
        return Err(fault);
    }
    match circle(&builder.graph) {
        Some(layers) => Err(BackendError::corrupt_file(format!("the graph runs in a circle: {layers}"))),
        None => Ok(builder.graph),
    }
}

/// One graph with its own names.
struct Scope {
    path: String,
    parent: Option<usize>,
    names: HashMap<String, ValueId>,
}

struct Builder {
    graph: Graph,
    scopes: Vec<Scope>,
    /// How many nodes of the model have this name.
    node_names: HashMap<String, u32>,
    taken_scopes: Names,
    taken_paths: Names,
    taken_values: Names,
    taken_tensors: Names,
    made_bytes: usize,
    /// The error that ends the walk.
    fault: Option<BackendError>,
}

impl Builder {
    fn new(model: &ModelProto) -> Self {
        let mut node_names = HashMap::new();
        if let Some(graph) = &model.graph {
            count_names(&graph.node, &mut node_names);
        }
        for function in &model.functions {
            count_names(&function.node, &mut node_names);
        }
        let functions = model
            .functions
            .iter()
            .map(|function| (domain(function.domain.as_deref()), function.name.clone().unwrap_or_default()))
            .collect();
        // A node whose own name looks like a generated one keeps it.
        let own = node_names.iter().filter(|(_, count)| **count == 1);
        let taken_paths = Names::taken(own.map(|(name, _)| name.clone()));
        Self {
            graph: Graph { functions, ..Graph::default() },
            scopes: Vec::new(),
            node_names,
            taken_scopes: Names::default(),
            taken_paths,
            taken_values: Names::default(),
            taken_tensors: Names::default(),
            made_bytes: 0,
            fault: None,
        }
    }

    /// Rejects a name that is too long.
    fn check(&mut self, name: &str) {
        if name.len() > MAX_NAME {
            let message = format!("a name in the model has {} bytes", name.len());
            self.fault.get_or_insert_with(|| BackendError::corrupt_file(message));
        }
    }

    /// Counts bytes of generated names.
    fn make(&mut self, bytes: usize) {
        self.made_bytes = self.made_bytes.saturating_add(bytes);
        if self.made_bytes > MAX_MADE_BYTES {
            let most = MAX_MADE_BYTES >> 20;
            let message = format!("the names in inner graphs take more than {most} MiB");
            self.fault.get_or_insert_with(|| BackendError::corrupt_file(message));
        }
    }

    fn scope(&mut self, path: String, parent: Option<usize>) -> usize {
        self.check(&path);
        self.scopes.push(Scope { path, parent, names: HashMap::new() });
        self.scopes.len() - 1
    }

    /// Returns the graph's inputs that are not initializers, and its outputs.
    fn graph(&mut self, graph: &mut GraphProto, scope: usize) -> (Vec<ValueId>, Vec<ValueId>) {
        if self.fault.is_some() {
            return (Vec::new(), Vec::new());
        }
        self.graph.tensors.reserve(graph.initializer.len());
        self.graph.values.reserve(graph.initializer.len() + graph.node.len());
        self.graph.layers.reserve(graph.node.len());
        for tensor in std::mem::take(&mut graph.initializer) {
            let name = tensor.name.clone().unwrap_or_default();
            self.define_stored(scope, &name, TensorData::Dense(Box::new(tensor)));
        }
        for tensor in std::mem::take(&mut graph.sparse_initializer) {
            let name = tensor.values.as_ref().and_then(|values| values.name.clone()).unwrap_or_default();
            self.define_stored(scope, &name, TensorData::Sparse(Box::new(tensor)));
        }
        let mut inputs = Vec::new();
        for input in &graph.input {
            let name = input.name.as_deref().unwrap_or_default();
            // Before IR version 4 each initializer had to be an input too.
            let known = self.scopes[scope].names.get(name).copied();
            let value = known.unwrap_or_else(|| self.define(scope, name));
            if known.is_none() {
                inputs.push(value);
            }
            self.graph.values[value].ty = value_type::of(input.r#type.as_ref());
        }
        self.nodes(&mut graph.node, scope);
        for info in graph.value_info.iter().chain(&graph.output) {
            let name = info.name.as_deref().unwrap_or_default();
            let value = self.scopes[scope].names.get(name).copied();
            if let (Some(value), Some(ty)) = (value, value_type::of(info.r#type.as_ref())) {
                self.graph.values[value].ty = Some(ty);
            }
        }
        let outputs: Vec<ValueId> = graph
            .output
            .iter()
            .map(|output| {
                let value = self.resolve(scope, output.name.as_deref().unwrap_or_default());
                self.graph.values[value].is_output = true;
                value
            })
            .collect();
        (inputs, outputs)
    }

    fn function(&mut self, function: &mut FunctionProto) {
        let name = function.name.clone().unwrap_or_default();
        let overload = function.overload.as_deref().unwrap_or_default();
        let path = if overload.is_empty() { name } else { format!("{name}:{overload}") };
        let path = self.taken_scopes.claim(&path, '_', 2);
        let scope = self.scope(path, None);
        if self.fault.is_some() {
            return;
        }
        for input in &function.input {
            self.define(scope, input);
        }
        self.nodes(&mut function.node, scope);
        for info in &function.value_info {
            let value = self.scopes[scope].names.get(info.name.as_deref().unwrap_or_default()).copied();
            if let Some(value) = value {
                self.graph.values[value].ty = value_type::of(info.r#type.as_ref());
            }
        }
        for output in &function.output {
            let value = self.resolve(scope, output);
            self.graph.values[value].is_output = true;
        }
    }

    fn nodes(&mut self, nodes: &mut [NodeProto], scope: usize) {
        // Outputs first: a file whose nodes are not sorted is invalid, but can still be inspected.
        let outputs: Vec<Vec<Option<ValueId>>> = nodes
            .iter()
            .map(|node| {
                let is_constant = is_constant(node);
                let define = |name: &String| {
                    if name.is_empty() || is_constant { None } else { Some(self.define(scope, name)) }
                };
                node.output.iter().map(define).collect()
            })
            .collect();
        let mut outputs = outputs;
        for (node, outputs) in nodes.iter_mut().zip(&mut outputs) {
            if is_constant(node)
                && let Some(tensor) = constant_tensor(node)
            {
                let name = node.output.first().cloned().unwrap_or_default();
                let value = self.define_stored(scope, &name, tensor);
                outputs.clear();
                outputs.push(Some(value));
            }
        }
        let mut counts: HashMap<String, u32> = HashMap::new();
        for (node, outputs) in nodes.iter_mut().zip(outputs) {
            self.make(2 * self.scopes[scope].path.len());
            if self.fault.is_some() {
                return;
            }
            let op_type = node.op_type.clone().unwrap_or_default();
            self.check(&op_type);
            self.check(node.name.as_deref().unwrap_or_default());
            self.check(node.domain.as_deref().unwrap_or_default());
            let count = counts.entry(op_type.clone()).or_default();
            let path = self.path(node.name.as_deref().unwrap_or_default(), &op_type, *count, scope);
            *count += 1;
            let layer = self.graph.layers.len();
            let inputs: Vec<Option<ValueId>> = node
                .input
                .iter()
                .map(|name| if name.is_empty() { None } else { Some(self.resolve(scope, name)) })
                .collect();
            for (slot, input) in inputs.iter().enumerate() {
                if let Some(value) = *input {
                    self.graph.values[value].readers.push((layer, slot));
                }
            }
            for (slot, output) in outputs.iter().enumerate() {
                if let Some(value) = *output {
                    self.graph.values[value].producer = Some((layer, slot));
                }
            }
            self.graph.layers.push(Layer {
                path,
                scope: self.scopes[scope].path.clone(),
                op_type,
                domain: domain(node.domain.as_deref()),
                inputs,
                outputs,
                attributes: Vec::new(),
                tensors: Vec::new(),
            });
            for attribute in &mut node.attribute {
                let attribute = self.attribute(attribute, layer, scope);
                self.graph.layers[layer].attributes.push(attribute);
            }
        }
    }

    fn attribute(&mut self, attribute: &mut AttributeProto, layer: usize, scope: usize) -> Attribute {
        let name = attribute.name.clone().unwrap_or_default();
        let value = match attribute_type(attribute) {
            _ if attribute.ref_attr_name.as_deref().is_some_and(|name| !name.is_empty()) => {
                let of = attribute.ref_attr_name.as_deref().unwrap_or_default();
                AttributeValue::Other(format!("attribute `{of}` of the function").into())
            }
            code::FLOAT => AttributeValue::Float(f64::from(attribute.f.unwrap_or_default())),
            code::INT => AttributeValue::Int(attribute.i.unwrap_or_default()),
            code::STRING => AttributeValue::Text(text(attribute.s.as_deref().unwrap_or_default())),
            code::FLOATS => AttributeValue::Floats(attribute.floats.iter().map(|&f| f64::from(f)).collect()),
            code::INTS => AttributeValue::Ints(attribute.ints.clone().into()),
            code::STRINGS => AttributeValue::Texts(attribute.strings.iter().map(|s| text(s)).collect()),
            code::TENSOR => {
                let tensor = attribute.t.take();
                self.attribute_tensor(layer, &name, tensor.map(|tensor| TensorData::Dense(Box::new(tensor))))
            }
            code::SPARSE_TENSOR => {
                let tensor = attribute.sparse_tensor.take();
                self.attribute_tensor(layer, &name, tensor.map(|tensor| TensorData::Sparse(Box::new(tensor))))
            }
            code::TENSORS => {
                let tensors = std::mem::take(&mut attribute.tensors);
                let names = tensors.into_iter().map(|tensor| {
                    match self.attribute_tensor(layer, &name, Some(TensorData::Dense(Box::new(tensor)))) {
                        AttributeValue::Tensor(name) => name,
                        _ => RString::new(),
                    }
                });
                AttributeValue::Texts(names.collect())
            }
            code::GRAPH | code::GRAPHS => {
                let mut graphs: Vec<&mut GraphProto> =
                    attribute.g.iter_mut().chain(&mut attribute.graphs).collect();
                let is_single = graphs.len() == 1;
                let mut names = Vec::new();
                for (index, graph) in graphs.iter_mut().enumerate() {
                    let mut path = format!("{}/{name}", self.graph.layers[layer].path);
                    if !is_single {
                        path = format!("{path}[{index}]");
                    }
                    let inner = self.scope(path.clone(), Some(scope));
                    let (_, outputs) = self.graph(graph, inner);
                    self.graph.subgraphs.insert(path.clone(), outputs);
                    names.push(RString::from(path));
                }
                AttributeValue::Graphs(names.into())
            }
            other => AttributeValue::Other(
                match other {
                    code::SPARSE_TENSORS => format!("{} sparse tensors", attribute.sparse_tensors.len()),
                    _ => attribute
                        .tp
                        .as_ref()
                        .and_then(|ty| value_type::of(Some(ty)))
                        .map_or_else(|| format!("a value of kind {other}"), |ty| ty.to_string()),
                }
                .into(),
            ),
        };
        Attribute { name: name.into(), value }
    }

    /// A tensor in an attribute; that of a Constant node is already known.
    fn attribute_tensor(&mut self, layer: usize, name: &str, tensor: Option<TensorData>) -> AttributeValue {
        let Some(data) = tensor else {
            let output = self.graph.layers[layer].output(0);
            let stored = output.and_then(|value| self.graph.values[value].stored);
            let known = stored.map_or_else(String::new, |stored| self.graph.tensors[stored].name.clone());
            return AttributeValue::Tensor(known.into());
        };
        self.make(self.graph.layers[layer].path.len() + name.len());
        if self.fault.is_some() {
            return AttributeValue::Tensor(RString::new());
        }
        let name = format!("{}:{name}", self.graph.layers[layer].path);
        let name = self.taken_tensors.claim(&name, '_', 2);
        self.graph.layers[layer].tensors.push(self.graph.tensors.len());
        self.graph.tensors.push(Stored { name: name.clone(), data, value: None });
        AttributeValue::Tensor(name.into())
    }

    fn define(&mut self, scope: usize, name: &str) -> ValueId {
        self.check(name);
        let path = &self.scopes[scope].path;
        let display = if self.fault.is_some() {
            String::new()
        } else if self.taken_values.has(name) && !path.is_empty() {
            let path = path.clone();
            self.make(path.len());
            format!("{path}/{name}")
        } else {
            name.to_owned()
        };
        let display = self.taken_values.claim(&display, '_', 2);
        let value = self.graph.values.len();
        self.graph.values.push(Value { name: display, ..Value::default() });
        // A second definition of a name is invalid; readers keep the first.
        self.scopes[scope].names.entry(name.to_owned()).or_insert(value);
        value
    }

    fn define_stored(&mut self, scope: usize, name: &str, data: TensorData) -> ValueId {
        let value = self.define(scope, name);
        let display = self.taken_tensors.claim(&self.graph.values[value].name, '_', 2);
        self.graph.values[value].stored = Some(self.graph.tensors.len());
        self.graph.tensors.push(Stored { name: display, data, value: Some(value) });
        value
    }

    /// The value that `name` refers to in `scope`: its own, one of an enclosing graph, or a new undefined one.
    fn resolve(&mut self, scope: usize, name: &str) -> ValueId {
        let mut at = Some(scope);
        while let Some(index) = at {
            if let Some(&value) = self.scopes[index].names.get(name) {
                return value;
            }
            at = self.scopes[index].parent;
        }
        self.define(scope, name)
    }

    fn path(&mut self, name: &str, op_type: &str, index: u32, scope: usize) -> String {
        let scope = &self.scopes[scope].path;
        if !name.is_empty() && self.node_names.get(name) == Some(&1) {
            return name.to_owned();
        }
        let stem = if scope.is_empty() {
            format!("{op_type}_{index}")
        } else {
            format!("{scope}/{op_type}_{index}")
        };
        self.taken_paths.claim(&stem, '_', 2)
    }
}

fn count_names(nodes: &[NodeProto], counts: &mut HashMap<String, u32>) {
    for node in nodes {
        if let Some(name) = node.name.as_ref().filter(|name| !name.is_empty()) {
            *counts.entry(name.clone()).or_default() += 1;
        }
        for attribute in &node.attribute {
            for graph in attribute.g.iter().chain(&attribute.graphs) {
                count_names(&graph.node, counts);
            }
        }
    }
}

fn text(bytes: &[u8]) -> RString {
    String::from_utf8_lossy(bytes).into_owned().into()
}
