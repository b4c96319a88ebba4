//! Which codes of a model a line is about.

use crate::error::{Error, ErrorKind, Result};
use crate::inspect::suspicion::Wiring;
use crate::model::{LayerInfo, ModelInfo, QuantizationParameters, TensorInfo, find_layer};
use crate::spelling::nearest;

/// The part of a layer that codes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The stored weight.
    Weight,
    /// The stored bias.
    Bias,
    /// What the layer reads: its first, second, … input that is data.
    Input(usize),
    /// What the layer computes: its first, second, … output.
    Output(usize),
}

/// Codes, and what they stand for.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// How the journal names it.
    pub name: String,
    /// The stored tensor or the value.
    pub codes: &'a str,
    /// What the codes mean.
    pub parameters: &'a QuantizationParameters,
    /// The stored tensor, if they are one.
    pub tensor: Option<&'a TensorInfo>,
    /// The layer that it is part of, if that is known.
    pub layer: Option<&'a LayerInfo>,
}

impl<'a> Subject<'a> {
    /// The codes that a text names: a tensor or a value by its name, a part of a layer (`conv1.weight`, `conv1.output`), or a
    /// layer, which stands for its weight, or for its output if it has none.
    ///
    /// # Errors
    /// `NotFound` for what the model does not have, `UnsupportedOp` for what is not quantized, or not with stored scales.
    pub fn find(text: &str, info: &'a ModelInfo) -> Result<Self> {
        let wiring = Wiring::of(info);
        if let Some(found) = Self::named(text, info, &wiring) {
            return found.checked();
        }
        if let Some((layer, part)) = split_part(text)
            && let Ok(layer) = find_layer(layer, info)
        {
            return Self::part(layer, part, info, &wiring)?.checked();
        }
        let layer = find_layer(text, info).map_err(|error| {
            let names = info
                .tensors
                .iter()
                .filter(|tensor| tensor.quantization.is_some())
                .map(|tensor| tensor.name.as_str());
            match nearest(text, names) {
                Some(near) if error.kind() == ErrorKind::NotFound => {
                    Error::not_found(format!("no layer and no quantized tensor `{text}`"))
                        .with_hint(format!("Did you mean `{near}`? `quant` lists all."))
                }
                _ => error,
            }
        })?;
        let weight = Self::part(layer, Part::Weight, info, &wiring);
        weight.or_else(|_| Self::part(layer, Part::Output(0), info, &wiring))?.checked()
    }

    fn named(name: &str, info: &'a ModelInfo, wiring: &Wiring<'a>) -> Option<Self> {
        let tensor = info.tensor(name).filter(|tensor| tensor.quantization.is_some());
        let codes = match tensor {
            Some(tensor) => tensor.name.as_str(),
            None => info.value(name).filter(|value| value.quantization.is_some())?.name.as_str(),
        };
        let parameters = wiring.parameters(codes)?;
        let layer = tensor.and_then(|tensor| info.layer(tensor.layer.as_deref()?)).or_else(|| {
            info.layers
                .iter()
                .find(|layer| !layer.kind.is_plumbing() && layer.outputs.iter().any(|output| output == codes))
        });
        Some(Self { name: name.to_owned(), codes, parameters, tensor, layer })
    }

    fn part(layer: &'a LayerInfo, part: Part, info: &'a ModelInfo, wiring: &Wiring<'a>) -> Result<Self> {
        let path = &layer.path;
        let none = |what: &str| {
            let mut parts: Vec<&str> = Vec::new();
            for (word, part) in
                [("weight", Part::Weight), ("input", Part::Input(0)), ("output", Part::Output(0))]
            {
                if names_of(layer, part, info).iter().any(|name| wiring.parameters(name).is_some()) {
                    parts.push(word);
                }
            }
            let error = Error::new(ErrorKind::UnsupportedOp, format!("{what} of `{path}` is not quantized"));
            match parts.is_empty() {
                true => error
                    .with_hint("`quant` lists what is; `quantize` makes a quantized model of a float one."),
                false => error.with_hint(format!(
                    "What is: {}.",
                    parts.iter().map(|part| format!("`{path}.{part}`")).collect::<Vec<_>>().join(", ")
                )),
            }
        };
        let (word, what) = match part {
            Part::Weight => ("weight".to_owned(), "the weight"),
            Part::Bias => ("bias".to_owned(), "the bias"),
            Part::Input(0) => ("input".to_owned(), "the input"),
            Part::Input(index) => (format!("input{}", index + 1), "that input"),
            Part::Output(0) => ("output".to_owned(), "the output"),
            Part::Output(index) => (format!("output{}", index + 1), "that output"),
        };
        let found =
            names_of(layer, part, info).into_iter().find_map(|name| Some((name, wiring.parameters(name)?)));
        let (codes, parameters) = found.ok_or_else(|| none(what))?;
        let name = format!("{path}.{word}");
        Ok(Self { name, codes, parameters, tensor: info.tensor(codes), layer: Some(layer) })
    }

    fn checked(self) -> Result<Self> {
        let refused = |reason: &str| {
            Err(Error::new(
                ErrorKind::UnsupportedOp,
                format!("the scale of `{}` cannot be set: {reason}", self.name),
            ))
        };
        if self.parameters.is_dynamic {
            return refused("it is computed anew for each input");
        }
        if self.parameters.scales.is_empty() {
            return refused("it has too many, or they are computed");
        }
        if self.parameters.codes().is_none() {
            return refused("its codes are not whole numbers");
        }
        Ok(self)
    }

    /// The layer's path, or the name of the codes if no layer is known.
    pub fn owner(&self) -> &str {
        self.layer.map_or(self.codes, |layer| &layer.path)
    }
}

/// The names under which a part may have codes, the likeliest first.
fn names_of<'a>(layer: &'a LayerInfo, part: Part, info: &'a ModelInfo) -> Vec<&'a str> {
    match part {
        Part::Weight | Part::Bias => layer
            .weights
            .iter()
            .filter(|used| used.is_bias == (part == Part::Bias))
            .map(|used| used.tensor.as_str())
            .collect(),
        Part::Input(index) => layer.data().nth(index).map(|(_, name)| name).into_iter().collect(),
        Part::Output(index) => {
            let Some(output) = layer.outputs.iter().filter(|name| !name.is_empty()).nth(index) else {
                return Vec::new();
            };
            let rounding = info.layers.iter().filter(|other| {
                other.kind.is_plumbing() && other.inputs.first().is_some_and(|input| input == output)
            });
            let codes = rounding.filter_map(|other| other.outputs.first());
            std::iter::once(output).chain(codes).map(String::as_str).collect()
        }
    }
}

/// `conv1.weight`, `conv1.input2` and the like.
fn split_part(text: &str) -> Option<(&str, Part)> {
    let (layer, part) = text.rsplit_once('.')?;
    let numbered = |word: &str| -> Option<usize> {
        let digits = part.strip_prefix(word)?;
        if digits.is_empty() { Some(0) } else { digits.parse::<usize>().ok()?.checked_sub(1) }
    };
    let part = match part {
        "weight" => Part::Weight,
        "bias" => Part::Bias,
        _ => numbered("input").map(Part::Input).or_else(|| numbered("output").map(Part::Output))?,
    };
    Some((layer, part))
}
