//! `plot`: the result of another command as a picture.

use super::{Command, Example, Group, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::playground::Playground;
use crate::plot::{MAX_SIDE, Picture};
use crate::render::number;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::Report;
use crate::render::style::Tone;
use std::path::Path;

/// `plot FILE COMMAND…`
pub(super) struct Plot;

/// The arguments of `plot`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file to write: .svg or .png
    #[arg(value_name = "PATH")]
    file: String,
    /// The command whose result is drawn, with its arguments: `weights`, also with `--compare` or `--channels`,
    /// or `ranges`
    #[arg(value_name = "COMMAND", required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// Width and height in units of an SVG; a PNG has two pixels for each
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = parse_size)]
    size: Option<(u32, u32)>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

struct Written {
    path: String,
    format: &'static str,
    width: u32,
    height: u32,
    bytes: usize,
}

impl Record for Written {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("path", Unit::Name, "The file", |written| written.path.clone()),
            Self::field("format", Unit::Text, "Its format", |written| written.format)
                .choices(&["svg", "png"]),
            Self::field(
                "width",
                Unit::Count,
                "Width in units of an SVG; a PNG has two pixels for each",
                |written| written.width,
            ),
            Self::field("height", Unit::Count, "Height in the same units", |written| written.height),
            Self::field("bytes", Unit::Bytes, "Size of the file", |written| written.bytes),
        ]
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Svg,
    Png,
}

impl Command for Plot {
    type Arguments = Arguments;
    const NAME: &'static str = "plot";
    const SUMMARY: &'static str = "Draw a command's result as an SVG or PNG file";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "plot conv.svg weights layer1.conv1 --model resnet8_int8.onnx --bins 60",
            shows: "a histogram",
        },
        Example {
            line: "open .; plot --size 1200x600 conv.png weights fc --model resnet8.onnx --compare",
            shows: "variants on the same bins",
        },
        Example {
            line: "plot ranges.svg ranges resnet8.onnx resnet8_int8.onnx --log",
            shows: "all weights, side by side",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Written>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let path = playground.path(&arguments.file);
        let format = format(&path)?;
        file::require_free(&path, arguments.force)?;
        let name = arguments.command.first().map_or("", String::as_str);
        let entry = super::find(name).filter(|entry| matches!(entry.name, "weights" | "ranges")).ok_or_else(
            || {
                Error::usage(format!("`{name}` has no picture"))
                    .with_hint("Draw `weights`, `weights --compare`, `weights --channels` or `ranges`.")
            },
        )?;
        let matches = entry.definition().try_get_matches_from(&arguments.command[1..]).map_err(|error| {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Error::usage(line).with_hint(format!("See `help {}`.", entry.name))
        })?;
        let result = (entry.run)(&matches, playground, scope)?;
        let picture = Picture::of(entry.name, result.value())?
            .ok_or_else(|| Error::internal(format!("`{name}` has no picture")))?;
        let (width, height) = arguments.size.unwrap_or_else(|| picture.natural_size());
        let bytes = match format {
            Format::Svg => picture.to_svg((width, height))?.into_bytes(),
            Format::Png => picture.to_png((width, height))?,
        };
        file::write(&path, &bytes, arguments.force)?;
        let written = Written {
            path: path.display().to_string(),
            format: if format == Format::Svg { "svg" } else { "png" },
            width,
            height,
            bytes: bytes.len(),
        };
        Ok(Report::of(&written).toned_line([
            (Tone::Plain, "written to ".to_owned()),
            (Tone::Name, written.path.clone()),
            (Tone::Plain, format!(" ({width}×{height}, {})", number::bytes(written.bytes as u64))),
        ]))
    }
}

fn format(path: &Path) -> Result<Format> {
    match path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase().as_str() {
        "svg" => Ok(Format::Svg),
        "png" => Ok(Format::Png),
        _ => Err(Error::new(
            ErrorKind::UnsupportedFormat,
            format!("`{}` is not a picture format that qp writes", path.display()),
        )
        .with_hint("Give a file name that ends in .svg or .png.")),
    }
}

/// `800x500`, each side from 200 to [`MAX_SIDE`].
fn parse_size(text: &str) -> std::result::Result<(u32, u32), String> {
    let sides = text
        .split_once(['x', '×'])
        .and_then(|(width, height)| Some((width.trim().parse().ok()?, height.trim().parse().ok()?)));
    let fits = |side: &u32| (200..=MAX_SIDE).contains(side);
    sides
        .filter(|(width, height)| fits(width) && fits(height) && width * height <= 40_000_000)
        .ok_or_else(|| format!("a size is two numbers from 200 to {MAX_SIDE}, such as 800x500"))
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn a_size_is_two_numbers_within_reason() {
        assert_eq!(parse_size("800x500"), Ok((800, 500)));
        for text in ["", "800", "800x", "x", "10x10", "99999999999x500", "10000x10000"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
