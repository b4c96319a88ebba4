//! Scales, zero points and codes that the graph has already.

use super::{Affine, Editor, pack, real_bytes};
use crate::held::give;
use crate::proto::{NodeProto, dtype};
use crate::quant::operator::{self, Place, moves_codes};
use qp_abi::sdk::{BackendError, DType, Edit, Result, element_count};
use std::collections::HashSet;

/// The inputs of one node that say what codes mean.
struct Slots {
    node: usize,
    scale: usize,
    zero_point: Option<usize>,
}

impl Editor<'_> {
    /// Gives codes another scale and zero point: everywhere in the graph where they are made or read.
    pub(super) fn set_quantization(&mut self, edit: &Edit) -> Result<()> {
        let target = self.known(&edit.target)?;
        let slots = self.slots_of(&target);
        if slots.is_empty() {
            return Err(BackendError::unsupported_op(format!(
                "no stored scale says what the codes of `{target}` mean"
            )));
        }
        let new = Affine::of(edit.arguments.as_slice(), "scales", "zero-points", &target)?;
        let users: HashSet<(usize, usize)> = slots
            .iter()
            .flat_map(|slots| [Some(slots.scale), slots.zero_point].map(|slot| Some((slots.node, slot?))))
            .flatten()
            .collect();
        for slots in &slots {
            self.replace_numbers(slots.node, slots.scale, &new.scales, None, &users)?;
            let has_zero_point = slots
                .zero_point
                .and_then(|slot| Some((slot, self.graph.node[slots.node].input.get(slot)?)))
                .filter(|(_, name)| !name.is_empty());
            match (has_zero_point, slots.zero_point) {
                (Some((slot, _)), _) => {
                    self.replace_numbers(slots.node, slot, &new.zero_points, Some(edit.dtype), &users)?;
                }
                (None, Some(slot)) if new.zero_points.iter().any(|zero_point| *zero_point != 0.0) => {
                    self.append_zero_points(slots.node, slot, &new.zero_points, edit.dtype)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives a stored tensor other elements, of the same type and number.
    pub(super) fn replace(&mut self, edit: &Edit) -> Result<()> {
        let found =
            self.graph.initializer.iter_mut().find(|tensor| tensor.name.as_deref() == Some(&*edit.target));
        let (data_type, dims) = (Some(i32::from(edit.dtype.0)), edit.shape.to_vec());
        match found {
            Some(tensor) if tensor.data_type == data_type && tensor.dims == dims => {
                *tensor = crate::proto::TensorProto {
                    name: tensor.name.take(),
                    data_type,
                    dims,
                    ..crate::proto::TensorProto::default()
                };
                give(tensor, &edit.bytes, self.held);
                Ok(())
            }
            Some(tensor) => Err(BackendError::invalid_input(format!(
                "`{}` holds {} {:?}, not {} {:?}",
                edit.target,
                dtype(tensor.data_type),
                tensor.dims,
                edit.dtype,
                edit.shape
            ))),
            None => self.replace_constant(edit),
        }
    }

    /// The tensor of a Constant node becomes a stored tensor of the same name.
    fn replace_constant(&mut self, edit: &Edit) -> Result<()> {
        let is_it = |node: &NodeProto| {
            node.op_type.as_deref() == Some("Constant")
                && node.output.iter().any(|name| *name == *edit.target)
        };
        let Some(place) = self.graph.node.iter().position(is_it) else {
            return Err(BackendError::not_found(format!("the graph stores no tensor `{}`", edit.target)));
        };
        self.graph.node.remove(place);
        self.written -= 1;
        self.add_tensor(edit.target.to_string(), edit.dtype, edit.shape.to_vec(), edit.bytes.as_slice());
        Ok(())
    }

    /// Where the graph says what the codes of a value mean: of the value itself, of those that it is rounded to, or of those
    /// that it was made from. Codes that are only moved keep their meaning.
    fn slots_of(&self, target: &str) -> Vec<Slots> {
        let nodes = &self.graph.node;
        let is = |node: &NodeProto, op: &str| node.op_type.as_deref().is_some_and(|name| name.ends_with(op));
        let mut codes: Vec<&str> = Vec::new();
        for node in nodes {
            let (input, output) = (node.input.first(), node.output.first());
            if is_quantize(node) && input.is_some_and(|name| name == target) {
                codes.extend(output.map(String::as_str));
            }
            if is(node, "DequantizeLinear") && output.is_some_and(|name| name == target) {
                codes.extend(input.map(String::as_str));
            }
        }
        if codes.is_empty() {
            codes.push(target);
        }
        let mut known: HashSet<&str> = codes.iter().copied().collect();
        // Codes that are only moved are the same codes: forwards and backwards. Few chains are longer than a handful.
        while let Some(code) = codes.pop() {
            for node in nodes.iter().filter(|node| node.op_type.as_deref().is_some_and(moves_codes)) {
                let (Some(from), Some(to)) = (node.input.first(), node.output.first()) else { continue };
                let other = if from == code {
                    to
                } else if to == code {
                    from
                } else {
                    continue;
                };
                if known.insert(other) {
                    codes.push(other);
                }
            }
        }
        let mut slots = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let at = |list: &[String], place: usize| {
                list.get(place).is_some_and(|name| known.contains(name.as_str()))
            };
            if is_quantize(node) && at(&node.output, 0) || is(node, "DequantizeLinear") && at(&node.input, 0)
            {
                slots.push(Slots { node: index, scale: 1, zero_point: Some(2) });
            }
            let operands = operator::operands(node.op_type.as_deref().unwrap_or_default(), node.input.len());
            slots.extend(operands.into_iter().filter_map(|operand| {
                let is_known = match operand.place {
                    Place::Input(place) => at(&node.input, place),
                    Place::Output(place) => at(&node.output, place),
                };
                is_known.then_some(Slots {
                    node: index,
                    scale: operand.scale,
                    zero_point: operand.zero_point,
                })
            }));
        }
        slots
    }

    /// Lets an input of a node be these numbers: in place, if only `users` read the stored tensor, otherwise in a new one.
    fn replace_numbers(
        &mut self,
        node: usize,
        slot: usize,
        numbers: &[f64],
        codes: Option<DType>,
        users: &HashSet<(usize, usize)>,
    ) -> Result<()> {
        let name = self.graph.node[node].input.get(slot).cloned().unwrap_or_default();
        let stored = self.stored(&name);
        let Some(stored) = stored else {
            return Err(BackendError::unsupported_op(format!("`{name}` is computed, and cannot be set")));
        };
        let (kind, dims) = (dtype(stored.data_type), stored.dims.clone());
        let count = element_count(&dims).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        let numbers: Vec<f64> = match numbers {
            [one] => vec![*one; count.max(1)],
            several => several.to_vec(),
        };
        let dims = match (count == numbers.len(), dims.len()) {
            (true, _) => dims,
            // A scale for each channel in place of one is another graph.
            (false, _) => {
                return Err(BackendError::invalid_input(format!(
                    "`{name}` has {count} numbers, not {}",
                    numbers.len()
                )));
            }
        };
        let bytes = match codes {
            Some(_) => pack(&numbers, kind)?,
            None => numbers.iter().flat_map(|number| real_bytes(*number, kind)).collect(),
        };
        let is_other = |(at, other): (usize, &NodeProto)| {
            other
                .input
                .iter()
                .enumerate()
                .any(|(place, input)| *input == name && !users.contains(&(at, place)))
        };
        let is_shared = self.graph.node.iter().enumerate().any(is_other)
            || self.graph.output.iter().any(|output| output.name.as_deref() == Some(&*name));
        let own = self.graph.initializer.iter_mut().find(|tensor| tensor.name.as_deref() == Some(&*name));
        if let Some(own) = own.filter(|_| !is_shared) {
            *own = crate::proto::TensorProto {
                name: own.name.take(),
                data_type: own.data_type,
                dims,
                raw_data: Some(bytes.into()),
                ..crate::proto::TensorProto::default()
            };
            return Ok(());
        }
        let new = self.free_name(&name);
        self.add_tensor(new.clone(), kind, dims, &bytes);
        // All users in one go: the next ones find a tensor that nobody else reads.
        for (at, place) in users {
            let input = self.graph.node[*at].input.get_mut(*place);
            if let Some(input) = input.filter(|input| **input == name) {
                input.clone_from(&new);
            }
        }
        Ok(())
    }

    fn append_zero_points(&mut self, node: usize, slot: usize, numbers: &[f64], kind: DType) -> Result<()> {
        let scale = self.graph.node[node].input.get(slot - 1).cloned().unwrap_or_default();
        let dims = self.initializer(&scale).map_or_else(Vec::new, |tensor| tensor.dims.clone());
        let name = self.free_name(&format!("{scale}_zero_point"));
        self.add_tensor(name.clone(), kind, dims, &pack(numbers, kind)?);
        let inputs = &mut self.graph.node[node].input;
        inputs.resize(inputs.len().max(slot + 1), String::new());
        inputs[slot] = name;
        Ok(())
    }

    /// A name like this one that nothing has; it is taken afterwards.
    pub(super) fn free_name(&mut self, like: &str) -> String {
        let free = (1_u32..).map(|number| format!("{like}_{number}")).find(|name| !self.names.contains(name));
        let name = free.unwrap_or_else(|| like.to_owned());
        self.names.insert(name.clone());
        name
    }
}

/// Not `DynamicQuantizeLinear`, whose scale is computed.
pub(super) fn is_quantize(node: &NodeProto) -> bool {
    node.op_type
        .as_deref()
        .is_some_and(|name| name.ends_with("QuantizeLinear") && !name.starts_with("Dynamic"))
}
