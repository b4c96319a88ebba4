//! What each layer loses at each number of bits, measured or from a file.

use crate::error::{Error, Result};
use crate::quantization::{Bits, Mixed};
use qp_analysis::allocation::Choice;
use serde_json::{Value, json};
use std::collections::HashMap;

/// What each layer loses at each number of bits: mean divergence of the output.
pub(super) struct Scores {
    /// By layer: in the order of [`Bits::CODES`]; infinite where nobody knows.
    pub(super) losses: Vec<[f64; 3]>,
    pub(super) pins: Vec<Option<Bits>>,
    pub(super) rank_correlation: Option<f64>,
    pub(super) measured: usize,
}

impl Scores {
    pub(super) fn to_json(&self, mixed: &Mixed<'_>, model: &str) -> Value {
        let layers: Vec<Value> = mixed
            .layers
            .iter()
            .zip(self.losses.iter().zip(&self.pins))
            .map(|(layer, (losses, pin))| {
                json!({
                    "layer": layer.layer,
                    "parameters": layer.parameters,
                    "kl": { "4": losses[0], "8": losses[1], "16": losses[2], "float": 0.0 },
                    "pin": pin.map(Bits::word),
                })
            })
            .collect();
        json!({ "model": model, "rank_correlation": self.rank_correlation, "layers": layers })
    }

    pub(super) fn read(path: &std::path::Path, mixed: &Mixed<'_>) -> Result<Self> {
        const MOST_BYTES: u64 = 64 << 20;
        let text = crate::regular_file::read_text(path, MOST_BYTES)?;
        let unclear = |reason: String| {
            Error::invalid_input(format!("`{}` does not hold scores", path.display()))
                .with_cause(reason)
                .with_hint("`search --save-scores FILE` writes such a file.")
        };
        let value: Value = serde_json::from_str(&text).map_err(|error| unclear(error.to_string()))?;
        let rows = value["layers"].as_array().ok_or_else(|| unclear("it has no list `layers`".to_owned()))?;
        let by_layer: HashMap<&str, &Value> =
            rows.iter().filter_map(|row| Some((row["layer"].as_str()?, row))).collect();
        let (mut losses, mut pins) = (Vec::new(), Vec::new());
        for layer in &mixed.layers {
            let row = by_layer
                .get(layer.layer.as_str())
                .ok_or_else(|| unclear(format!("the layer `{}` is missing", layer.layer)))?;
            let score = |bits: &str| {
                row["kl"][bits]
                    .as_f64()
                    .filter(|loss| *loss >= 0.0)
                    .ok_or_else(|| unclear(format!("`{}` has no divergence at {bits} bits", layer.layer)))
            };
            // Files that were written before there were 16 bits have none for them.
            let sixteen = if row["kl"]["16"].is_null() { f64::INFINITY } else { score("16")? };
            losses.push([score("4")?, score("8")?, sixteen]);
            pins.push(match &row["pin"] {
                Value::Null => None,
                pin => Some(pin.as_str().and_then(Bits::parse).ok_or_else(|| {
                    unclear(format!(
                        "the pin of `{}` is {pin}, not \"4\", \"8\", \"16\" or \"float\"",
                        layer.layer
                    ))
                })?),
            });
        }
        Ok(Self { losses, pins, rank_correlation: None, measured: 0 })
    }

    /// What the layer at this place loses with these bits.
    pub(super) fn loss(&self, place: usize, bits: Bits) -> f64 {
        match bits {
            Bits::Four => self.losses[place][0],
            Bits::Eight => self.losses[place][1],
            Bits::Sixteen => self.losses[place][2],
            Bits::Float => 0.0,
        }
    }

    /// What each layer may get, in the order of [`Bits::ALL`].
    pub(super) fn choices(&self, mixed: &Mixed<'_>) -> Vec<Vec<Choice>> {
        let of = |(place, layer): (usize, &crate::quantization::MixedLayer)| {
            Bits::ALL
                .into_iter()
                .map(|bits| {
                    let loss = self.loss(place, bits);
                    let is_free = self.pins[place].is_none_or(|pin| pin == bits) && loss.is_finite();
                    let cost = if is_free { layer.bytes(bits) as f64 } else { f64::INFINITY };
                    Choice { cost, loss: if loss.is_finite() { loss } else { 0.0 } }
                })
                .collect()
        };
        mixed.layers.iter().enumerate().map(of).collect()
    }
}
