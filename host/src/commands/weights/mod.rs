//! `weights`: statistics and histogram of a layer's stored tensor.

mod channels;
mod compare;
mod single;

use super::{Command, Example, Group, Scope};
use crate::commands::arguments::number::integer_in;
use crate::commands::fields::bins::SharedBin;
use crate::error::{Error, Result};
use crate::inspect::weight::tensors_of;
use crate::model::{LayerInfo, ModelInfo, TensorInfo, TensorRole, find_layer};
use crate::playground::Playground;
use crate::render::histogram::Bin;
use crate::render::record::ReportShape;
use crate::render::report::Report;
use qp_analysis::ValueRange;

/// `weights [LAYER]`
pub(super) struct Weights;

/// The arguments of `weights`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The layer; without it, the current one
    #[arg(value_name = "LAYER")]
    layer: Option<String>,
    /// The model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The tensor, by its name or the end of it: of the layer, or if no layer is named, of the model; without it, the
    /// layer's largest
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,
    /// How many bars the histogram has, from 2 to 200
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = integer_in::<u16>(2..=200))]
    bins: u16,
    /// Show the integer codes instead of the real values
    #[arg(long)]
    raw: bool,
    /// Count the values within these bounds
    #[arg(long, num_args = 2, value_names = ["MIN", "MAX"], allow_negative_numbers = true)]
    range: Option<Vec<f64>>,
    /// Only this channel
    #[arg(long, value_name = "INDEX", conflicts_with = "channels")]
    channel: Option<usize>,
    /// A row for each channel: extremes, codes in use, effective bits
    #[arg(long)]
    channels: bool,
    /// The same tensor of other variants on the same bins, each with its errors: of these models, or without a name of
    /// the whole family
    #[arg(long, value_name = "MODEL", num_args = 0.., conflicts_with_all = ["raw", "channel", "channels", "range"])]
    compare: Option<Vec<String>>,
    /// The axis of the channels; without it, that of the scales or of the layer's outputs
    #[arg(long, value_name = "AXIS", allow_negative_numbers = true)]
    axis: Option<i64>,
}

impl Command for Weights {
    type Arguments = Arguments;
    const NAME: &'static str = "weights";
    const SUMMARY: &'static str = "Show statistics and a histogram of a layer's weights";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "weights layer1.conv1 --model resnet8_int8.onnx", shows: "the dequantized weights" },
        Example {
            line: "weights layer1.conv1 --model resnet8_int8.pt --raw --bins 16",
            shows: "the int8 codes",
        },
        Example {
            line: "weights fc --model resnet8.onnx --range -0.1 0.1",
            shows: "how many weights are small",
        },
        Example {
            line: "weights layer1.conv1 --model resnet8_int8.pt --channels",
            shows: "each filter's codes in use and effective bits",
        },
        Example {
            line: "open .; weights layer1.conv1 --model resnet8.onnx --compare",
            shows: "float, int8 and uint8 on the same bins, with errors",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![
            ReportShape::of::<single::Looked<'_>>(1)
                .when("without `--channels` and `--compare`")
                .draws::<Bin>("counts", "The histogram"),
            ReportShape::of::<channels::Looked<'_>>(1).when("with `--channels`"),
            ReportShape::of::<compare::Compared<'_>>(1)
                .when("with `--compare`")
                .draws::<SharedBin>("counts", "The histograms, one column for each variant"),
        ]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let bounds = bounds(arguments.range.as_deref())?;
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.model.as_deref(), &task)?;
        let current = playground.layer.as_ref();
        let layer = match (&arguments.layer, &arguments.tensor) {
            (Some(layer), _) => Some(layer),
            // A tensor with that name may be of any layer, or of none.
            (None, Some(tensor)) => current.filter(|layer| {
                let layer = model.info().layer(layer);
                layer.is_some_and(|layer| {
                    tensors_of(layer, model.info()).iter().any(|stored| is_named(stored, tensor))
                })
            }),
            (None, None) => Some(current.ok_or_else(|| {
                Error::usage("`weights` needs a layer")
                    .with_hint("Name one, or select one with `layer PATH`.")
            })?),
        };
        let (layer, tensor) = match layer {
            Some(layer) => {
                let layer = find_layer(layer, model.info())?;
                (Some(layer), tensor_of_layer(layer, arguments.tensor.as_deref(), model.info())?)
            }
            None => tensor_of_model(arguments.tensor.as_deref().unwrap_or_default(), model.info())?,
        };
        let subject = Subject { model: &model, layer, tensor, axis: arguments.axis };
        if let Some(names) = &arguments.compare {
            let others = compare::Others::load(&model, names, playground, &task)?;
            return compare::report(&subject, others, &arguments, &task);
        }
        if arguments.channels {
            return channels::report(&subject, &task);
        }
        single::report(&subject, &arguments, bounds, &task)
    }
}

