//! One model quantized in many ways: calibrated once, each layer with codes of its own choice.

use super::calibration::{self, Calibrated};
use super::prepared::prepared;
use super::{Options, edits, parameters};
use crate::backend::{Progress, Session};
use crate::capture::{Feed, Side};
use crate::error::{Error, Result};
use crate::model::{DType, Quantizable, QuantizableLayer, QuantizableOf};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What a layer computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bits {
    /// Weights of 4 bits, activations as the others.
    Four,
    /// Weights of 8 bits.
    Eight,
    /// Weights of 16 bits.
    Sixteen,
    /// Real numbers.
    Float,
}

impl Bits {
    /// All of them, the fewest bits first.
    pub const ALL: [Self; 4] = [Self::Four, Self::Eight, Self::Sixteen, Self::Float];
    /// Those of them that are codes.
    pub const CODES: [Self; 3] = [Self::Four, Self::Eight, Self::Sixteen];

    /// Its name: `4`, `8`, `16`, `float`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Four => "4",
            Self::Eight => "8",
            Self::Sixteen => "16",
            Self::Float => "float",
        }
    }

    /// The one with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bits| bits.word() == text)
    }

    /// Bits of an element of the weight.
    fn width(self) -> u64 {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
            Self::Sixteen => 16,
            Self::Float => 32,
        }
    }

    fn codes(self) -> Option<DType> {
        match self {
            Self::Four => Some(DType::INT4),
            Self::Eight => Some(DType::INT8),
            Self::Sixteen => Some(DType::INT16),
            Self::Float => None,
        }
    }
}

/// A layer with a weight, whose codes can be chosen.
#[derive(Clone, Debug)]
pub struct MixedLayer {
    /// Its path.
    pub layer: String,
    /// Its operator.
    pub op_type: String,
    /// Elements of its weight.
    pub parameters: u64,
}

impl MixedLayer {
    /// Bytes of its weight.
    pub fn bytes(&self, bits: Bits) -> u64 {
        (self.parameters * bits.width()).div_ceil(8)
    }
}

/// A float model, ready to be quantized in any mix.
pub struct Mixed<'a> {
    side: &'a Side<'a>,
    options: &'a Options,
    /// The model after the clean-up, if there was one.
    prepared: Option<Session>,
    calibrated: Calibrated,
    /// Layers that the options leave as they are.
    excluded: BTreeSet<String>,
    /// The layers with weights, in the model's order.
    pub layers: Vec<MixedLayer>,
    /// All layers that are quantized, those without weights included.
    quantized: Vec<String>,
    /// Bytes of everything that is stored apart from those weights.
    pub other_bytes: u64,
}

impl<'a> Mixed<'a> {
    /// Plans and calibrates.
    ///
    /// # Errors
    /// As [`super::quantize`].
    pub fn new(
        side: &'a Side<'a>,
        feed: Feed<'_>,
        options: &'a Options,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let own = &side.model.session;
        own.require_edits()?;
        let prepared = if options.prepare { Some(prepared(side, Some(feed), progress)?) } else { None };
        let session = prepared.as_ref().unwrap_or(own);
        let question = super::question(session, options)?;
        let plan = session.quantizable(&question, progress)?;
        let codes = parameters::activation_codes(options)?;
        let layers = weighted(session, &plan);
        if layers.is_empty() {
            return Err(Error::invalid_input(format!("`{}` has no weights to quantize", side.model.id)));
        }
        let is_quantized = |layer: &&QuantizableLayer| layer.reason.is_none();
        let quantized: Vec<String> =
            plan.layers.iter().filter(is_quantized).map(|layer| layer.layer.clone()).collect();
        // Which values are rounded depends on what stays in float: those of all mixes are wanted.
        let mut wanted = plan.clone();
        let has_weight: HashSet<&str> = layers.iter().map(|layer| layer.layer.as_str()).collect();
        let others: Vec<&String> =
            quantized.iter().filter(|layer| !has_weight.contains(layer.as_str())).collect();
        let alone = layers
            .iter()
            .map(|kept| quantized.iter().filter(|layer| **layer != kept.layer).collect::<Vec<_>>());
        for left_out in std::iter::once(others).chain(alone) {
            let mut question = question.clone();
            question.exclude.extend(left_out.into_iter().cloned());
            let other = session.quantizable(&question, progress)?;
            wanted.values.extend(other.values);
            wanted.biases.extend(other.biases);
        }
        wanted.values.iter_mut().for_each(|value| value.same_as = None);
        let calibrated =
            calibration::calibrate((session, side), feed, &wanted, (options, codes), None, progress)?;
        let own_bytes: u64 = layers.iter().map(|layer| layer.bytes(Bits::Float)).sum();
        let other_bytes = session.info().stored_bytes().saturating_sub(own_bytes);
        Ok(Self {
            side,
            options,
            prepared,
            calibrated,
            excluded: question.exclude,
            layers,
            quantized,
            other_bytes,
        })
    }

    /// How many samples the ranges come from.
    pub fn samples(&self) -> u64 {
        self.calibrated.samples
    }

    fn session(&self) -> &Session {
        self.prepared.as_ref().unwrap_or(&self.side.model.session)
    }

    /// The model with these codes for the layers with weights, in their order. `has_others` says whether layers without weights
    /// are quantized as well.
    ///
    /// # Errors
    /// Those of the backend; `Cancelled`.
    pub fn model(&self, choices: &[Bits], has_others: bool, progress: &dyn Progress) -> Result<Session> {
        let session = self.session();
        let chosen: HashMap<&str, Bits> =
            self.layers.iter().zip(choices).map(|(layer, bits)| (layer.layer.as_str(), *bits)).collect();
        let mut question: QuantizableOf = super::question(session, self.options)?;
        question.exclude = self.excluded.clone();
        question.exclude.extend(
            self.quantized
                .iter()
                .filter(|layer| match chosen.get(layer.as_str()) {
                    Some(bits) => *bits == Bits::Float,
                    None => !has_others,
                })
                .cloned(),
        );
        let plan = session.quantizable(&question, progress)?;
        if plan.values.is_empty() && plan.tensors.is_empty() {
            return session.edit(Vec::new(), progress);
        }
        let mut options = self.options.clone();
        options.weight_of =
            chosen.iter().filter_map(|(layer, bits)| Some(((*layer).to_owned(), bits.codes()?))).collect();
        let made = parameters::decide(session, &plan, &self.calibrated.ranges, &options, progress)?;
        session.edit(edits::of(&plan, made.edits), progress)
    }
}

/// The layers of a plan whose weights become codes.
fn weighted(session: &Session, plan: &Quantizable) -> Vec<MixedLayer> {
    let info = session.info();
    let mut seen: HashSet<&str> = HashSet::new();
    let mut found: HashMap<&str, u64> = HashMap::new();
    for tensor in plan.tensors.iter().filter(|tensor| !tensor.is_operand) {
        let (Some(stored), Some(layer)) = (info.tensor(&tensor.name), tensor.layers.first()) else {
            continue;
        };
        if seen.insert(&tensor.name) {
            *found.entry(layer).or_default() += stored.element_count();
        }
    }
    let in_order = info.layers.iter().filter_map(|layer| {
        let parameters = *found.get(layer.path.as_str())?;
        Some(MixedLayer { layer: layer.path.clone(), op_type: layer.op_type.clone(), parameters })
    });
    in_order.collect()
}
