//! State dicts: names and tensors, and the paths of the modules they came from.
//!
//! Such a file names no classes: every layer is a `Module`. A tensor that is not a quantized one is a parameter
//! unless its name is one of batch normalization's statistics, that of a scale or zero point beside quantized
//! tensors, or it is a part of a quantized weight.

use super::attribute::scalar;
use super::module::layer;
use super::packed::{is_packer, owner_of_packed, packed_parameters, without_packer};
use super::quantization::is_parameter_of_codes;
use crate::document::{Collector, value};
use crate::pickle::{Global, Ref};
use crate::rebuild::{Found, Rebuild, Rebuilt};
use crate::tensor::{StoredTensor, numbers};
use crate::weight::torchao::Subclass;
use crate::weight::{self, Side, Weight, Weights};
use qp_abi::manifest::pair;
use qp_abi::sdk::{
    Attribute, AttributeValue, DType, QuantizationParameters, RSome, RString, Result, TensorRole,
};
use std::collections::{BTreeMap, HashMap, HashSet};

const STATISTICS: &[&str] = &["running_mean", "running_var", "num_batches_tracked"];

/// Whether a tensor is an observer's or a fake quantizer's, which preparing for quantization adds: a range or a
/// histogram, no parameter of the network.
fn is_observed(name: &str) -> bool {
    let is_observer = |part: &str| {
        part.starts_with("activation_post_process")
            || part.ends_with("_fake_quant")
            || part.ends_with("_observer")
    };
    name.rsplit_once('.').is_some_and(|(path, _)| path.split('.').any(is_observer))
}

/// Collects what one model's state dicts hold, and then adds it to a document: layers, tensors, scheme.
#[derive(Default)]
pub struct StateDict {
    /// The modules in the order of the file, with the tensors of each.
    paths: Vec<String>,
    tensors: HashMap<String, Vec<RString>>,
    versions: HashMap<String, i64>,
    scales: BTreeMap<String, (Option<f64>, Option<f64>)>,
    has_graph_scales: bool,
    found: Vec<(String, Found)>,
    /// Modules with packed parameters.
    packed: HashSet<String>,
    weights: Weights,
}

/// Adds the tensors of the state dict at `at`, and the layers they belong to.
///
/// # Errors
/// `CorruptFile` when a tensor's description makes no sense.
pub fn read(rebuild: Rebuild<'_>, at: Ref, collector: &mut Collector) -> Result<()> {
    let mut state = StateDict::default();
    state.add_pickled(rebuild, at, &|_| true, collector)?;
    state.finish(collector)
}

/// The path of the module that owns a name; packed parameters belong to the module that packs them.
fn owner(name: &str) -> &str {
    owner_of_packed(name.rsplit_once('.').map(|(owner, _)| owner).unwrap_or_default())
}

