//! The program while it is edited: its nodes, what it is given, and what it stores.

use super::super::json;
use super::super::quantize::returned;
use super::super::region;
use super::super::wiring::Wiring;
use super::Editable;
use super::store::{Fresh, Store};
use crate::quant::dtype::export_type;
use qp_abi::sdk::{BackendError, DType, Edit, Names, Result};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A program in parts that can be changed.
pub struct Editor<'a> {
    pub nodes: Vec<Value>,
    /// The values that the graph takes: stored tensors, and what the program is given.
    pub inputs: Vec<Value>,
    /// What each of them is.
    pub specs: Vec<Value>,
    /// What is known of each value.
    pub values: Map<String, Value>,
    pub store: Store<'a>,
    /// The values that leave the program.
    pub returned: HashSet<String>,
    names: Names,
    /// Stored tensors by the names that earlier edits gave them, where the program has another.
    aliases: HashMap<String, String>,
    /// Stored tensors that were read before the edits, by name in the graph.
    used: HashSet<String>,
    program: &'a mut Value,
}

/// What edits leave: the program is changed in place.
pub struct Changed {
    pub fresh: BTreeMap<String, Fresh>,
    /// Stored tensors that nothing reads any more.
    pub removed: HashSet<String>,
}

impl<'a> Editor<'a> {
    /// Takes the program apart.
    ///
    /// # Errors
    /// `CorruptFile` for a program without a graph.
    pub fn of(editable: &'a mut Editable) -> Result<Self> {
        let Editable { program, weights, data, .. } = editable;
        let missing = || BackendError::corrupt_file("the program has no graph");
        let module = program.get_mut("graph_module").ok_or_else(missing)?;
        let returned: HashSet<String> = returned(module).into_iter().map(str::to_owned).collect();
        let mut names = Names::default();
        let mut list = |path: &str| {
            module.pointer_mut(path).and_then(Value::as_array_mut).map(std::mem::take).ok_or_else(missing)
        };
        let (nodes, inputs) = (list("/graph/nodes")?, list("/graph/inputs")?);
        let specs = list("/signature/input_specs")?;
        let values = module.pointer_mut("/graph/tensor_values").and_then(Value::as_object_mut);
        let values = values.map(std::mem::take).ok_or_else(missing)?;
        values.keys().for_each(|name| names.take(name));
        for name in nodes.iter().flat_map(json::results) {
            names.take(name);
        }
        // The name of a node is often that of what it computes.
        nodes.iter().filter_map(|node| node.get("name")?.as_str()).for_each(|name| names.take(name));
        inputs.iter().flat_map(json::value_names).for_each(|(name, _)| names.take(name));
        let reads = nodes.iter().flat_map(json::inputs).flat_map(json::tensor_names);
        let used = reads.map(str::to_owned).collect();
        let store = Store::of(weights, data);
        Ok(Self {
            nodes,
            inputs,
            specs,
            values,
            store,
            returned,
            names,
            aliases: HashMap::new(),
            used,
            program,
        })
    }

    /// Puts the program together.
    pub fn finish(mut self) -> Changed {
        let removed = self.sweep();
        let mut put = |path: &str, value: Value| {
            if let Some(place) = self.program.pointer_mut(&format!("/graph_module{path}")) {
                *place = value;
            }
        };
        put("/graph/nodes", Value::Array(self.nodes));
        put("/graph/inputs", Value::Array(self.inputs));
        put("/graph/tensor_values", Value::Object(self.values));
        put("/signature/input_specs", Value::Array(self.specs));
        Changed { fresh: self.store.fresh, removed }
    }

