//! The list of layers while it grows.

use super::entry::{Entry, part_name};
use super::symbol::{Kind, Symbol, is_sure, quantization_of, relabelled};
use super::tracer::{Place, Tracer};
use crate::document;
use qp_abi::sdk::{LayerInfo, QuantizationParameters, RString};

impl Tracer<'_> {
    /// The layer that something is which the module at `place` computes itself.
    pub(super) fn step(&self, place: Place, op_type: &str, domain: &str, inputs: Vec<RString>) -> LayerInfo {
        let scope = self.modules.all.get(place.module).map(|module| module.path.as_str()).unwrap_or_default();
        let path = if scope.is_empty() { op_type.to_owned() } else { format!("{scope}.{op_type}") };
        LayerInfo {
            path: path.into(),
            op_type: op_type.into(),
            domain: domain.into(),
            scope: scope.into(),
            inputs: inputs.into(),
            ..LayerInfo::default()
        }
    }

    /// Lists a layer that computes a value of that kind.
    pub(super) fn list(
        &mut self,
        layer: LayerInfo,
        is_module: bool,
        kind: &Kind,
        quantization: Option<QuantizationParameters>,
    ) -> Symbol {
        if !kind.is_sure() {
            if self.met_idle(&layer) {
                self.push(layer, is_module, false);
            }
            return kind.to_symbol(&mut 0, &mut |_| RString::new());
        }
        let id = self.push(layer, is_module, true);
        let mut outputs = Vec::new();
        let symbol = kind.to_symbol(&mut 0, &mut |part| {
            let name = part_name(&format!("%{id}"), part);
            outputs.push(name.clone());
            name
        });
        let symbol = symbol.quantized(quantization);
        self.finish_entry(outputs, quantization_of(&symbol), *kind == Kind::Tensor);
        symbol
    }

    /// Lists a layer whose result is like `symbol`.
    pub(super) fn list_as(&mut self, layer: LayerInfo, is_module: bool, symbol: &Symbol) -> Symbol {
        if !is_sure(symbol) {
            if self.met_idle(&layer) {
                self.push(layer, is_module, false);
            }
            return symbol.clone();
        }
        let id = self.push(layer, is_module, true);
        let mut outputs = Vec::new();
        let listed = relabelled(symbol, &mut 0, &mut |part| {
            let name = part_name(&format!("%{id}"), part);
            outputs.push(name.clone());
            name
        });
        self.finish_entry(outputs, quantization_of(&listed), matches!(symbol, Symbol::Value { .. }));
        listed
    }

    /// Whether a module that computes nothing is to be listed: once.
    fn met_idle(&self, layer: &LayerInfo) -> bool {
        !self.idle.contains_key(&layer.path) && !self.computing.contains(&layer.path)
    }

    /// Gives the last layer its outputs; the parameters are those of the first.
    fn finish_entry(
        &mut self,
        outputs: Vec<RString>,
        quantization: Option<QuantizationParameters>,
        is_list: bool,
    ) {
        self.may_keep(outputs.len());
        if let (Some(first), true) = (outputs.first(), quantization.is_some()) {
            self.values.push(document::value(first, quantization));
        }
        if let Some(entry) = self.entries.last_mut() {
            entry.layer.outputs = outputs.into();
            entry.is_list = is_list;
        }
    }

    /// Adds a layer, and gives it a number if it computes something. It then stands for the same module where that was
    /// listed without computing anything.
    pub(super) fn push(&mut self, layer: LayerInfo, is_module: bool, computes: bool) -> usize {
        self.note_path(layer.path.len() + layer.scope.len());
        self.may_keep(layer.inputs.len() + layer.tensors.len() + layer.attributes.len());
        let (id, at) = (self.ids.len(), self.entries.len());
        if computes {
            if is_module {
                self.computing.insert(layer.path.clone());
            }
            let idle = if is_module { self.idle.remove(&layer.path) } else { None };
            if let Some(entry) = idle.and_then(|idle| self.entries.get_mut(idle)) {
                entry.is_dropped = true;
            }
            self.ids.push(at);
        } else {
            self.idle.insert(layer.path.clone(), at);
        }
        self.entries.push(Entry {
            layer,
            is_module,
            id: computes.then_some(id),
            is_list: false,
            is_dropped: false,
        });
        id
    }
}