impl StateDict {
    /// Takes what the pickled state dict at `at` holds under the names that are wanted.
    ///
    /// # Errors
    /// `CorruptFile` when a tensor's description makes no sense.
    pub fn add_pickled(
        &mut self,
        rebuild: Rebuild<'_>,
        at: Ref,
        is_wanted: &dyn Fn(&str) -> bool,
        collector: &mut Collector,
    ) -> Result<()> {
        let pickle = rebuild.pickle;
        self.modules_of_metadata(rebuild, at);
        collector.check_modules(self.paths.len())?;
        let entries = pickle.named_entries(at);
        // Names are copied more than once before they are in the description.
        let mut names = 0;
        for (name, value) in entries {
            if !is_wanted(name) {
                continue;
            }
            names += name.len();
            collector.check_bytes(names)?;
            match rebuild.tensor(value)? {
                Some(rebuilt) => self.add_rebuilt(rebuild, name, rebuilt, collector)?,
                None => {
                    let (scope, last) = name.rsplit_once('.').unwrap_or(("", name));
                    let scope = without_packer(scope);
                    if let Some(text) = scalar(pickle, value) {
                        collector.document.info.metadata.push(pair(name, text));
                    }
                    for (part, tensor) in packed_parameters(rebuild, last, value)? {
                        self.packed.insert(owner(name).to_owned());
                        let name = if scope.is_empty() { part } else { format!("{scope}.{part}") };
                        self.found.push((name, tensor));
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes a tensor.
    pub fn add(&mut self, name: String, tensor: StoredTensor) {
        self.found.push((name, Found { tensor, quantizer: None, is_parameter: false }));
    }

    /// The names of all tensors that it has taken.
    pub fn names(&self) -> HashSet<String> {
        self.found.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Takes a weight of a subclass, its parts under its own name.
    ///
    /// # Errors
    /// `CorruptFile` when its scales cannot be read.
    pub fn add_subclass(&mut self, subclass: &Subclass, collector: &mut Collector) -> Result<()> {
        for (part, tensor) in &subclass.parts {
            self.add(format!("{}.{part}", subclass.name), tensor.clone());
        }
        self.weights.add_subclass(subclass, owner(&subclass.name), &mut collector.document)
    }

    /// Takes a tensor of a pickle.
    ///
    /// # Errors
    /// As [`Self::add_subclass`].
    pub fn add_rebuilt(
        &mut self,
        rebuild: Rebuild<'_>,
        name: &str,
        rebuilt: Rebuilt,
        collector: &mut Collector,
    ) -> Result<()> {
        match rebuilt {
            Rebuilt::Plain(tensor) => self.found.push((name.to_owned(), tensor)),
            Rebuilt::Composite(composite) => {
                self.add_subclass(&Subclass::of_pickle(rebuild, name, composite), collector)?;
            }
        }
        Ok(())
    }

    /// `OrderedDict._metadata` lists every module, those without tensors too, with its version.
    fn modules_of_metadata(&mut self, rebuild: Rebuild<'_>, at: Ref) {
        let pickle = rebuild.pickle;
        let state = pickle.object(at).and_then(|object| object.state);
        let metadata = state.and_then(|state| pickle.entry(state, "_metadata"));
        for (path, value) in metadata.map(|metadata| pickle.named_entries(metadata)).unwrap_or_default() {
            if path.is_empty() || is_packer(path) {
                continue;
            }
            if let Some(version) = pickle.entry(value, "version").and_then(|at| pickle.int(at)) {
                self.versions.insert(path.to_owned(), version);
            }
            self.module(path);
        }
    }

    /// Adds everything to the document.
    ///
    /// # Errors
    /// `CorruptFile` when a tensor lies outside of its storage, or what describes a quantized weight makes no
    /// sense.
    pub fn finish(mut self, collector: &mut Collector) -> Result<()> {
        let mut found = std::mem::take(&mut self.found);
        self.recognize(&found, collector)?;
        let is_quantized =
            !self.packed.is_empty() || found.iter().any(|(_, tensor)| tensor.quantizer.is_some());
        for (name, tensor) in &mut found {
            if let Some(view) = self.weights.view(name) {
                tensor.tensor = view;
            }
        }
        let mut sides = Vec::new();
        for (name, tensor) in found {
            self.tensor(&name, tensor, is_quantized, &mut sides, collector)?;
        }
        // What is computed from a tensor comes after it.
        for (owner, side) in sides {
            let found = Found { tensor: side.tensor, quantizer: None, is_parameter: false };
            let name = collector.add(&side.name, &owner, TensorRole::QUANTIZATION, found)?;
            self.weights.note_computed(&name, side.origin.as_deref());
            self.module(&owner).push(name);
        }
        self.paths.iter().try_for_each(|path| collector.spend(2 * path.len()))?;
        self.layers(is_quantized, collector);
        Ok(())
    }

    /// Finds the weights that several tensors make up.
    fn recognize(&mut self, found: &[(String, Found)], collector: &mut Collector) -> Result<()> {
        let plain =
            || found.iter().filter(|(name, tensor)| tensor.quantizer.is_none() && !self.weights.has(name));
        let names: Vec<&str> = plain().map(|(name, _)| name.as_str()).collect();
        let data = &collector.document.data;
        // Scales are read to describe a weight: what lies outside of its storage must be found before.
        for (name, found) in plain() {
            found.tensor.check(name, data)?;
        }
        let tensors = weight::Tensors::new(plain().map(|(name, found)| (name.as_str(), &found.tensor)), data);
        let weights: Vec<Weight> = weight::recognize(&tensors, &names)?;
        for weight in weights {
            let path = owner(&weight.codes_name).to_owned();
            self.weights.add(weight, &path, &mut collector.document)?;
        }
        Ok(())
    }

    fn module(&mut self, path: &str) -> &mut Vec<RString> {
        if !path.is_empty() && !self.tensors.contains_key(path) {
            self.paths.push(path.to_owned());
        }
        self.tensors.entry(path.to_owned()).or_default()
    }

    fn tensor(
        &mut self,
        name: &str,
        found: Found,
        is_quantized: bool,
        sides: &mut Vec<(String, Side)>,
        collector: &mut Collector,
    ) -> Result<()> {
        let owner = self.weights.owner(name).unwrap_or_else(|| owner(name)).to_owned();
        let last = name.rsplit('.').next().unwrap_or_default();
        let role = if let Some(role) = self.weights.role(name) {
            role
        } else if is_observed(name) {
            if is_parameter_of_codes(last) { TensorRole::QUANTIZATION } else { TensorRole::BUFFER }
        } else if found.quantizer.is_none() && !found.is_parameter && STATISTICS.contains(&last) {
            TensorRole::BUFFER
        } else if is_quantized && found.quantizer.is_none() && is_parameter_of_codes(last) {
            self.note_scale(name, &owner, &found, collector);
            TensorRole::QUANTIZATION
        } else {
            TensorRole::PARAMETER
        };
        let (codes, computed) = self.weights.take_codes(name);
        let added = collector.add(name, &owner, role, found)?;
        if let (Some(codes), Some(tensor)) = (codes, collector.document.info.tensors.last_mut()) {
            tensor.quantization = RSome(codes);
        }
        self.module(&owner).push(added);
        sides.extend(computed.into_iter().map(|side| (owner.clone(), side)));
        Ok(())
    }

    /// Remembers `conv.scale` and `conv.zero_point`, the parameters of what `conv` computes.
    fn note_scale(&mut self, name: &str, owner: &str, found: &Found, collector: &Collector) {
        let last = name.rsplit('.').next().unwrap_or_default();
        self.has_graph_scales |= owner.is_empty();
        let number =
            numbers(&found.tensor, &collector.document.data).ok().and_then(|all| all.first().copied());
        let entry = self.scales.entry(owner.to_owned()).or_default();
        match last {
            "scale" => entry.0 = number,
            "zero_point" => entry.1 = number,
            _ => {}
        }
    }

    fn layers(self, is_quantized: bool, collector: &mut Collector) {
        let info = &mut collector.document.info;
        let class = Global::new("", "Module");
        let quantized: HashSet<RString> = info
            .tensors
            .iter()
            .filter(|tensor| tensor.quantization.is_some())
            .map(|tensor| tensor.name.clone())
            .collect();
        for path in &self.paths {
            let tensors = self.tensors.get(path).cloned().unwrap_or_default();
            // Dynamically quantized modules write the scale 1 and the zero point 0, which they never use; recurrent ones
            // write none.
            let is_dynamic = match self.scales.get(path) {
                Some(scale) => *scale == (Some(1.0), Some(0.0)),
                None => self.packed.contains(path),
            };
            let has_codes = self.packed.contains(path) || tensors.iter().any(|name| quantized.contains(name));
            let form = match self.weights.form(path) {
                Some(form) => form,
                None if has_codes && is_dynamic => "dynamic".to_owned(),
                None if has_codes => "static".to_owned(),
                None => String::new(),
            };
            let mut layer = layer(path, &class, &form);
            if let Some(version) = self.versions.get(path) {
                let value = AttributeValue::Int(*version);
                layer.attributes.push(Attribute { name: "state dict version".into(), value });
            }
            layer.attributes.extend(self.weights.attributes(path));
            if let Some((Some(scale), Some(zero_point))) = self.scales.get(path).filter(|_| !is_dynamic) {
                let parameters = QuantizationParameters::per_tensor(DType::UINT8, *scale, *zero_point);
                layer.outputs.push(path.as_str().into());
                info.values.push(value(path, Some(parameters)));
            }
            layer.tensors = tensors.into();
            info.layers.push(layer);
        }
        let has = |form: &str| info.layers.iter().any(|layer| layer.quantization == form);
        let is_all_dynamic = has("dynamic") && !info.layers.iter().any(|layer| !layer.outputs.is_empty());
        let scheme = match is_quantized {
            true if is_all_dynamic => "dynamic".to_owned(),
            true if self.has_graph_scales => "FX".to_owned(),
            true => "eager".to_owned(),
            false => self.weights.scheme(),
        };
        info.scheme = scheme.into();
        self.weights.finish(&mut collector.document.info);
    }
}
