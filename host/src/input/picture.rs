//! Pictures as inputs: decoded, resized to the model's size, in the model's layout.

use super::Fitted;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{DType, Dimension, Tensor, ValueInfo, type_text};
use crate::regular_file;
use clap::ValueEnum;
use image::{DynamicImage, imageops::FilterType};
use std::io::BufReader;
use std::path::Path;

/// A decoded picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture(DynamicImage);

/// How pictures become tensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PictureOptions {
    /// Where the channels go; `None` to follow the model's dimension of 1 or 3.
    pub layout: Option<PictureLayout>,
    /// How to fit a picture of another size.
    pub resize: Resize,
    /// The share of both sides that is kept, around the center; the picture is first resized to correspondingly more.
    pub crop: Option<f64>,
    /// Subtracted from each channel, after scaling values to 0 to 1; one number for all or one per channel.
    pub mean: Vec<f64>,
    /// What each channel is divided by afterwards.
    pub deviation: Vec<f64>,
    /// The value of white, if not 255 without and 1 with a mean or a deviation.
    pub white: Option<f64>,
}

/// The order of a picture's dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PictureLayout {
    /// Channels before height and width
    Nchw,
    /// Channels last
    Nhwc,
}

/// How to fit a picture of another size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Resize {
    /// Resize both sides to the target
    #[default]
    Stretch,
    /// Resize the shorter side to the target, cut off the excess evenly
    Crop,
    /// Resize the longer side to the target, pad with black
    Pad,
}

impl PictureOptions {
    /// Converts a channel's bytes to values.
    fn value(&self, byte: u8, channel: usize) -> f64 {
        let of = |list: &[f64], default: f64| match list {
            [] => default,
            [one] => *one,
            many => many.get(channel).copied().unwrap_or(default),
        };
        let is_normalized = !self.mean.is_empty() || !self.deviation.is_empty();
        let white = self.white.unwrap_or(if is_normalized { 1.0 } else { 255.0 });
        let scaled = f64::from(byte) / 255.0 * white;
        (scaled - of(&self.mean, 0.0)) / of(&self.deviation, 1.0)
    }

    /// # Errors
    /// `Usage` for numbers that nothing can be prepared with.
    pub fn check(&self) -> Result<()> {
        if self.deviation.iter().any(|deviation| *deviation == 0.0 || !deviation.is_finite()) {
            return Err(Error::usage("cannot divide by a standard deviation of 0"));
        }
        if let Some(crop) = self.crop.filter(|crop| !(*crop > 0.0 && *crop <= 1.0)) {
            return Err(Error::usage(format!("invalid crop {crop}"))
                .with_hint("Give a number above 0, up to 1, as in `--crop 0.875`."));
        }
        for (what, numbers) in [("mean", &self.mean), ("standard deviation", &self.deviation)] {
            if !matches!(numbers.len(), 0 | 1 | 3) {
                return Err(Error::usage(format!("the {what} has {} numbers", numbers.len()))
                    .with_hint("Give one number, or three for red, green and blue."));
            }
        }
        Ok(())
    }

    /// What was chosen, in words: `resize crop, mean 0.5`; empty if nothing was.
    pub fn text(&self) -> String {
        let list = |numbers: &[f64]| numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
        let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value().map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        let mut words = Vec::new();
        if let Some(layout) = self.layout {
            words.push(format!("layout {}", name(&|| layout.to_possible_value())));
        }
        if self.resize != Resize::default() {
            words.push(format!("resize {}", name(&|| self.resize.to_possible_value())));
        }
        words.extend(self.crop.map(|crop| format!("crop {crop}")));
        for (what, numbers) in [("mean", &self.mean), ("std", &self.deviation)] {
            if !numbers.is_empty() {
                words.push(format!("{what} {}", list(numbers)));
            }
        }
        words.extend(self.white.map(|white| format!("white {white}")));
        words.join(", ")
    }

    fn changes_values(&self) -> bool {
        !self.mean.is_empty() || !self.deviation.is_empty() || self.white.is_some_and(|white| white != 255.0)
    }
}

/// Where the channels of a batch of pictures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    is_channels_last: bool,
    channels: u64,
    height: Option<u64>,
    width: Option<u64>,
}

impl Picture {
    /// A picture of 1 or 3 channels; `None` if the number of bytes does not match.
    pub(super) fn of_bytes(bytes: Vec<u8>, width: u64, height: u64, channels: usize) -> Option<Self> {
        let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
        Some(Self(match channels {
            1 => DynamicImage::ImageLuma8(image::GrayImage::from_raw(width, height, bytes)?),
            3 => DynamicImage::ImageRgb8(image::RgbImage::from_raw(width, height, bytes)?),
            _ => return None,
        }))
    }

