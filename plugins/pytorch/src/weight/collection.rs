//! The quantized weights of a model: what each of its tensors is to one of them, and what that makes of the
//! model.

use super::torchao::Subclass;
use super::{Activations, Side, Weight};
use crate::document::Document;
use crate::tensor::StoredTensor;
use qp_abi::sdk::{
    Attribute, DType, Finding, ModelInfo, QuantizationParameters, RString, Result, Severity, TensorInfo,
    TensorRole, element_count,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Subjects that a finding lists at most.
const MAX_SUBJECTS: usize = 64;
/// A model has the precision of its codes when at least this share of its matrices' elements is: what is left
/// float on purpose, embeddings and a head, is a third of a small language model.
const MAIN_SHARE: f64 = 0.5;

/// What a tensor is to a weight.
struct Part {
    owner: String,
    role: TensorRole,
    /// How it is read, if not as it is stored.
    view: Option<StoredTensor>,
    quantization: Option<QuantizationParameters>,
    /// Scales that are computed, to be listed after it.
    computed: Vec<Side>,
}

/// The weights by their tensors and their layers.
#[derive(Default)]
pub struct Weights {
    parts: HashMap<String, Part>,
    forms: HashMap<String, BTreeSet<&'static str>>,
    attributes: HashMap<String, Vec<Attribute>>,
    schemes: BTreeMap<&'static str, BTreeSet<u8>>,
    /// The tensors of codes.
    codes: HashSet<String>,
    /// The types of the codes.
    dtypes: BTreeSet<String>,
    /// Why codes have no scales, with the codes' names.
    gaps: BTreeMap<String, Vec<RString>>,
    /// Weights of tensor subclasses, by the classes, the type that they show, and whether they have parts.
    subclasses: BTreeMap<(String, DType, bool), Vec<RString>>,
    /// Weights whose activations the file says nothing of.
    unknown_activations: Vec<RString>,
    /// Computed tensors with the tensor that they share their bytes with.
    aliases: Vec<(RString, RString)>,
}

impl Weights {
    /// Takes a weight of the layer at `path`.
    ///
    /// # Errors
    /// `CorruptFile` when its scales cannot be read.
    pub fn add(&mut self, weight: Weight, path: &str, document: &mut Document) -> Result<()> {
        let Weight { scheme, activations, codes_name, codes, parts, affine, mut gap, precision, attributes } =
            weight;
        let (mut quantization, mut computed, mut dtype) = (None, Vec::new(), codes.dtype);
        if let Some(affine) = affine {
            let sides = [Some(&affine.scales), affine.zero_points.as_ref()].into_iter().flatten();
            sides.into_iter().try_for_each(|side| side.tensor.check(&side.name, &document.data))?;
            dtype = affine.dtype;
            match affine.parameters(&codes, &document.data, document.scales())? {
                Some((parameters, sides)) => {
                    quantization = Some(parameters);
                    computed = sides
                        .into_iter()
                        .map(|side| Side {
                            name: side.name.clone(),
                            tensor: side.tensor.clone(),
                            origin: side.origin.clone(),
                        })
                        .collect();
                    quantization.iter().for_each(|parameters| document.count_scales(parameters));
                }
                None => {
                    gap = Some("its scales or zero points are too few or too many for its codes".to_owned())
                }
            }
        }
        if let Some(gap) = gap {
            self.gaps.entry(gap).or_default().push(codes_name.as_str().into());
        }
        let code = match activations {
            Activations::Real => 0,
            Activations::Dynamic => 1,
            Activations::Static | Activations::Unknown => 2,
        };
        if activations == Activations::Unknown {
            self.unknown_activations.push(codes_name.as_str().into());
        }
        self.schemes.entry(scheme).or_default().insert(code);
        self.dtypes.insert(precision.unwrap_or_else(|| dtype.to_string()));
        self.forms.entry(path.to_owned()).or_default().insert(scheme);
        self.attributes.entry(path.to_owned()).or_default().extend(attributes);
        let part = |role, view, quantization, computed| Part {
            owner: path.to_owned(),
            role,
            view,
            quantization,
            computed,
        };
        for (name, view) in parts {
            self.parts.insert(name, part(TensorRole::QUANTIZATION, view, None, Vec::new()));
        }
        self.codes.insert(codes_name.clone());
        let codes = part(TensorRole::PARAMETER, Some(codes), quantization, computed);
        self.parts.insert(codes_name, codes);
        Ok(())
    }

    /// Takes a weight of a tensor subclass.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_subclass(&mut self, subclass: &Subclass, path: &str, document: &mut Document) -> Result<()> {
        for (part, tensor) in &subclass.parts {
            tensor.check(&format!("{}.{part}", subclass.name), &document.data)?;
        }
        let kind = (subclass.classes.join(" of "), subclass.dtype, !subclass.parts.is_empty());
        self.subclasses.entry(kind).or_default().push(subclass.name.as_str().into());
        match subclass.weight(&document.data)? {
            Some(weight) => self.add(weight, path, document),
            None => {
                for (name, _) in &subclass.parts {
                    let part = Part {
                        owner: path.to_owned(),
                        role: TensorRole::PARAMETER,
                        view: None,
                        quantization: None,
                        computed: Vec::new(),
                    };
                    self.parts.insert(format!("{}.{name}", subclass.name), part);
                }
                Ok(())
            }
        }
    }

    /// Whether the tensor with that name is a part of a weight.
    pub fn has(&self, name: &str) -> bool {
        self.parts.contains_key(name)
    }

    /// How the tensor with that name is to be read, if not as it is stored.
    pub fn view(&self, name: &str) -> Option<StoredTensor> {
        self.parts.get(name)?.view.clone()
    }

    /// The layer that the tensor with that name belongs to.
    pub fn owner(&self, name: &str) -> Option<&str> {
        self.parts.get(name).map(|part| part.owner.as_str())
    }

    /// What the tensor with that name is for.
    pub fn role(&self, name: &str) -> Option<TensorRole> {
        self.parts.get(name).map(|part| part.role)
    }

    /// The parameters of the codes with that name, and the tensors that are to be listed for them.
    pub fn take_codes(&mut self, name: &str) -> (Option<QuantizationParameters>, Vec<Side>) {
        let part = self.parts.get_mut(name);
        part.map(|part| (part.quantization.take(), std::mem::take(&mut part.computed))).unwrap_or_default()
    }

    /// Remembers that the computed tensor `name` shares the bytes of `origin`.
    pub fn note_computed(&mut self, name: &RString, origin: Option<&str>) {
        self.aliases.extend(origin.map(|origin| (name.clone(), origin.into())));
    }

    /// How the layer at `path` is quantized.
    pub fn form(&self, path: &str) -> Option<String> {
        let schemes: Vec<String> = self.forms.get(path)?.iter().map(|scheme| scheme.to_lowercase()).collect();
        Some(schemes.join(" + "))
    }

    /// What is known of the weights of the layer at `path`.
    pub fn attributes(&self, path: &str) -> impl Iterator<Item = Attribute> {
        self.attributes.get(path).into_iter().flatten().cloned()
    }

    /// The names of the schemes.
    pub fn scheme(&self) -> String {
        self.schemes.keys().copied().collect::<Vec<_>>().join(" + ")
    }

    /// The share of the matrices' elements that are codes.
    fn share(&self, info: &ModelInfo) -> f64 {
        let elements = |is_counted: &dyn Fn(&TensorInfo) -> bool| {
            let matrices = info.tensors.iter().filter(|tensor| {
                tensor.role == TensorRole::PARAMETER && tensor.shape.len() >= 2 && is_counted(tensor)
            });
            matrices.map(|tensor| element_count(&tensor.shape).unwrap_or(0) as f64).sum::<f64>()
        };
        elements(&|tensor| self.codes.contains(tensor.name.as_str())) / elements(&|_| true).max(1.0)
    }

    /// Says of the model what its weights make of it.
    pub fn finish(mut self, info: &mut ModelInfo) {
        let aliases: HashMap<RString, RString> = std::mem::take(&mut self.aliases).into_iter().collect();
        for tensor in info.tensors.iter_mut().filter(|_| !aliases.is_empty()) {
            if let Some(origin) = aliases.get(&tensor.name) {
                tensor.alias_of = origin.clone();
            }
        }
        let mut add = |code: &str, message: String, subjects: Vec<RString>| {
            let subjects = subjects.into_iter().take(MAX_SUBJECTS).collect();
            let (severity, code, message) = (Severity::NOTE, code.into(), message.into());
            info.findings.push(Finding { severity, code, message, subjects });
        };
        for ((class, dtype, has_parts), names) in std::mem::take(&mut self.subclasses) {
            let message = match (&names[..], has_parts) {
                ([first, _, ..], true) => format!(
                    "`{first}` and {} more are tensors of the class {class} that stand in for {dtype}; those \
                     that they are made of are listed",
                    names.len() - 1
                ),
                ([first, _, ..], false) => format!(
                    "`{first}` and {} more are tensors of the class {class} that stand in for {dtype}; what they \
                     are made of is not known",
                    names.len() - 1
                ),
                (names, _) => format!(
                    "`{}` is a tensor of the class {class} that stands in for {dtype}; {}",
                    names.first().map(RString::as_str).unwrap_or_default(),
                    if has_parts {
                        "those that it is made of are listed"
                    } else {
                        "what it is made of is not known"
                    }
                ),
            };
            add("pytorch.tensor-subclass", message, names);
        }
        for (gap, codes) in std::mem::take(&mut self.gaps) {
            let named = match &codes[..] {
                [one] => format!("the real values of `{one}` are not known"),
                [first, others @ ..] => {
                    format!("the real values of `{first}` and {} more are not known", others.len())
                }
                [] => continue,
            };
            add("weights.no-scales", format!("{named}: {gap}"), codes);
        }
        if let [first, ..] = &self.unknown_activations[..] {
            let message = format!(
                "whether the inputs of `{first}` and its like are quantized is not said here, but in `config.json`"
            );
            add("weights.unknown-activations", message, self.unknown_activations.clone());
        }
        if self.schemes.is_empty() {
            return;
        }
        let is_rest_larger = self.share(info) < MAIN_SHARE;
        let dtype = match self.dtypes.iter().collect::<Vec<_>>()[..] {
            [one] => one.clone(),
            _ => "mixed".to_owned(),
        };
        let mut activations = self.schemes.into_values().flatten().collect::<BTreeSet<u8>>().into_iter();
        info.precision = match (activations.next(), activations.next()) {
            (Some(0), None) if dtype != "mixed" && !is_rest_larger => format!("weight-only-{dtype}"),
            (Some(1), None) if dtype != "mixed" && !is_rest_larger => format!("dynamic-{dtype}"),
            (_, None) if !is_rest_larger => dtype,
            _ => "mixed".to_owned(),
        }
        .into();
    }
}
