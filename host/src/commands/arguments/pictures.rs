//! How pictures become tensors.

use crate::error::Result;
use crate::input::{PictureLayout, PictureOptions, Resize};

/// The options for pictures.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::commands) struct Pictures {
    /// Where a picture's channels go if the model does not say
    #[arg(long, value_enum, value_name = "LAYOUT")]
    layout: Option<PictureLayout>,
    /// How to fit a picture of another size
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    resize: Resize,
    /// Resize to more than the target size and keep this share of both sides, around the center, as in 0.875
    #[arg(long, value_name = "SHARE")]
    crop: Option<f64>,
    /// Mean to subtract from the channels, after scaling to 0 to 1, as in 0.485,0.456,0.406
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', allow_negative_numbers = true)]
    mean: Vec<f64>,
    /// Standard deviation to divide the channels by afterwards, as in 0.229,0.224,0.225
    #[arg(long = "std", value_name = "NUMBERS", value_delimiter = ',')]
    deviation: Vec<f64>,
    /// The value of white; without it 255, or 1 with a mean or a standard deviation
    #[arg(long, value_name = "NUMBER")]
    white: Option<f64>,
    /// Factor for pixels from 0 to 255, in place of `--white`, as in 0.00392
    #[arg(long, value_name = "NUMBER", conflicts_with = "white")]
    scale: Option<f64>,
}

impl Pictures {
    /// What the user chose.
    ///
    /// # Errors
    /// `Usage` for numbers that nothing can be prepared with.
    pub(in crate::commands) fn options(&self) -> Result<PictureOptions> {
        let options = PictureOptions {
            layout: self.layout,
            resize: self.resize,
            crop: self.crop,
            mean: self.mean.clone(),
            deviation: self.deviation.clone(),
            white: self.white.or(self.scale.map(|scale| scale * 255.0)),
        };
        options.check()?;
        Ok(options)
    }
}