/// The tensor to show.
struct Subject<'a> {
    model: &'a crate::playground::Loaded,
    layer: Option<&'a LayerInfo>,
    tensor: &'a TensorInfo,
    /// As the user gave it.
    axis: Option<i64>,
}

impl Subject<'_> {
    /// The axis of the channels.
    fn channel_axis(&self) -> Result<i64> {
        let known = crate::inspect::weight::channel_axis(self.layer, self.tensor);
        self.axis.or(known).ok_or_else(|| {
            Error::invalid_input(format!("`{}` is a scalar and has no channels", self.tensor.name))
        })
    }
}

fn bounds(range: Option<&[f64]>) -> Result<Option<ValueRange>> {
    match range {
        Some([min, max]) => match ValueRange::new(*min, *max) {
            Some(bounds) => Ok(Some(bounds)),
            None => Err(Error::usage(format!("no values lie between {min} and {max}"))
                .with_hint("Write the smaller bound first.")),
        },
        _ => Ok(None),
    }
}

fn is_named(tensor: &TensorInfo, name: &str) -> bool {
    tensor.name == name || tensor.name.ends_with(name)
}

/// The layer's largest tensor, or the one that is named.
fn tensor_of_layer<'a>(layer: &LayerInfo, name: Option<&str>, info: &'a ModelInfo) -> Result<&'a TensorInfo> {
    let stored = tensors_of(layer, info);
    let exact = stored.iter().find(|tensor| name.is_some_and(|name| tensor.name == name));
    let fitting = || stored.iter().find(|tensor| name.is_none_or(|name| is_named(tensor, name)));
    match (exact.or_else(fitting), name) {
        (Some(tensor), _) => Ok(tensor),
        (None, Some(name)) if !stored.is_empty() => {
            let names: Vec<_> = stored.iter().map(|tensor| format!("`{}`", tensor.name)).collect();
            Err(Error::not_found(format!("`{}` has no tensor `{name}`", layer.path))
                .with_hint(format!("Choose one of {}.", names.join(", "))))
        }
        (None, _) => Err(Error::not_found(format!("`{}` has no stored tensor", layer.path))
            .with_hint("The column `parameters` of `layers` shows which layers have some.")),
    }
}

/// The stored tensor with that name, or the only one whose name ends so, and its layer.
fn tensor_of_model<'a>(name: &str, info: &'a ModelInfo) -> Result<(Option<&'a LayerInfo>, &'a TensorInfo)> {
    let fitting = || -> Vec<&TensorInfo> {
        let is_shown =
            |tensor: &&TensorInfo| tensor.role != TensorRole::Quantization && is_named(tensor, name);
        info.tensors.iter().filter(is_shown).collect()
    };
    let tensor = match (info.tensor(name), &fitting()[..]) {
        (Some(tensor), _) => tensor,
        (None, [tensor]) => *tensor,
        (None, []) => {
            return Err(Error::not_found(format!("the model stores no tensor `{name}`"))
                .with_hint("`stats` lists all stored tensors."));
        }
        (None, several) => {
            let names: Vec<_> = several.iter().take(8).map(|tensor| format!("`{}`", tensor.name)).collect();
            return Err(Error::new(
                crate::error::ErrorKind::Ambiguous,
                format!("`{name}` matches {} tensors", several.len()),
            )
            .with_hint(format!("Choose one of {}.", names.join(", "))));
        }
    };
    let layer = tensor.layer.as_deref().and_then(|path| info.layer(path));
    Ok((layer, tensor))
}
