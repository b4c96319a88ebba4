//! Values that replace those that a run computes.
//!
//! The computed value is delivered first, and from then on the given value takes its place: the same tensor gets
//! other data, which everything that reads it sees. What a layer delivers is therefore what it computes from the
//! given values. The replaced data is restored when the run is over, because a value may itself be a stored tensor.

use crate::shim;
use crate::tensor;
use qp_abi::sdk::{BackendError, QuantizationParameters, Result, TensorView};
use std::collections::HashMap;
use tch::{Kind, TchError, Tensor};

/// A value, and the codes to round it to.
struct Given {
    value: Tensor,
    codes: Option<Codes>,
}

/// One scale, one zero point, and the range of the codes.
struct Codes {
    scale: f64,
    zero_point: i64,
    range: (i64, i64),
}

impl Codes {
    fn of(parameters: &QuantizationParameters) -> Option<Self> {
        let [scale] = parameters.scales.as_slice() else { return None };
        let zero_point = parameters.zero_points.first().copied().unwrap_or(0.0) as i64;
        Some(Self { scale: *scale, zero_point, range: parameters.dtype.code_range()? })
    }
}

/// Values by tap, and by their position among the tap's tensors.
#[derive(Default)]
pub(crate) struct Substitution {
    given: HashMap<(usize, usize), Given>,
    /// What was replaced, with its original data.
    replaced: Vec<(Tensor, Tensor)>,
}

impl Substitution {
    /// Takes the values of a request; `place` finds the tap with a name.
    ///
    /// # Errors
    /// `NotFound` for a value without a tap, and as [`tensor::input`].
    pub(crate) fn of(
        views: &[TensorView<'_>],
        place: impl Fn(&str) -> Option<(usize, usize)>,
    ) -> Result<Self> {
        let given = views.iter().map(|view| {
            let place = place(view.name.as_str()).ok_or_else(|| {
                BackendError::not_found(format!("libtorch does not compute `{}` in this model", view.name))
            })?;
            let codes = view.quantization.into_option().and_then(Codes::of);
            Ok((place, Given { value: tensor::input(view)?, codes }))
        });
        Ok(Self { given: given.collect::<Result<_>>()?, replaced: Vec::new() })
    }

    /// The taps for which a value is given.
    pub(crate) fn taps(&self) -> impl Iterator<Item = usize> {
        self.given.keys().map(|(tap, _)| *tap)
    }

    /// Puts the value given for this position into `computed`. A value of another shape, or for a tensor that is
    /// neither real nor quantized, is left out.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn put(&mut self, place: (usize, usize), computed: &Tensor) -> Result<(), TchError> {
        let given = self.given.remove(&place).filter(|_| !shim::is_nested(computed));
        let Some(given) = given.filter(|given| given.value.size() == computed.size()) else {
            return Ok(());
        };
        let Some(given) = given.like(computed)? else { return Ok(()) };
        let mut computed = computed.shallow_clone();
        let own = computed.f_detach()?;
        computed.f_set_data(&given)?;
        self.replaced.push((computed, own));
        Ok(())
    }
}

impl Drop for Substitution {
    fn drop(&mut self) {
        // Last first: a tensor may have been replaced twice.
        for (mut tensor, own) in self.replaced.drain(..).rev() {
            let _ = tensor.f_set_data(&own);
        }
    }
}

impl Given {
    /// The value in the form of `computed`, rounded to codes; `None` if that has no real values.
    fn like(&self, computed: &Tensor) -> Result<Option<Tensor>, TchError> {
        let kind = computed.f_kind()?;
        Ok(match kind {
            Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16 => {
                let value = match &self.codes {
                    Some(Codes { scale, zero_point, range: (least, most) }) => {
                        self.value.f_fake_quantize_per_tensor_affine(*scale, *zero_point, *least, *most)?
                    }
                    None => self.value.shallow_clone(),
                };
                Some(value.f_to_kind(kind)?)
            }
            Kind::QInt8 | Kind::QUInt8 | Kind::QInt32 => match computed.f_q_scale() {
                Ok(scale) => {
                    Some(self.value.f_quantize_per_tensor(scale, computed.f_q_zero_point()?, kind)?)
                }
                // No value has per-channel scales.
                Err(_) => None,
            },
            _ => None,
        })
    }
}
