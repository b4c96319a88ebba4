//! How pictures become tensors.

use crate::error::Result;
use crate::input::{PictureLayout, PictureOptions, Resize};

/// The options for pictures.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::commands) struct Pictures {
    /// Where a picture's channels go, where the model does not say
    #[arg(long, value_enum, value_name = "LAYOUT")]
    layout: Option<PictureLayout>,
    /// How a picture of another size is made to fit
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    resize: Resize,
    /// Resize to more than the wanted size and keep this share of both sides, around the middle, as in 0.875
    #[arg(long, value_name = "SHARE")]
    crop: Option<f64>,
    /// Taken from the channels of a picture scaled to 0 to 1, as in 0.485,0.456,0.406
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', allow_negative_numbers = true)]
    mean: Vec<f64>,
    /// What the channels are divided by then, as in 0.229,0.224,0.225
    #[arg(long = "std", value_name = "NUMBERS", value_delimiter = ',')]
    deviation: Vec<f64>,
    /// What white becomes; without it 255, or 1 with a mean or a standard deviation
    #[arg(long, value_name = "NUMBER")]
    white: Option<f64>,
    /// The same as what a pixel from 0 to 255 is multiplied by, as in 0.00392
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
