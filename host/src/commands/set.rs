//! `set` and `scale`: change a quantized model in memory.

use super::{Command, Example, Group, Scope};
use crate::editing::{Change, make};
use crate::error::Result;
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::Report;
use crate::render::style::Tone;
use crate::render::text::counted;

/// `set LAYER.PROPERTY VALUE`
pub(super) struct Set;

/// `scale LAYER × FACTOR`
pub(super) struct Scale;

/// The arguments of `set`.
#[derive(Debug, clap::Args)]
pub(super) struct SetArguments {
    /// What to set: a layer, or its `weight`, `bias`, `input` or `output`, or a tensor, and behind a dot `scale`,
    /// `zero_point`, `range`, `bits` or `quantized`; `[3]` behind it means one channel
    #[arg(value_name = "TARGET")]
    target: String,
    /// A number, a range as in `-1..6`, 8 or 16 for `bits`, or `on` or `off`
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: String,
    /// The model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
}

/// The arguments of `scale`.
#[derive(Debug, clap::Args)]
pub(super) struct ScaleArguments {
    /// The layer, or its `weight`, `input` or `output`, or a tensor; `[3]` behind it means one channel
    #[arg(value_name = "TARGET")]
    target: String,
    /// The factor for the scale; a `×` or an `x` may stand before it
    #[arg(value_name = "FACTOR", required = true, num_args = 1..=2)]
    factor: Vec<String>,
    /// The model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
}

struct Made<'a> {
    model: &'a str,
    change: &'a str,
    effect: &'a str,
    changes: usize,
}

impl Record for Made<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field(
                "model",
                Unit::Name,
                "The changed model, in memory: the file's name with a `*`",
                |made| made.model,
            ),
            Self::field("change", Unit::Text, "The change, as `changes` lists it", |made| made.change),
            Self::field("effect", Unit::Text, "What it did", |made| made.effect),
            Self::field("changes", Unit::Count, "The changes of the model so far", |made| made.changes),
        ]
    }
}

impl Command for Set {
    type Arguments = SetArguments;
    const NAME: &'static str = "set";
    const SUMMARY: &'static str =
        "Set a scale, a zero point, a range or a layer's bits, or turn its quantization off";
    const GROUP: Group = Group::Change;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "use resnet8_int8.onnx; set layer1.conv1.weight.scale 0.02",
            shows: "the model with another scale, as `resnet8_int8*`; the file stays",
        },
        Example {
            line: "use resnet8_int8.onnx; set stem.output.range 0..4",
            shows: "an activation with another range: its scale and zero point follow",
        },
        Example {
            line: "use resnet8_int8.onnx; set fc.bits 16; layer fc",
            shows: "a layer that reads codes of 16 bits, on a finer grid of the same range",
        },
        Example {
            line: "use resnet8_int8.onnx; set fc.quantized off; kernels --float",
            shows: "a layer that computes with real numbers again",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Made<'_>>(1)]
    }

    fn run(arguments: SetArguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let change = Change::set(&arguments.target, &arguments.value)?;
        change_model(&change, arguments.model.as_deref(), playground, scope)
    }
}

impl Command for Scale {
    type Arguments = ScaleArguments;
    const NAME: &'static str = "scale";
    const SUMMARY: &'static str = "Multiply the scales of a layer";
    const GROUP: Group = Group::Change;
    const EXAMPLES: &'static [Example] = &[Example {
        line: "use resnet8_int8.onnx; scale layer1.conv1.weight × 8",
        shows: "steps eight times as wide: the weight's codes are made anew",
    }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Made<'_>>(1)]
    }

    fn run(arguments: ScaleArguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let change = Change::scale(&arguments.target, &arguments.factor)?;
        change_model(&change, arguments.model.as_deref(), playground, scope)
    }
}

fn change_model(
    change: &Change,
    name: Option<&str>,
    playground: &mut Playground,
    scope: &Scope<'_>,
) -> Result<Report> {
    let task = scope.ui.task(scope.cancel);
    let model = playground.newest_form(name, &task)?;
    let made = make(playground, &model, change, &task)?;
    let changes = playground.variant(&made.model.path).map_or(0, |variant| variant.changes().len());
    let report =
        Made { model: &made.model.id, change: &made.change.line, effect: &made.change.effect, changes };
    Ok(Report::of(&report)
        .toned_line([
            (Tone::Name, made.model.id.clone()),
            (Tone::Plain, format!(" ({}): {}", counted(changes, "change"), made.change.effect)),
        ])
        .preparation(true))
}
