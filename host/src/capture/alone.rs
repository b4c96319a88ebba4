//! Comparisons with each layer computed alone, given the reference's values.

use super::batch::Feed;
use super::comparison::Comparison;
use super::emulation::{Emulation, Place, StandIn};
use super::pairing::ActivationPair;
use super::side::{Side, can_emulate};
use crate::backend::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::playground::Loaded;

/// How the error of each layer alone is computed, with the reference's values as its input.
pub enum Alone {
    /// Not at all.
    Not,
    /// By emulating each layer in the reference's graph.
    Emulated(Box<Emulation>),
    /// By the candidate itself: each value it computes is replaced by the reference's (feature `substitute`).
    Substituted,
}

impl Alone {
    /// The emulated layers, if there are any.
    pub fn emulation(&self) -> Option<&Emulation> {
        match self {
            Self::Emulated(emulation) => Some(emulation),
            Self::Not | Self::Substituted => None,
        }
    }

    /// What stands for the reference's layer of a pair.
    pub fn stand_in(&self, pair: usize) -> Option<&StandIn> {
        self.emulation()?.layers.get(pair)
    }

    /// The way that the two models offer.
    ///
    /// # Errors
    /// `UnsupportedOp` where neither offers one; what the backend says of the changed graph.
    fn of(
        reference: &Loaded,
        candidate: &Loaded,
        pairs: &[ActivationPair<'_>],
        progress: &dyn Progress,
    ) -> Result<Self> {
        if can_emulate(reference) {
            let emulation = Emulation::new(reference, candidate, pairs, Place::Beside, progress)?;
            return Ok(Self::Emulated(Box::new(emulation)));
        }
        if candidate.session.plugin().has_feature("substitute") {
            return Ok(Self::Substituted);
        }
        Err(Error::new(
            ErrorKind::UnsupportedOp,
            format!(
                "that needs an ONNX model as the reference, or a PyTorch model as the candidate; `{}` and `{}` are neither",
                reference.id, candidate.id
            ),
        ))
    }
}

impl Comparison {
    /// Compares as [`Self::run`] does, with each layer alone if the models offer a way; otherwise without, and with the reason.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn with_layers_alone(
        reference: &Side<'_>,
        candidate: &Side<'_>,
        pairs: &[ActivationPair<'_>],
        (feed, budget): (Feed<'_>, u64),
        progress: &dyn Progress,
    ) -> Result<(Self, Alone, Option<Error>)> {
        let compare = |alone: &Alone| Self::run(reference, candidate, pairs, feed, (alone, budget), progress);
        let error = match Alone::of(reference.model, candidate.model, pairs, progress) {
            Ok(alone) => match compare(&alone) {
                Ok(comparison) => return Ok((comparison, alone, None)),
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                // The runtime may reject the changed graph but not the one in the file.
                Err(error) => error,
            },
            Err(error) => error,
        };
        Ok((compare(&Alone::Not)?, Alone::Not, Some(error)))
    }
}
