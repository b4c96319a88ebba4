//! Results of commands as pictures: SVG and PNG, from one drawing.
//!
//! A picture is drawn from a result's JSON. Text is set in DejaVu Sans, which is part of the
//! program: no fonts of the machine are used. Colors are those of Okabe and Ito, which people with any color vision
//! can tell apart.

mod canvas;
mod channels;
mod histogram;
mod ranges;

use crate::error::{Error, Result};
use canvas::Canvas;
use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::drawing::IntoDrawingArea;
use plotters::style::{FontStyle, register_font};
use serde_json::Value;
use std::sync::Once;

/// Pixels of a PNG per SVG unit.
const PNG_SCALE: u32 = 2;
/// The largest width or height in SVG units.
pub const MAX_SIDE: u32 = 10_000;

/// What is drawn.
#[derive(Debug)]
pub enum Picture {
    /// How many elements have which value, of one tensor or of several.
    Histogram(histogram::Histogram),
    /// The ranges of tensors.
    Ranges(ranges::Ranges),
    /// The ranges of a tensor's channels.
    Channels(channels::Channels),
}

impl Picture {
    /// The picture of a result of the command with this name; `None` if the result has no picture.
    ///
    /// # Errors
    /// `Internal` when the value does not have the command's form; `InvalidInput` when there is nothing to draw.
    pub fn of(command: &str, value: &Value) -> Result<Option<Self>> {
        let picture = match command {
            "weights" if value.get("channels").is_some() => Self::Channels(read(value)?),
            "weights" => Self::Histogram(histogram::Histogram::of(value)?),
            "ranges" => Self::Ranges(read(value)?),
            _ => return Ok(None),
        };
        if picture.is_empty() {
            return Err(Error::invalid_input("there is nothing to draw")
                .with_cause("no value is finite, or all values are too close together"));
        }
        Ok(Some(picture))
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Histogram(histogram) => histogram.is_empty(),
            Self::Ranges(ranges) => ranges.is_empty(),
            Self::Channels(channels) => channels.is_empty(),
        }
    }

    /// Width and height that suit the content, in SVG units.
    pub fn natural_size(&self) -> (u32, u32) {
        match self {
            Self::Histogram(_) | Self::Channels(_) => (900, 520),
            Self::Ranges(ranges) => (1000, ranges.natural_height().min(MAX_SIDE)),
        }
    }

    /// The picture as the text of an SVG file.
    ///
    /// # Errors
    /// `Internal` when it cannot be drawn.
    pub fn to_svg(&self, size: (u32, u32)) -> Result<String> {
        prepare_font();
        let mut text = String::new();
        let backend = SVGBackend::with_string(&mut text, size);
        self.draw(&Canvas::new(backend.into_drawing_area(), 1.0))?;
        Ok(text)
    }

    /// The picture as the bytes of a PNG file, with two pixels per SVG unit.
    ///
    /// # Errors
    /// `Internal` when it cannot be drawn.
    pub fn to_png(&self, size: (u32, u32)) -> Result<Vec<u8>> {
        prepare_font();
        let (width, height) = (size.0 * PNG_SCALE, size.1 * PNG_SCALE);
        let mut pixels = vec![0; width as usize * height as usize * 3];
        let backend = BitMapBackend::with_buffer(&mut pixels, (width, height));
        self.draw(&Canvas::new(backend.into_drawing_area(), f64::from(PNG_SCALE)))?;
        let mut bytes = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        image::ImageEncoder::write_image(encoder, &pixels, width, height, image::ExtendedColorType::Rgb8)
            .map_err(|error| {
                Error::internal("the picture cannot be encoded").with_cause(error.to_string())
            })?;
        Ok(bytes)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<()> {
        let drawn = canvas.clear().and_then(|()| match self {
            Self::Histogram(histogram) => histogram.draw(canvas),
            Self::Ranges(ranges) => ranges.draw(canvas),
            Self::Channels(channels) => channels.draw(canvas),
        });
        drawn
            .and_then(|()| canvas.finish())
            .map_err(|error| Error::internal("the picture cannot be drawn").with_cause(error.to_string()))
    }
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
    T::deserialize(value)
        .map_err(|error| Error::internal("a result cannot be drawn").with_cause(error.to_string()))
}

/// Text is measured and, in a PNG, drawn with this font, under the name that an SVG asks for.
fn prepare_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (style, bytes) in
            [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())]
        {
            // Every test would fail if this were not a font.
            let _ = register_font(canvas::FONT, style, bytes);
        }
    });
}
