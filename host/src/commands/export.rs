//! `export`: write a model, changed or not, or one of its tensors to a file.

use super::{Command, Example, Group, Scope};
use crate::array_file::ArrayWriter;
use crate::backend::Progress;
use crate::error::{Error, Result};
use crate::file;
use crate::inspect::Elements;
use crate::model::{DType, find_layer};
use crate::playground::{Loaded, Playground};
use crate::render::number;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::Report;
use crate::render::style::Tone;
use std::path::Path;

/// `export MODEL FILE`
pub(super) struct Export;

/// The arguments of `export`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model and the file to write; or only the file, for the current model
    #[arg(value_name = "MODEL] [PATH", required = true, num_args = 1..=2)]
    words: Vec<String>,
    /// Write only this stored tensor, or the weight of this layer, as `.npy`
    #[arg(long, value_name = "TENSOR")]
    tensor: Option<String>,
    /// With `--tensor`: the codes of a quantized tensor instead of its real values
    #[arg(long, requires = "tensor")]
    codes: bool,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

struct Exported {
    model: String,
    changes: usize,
    tensor: Option<String>,
    files: Vec<String>,
    bytes: u64,
}

impl Record for Exported {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |exported| exported.model.clone()),
            Self::field("changes", Unit::Count, "How many changes are in it", |exported| exported.changes),
            Self::field("tensor", Unit::Name, "The tensor; null for the whole model", |exported| {
                exported.tensor.clone()
            }),
            Self::field("files", Unit::Name, "The files that were written, the model's last", |exported| {
                exported.files.clone()
            }),
            Self::field("bytes", Unit::Bytes, "Their size together", |exported| exported.bytes),
        ]
    }
}

impl Command for Export {
    type Arguments = Arguments;
    const NAME: &'static str = "export";
    const SUMMARY: &'static str = "Write a model, changed or not, or one of its tensors to a file";
    const GROUP: Group = Group::Change;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "use resnet8_int8.onnx; scale fc × 2; export resnet8_int8* changed.onnx --force",
            shows: "the changed model as a file of its own",
        },
        Example {
            line: "export resnet8_int8.onnx conv1.npy --tensor layer1.conv1 --force",
            shows: "a layer's weight as NumPy reads it",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Exported>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let (name, file) = match &arguments.words[..] {
            [file] => (None, file),
            [name, file, ..] => (Some(name.as_str()), file),
            [] => return Err(Error::usage("`export` takes the path of a file")),
        };
        let model = playground.model(name, &task)?;
        let path = playground.path(file);
        let changes = playground.variant(&model.path).filter(|_| playground.is_changed(&model.path));
        let changes = changes.map_or(0, |variant| variant.changes().len());
        let files = match &arguments.tensor {
            Some(tensor) => {
                write_tensor(&model, tensor, &path, &arguments, &task)?;
                vec![path]
            }
            None => {
                refuse_own_file(&model, &path)?;
                let files =
                    file::keep_all(&path, arguments.force, |place| model.session.export(place, &task))?;
                playground.list_written(&path, &task)?;
                files
            }
        };
        let size = |path: &std::path::PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let exported = Exported {
            model: model.id.clone(),
            changes,
            tensor: arguments.tensor,
            bytes: files.iter().map(size).sum(),
            files: files.iter().map(|path| path.display().to_string()).collect(),
        };
        Ok(Report::of(&exported).preparation(true).toned_line([
            (Tone::Name, exported.model.clone()),
            (Tone::Plain, " written to ".to_owned()),
            (Tone::Name, exported.files.join(", ")),
            (Tone::Plain, format!(" ({})", number::bytes(exported.bytes))),
        ]))
    }
}

/// A model is not written over the file that it is read from.
fn refuse_own_file(model: &Loaded, path: &Path) -> Result<()> {
    let own = |file: &std::path::PathBuf| matches!((file.canonicalize(), path.canonicalize()), (Ok(file), Ok(path)) if file == path);
    if model.files().iter().any(own) {
        return Err(Error::invalid_input(format!(
            "`{}` is the file that `{}` is read from",
            path.display(),
            model.id
        ))
        .with_hint("Give another name; the original can be replaced when qp has ended."));
    }
    Ok(())
}

fn write_tensor(
    model: &Loaded,
    name: &str,
    path: &Path,
    arguments: &Arguments,
    progress: &dyn Progress,
) -> Result<()> {
    let info = model.info();
    let tensor = match info.tensor(name) {
        Some(tensor) => tensor,
        None => {
            let layer = find_layer(name, info)?;
            let weight = layer.weights.iter().find(|used| !used.is_bias);
            weight.and_then(|used| info.tensor(&used.tensor)).ok_or_else(|| {
                Error::not_found(format!("`{}` has no weight", layer.path))
                    .with_hint("`stats` lists the stored tensors.")
            })?
        }
    };
    let mut writer = ArrayWriter::single(path, arguments.force)?;
    if arguments.codes || tensor.quantization.is_none() && !Elements::come_real(model, tensor) {
        if !writer.takes(tensor.dtype) {
            return Err(Error::invalid_input(format!("NumPy has no type for {}", tensor.dtype_name()))
                .with_hint("Without `--codes` the real values are written."));
        }
        let whole = model.session.read_whole_tensor(&tensor.name, progress)?;
        writer.append(&tensor.name, whole.dtype, &whole.shape, &whole.bytes)?;
    } else {
        let mut bytes = Vec::new();
        Elements::values(model, tensor, progress)?.each_block(progress, &mut |_, numbers| {
            bytes.extend(numbers.iter().flat_map(|number| (*number as f32).to_le_bytes()));
            Ok(())
        })?;
        writer.append(&tensor.name, DType::FLOAT32, &tensor.shape, &bytes)?;
    }
    writer.finish().map(|_| ())
}