    /// Takes out the stored tensors that were read before the edits and are not any more; gives back their names.
    fn sweep(&mut self) -> HashSet<String> {
        let reads = self.nodes.iter().flat_map(json::inputs).flat_map(json::tensor_names);
        let read: HashSet<&str> = reads.collect();
        let is_dropped =
            |name: &str| !read.contains(name) && self.used.contains(name) && !self.returned.contains(name);
        let mut dropped: HashSet<String> = HashSet::new();
        let mut removed: HashSet<String> = HashSet::new();
        for (in_graph, stored) in self.specs.iter().filter_map(json::bound) {
            if is_dropped(in_graph) {
                dropped.insert(in_graph.to_owned());
                removed.insert(stored.to_owned());
            }
        }
        // The counter of a batch normalization, which nothing reads after training, goes with its means.
        for (in_graph, stored) in self.specs.iter().filter_map(json::bound) {
            let means =
                stored.strip_suffix("num_batches_tracked").map(|module| format!("{module}running_mean"));
            if means.is_some_and(|means| removed.contains(&means)) && !self.returned.contains(in_graph) {
                dropped.insert(in_graph.to_owned());
                removed.insert(stored.to_owned());
            }
        }
        self.specs.retain(|spec| json::bound(spec).is_none_or(|(in_graph, _)| !dropped.contains(in_graph)));
        self.inputs.retain(|input| json::tensor_names(input).iter().all(|name| !dropped.contains(*name)));
        self.values.retain(|name, _| !dropped.contains(name));
        // A name may be bound twice.
        for (_, stored) in self.specs.iter().filter_map(json::bound) {
            removed.remove(stored);
        }
        self.store.fresh.retain(|name, _| !removed.contains(name));
        removed
    }

    /// A name like this one that no value has.
    pub fn claim(&mut self, like: &str) -> String {
        self.names.claim(like, '_', 1)
    }

    /// Whether the program computes or is given a value.
    pub fn has_value(&self, name: &str) -> bool {
        let is_it = |(other, _): (&str, bool)| other == name;
        self.nodes.iter().any(|node| json::results(node).any(|other| other == name))
            || self.inputs.iter().flat_map(json::value_names).any(is_it)
    }

    /// The tensor that a name in the graph is bound to.
    pub fn stored_name(&self, in_graph: &str) -> Option<&str> {
        self.specs
            .iter()
            .filter_map(json::bound)
            .find(|(name, _)| *name == in_graph)
            .map(|(_, stored)| stored)
    }

    /// The names in the graph that a stored tensor has.
    pub fn in_graph(&self, stored: &str) -> impl Iterator<Item = &str> {
        self.specs
            .iter()
            .filter_map(json::bound)
            .filter(move |(_, name)| *name == stored)
            .map(|(name, _)| name)
    }

