//! Layers that compute with real numbers again.

use super::super::json;
use super::super::layers;
use super::super::operator::{Rule, rule};
use super::super::wiring::{Wiring, first_operand};
use super::editor::{Editor, set_reads};
use super::parameters::{input_of, is_dequantize, is_quantize};
use qp_abi::sdk::{BackendError, Edit, Result, lookup};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// What moves a weight between its codes and the layer, at most.
const MAX_MOVES: usize = 4;

impl Editor<'_> {
    /// Lets the layer that computes the target read real numbers, and pass them on where nothing else needs codes.
    pub(super) fn unquantize(&mut self, edit: &Edit) -> Result<()> {
        let target = edit.target.to_string();
        let nodes = self.nodes_of_layer(&target)?;
        let mut changed = 0;
        for place in &nodes {
            changed += self.read_real_numbers(*place, edit)?;
        }
        if changed == 0 && lookup(edit.arguments.as_slice(), "if-any").is_none() {
            return Err(BackendError::invalid_input(format!(
                "`{target}` is computed with real numbers already: what is rounded belongs to other layers"
            ))
            .with_help("Turn off the layers before and behind it."));
        }
        self.pass_on_real_numbers(&target);
        self.remove_unread_quantizers();
        Ok(())
    }

    /// The places of the nodes of the layer that computes a value.
    fn nodes_of_layer(&self, target: &str) -> Result<Vec<usize>> {
        let returned: HashSet<&str> = self.returned.iter().map(String::as_str).collect();
        let computes = |node: &Value| json::results(node).any(|result| result == target);
        let layers = layers::of(&self.nodes, &returned);
        let layer = layers.iter().find(|layer| layer.nodes.iter().any(|node| computes(node)));
        let layer = layer.ok_or_else(|| {
            BackendError::not_found(format!("no layer computes `{}`", target.escape_debug()))
        })?;
        let own: HashSet<*const Value> = layer.nodes.iter().map(|node| std::ptr::from_ref(*node)).collect();
        let places =
            self.nodes.iter().enumerate().filter(|(_, node)| own.contains(&std::ptr::from_ref(*node)));
        Ok(places.map(|(place, _)| place).collect())
    }

    /// The operands of a node become what was rounded, or the real numbers that were given for stored codes. Gives back how
    /// many did.
    fn read_real_numbers(&mut self, place: usize, edit: &Edit) -> Result<usize> {
        let Some(node) = self.nodes.get(place) else { return Ok(0) };
        let operands: Vec<String> =
            json::inputs(node).flat_map(json::tensor_names).map(str::to_owned).collect();
        let mut changed = 0;
        for operand in operands {
            // A weight may be moved after it is dequantized; what others read, too, is left alone.
            let (mut reader, mut read) = (place, operand);
            for _ in 0..MAX_MOVES {
                if let Some(real) = self.real_of(&read, edit)? {
                    if let Some(node) = self.nodes.get_mut(reader) {
                        set_reads(node, &read, &real);
                        changed += 1;
                    }
                    break;
                }
                let wiring = self.wiring();
                let maker = wiring.maker(&read).filter(|maker| {
                    let does = wiring.nodes.get(*maker).and_then(rule);
                    does == Some(Rule::Move) && wiring.readers(&read).len() == 1
                });
                let Some(maker) = maker else { break };
                let before = wiring.nodes.get(maker).and_then(first_operand);
                let Some(before) = before.map(str::to_owned) else { break };
                (reader, read) = (maker, before);
            }
        }
        Ok(changed)
    }

    /// The real numbers that stand behind a value that was made of codes.
    fn real_of(&self, value: &str, edit: &Edit) -> Result<Option<String>> {
        if let Some(codes) = self.stored_codes_behind(value) {
            let Some(given) = lookup(edit.arguments.as_slice(), &format!("real:{codes}")) else {
                return Ok(None);
            };
            let given = self.alias_of(given);
            let (_, has) = self.store.describe(given)?;
            let (_, needed) = self.store.describe(codes)?;
            if has != needed {
                return Err(BackendError::invalid_input(format!(
                    "`{given}` has the shape {has:?}, the codes `{codes}` {needed:?}"
                )));
            }
            return Ok(self.in_graph(given).next().map(str::to_owned));
        }
        let wiring = self.wiring();
        let Some(codes) = wiring.made_by(value).filter(|node| is_dequantize(node)).and_then(input_of) else {
            return Ok(None);
        };
        let source = wiring.made_by(codes).filter(|node| is_quantize(node)).and_then(input_of);
        Ok(source.map(str::to_owned))
    }

    /// Readers of a value that compute with real numbers get it unrounded.
    fn pass_on_real_numbers(&mut self, target: &str) {
        let wiring = Wiring::of(&self.nodes, None);
        let mut changes: Vec<(usize, String)> = Vec::new();
        for quantize in wiring.readers(target) {
            let Some(node) = wiring.nodes.get(*quantize).filter(|node| is_quantize(node)) else { continue };
            let codes = json::results(node);
            for dequantize in codes.flat_map(|codes| wiring.readers(codes)) {
                let Some(node) = wiring.nodes.get(*dequantize).filter(|node| is_dequantize(node)) else {
                    continue;
                };
                for real in json::results(node) {
                    let readers = wiring.readers(real).iter();
                    let plain = readers.filter(|reader| !Self::computes_with_codes(&wiring, **reader));
                    changes.extend(plain.map(|reader| (*reader, real.to_owned())));
                }
            }
        }
        for (reader, read) in changes {
            if let Some(node) = self.nodes.get_mut(reader) {
                set_reads(node, &read, target);
            }
        }
    }

    /// Whether all that a node reads, but for stored real numbers such as a bias, was made of codes, or what it computes
    /// becomes codes.
    fn computes_with_codes(wiring: &Wiring<'_>, place: usize) -> bool {
        let Some(node) = wiring.nodes.get(place) else { return true };
        let reads: Vec<&str> = json::inputs(node).flat_map(json::tensor_names).collect();
        let is_of_codes = |name: &&str| wiring.made_by(name).is_some_and(is_dequantize);
        match rule(node) {
            Some(Rule::Weighted { weight, .. }) => {
                let weight = json::inputs(node).nth(weight).map(json::tensor_names);
                weight.is_some_and(|names| names.iter().any(is_of_codes))
            }
            Some(Rule::Clamp) | None => false,
            Some(_) => reads.iter().all(is_of_codes) || is_rounded(wiring, node),
        }
    }

    /// Takes out the operators of codes whose results nothing reads.
    pub(super) fn remove_unread_quantizers(&mut self) {
        let mut reads: HashMap<String, usize> = HashMap::new();
        for name in self.nodes.iter().flat_map(json::inputs).flat_map(json::tensor_names) {
            *reads.entry(name.to_owned()).or_default() += 1;
        }
        // Back to front: what a reader leaves unread goes, too.
        for place in (0..self.nodes.len()).rev() {
            let Some(node) = self.nodes.get(place).filter(|node| is_quantize(node) || is_dequantize(node))
            else {
                continue;
            };
            let is_unread = |name: &str| reads.get(name).is_none_or(|count| *count == 0);
            if !json::results(node).all(|name| is_unread(name) && !self.returned.contains(name)) {
                continue;
            }
            let node = self.nodes.remove(place);
            json::results(&node).for_each(|name| drop(self.values.remove(name)));
            for name in json::inputs(&node).flat_map(json::tensor_names) {
                if let Some(count) = reads.get_mut(name) {
                    *count = count.saturating_sub(1);
                }
            }
        }
    }
}

/// Whether what a node computes becomes codes.
fn is_rounded(wiring: &Wiring<'_>, node: &Value) -> bool {
    let mut readers = json::results(node).flat_map(|result| wiring.readers(result));
    readers.any(|reader| wiring.nodes.get(*reader).is_some_and(is_quantize))
}
