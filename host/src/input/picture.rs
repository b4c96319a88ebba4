//! Pictures as inputs: decoded, resized to what the model takes, laid out as it wants.

use super::read::open_file;
use super::{Fitted, type_text};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{DType, Dimension, Tensor, ValueInfo};
use image::{DynamicImage, imageops::FilterType};
use std::io::BufReader;
use std::path::Path;

/// A decoded picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture(DynamicImage);

/// Where the channels of a batch of pictures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    is_channels_last: bool,
    channels: u64,
    height: Option<u64>,
    width: Option<u64>,
}

impl Picture {
    /// Decodes a PNG or JPEG file. Pictures that would take more than 512 MiB are refused.
    ///
    /// # Errors
    /// `NotFound`, `Io` or `CorruptFile`.
    pub fn read(path: &Path) -> Result<Self> {
        let mut reader = image::ImageReader::new(BufReader::new(open_file(path)?));
        reader.limits(image::Limits::default());
        let decoded =
            reader.with_guessed_format().map_err(|error| Error::io("read", path, &error))?.decode().map_err(
                |error| {
                    Error::new(
                        ErrorKind::CorruptFile,
                        format!("`{}` is no picture that can be decoded", path.display()),
                    )
                    .with_cause(error.to_string())
                },
            )?;
        Ok(Self(decoded))
    }

    /// The tensor for an input of four dimensions with 1 or 3 channels, first or last; values 0 to 255.
    pub(super) fn fit(&self, value: &ValueInfo) -> Result<Fitted> {
        let misfit = || {
            Error::invalid_input(format!("input `{}` takes {}, not a picture", value.name, type_text(value)))
                .with_hint("A picture fits an input of shape N×H×W×C or N×C×H×W with 1 or 3 channels.")
        };
        let layout = layout(value.shape.as_deref().ok_or_else(misfit)?).ok_or_else(misfit)?;
        let (own_width, own_height) = (u64::from(self.0.width()), u64::from(self.0.height()));
        let (width, height) = (layout.width.unwrap_or(own_width), layout.height.unwrap_or(own_height));
        let mut steps = Vec::new();
        let resized = if (width, height) == (own_width, own_height) {
            self.0.clone()
        } else {
            let size = |size: u64| u32::try_from(size).ok().filter(|&size| (1..=16_384).contains(&size));
            let (Some(new_width), Some(new_height)) = (size(width), size(height)) else {
                return Err(misfit());
            };
            steps.push(format!("resized {own_width}×{own_height} → {width}×{height}, bilinear"));
            self.0.resize_exact(new_width, new_height, FilterType::Triangle)
        };
        let interleaved =
            if layout.channels == 1 { resized.to_luma8().into_raw() } else { resized.to_rgb8().into_raw() };
        let (elements, shape) = if layout.is_channels_last {
            (interleaved, vec![1, height, width, layout.channels])
        } else {
            let channels = layout.channels as usize;
            let planes =
                (0..channels).flat_map(|channel| interleaved.iter().skip(channel).step_by(channels).copied());
            (planes.collect(), vec![1, layout.channels, height, width])
        };
        let (dtype, bytes) = match value.dtype {
            DType::UINT8 => (DType::UINT8, elements),
            DType::FLOAT32 | DType::UNDEFINED => {
                steps.push("values 0 to 255 as float32".to_owned());
                (DType::FLOAT32, elements.iter().flat_map(|&byte| f32::from(byte).to_le_bytes()).collect())
            }
            _ => return Err(misfit()),
        };
        let tensor = Tensor { name: value.name.clone(), dtype, shape, bytes, quantization: None };
        Ok(Fitted { tensors: vec![tensor], steps })
    }
}

fn layout(shape: &[Dimension]) -> Option<Layout> {
    let [_, second, third, fourth] = shape else { return None };
    let is_channel_count = |dimension: &Dimension| dimension.size().filter(|&size| size == 1 || size == 3);
    match (is_channel_count(fourth), is_channel_count(second)) {
        (Some(channels), _) => {
            Some(Layout { is_channels_last: true, channels, height: second.size(), width: third.size() })
        }
        (None, Some(channels)) => {
            Some(Layout { is_channels_last: false, channels, height: third.size(), width: fourth.size() })
        }
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(sizes: [u64; 4]) -> ValueInfo {
        let shape = Some(sizes.iter().map(|&size| Dimension::Fixed(size)).collect());
        ValueInfo { name: "x".into(), dtype: DType::UINT8, shape, quantization: None, type_name: None }
    }

    #[test]
    fn channels_go_where_the_model_wants_them() {
        let mut pixels = image::RgbImage::new(2, 1);
        pixels.put_pixel(0, 0, image::Rgb([1, 2, 3]));
        pixels.put_pixel(1, 0, image::Rgb([4, 5, 6]));
        let picture = Picture(DynamicImage::ImageRgb8(pixels));
        assert_eq!(picture.fit(&value([1, 1, 2, 3])).unwrap().tensors[0].bytes, [1, 2, 3, 4, 5, 6]);
        assert_eq!(picture.fit(&value([1, 3, 1, 2])).unwrap().tensors[0].bytes, [1, 4, 2, 5, 3, 6]);
        assert!(picture.fit(&value([1, 7, 7, 7])).is_err());
    }

    #[test]
    fn a_text_file_called_png_is_corrupt() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(Picture::read(&path).unwrap_err().kind(), ErrorKind::CorruptFile);
    }
}
