//! Which layer owns a stored tensor, and what the tensor is for.

use super::operator::{self, Form};
use super::parameters::Reader;
use super::{Analysis, MAX_PLUMBING, Quantization};
use crate::document::Tensors;
use crate::graph::ValueId;
use qp_abi::sdk::{TensorRole, element_count};
use std::collections::{BTreeSet, HashMap};

impl Analysis<'_, '_> {
    /// Which stored tensors belong to which layer.
    pub(super) fn belongings(&mut self) {
        let reader = self.reader;
        let count = self.found.tensors.len();
        let mut owners: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut belongings = Vec::with_capacity(reader.graph.layers.len());
        let descriptions = reader.tensors.descriptions().iter().enumerate();
        let names: HashMap<&str, usize> =
            descriptions.map(|(index, tensor)| (tensor.name.as_str(), index)).collect();
        // Scales that stand elsewhere in the graph belong to their codes.
        let parameters_of = |found: &Quantization, tensor: usize| {
            let known = found.tensors[tensor].as_ref()?;
            let name = |name: &str| names.get(name).copied();
            Some([name(&known.scale_name), name(&known.zero_point_name)])
        };
        for (index, op, layer) in self.layers() {
            let mut own: BTreeSet<usize> = layer.tensors.iter().copied().collect();
            let stored = |value: ValueId| reader.graph.values[value].stored;
            own.extend(layer.inputs.iter().flatten().filter_map(|&value| stored(value)));
            if !operator::passes_on(op) {
                for &value in layer.inputs.iter().flatten() {
                    collect_behind(reader, value, &mut own);
                }
                let of_own = own.iter().filter_map(|&tensor| parameters_of(self.found, tensor));
                let of_own: Vec<usize> = of_own.flatten().flatten().collect();
                own.extend(of_own);
                own.iter().for_each(|&tensor| owners[tensor].push(index));
            }
            if op == "Constant" {
                own.extend(layer.outputs.iter().flatten().filter_map(|&value| stored(value)));
            }
            belongings.push(own);
        }
        self.found.owners = owners
            .into_iter()
            .map(|owners| if let [owner] = owners.as_slice() { Some(*owner) } else { None })
            .collect();
        // A tensor that only quantizing layers read belongs to them.
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (index, own) in belongings.iter().enumerate() {
            own.iter().for_each(|&tensor| readers[tensor].push(index));
        }
        for (owner, readers) in self.found.owners.iter_mut().zip(&readers) {
            if let (None, [reader]) = (&owner, readers.as_slice()) {
                *owner = Some(*reader);
            }
        }
        self.found.belongings = belongings;
    }
}

/// The stored tensors that a value comes from, through `QuantizeLinear` and `DequantizeLinear` nodes and through
/// those that only pass a weight on.
fn collect_behind(reader: Reader<'_>, value: ValueId, found: &mut BTreeSet<usize>) {
    let is_constant = reader.root(value, &[]).is_some();
    let mut at = value;
    for _ in 0..MAX_PLUMBING * 2 {
        if let Some(stored) = reader.graph.values[at].stored {
            found.insert(stored);
            return;
        }
        let Some((op, layer)) = reader.producer(at) else { return };
        if operator::form(op) == Some(Form::Plumbing) {
            let parameters = [layer.input(1), layer.input(2)].into_iter().flatten();
            found.extend(parameters.filter_map(|value| Some(reader.root(value, &[])?.0)));
        } else if !(is_constant && operator::passes_on(op)) {
            return;
        }
        let Some(next) = layer.input(0) else { return };
        at = next;
    }
}

/// What each tensor is for: a scale or zero point by its readers; a parameter or a constant by the inputs at which
/// layers read it, also through operators that only pass it on. If no operator decides, a tensor of more than one
/// element is a parameter if it holds real numbers, or codes that stand for them; everything else is a constant.
pub fn roles(
    reader: Reader<'_>,
    scales: &BTreeSet<usize>,
    has_codes: impl Fn(usize) -> bool,
) -> Vec<TensorRole> {
    let tensors: &Tensors = reader.tensors;
    let mut decided: Vec<Option<TensorRole>> = vec![None; tensors.descriptions().len()];
    for layer in &reader.graph.layers {
        let op = reader.op(layer);
        if operator::passes_on(op) && !matches!(op, "Reshape" | "Squeeze" | "Unsqueeze") {
            continue;
        }
        for (slot, value) in layer.inputs.iter().enumerate() {
            let Some((stored, _)) = value.and_then(|value| reader.root(value, &[])) else { continue };
            if let Some(role) = operator::role(op, slot) {
                let known = &mut decided[stored];
                if *known != Some(TensorRole::PARAMETER) {
                    *known = Some(role);
                }
            }
        }
    }
    let by_content = |index: usize| {
        let description = tensors.get(index);
        let is_plural = element_count(&description.shape).is_some_and(|count| count > 1);
        let is_read = tensors.value(index).is_some();
        if (description.dtype.is_float() || has_codes(index)) && is_plural && is_read {
            TensorRole::PARAMETER
        } else {
            TensorRole::CONSTANT
        }
    };
    decided
        .into_iter()
        .enumerate()
        .map(|(index, role)| {
            if scales.contains(&index) {
                TensorRole::QUANTIZATION
            } else {
                role.unwrap_or_else(|| by_content(index))
            }
        })
        .collect()
}
