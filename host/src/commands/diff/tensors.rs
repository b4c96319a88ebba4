//! The stored tensors of two models; pairs are compared by their real values.

use crate::backend::Progress;
use crate::error::{Error, Result};
use crate::inspect::pairing::{self, Ground, TensorPair};
use crate::inspect::weight::Stored;
use crate::inspect::{Errors, contrast, survey};
use crate::model::{TensorInfo, shape_text};
use crate::playground::Loaded;
use crate::render::record::{Field, Record, Unit};

pub(super) struct Tensors<'a> {
    /// Pairs whose types and real values are the same.
    pub same: usize,
    pub pairs: Vec<Pair<'a>>,
    pub only_reference: Vec<&'a str>,
    pub only_candidate: Vec<&'a str>,
}

pub(super) struct Pair<'a> {
    pub reference: &'a str,
    pub candidate: &'a str,
    pub ground: Ground,
    /// Type and shape of both.
    pub reference_type: String,
    pub candidate_type: String,
    /// Whether quantization parameters differ, or only one has any.
    pub is_requantized: bool,
    /// Of the real values; none when they were not read.
    pub errors: Option<Errors>,
    /// Why they were not compared.
    pub obstacle: Option<Error>,
}

impl Record for Tensors<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("same", Unit::Count, "Pairs whose types and values are equal", |tensors| {
                tensors.same
            }),
            Self::list("pairs", "Tensors of both models that match", |tensors| &tensors.pairs),
            Self::field(
                "only_reference",
                Unit::Name,
                "Tensors of the reference without a match",
                |tensors| tensors.only_reference.clone(),
            ),
            Self::field(
                "only_candidate",
                Unit::Name,
                "Tensors of the candidate without a match",
                |tensors| tensors.only_candidate.clone(),
            ),
        ]
    }
}

impl Record for Pair<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("reference", Unit::Name, "The tensor of the reference", |pair| pair.reference),
            Self::field("candidate", Unit::Name, "The tensor of the candidate", |pair| pair.candidate),
            Self::flat(Ground::fields(), |pair| Some(&pair.ground)).always(),
            Self::field("reference_type", Unit::Text, "Element type and shape in the reference", |pair| {
                pair.reference_type.clone()
            }),
            Self::field("candidate_type", Unit::Text, "Element type and shape in the candidate", |pair| {
                pair.candidate_type.clone()
            }),
            Self::field(
                "is_requantized",
                Unit::Flag,
                "Whether quantization parameters differ, or only one of the two has any",
                |pair| pair.is_requantized,
            ),
            Self::object("errors", "Errors of the dequantized values; null if they were not read", |pair| {
                pair.errors.as_ref()
            }),
            Self::error("obstacle", "Why the values were not compared", |pair| pair.obstacle.as_ref()),
        ]
    }
}

impl Pair<'_> {
    pub(super) fn differs(&self) -> bool {
        self.reference_type != self.candidate_type
            || self.is_requantized
            || self.obstacle.is_some()
            || self
                .errors
                .as_ref()
                .is_some_and(|errors| errors.metrics.max_abs_error.is_some_and(|error| error != 0.0))
    }
}

/// Pairs and compares; with `reads_values` element by element.
pub(super) fn compare<'a>(
    reference: &'a Loaded,
    candidate: &'a Loaded,
    reads_values: bool,
    progress: &dyn Progress,
) -> Result<Tensors<'a>> {
    let paired = pairing::tensors(reference.info(), candidate.info());
    let mut compared = Vec::new();
    if reads_values {
        let bytes =
            |pair: &TensorPair<'_>| pair.reference.tensor.bytes.saturating_add(pair.candidate.tensor.bytes);
        let sizes: Vec<u64> = paired.pairs.iter().map(bytes).collect();
        compared = survey::each(&sizes, "comparing tensors", progress, |index| {
            let errors = contrast::errors(reference, candidate, &paired.pairs[index], progress)?;
            Ok(Errors::from(&errors))
        })?;
    }
    let mut compared = compared.into_iter();
    let pairs: Vec<Pair<'_>> = paired
        .pairs
        .iter()
        .map(|pair| {
            let (errors, obstacle) = match compared.next() {
                Some(Ok(errors)) => (Some(errors), None),
                Some(Err(error)) => (None, Some(error)),
                None => (None, None),
            };
            described(pair, errors, obstacle)
        })
        .collect();
    let names = |stored: &[Stored<'a>]| stored.iter().map(|stored| stored.tensor.name.as_str()).collect();
    Ok(Tensors {
        same: pairs.iter().filter(|pair| !pair.differs()).count(),
        pairs,
        only_reference: names(&paired.unmatched_reference),
        only_candidate: names(&paired.unmatched_candidate),
    })
}

fn described<'a>(pair: &TensorPair<'a>, errors: Option<Errors>, obstacle: Option<Error>) -> Pair<'a> {
    let (reference, candidate) = (pair.reference.tensor, pair.candidate.tensor);
    let type_text = |tensor: &TensorInfo| format!("{} {}", tensor.dtype_name(), shape_text(&tensor.shape));
    // Where the parameters are stored does not matter here.
    let parameters = |tensor: &TensorInfo| {
        let found = tensor.quantization.as_ref()?;
        Some((found.dtype, found.scales.clone(), found.zero_points.clone(), found.axis, found.block_size))
    };
    Pair {
        reference: &reference.name,
        candidate: &candidate.name,
        ground: pair.ground,
        reference_type: type_text(reference),
        candidate_type: type_text(candidate),
        is_requantized: parameters(reference) != parameters(candidate),
        errors,
        obstacle,
    }
}
