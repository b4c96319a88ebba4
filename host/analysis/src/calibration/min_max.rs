//! Min-max calibration.

use super::{CalibrationError, ClipRange, Extremes};

/// The options of ONNX Runtime's `MinMaxCalibrater`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MinMaxOptions {
    /// `symmetric`: the range from −m to m, m being the larger magnitude.
    pub is_symmetric: bool,
    /// `moving_average` with its `averaging_constant` (0.01 there): within a round the mean of the batches' extremes;
    /// from round to round old + constant · (new − old). Without it the extremes of all.
    pub averaging_constant: Option<f32>,
    /// `max_intermediate_outputs`: after this many batches of a round they are forgotten, so that only those left over
    /// count. That is what ONNX Runtime 1.31.1 does, probably not what it means to do.
    pub max_batches: Option<usize>,
}

/// Collects the extremes of one tensor, or of one channel of it, batch by batch.
///
/// NaN is left out. (ONNX Runtime's ReduceMin and ReduceMax are not defined for it and return NaN or not depending on
/// its place.)
#[derive(Clone, Debug)]
pub struct MinMax {
    options: MinMaxOptions,
    batch: Extremes,
    /// The extremes of the batches of this round; more than one pair only where their mean is needed.
    lows: Vec<f32>,
    highs: Vec<f32>,
    batches: usize,
    range: Option<ClipRange>,
}

impl MinMax {
    /// Without values yet.
    ///
    /// # Errors
    ///
    /// [`CalibrationError::AveragingConstant`].
    pub fn new(options: MinMaxOptions) -> Result<Self, CalibrationError> {
        if let Some(constant) = options.averaging_constant.filter(|constant| !(0.0..=1.0).contains(constant))
        {
            return Err(CalibrationError::AveragingConstant(constant));
        }
        let (lows, highs) = (Vec::new(), Vec::new());
        Ok(Self { options, batch: Extremes::new(), lows, highs, batches: 0, range: None })
    }

    /// Adds values of the present batch.
    pub fn add(&mut self, values: &[f32]) {
        self.batch.add(values);
    }

    /// Adds values of which these are the extremes.
    pub fn add_extremes(&mut self, extremes: &Extremes) {
        self.batch.merge(extremes);
    }

    /// Ends a batch: one run of the model. One without values adds none.
    pub fn end_batch(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.batches += 1;
        if let (Some(min), Some(max)) = (batch.min(), batch.max()) {
            match (self.options.averaging_constant, self.lows.first_mut(), self.highs.first_mut()) {
                (None, Some(low), Some(high)) => (*low, *high) = (low.min(min), high.max(max)),
                _ => {
                    self.lows.push(min);
                    self.highs.push(max);
                }
            }
        }
        if self.options.max_batches == Some(self.batches) {
            self.forget();
        }
    }

    /// Ends a round of batches: one call of `collect_data`, all the data or one stride of it.
    pub fn end_round(&mut self) {
        if let (Some(low), Some(high)) = (mean(&self.lows), mean(&self.highs)) {
            let mut new = ClipRange { low, high };
            if self.options.is_symmetric {
                let magnitude = low.abs().max(high.abs());
                new = ClipRange { low: -magnitude, high: magnitude };
            }
            self.range = Some(match (self.range, self.options.averaging_constant) {
                (None, _) => new,
                (Some(old), None) => ClipRange { low: old.low.min(new.low), high: old.high.max(new.high) },
                (Some(old), Some(constant)) => ClipRange {
                    low: old.low + constant * (new.low - old.low),
                    high: old.high + constant * (new.high - old.high),
                },
            });
        }
        self.forget();
    }

    /// The range of the rounds that have ended.
    ///
    /// # Errors
    ///
    /// [`CalibrationError::NoValues`]; [`CalibrationError::NotFinite`] if a value is infinite.
    pub fn range(&self) -> Result<ClipRange, CalibrationError> {
        let range = self.range.ok_or(CalibrationError::NoValues)?;
        let is_finite = range.low.is_finite() && range.high.is_finite();
        if is_finite { Ok(range) } else { Err(CalibrationError::NotFinite) }
    }

    fn forget(&mut self) {
        self.lows.clear();
        self.highs.clear();
        self.batches = 0;
    }
}

/// `numpy.nanmean` of `float32` numbers.
fn mean(values: &[f32]) -> Option<f32> {
    let sum = super::numpy::sum(values);
    (!values.is_empty()).then(|| (f64::from(sum) / values.len() as f64) as f32)
}
