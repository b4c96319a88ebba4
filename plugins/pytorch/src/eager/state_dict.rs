//! State dicts: names and tensors, and the paths of the modules they came from.
//!
//! Such a file names no classes: every layer is a `Module`. A tensor that is no quantized one is a parameter
//! unless its name is one of batch normalization's statistics, or that of a scale or zero point beside
//! quantized tensors.

use super::module::{is_parameter_of_codes, layer, packed_parameters};
use crate::document::{Collector, value};
use crate::pickle::{Global, Ref};
use crate::quant::{numbers, subclass};
use crate::rebuild::{Composite, Found, Rebuild, Rebuilt};
use qp_abi::manifest::pair;
use qp_abi::sdk::{
    Attribute, AttributeValue, DType, Finding, QuantizationParameters, RSome, RString, Result, Severity,
    TensorRole,
};
use std::collections::{BTreeMap, HashMap, HashSet};

const STATISTICS: &[&str] = &["running_mean", "running_var", "num_batches_tracked"];

/// Adds the tensors of the state dict at `at`, and the layers they belong to.
///
/// # Errors
/// `CorruptFile` when a tensor's description makes no sense.
pub fn read(rebuild: Rebuild<'_>, at: Ref, collector: &mut Collector) -> Result<()> {
    let pickle = rebuild.pickle;
    let mut reader = Reader::default();
    reader.modules_of_metadata(rebuild, at);
    let entries = pickle.named_entries(at);
    let mut found = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        match rebuild.tensor(value)? {
            Some(Rebuilt::Plain(tensor)) => found.push((name.to_owned(), tensor)),
            Some(Rebuilt::Composite(composite)) => {
                reader.composite(name, &composite, collector)?;
                for (part, tensor) in composite.parts {
                    found.push((format!("{name}.{part}"), tensor));
                }
            }
            None => {
                let owner = owner(name);
                if let Some(text) = super::root::scalar(pickle, value) {
                    collector.document.info.metadata.push(pair(name, text));
                }
                for (part, tensor) in packed_parameters(rebuild, value)? {
                    let name = if owner.is_empty() { part.to_owned() } else { format!("{owner}.{part}") };
                    found.push((name, tensor));
                }
            }
        }
    }
    reader.all(found, collector)
}

/// Adds tensors by their names, and the layers they belong to.
///
/// # Errors
/// `CorruptFile` when a tensor lies outside of its storage.
pub fn add(found: Vec<(String, Found)>, collector: &mut Collector) -> Result<()> {
    Reader::default().all(found, collector)
}

/// The path of the module that owns a name; packed parameters belong to the module that packs them.
fn owner(name: &str) -> &str {
    let owner = name.rsplit_once('.').map(|(owner, _)| owner).unwrap_or_default();
    owner.strip_suffix("._packed_params").or((owner == "_packed_params").then_some("")).unwrap_or(owner)
}

#[derive(Default)]
struct Reader {
    /// The modules in the order of the file, with the tensors of each.
    paths: Vec<String>,
    tensors: HashMap<String, Vec<RString>>,
    versions: HashMap<String, i64>,
    classes: BTreeMap<String, String>,
    scales: BTreeMap<String, (Option<f64>, Option<f64>)>,
    has_graph_scales: bool,
    /// The parameters of codes that a tensor subclass is made of, by the codes' name.
    codes: HashMap<String, QuantizationParameters>,
}

impl Reader {
    /// `OrderedDict._metadata` lists every module, those without tensors too, with its version.
    fn modules_of_metadata(&mut self, rebuild: Rebuild<'_>, at: Ref) {
        let pickle = rebuild.pickle;
        let state = pickle.object(at).and_then(|object| object.state);
        let metadata = state.and_then(|state| pickle.entry(state, "_metadata"));
        for (path, value) in metadata.map(|metadata| pickle.named_entries(metadata)).unwrap_or_default() {
            if path.is_empty() || path.ends_with("._packed_params") {
                continue;
            }
            if let Some(version) = pickle.entry(value, "version").and_then(|at| pickle.int(at)) {
                self.versions.insert(path.to_owned(), version);
            }
            self.module(path);
        }
    }

