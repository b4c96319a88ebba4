//! What static quantization needs before: constants as stored tensors, no layers that only pass on, batch normalizations
//! as part of the convolution before them.

use super::Editor;
use super::codes::{inner_reads, int};
use crate::convert;
use crate::external_data::ExternalFiles;
use crate::graph::is_constant;
use crate::held::give;
use crate::proto::{NodeProto, TensorProto, dtype};
use bytes::Bytes;
use qp_abi::sdk::{DType, Result};
use std::collections::{HashMap, HashSet};

impl Editor<'_> {
    /// Cleans up the graph; what it computes stays the same but for rounding.
    pub(super) fn prepare(&mut self) -> Result<()> {
        self.store_constants();
        self.remove_passes();
        self.fold_normalizations(self.external)
    }

    fn keep_nodes(&mut self, mut is_kept: impl FnMut(usize, &NodeProto) -> bool) {
        let written = self.written;
        let (mut index, mut removed) = (0, 0);
        self.graph.node.retain(|node| {
            let is_kept = is_kept(index, node);
            removed += usize::from(!is_kept && index < written);
            index += 1;
            is_kept
        });
        self.written -= removed;
    }

    /// Constant nodes with a tensor become stored tensors of the same name.
    fn store_constants(&mut self) {
        let outputs: HashSet<String> =
            self.graph.output.iter().filter_map(|output| output.name.clone()).collect();
        let mut stored = Vec::new();
        self.keep_nodes(|_, node| {
            let Some(name) = node.output.first().filter(|name| is_constant(node) && !outputs.contains(*name))
            else {
                return true;
            };
            let Some(tensor) = node.attribute.iter().find_map(|attribute| attribute.t.as_ref()) else {
                return true;
            };
            stored.push(TensorProto { name: Some(name.clone()), ..tensor.clone() });
            false
        });
        self.graph.initializer.extend(stored);
    }

    /// Removes layers that only pass on their input.
    fn remove_passes(&mut self) {
        let inner = inner_reads(self.graph);
        let outputs: HashSet<&str> =
            self.graph.output.iter().filter_map(|output| output.name.as_deref()).collect();
        let reads: HashSet<&str> =
            self.graph.node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
        let mut renamed: HashMap<String, String> = HashMap::new();
        let mut gone = HashSet::new();
        for (index, node) in self.graph.node.iter().enumerate() {
            let (Some(from), Some(to)) = (node.input.first(), node.output.first()) else { continue };
            let has_one_output = || {
                node.output[1..]
                    .iter()
                    .all(|name| !reads.contains(name.as_str()) && !outputs.contains(name.as_str()))
            };
            let passes = match node.op_type.as_deref() {
                Some("Identity") => true,
                // Its third input, if there is one, may say that it is training.
                Some("Dropout") => node.input.len() < 3 && has_one_output(),
                _ => false,
            };
            if passes && !outputs.contains(to.as_str()) && !inner.contains(to) {
                let from = renamed.get(from).unwrap_or(from).clone();
                renamed.insert(to.clone(), from);
                gone.insert(index);
            }
        }
        if gone.is_empty() {
            return;
        }
        self.keep_nodes(|index, _| !gone.contains(&index));
        for input in self.graph.node.iter_mut().flat_map(|node| &mut node.input) {
            if let Some(new) = renamed.get(input.as_str()) {
                input.clone_from(new);
            }
        }
        self.graph
            .value_info
            .retain(|info| info.name.as_ref().is_none_or(|name| !renamed.contains_key(name)));
        self.names.retain(|name| !renamed.contains_key(name));
    }

    /// y = ((x ∗ w + b) − mean) · s + shift with s = scale / √(variance + ε) becomes y = x ∗ (w · s) + ((b − mean) · s + shift).
    fn fold_normalizations(&mut self, external: &ExternalFiles) -> Result<()> {
        let inner = inner_reads(self.graph);
        let outputs: HashSet<String> =
            self.graph.output.iter().filter_map(|output| output.name.clone()).collect();
        let mut readers: HashMap<String, usize> = HashMap::new();
        for name in self.graph.node.iter().flat_map(|node| &node.input) {
            *readers.entry(name.clone()).or_insert(0) += 1;
        }
        let producers: HashMap<String, usize> = (self.graph.node.iter().enumerate())
            .flat_map(|(index, node)| node.output.iter().map(move |name| (name.clone(), index)))
            .collect();
        let stored: HashMap<String, usize> = (self.graph.initializer.iter().enumerate())
            .filter_map(|(index, tensor)| Some((tensor.name.clone()?, index)))
            .collect();
        let mut gone = HashSet::new();
        for index in 0..self.graph.node.len() {
            let node = &self.graph.node[index];
            let Some(value) = node.input.first().filter(|_| is_normalization(node)) else { continue };
            let is_free =
                readers.get(value) == Some(&1) && !outputs.contains(value) && !inner.contains(value);
            let Some(&before) = producers.get(value).filter(|_| is_free) else { continue };
            let Some(folded) = self.folded(before, index, &stored, external)? else { continue };
            let Folded { weight, bias, dims } = folded;
            let value = value.clone();
            let output = node.output.first().cloned().unwrap_or_default();
            let old = self.graph.node[before].input[1].clone();
            let weight_name = self.add_folded(&old, readers.get(&old) == Some(&1), &dims, &weight);
            let old = self.graph.node[before].input.get(2).cloned().filter(|name| !name.is_empty());
            let is_own = old.as_ref().is_some_and(|old| readers.get(old) == Some(&1));
            let old = old.unwrap_or_else(|| format!("{weight_name}_bias"));
            let bias_name = self.add_folded(&old, is_own, &[bias.len() as i64], &bias);
            let convolution = &mut self.graph.node[before];
            convolution.input.truncate(1);
            convolution.input.extend([weight_name, bias_name]);
            convolution.output = vec![output];
            self.graph.value_info.retain(|info| info.name.as_deref() != Some(&*value));
            self.names.remove(&value);
            gone.insert(index);
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.keep_nodes(|index, _| !gone.contains(&index));
        let mut read = inner_reads(self.graph);
        read.extend(self.graph.node.iter().flat_map(|node| &node.input).cloned());
        let is_read = |name: &Option<String>| {
            name.as_ref().is_none_or(|name| {
                !readers.contains_key(name) || read.contains(name) || outputs.contains(name)
            })
        };
        self.graph.initializer.retain(|tensor| is_read(&tensor.name));
        // Before version 4 each stored tensor had to be an input too.
        self.graph.input.retain(|input| {
            input.name.as_ref().is_none_or(|name| !stored.contains_key(name)) || is_read(&input.name)
        });
        Ok(())
    }

    /// Stores new numbers: under the old name if nothing else reads the tensor.
    fn add_folded(&mut self, old: &str, is_own: bool, dims: &[i64], numbers: &[f32]) -> String {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        if is_own {
            let found = self.graph.initializer.iter_mut().find(|tensor| tensor.name.as_deref() == Some(old));
            if let Some(tensor) = found {
                let data_type = Some(i32::from(DType::FLOAT32.0));
                *tensor = TensorProto {
                    name: tensor.name.take(),
                    data_type,
                    dims: dims.to_vec(),
                    ..TensorProto::default()
                };
                give(tensor, &bytes, self.held);
                return old.to_owned();
            }
        }
        let name = self.free_name(old);
        self.add_tensor(name.clone(), DType::FLOAT32, dims.to_vec(), &bytes);
        name
    }

    /// The weight and bias of a convolution with the normalization behind it; `None` if it cannot be folded.
    fn folded(
        &self,
        before: usize,
        index: usize,
        stored: &HashMap<String, usize>,
        external: &ExternalFiles,
    ) -> Result<Option<Folded>> {
        let (convolution, normalization) = (&self.graph.node[before], &self.graph.node[index]);
        let is_plain = convolution.domain.as_deref().unwrap_or_default().is_empty();
        if !is_plain || convolution.op_type.as_deref() != Some("Conv") || convolution.output.len() != 1 {
            return Ok(None);
        }
        let tensor = |name: Option<&String>| -> Result<Option<Stored>> {
            let Some(place) = name.and_then(|name| stored.get(name)) else { return Ok(None) };
            numbers(&self.graph.initializer[*place], external)
        };
        let Some(weight) = tensor(convolution.input.get(1))? else { return Ok(None) };
        let channels = usize::try_from(weight.dims.first().copied().unwrap_or(0)).unwrap_or(0);
        let mut parts = Vec::new();
        for slot in 1..5 {
            match tensor(normalization.input.get(slot))? {
                Some(part) if part.numbers.len() == channels => parts.push(part.numbers),
                _ => return Ok(None),
            }
        }
        let bias = match convolution.input.get(2).filter(|name| !name.is_empty()) {
            None => vec![0.0; channels],
            Some(name) => match tensor(Some(name))? {
                Some(bias) if bias.numbers.len() == channels => bias.numbers,
                _ => return Ok(None),
            },
        };
        let [scale, shift, mean, variance] = &parts[..] else { return Ok(None) };
        if channels == 0 || !weight.numbers.len().is_multiple_of(channels) {
            return Ok(None);
        }
        let epsilon = normalization.attribute.iter().find(|a| a.name.as_deref() == Some("epsilon"));
        let epsilon = epsilon.and_then(|epsilon| epsilon.f).unwrap_or(1e-5);
        let factors: Vec<f32> =
            scale.iter().zip(variance).map(|(scale, variance)| scale / (variance + epsilon).sqrt()).collect();
        let mut numbers = weight.numbers;
        let size = numbers.len() / channels;
        for (channel, factor) in numbers.chunks_mut(size.max(1)).zip(&factors) {
            channel.iter_mut().for_each(|number| *number *= factor);
        }
        let bias = (0..channels).map(|at| (bias[at] - mean[at]) * factors[at] + shift[at]).collect();
        Ok(Some(Folded { weight: numbers, bias, dims: weight.dims }))
    }
}

struct Folded {
    weight: Vec<f32>,
    bias: Vec<f32>,
    dims: Vec<i64>,
}

struct Stored {
    dims: Vec<i64>,
    numbers: Vec<f32>,
}

/// As it is after training: with one output, the running statistics as inputs.
fn is_normalization(node: &NodeProto) -> bool {
    node.op_type.as_deref() == Some("BatchNormalization")
        && node.domain.as_deref().unwrap_or_default().is_empty()
        && node.output.iter().filter(|name| !name.is_empty()).count() == 1
        && int(node, "training_mode").unwrap_or(0) == 0
        && int(node, "spatial").unwrap_or(1) == 1
}

/// The elements of a stored float32 tensor; `None` for another type.
fn numbers(tensor: &TensorProto, external: &ExternalFiles) -> Result<Option<Stored>> {
    if dtype(tensor.data_type) != DType::FLOAT32 {
        return Ok(None);
    }
    let bytes: Bytes =
        if convert::is_external(tensor) { external.read(tensor)?.0 } else { convert::dense(tensor)? };
    let numbers = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(Some(Stored { dims: tensor.dims.clone(), numbers }))
}