    /// Decodes a PNG or JPEG file. Pictures that would take more than 512 MiB are rejected.
    ///
    /// # Errors
    /// `NotFound`, `Io` or `CorruptFile`.
    pub fn read(path: &Path) -> Result<Self> {
        let mut reader = image::ImageReader::new(BufReader::new(regular_file::open(path)?));
        reader.limits(image::Limits::default());
        let decoded =
            reader.with_guessed_format().map_err(|error| Error::io("read", path, &error))?.decode().map_err(
                |error| {
                    Error::new(
                        ErrorKind::CorruptFile,
                        format!("`{}` is not a picture that qp can decode", path.display()),
                    )
                    .with_cause(error.to_string())
                },
            )?;
        Ok(Self(decoded))
    }

    /// The tensor for an input of four dimensions with 1 or 3 channels, first or last; values from 0 to 255.
    pub(super) fn fit(&self, value: &ValueInfo, options: &PictureOptions) -> Result<Fitted> {
        let misfit = || {
            Error::invalid_input(format!("input `{}` takes {}, not a picture", value.name, type_text(value)))
                .with_hint("A picture fits an input of shape N×H×W×C or N×C×H×W with 1 or 3 channels.")
        };
        let layout = layout(value.shape.as_deref().ok_or_else(misfit)?, options.layout).ok_or_else(misfit)?;
        let (own_width, own_height) = (u64::from(self.0.width()), u64::from(self.0.height()));
        // A free size keeps the picture's own, after cropping.
        let kept = |own: u64| options.crop.map_or(own, |crop| ((own as f64 * crop) as u64).max(1));
        let width = layout.width.unwrap_or_else(|| kept(own_width));
        let height = layout.height.unwrap_or_else(|| kept(own_height));
        let mut steps = Vec::new();
        let resized = if options.crop.is_none() && (width, height) == (own_width, own_height) {
            self.0.clone()
        } else {
            let size = |size: u64| u32::try_from(size).ok().filter(|&size| (1..=16_384).contains(&size));
            let (Some(new_width), Some(new_height)) = (size(width), size(height)) else {
                return Err(misfit());
            };
            let larger = |side: u32| {
                let side = options.crop.map_or(f64::from(side), |crop| (f64::from(side) / crop).floor());
                Some(side as u32).filter(|side| *side <= 16_384).ok_or_else(misfit)
            };
            let (larger_width, larger_height) = (larger(new_width)?, larger(new_height)?);
            let (how, resized) = resized(&self.0, larger_width, larger_height, options.resize);
            let size = format!("{larger_width}×{larger_height}");
            steps.push(format!("resized {own_width}×{own_height} → {size}, {how}bilinear"));
            if options.crop.is_some() {
                steps.push(format!("cropped to the central {width}×{height}"));
                let (left, top) = ((larger_width - new_width) / 2, (larger_height - new_height) / 2);
                resized.crop_imm(left, top, new_width, new_height)
            } else {
                resized
            }
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
            DType::UINT8 if options.changes_values() => {
                return Err(Error::invalid_input(format!(
                    "input `{}` takes uint8, but `--mean`, `--std` and `--white` are for floats",
                    value.name
                )));
            }
            DType::UINT8 => (DType::UINT8, elements),
            DType::FLOAT32 | DType::FLOAT16 | DType::FLOAT64 | DType::UNDEFINED => {
                let dtype = if value.dtype == DType::UNDEFINED { DType::FLOAT32 } else { value.dtype };
                steps.push(match options.changes_values() {
                    false => format!("values 0 to 255 as {dtype}"),
                    true => {
                        let (black, white) = (options.value(0, 0), options.value(255, 0));
                        format!("values {black:.3} to {white:.3} as {dtype}")
                    }
                });
                let channels = layout.channels as usize;
                let plane = elements.len() / channels.max(1);
                let element = dtype.element_type().ok_or_else(misfit)?;
                let mut bytes = Vec::with_capacity(element.packed_bytes(elements.len()));
                for (index, byte) in elements.iter().enumerate() {
                    let channel =
                        if layout.is_channels_last { index % channels } else { index / plane.max(1) };
                    element.push(&mut bytes, options.value(*byte, channel)).ok_or_else(misfit)?;
                }
                (dtype, bytes)
            }
            _ => return Err(misfit()),
        };
        let tensor = Tensor { name: value.name.clone(), dtype, shape, bytes, quantization: None };
        Ok(Fitted { tensors: vec![tensor], steps })
    }
}