    fn all(mut self, found: Vec<(String, Found)>, collector: &mut Collector) -> Result<()> {
        let is_quantized = found.iter().any(|(_, tensor)| tensor.quantizer.is_some());
        for (name, tensor) in found {
            self.tensor(&name, tensor, is_quantized, collector)?;
        }
        self.finish(is_quantized, collector);
        Ok(())
    }

    fn module(&mut self, path: &str) -> &mut Vec<RString> {
        if !path.is_empty() && !self.tensors.contains_key(path) {
            self.paths.push(path.to_owned());
        }
        self.tensors.entry(path.to_owned()).or_default()
    }

    fn composite(&mut self, name: &str, composite: &Composite, collector: &mut Collector) -> Result<()> {
        self.classes.insert(name.to_owned(), composite.class.clone());
        let shape: Vec<String> = composite.shape.iter().map(i64::to_string).collect();
        collector.document.info.findings.push(Finding {
            severity: Severity::NOTE,
            code: "pytorch.tensor-subclass".into(),
            message: format!(
                "`{name}` is a {} that stands in for {} [{}]; the tensors it is made of are listed",
                composite.class,
                composite.dtype,
                shape.join(", ")
            )
            .into(),
            subjects: composite.parts.iter().map(|(part, _)| format!("{name}.{part}").into()).collect(),
        });
        if let Some(parameters) = subclass::parameters(composite, &collector.document.data)? {
            self.codes.insert(format!("{name}.qdata"), parameters);
        }
        Ok(())
    }

    fn tensor(
        &mut self,
        name: &str,
        found: Found,
        is_quantized: bool,
        collector: &mut Collector,
    ) -> Result<()> {
        let base = self
            .classes
            .keys()
            .find(|class| name.strip_prefix(class.as_str()).is_some_and(|rest| rest.starts_with('.')));
        let owner = owner(base.map_or(name, String::as_str)).to_owned();
        let last = name.rsplit('.').next().unwrap_or_default();
        let role = if base.is_some() && last != "qdata" {
            TensorRole::QUANTIZATION
        } else if found.quantizer.is_none() && !found.is_parameter && STATISTICS.contains(&last) {
            TensorRole::BUFFER
        } else if is_quantized && found.quantizer.is_none() && is_parameter_of_codes(last) {
            self.note_scale(name, &owner, &found, collector);
            TensorRole::QUANTIZATION
        } else {
            TensorRole::PARAMETER
        };
        let codes = self.codes.remove(name);
        let name = collector.add(name, &owner, role, found)?;
        if let (Some(codes), Some(tensor)) = (codes, collector.document.info.tensors.last_mut()) {
            tensor.quantization = RSome(codes);
        }
        self.module(&owner).push(name);
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

    fn finish(self, is_quantized: bool, collector: &mut Collector) {
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
            // Dynamically quantized modules write the scale 1 and the zero point 0, which they never use.
            let is_dynamic = self.scales.get(path) == Some(&(Some(1.0), Some(0.0)));
            let has_codes = tensors.iter().any(|name| quantized.contains(name));
            let is_torchao = self.classes.keys().any(|name| owner(name) == path);
            let quantization = if is_torchao {
                "torchao"
            } else if has_codes && is_dynamic {
                "dynamic"
            } else if has_codes {
                "static"
            } else {
                ""
            };
            let mut layer = layer(path, &class, quantization);
            if let Some(version) = self.versions.get(path) {
                let value = AttributeValue::Int(*version);
                layer.attributes.push(Attribute { name: "state dict version".into(), value });
            }
            for (name, class) in self.classes.iter().filter(|(name, _)| owner(name) == path) {
                let name = name.rsplit('.').next().unwrap_or_default();
                let value = AttributeValue::Text(class.as_str().into());
                layer.attributes.push(Attribute { name: format!("{name} class").into(), value });
            }
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
        let scheme = match (is_quantized, self.classes.is_empty()) {
            (true, _) if is_all_dynamic => "dynamic",
            (true, _) if self.has_graph_scales => "FX",
            (true, _) => "eager",
            (false, false) => "torchao",
            (false, true) => "",
        };
        info.scheme = scheme.into();
    }
}
