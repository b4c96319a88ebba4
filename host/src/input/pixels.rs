//! Arrays of uint8 that are pictures, prepared as decoded pictures are.

use super::{Content, Fitted, Picture, PictureOptions, fit};
use crate::error::{Error, Result};
use crate::model::{DType, Dimension, Tensor, ValueInfo, shape_text};
use crate::parallel;

/// How an array of uint8 is divided into pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) pictures: u64,
    height: u64,
    width: u64,
    channels: u64,
    is_channels_last: bool,
}

/// N×H×W×C or N×C×H×W with 1 or 3 channels, N×H×W, or one picture H×W×C.
pub(super) fn layout(dtype: DType, shape: &[u64]) -> Option<Layout> {
    if dtype != DType::UINT8 || shape.contains(&0) {
        return None;
    }
    let of = |pictures, height, width, channels, is_channels_last| {
        Some(Layout { pictures, height, width, channels, is_channels_last })
    };
    match *shape {
        [pictures, height, width, channels @ (1 | 3)] => of(pictures, height, width, channels, true),
        [pictures, channels @ (1 | 3), height, width] => of(pictures, height, width, channels, false),
        [height, width, channels @ (1 | 3)] => of(1, height, width, channels, true),
        [pictures, height, width] => of(pictures, height, width, 1, true),
        _ => None,
    }
}

impl Content {
    /// Marks arrays of uint8 that are pictures to be prepared as pictures; anything else stays as it is, and everything
    /// does if there is nothing to prepare.
    pub(super) fn into_pictures(self, options: &PictureOptions) -> Self {
        if *options == PictureOptions::default() {
            return self;
        }
        match self {
            Self::Archive(path, parts) => {
                let parts = parts.into_iter().map(|(name, part)| (name, part.into_pictures(options)));
                Self::Archive(path, parts.collect())
            }
            Self::Array(_) | Self::Stored(_)
                if self.outline().is_some_and(|(dtype, shape)| layout(dtype, &shape).is_some()) =>
            {
                Self::Pixels(Box::new(self), options.clone())
            }
            other => other,
        }
    }
}

/// The tensor for an input, each picture prepared separately.
pub(super) fn fit(array: &Tensor, value: &ValueInfo, options: &PictureOptions) -> Result<Fitted> {
    let layout = layout(array.dtype, &array.shape).ok_or_else(|| {
        Error::invalid_input(format!("{} {} is not pictures", array.dtype, shape_text(&array.shape)))
    })?;
    // Each sample is fitted as a batch of one.
    let mut one = value.clone();
    if let Some(batch) = one.shape.as_mut().and_then(|shape| shape.first_mut()) {
        *batch = Dimension::Fixed(1);
    }
    let size = array.bytes.len() / (layout.pictures as usize).max(1);
    let each = parallel::map(layout.pictures as usize, parallel::cores(), |index| {
        let bytes = array.bytes.get(index * size..(index + 1) * size).unwrap_or_default();
        picture(bytes, layout).and_then(|picture| picture.fit(&one, options))
    });
    fit::joined(each.into_iter(), value)
}

fn picture(bytes: &[u8], layout: Layout) -> Result<Picture> {
    let channels = layout.channels as usize;
    let interleaved = if layout.is_channels_last || channels == 1 {
        bytes.to_vec()
    } else {
        let plane = bytes.len() / channels;
        (0..plane).flat_map(|pixel| bytes.iter().skip(pixel).step_by(plane).copied()).collect()
    };
    Picture::of_bytes(interleaved, layout.width, layout.height, channels).ok_or_else(|| {
        Error::invalid_input(format!("{}×{} is too large for a picture", layout.width, layout.height))
    })
}
