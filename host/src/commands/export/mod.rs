//! `export`: write a model, changed or not, one of its tensors, or the last result to a file.

mod last;

use super::{Command, Example, Group, Scope};
use crate::array_file::ArrayWriter;
use crate::backend::Progress;
use crate::commands::arguments::target::require_target;
use crate::error::{Error, Result};
use crate::file;
use crate::inspect::Elements;
use crate::model::{DType, find_layer};
use crate::playground::{Loaded, Playground};
use crate::render::number;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::Report;
use crate::render::style::Tone;
use crate::render::text::counted;
use std::path::Path;

/// `export MODEL FILE`
pub(super) struct Export;

/// The arguments of `export`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "export [OPTIONS] [MODEL] PATH")]
pub(super) struct Arguments {
    /// The model and the file to write; or only the file, for the current model
    #[arg(value_name = "[MODEL] PATH", required = true, num_args = 1..=2)]
    words: Vec<String>,
    /// Write only this stored tensor, or the weight of this layer, as `.npy`
    #[arg(long, value_name = "TENSOR")]
    tensor: Option<String>,
    /// With `--tensor`: the codes of a quantized tensor instead of its real values
    #[arg(long, requires = "tensor")]
    codes: bool,
    /// Write the last result: as .json, .csv or .md, as the name of the file ends
    #[arg(long, conflicts_with_all = ["tensor", "node_data"])]
    report: bool,
    /// Write this number of the layers in the last result, such as sqnr_db, as node data for Model Explorer
    #[arg(long, value_name = "FIELD", conflicts_with = "tensor")]
    node_data: Option<String>,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

struct Exported {
    model: Option<String>,
    result: Option<&'static str>,
    nodes: Option<usize>,
    changes: usize,
    tensor: Option<String>,
    files: Vec<String>,
    bytes: u64,
}

impl Record for Exported {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model; null for a result", |exported| {
                exported.model.clone()
            }),
            Self::field(
                "result",
                Unit::Text,
                "The command whose result was written; null for a model",
                |exported| exported.result,
            ),
            Self::field("nodes", Unit::Count, "Nodes with a number; null but for node data", |exported| {
                exported.nodes
            }),
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
    const SUMMARY: &'static str =
        "Write a model, changed or not, one of its tensors, or the last result to a file";
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
        Example {
            line: "input digits.npz:images[0:8]; compare resnet8.onnx resnet8_int8.onnx; export --report compared.csv --force; export --node-data sqnr_db nodes.json --force",
            shows: "the last result as a table for other programs, and its numbers for Model Explorer",
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
        if arguments.report || arguments.node_data.is_some() {
            if name.is_some() {
                return Err(Error::usage("the last result is written to one file: `export --report FILE`"));
            }
            return write_last(&arguments, &playground.path(file), playground, &task);
        }
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
                require_target(&model, &path, arguments.force)?;
                let files =
                    file::keep_all(&path, arguments.force, |place| model.session.export(place, &task))?;
                playground.list_written(&path, &task)?;
                files
            }
        };
        let size = |path: &std::path::PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let exported = Exported {
            model: Some(model.id.clone()),
            result: None,
            nodes: None,
            changes,
            tensor: arguments.tensor,
            bytes: files.iter().map(size).sum(),
            files: files.iter().map(|path| path.display().to_string()).collect(),
        };
        Ok(Report::of(&exported).preparation(true).toned_line([
            (Tone::Name, model.id.clone()),
            (Tone::Plain, " written to ".to_owned()),
            (Tone::Name, exported.files.join(", ")),
            (Tone::Plain, format!(" ({})", number::bytes(exported.bytes))),
        ]))
    }
}

/// Writes the last result, or one number of its layers.
fn write_last(
    arguments: &Arguments,
    path: &Path,
    playground: &mut Playground,
    progress: &dyn Progress,
) -> Result<Report> {
    let (result, nodes) = match &arguments.node_data {
        Some(field) => {
            let (result, nodes) = last::write_node_data(playground, field, path, arguments.force, progress)?;
            (result, Some(nodes))
        }
        None => (last::write_report(playground, path, arguments.force)?, None),
    };
    let exported = Exported {
        model: None,
        result: Some(result),
        nodes,
        changes: 0,
        tensor: None,
        bytes: std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
        files: vec![path.display().to_string()],
    };
    let nodes = nodes.map(|count| format!("{}, ", counted(count, "node"))).unwrap_or_default();
    Ok(Report::of(&exported).preparation(true).toned_line([
        (Tone::Plain, format!("the result of `{result}` written to ")),
        (Tone::Name, exported.files.join(", ")),
        (Tone::Plain, format!(" ({nodes}{})", number::bytes(exported.bytes))),
    ]))
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