/// The picture in the wanted size, and a word for how.
fn resized(picture: &DynamicImage, width: u32, height: u32, how: Resize) -> (&'static str, DynamicImage) {
    match how {
        Resize::Stretch => ("", picture.resize_exact(width, height, FilterType::Triangle)),
        Resize::Crop => ("cropped, ", picture.resize_to_fill(width, height, FilterType::Triangle)),
        Resize::Pad => {
            let inner = picture.resize(width, height, FilterType::Triangle);
            let mut whole = DynamicImage::new(width, height, inner.color());
            let (left, top) = ((width - inner.width()) / 2, (height - inner.height()) / 2);
            image::imageops::overlay(&mut whole, &inner, i64::from(left), i64::from(top));
            ("padded, ", whole)
        }
    }
}

fn layout(shape: &[Dimension], wanted: Option<PictureLayout>) -> Option<Layout> {
    let [_, second, third, fourth] = shape else { return None };
    let is_channel_count = |dimension: &Dimension, layout: PictureLayout| {
        let allowed = wanted.is_none_or(|wanted| wanted == layout);
        // A free dimension for the channels becomes three.
        let size = dimension.size().or(wanted.map(|_| 3));
        size.filter(|size| allowed && matches!(size, 1 | 3))
    };
    match (is_channel_count(fourth, PictureLayout::Nhwc), is_channel_count(second, PictureLayout::Nchw)) {
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
        ValueInfo::new("x", DType::UINT8, shape)
    }

    #[test]
    fn channels_go_where_the_model_wants_them() {
        let mut pixels = image::RgbImage::new(2, 1);
        pixels.put_pixel(0, 0, image::Rgb([1, 2, 3]));
        pixels.put_pixel(1, 0, image::Rgb([4, 5, 6]));
        let picture = Picture(DynamicImage::ImageRgb8(pixels));
        assert_eq!(
            picture.fit(&value([1, 1, 2, 3]), &PictureOptions::default()).unwrap().tensors[0].bytes,
            [1, 2, 3, 4, 5, 6]
        );
        assert_eq!(
            picture.fit(&value([1, 3, 1, 2]), &PictureOptions::default()).unwrap().tensors[0].bytes,
            [1, 4, 2, 5, 3, 6]
        );
        assert!(picture.fit(&value([1, 7, 7, 7]), &PictureOptions::default()).is_err());
    }

    /// torchvision: `Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(ToTensor()(picture))`.
    #[test]
    fn channels_are_normalized_as_torchvision_does_it() {
        let pixels = image::RgbImage::from_pixel(2, 2, image::Rgb([255, 128, 0]));
        let picture = Picture(DynamicImage::ImageRgb8(pixels));
        let options = PictureOptions {
            mean: vec![0.485, 0.456, 0.406],
            deviation: vec![0.229, 0.224, 0.225],
            ..PictureOptions::default()
        };
        let float = ValueInfo { dtype: DType::FLOAT32, ..value([1, 3, 2, 2]) };
        let fitted = picture.fit(&float, &options).unwrap();
        let bytes = &fitted.tensors[0].bytes;
        let numbers: Vec<f32> =
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        for (found, expected) in numbers.iter().step_by(4).zip([2.248_908_3, 0.205_182_15, -1.804_444_4]) {
            assert!((found - expected).abs() < 1e-6, "{numbers:?}");
        }
        assert!(picture.fit(&value([1, 3, 2, 2]), &options).is_err());
    }

    #[test]
    fn a_picture_of_another_form_is_stretched_cut_or_padded() {
        let pixels = image::RgbImage::from_pixel(4, 2, image::Rgb([200, 200, 200]));
        let picture = Picture(DynamicImage::ImageRgb8(pixels));
        let bytes = |resize| {
            let options = PictureOptions { resize, ..PictureOptions::default() };
            picture.fit(&value([1, 4, 4, 1]), &options).unwrap().tensors.remove(0).bytes
        };
        assert_eq!(bytes(Resize::Stretch), [200; 16]);
        assert_eq!(bytes(Resize::Crop), [200; 16]);
        let padded = bytes(Resize::Pad);
        assert_eq!((&padded[..4], &padded[4..12], &padded[12..]), (&[0; 4][..], &[200; 8][..], &[0; 4][..]));
    }

    #[test]
    fn a_text_file_called_png_is_corrupt() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(Picture::read(&path).unwrap_err().kind(), ErrorKind::CorruptFile);
    }
}