    /// Who reads what, now.
    pub fn wiring(&self) -> Wiring<'_> {
        Wiring::of(&self.nodes, Some(&self.values))
    }

    /// Adds a stored tensor under a name like this one; gives back its name in the graph.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn add_stored(&mut self, like: &str, fresh: Fresh) -> Result<String> {
        let name = self.store.free_name(like);
        self.bind(&name, fresh)
    }

    /// Stores a tensor under a name that the graph does not know yet; gives back its name in the graph.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn bind(&mut self, name: &str, fresh: Fresh) -> Result<String> {
        let letters = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' });
        let kind = if fresh.is_parameter { "p" } else { "b" };
        let in_graph = self.claim(&format!("{kind}_{}", letters.collect::<String>()));
        self.values.insert(in_graph.clone(), meta(fresh.dtype, &fresh.shape)?);
        let spec = match fresh.is_parameter {
            true => json!({"parameter": {"arg": {"name": in_graph}, "parameter_name": name}}),
            false => json!({"buffer": {"arg": {"name": in_graph}, "buffer_name": name, "persistent": true}}),
        };
        self.store.put(name, fresh)?;
        let place =
            self.specs.iter().rposition(|spec| json::bound(spec).is_some()).map_or(0, |last| last + 1);
        self.specs.insert(place.min(self.specs.len()), spec);
        self.inputs.insert(place.min(self.inputs.len()), json!({"as_tensor": {"name": in_graph}}));
        Ok(in_graph)
    }

    /// Takes note that a stored tensor has another type now. A parameter becomes a buffer: its codes cannot be trained.
    pub fn rebind(&mut self, in_graph: &str, stored: &str) -> Result<()> {
        let (dtype, shape) = self.store.describe(stored)?;
        self.values.insert(in_graph.to_owned(), meta(dtype, &shape)?);
        let is_it = |spec: &&mut Value| {
            spec.get("parameter").is_some() && json::bound(spec).is_some_and(|(name, _)| name == in_graph)
        };
        if let Some(spec) = self.specs.iter_mut().find(is_it) {
            *spec = json!({"buffer": {"arg": {"name": in_graph}, "buffer_name": stored, "persistent": true}});
        }
        Ok(())
    }

    /// Adds a stored tensor that nothing reads yet.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is taken, and for elements that do not fill the shape.
    pub(super) fn store_tensor(&mut self, edit: &Edit) -> Result<()> {
        let name = edit.target.as_str();
        if name.is_empty() || self.store.has(name) || self.has_value(name) {
            let message = format!("the name `{}` is empty or taken", name.escape_debug());
            return Err(BackendError::invalid_input(message));
        }
        let fresh = Fresh {
            dtype: edit.dtype,
            shape: edit.shape.to_vec(),
            bytes: edit.bytes.as_slice().into(),
            is_parameter: edit.dtype.is_float(),
        };
        // The last part of a name becomes an attribute of a module, which may have one: `conv.weight.float`.
        let stored = match name.rsplit_once('.') {
            Some((module, own)) => self.store.free_name(&format!("{module}_{own}")),
            None => name.to_owned(),
        };
        self.bind(&stored, fresh)?;
        self.aliases.insert(name.to_owned(), stored);
        Ok(())
    }

    /// The name that the program has for a stored tensor.
    pub(super) fn alias_of<'n>(&'n self, name: &'n str) -> &'n str {
        self.aliases.get(name).map_or(name, String::as_str)
    }

    /// Gives a stored tensor other elements, of the same type and shape.
    ///
    /// # Errors
    /// `NotFound`, `InvalidInput`.
    pub(super) fn replace(&mut self, edit: &Edit) -> Result<()> {
        let (dtype, shape) = self.store.describe(&edit.target)?;
        if (edit.dtype, edit.shape.as_slice()) != (dtype, shape.as_slice()) {
            return Err(BackendError::invalid_input(format!(
                "`{}` holds {dtype} {shape:?}, not {} {:?}",
                edit.target, edit.dtype, edit.shape
            )));
        }
        let is_parameter = self.store.is_parameter(&edit.target);
        let bytes = edit.bytes.as_slice().into();
        self.store.put(&edit.target, Fresh { dtype, shape, bytes, is_parameter })
    }
}

/// Lets a node read another value.
pub fn set_reads(node: &mut Value, from: &str, to: &str) {
    region::rename_reads(node, &HashMap::from([(from.to_owned(), to.to_owned())]));
}

/// What a program knows of a stored tensor.
pub fn meta(dtype: DType, shape: &[i64]) -> Result<Value> {
    let number = export_type(dtype)
        .ok_or_else(|| BackendError::unsupported_op(format!("a program has no tensors of {dtype}")))?;
    let sizes: Vec<Value> = shape.iter().map(|size| json!({"as_int": size})).collect();
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1_i64;
    for size in shape.iter().rev() {
        strides.push(json!({"as_int": stride}));
        stride = stride.saturating_mul((*size).max(1));
    }
    strides.reverse();
    Ok(json!({
        "dtype": number,
        "sizes": sizes,
        "requires_grad": false,
        "device": {"type": "cpu", "index": null},
        "strides": strides,
        "storage_offset": {"as_int": 0},
        "layout": 7,
    }))
}
