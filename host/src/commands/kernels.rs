//! `kernels`: what a runtime makes of the layers: which quantized ones really run in integers, and why the others do not.

use super::arguments::running::Running;
use super::{Command, Example, Group, Scope};
use crate::capture::Execution;
use crate::error::Result;
use crate::model::{Arithmetic, FloatReason, Kernel, Kernels, ModelInfo};
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit, word};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use crate::temporary::Scratch;
use std::collections::HashMap;

/// `kernels [NAME]`
pub(super) struct KernelsOfModel;

/// The arguments of `kernels`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model; without it, the current one
    #[arg(value_name = "MODEL")]
    name: Option<String>,
    /// Only the layers that are computed in float
    #[arg(long)]
    float: bool,
    #[command(flatten)]
    running: Running,
}

struct Found<'a> {
    model: &'a str,
    /// Quantized layers that are computed in integers.
    in_integers: usize,
    /// All quantized layers.
    quantized: usize,
    layers: Vec<Row<'a>>,
    reasons: Vec<ReasonGroup<'a>>,
    operators: Vec<Operator<'a>>,
}

/// A quantized layer.
struct Row<'a> {
    layer: &'a str,
    op_type: &'a str,
    /// `None` if it has disappeared.
    kernel: Option<&'a Kernel>,
    reason: Option<&'a FloatReason>,
}

/// The layers with the same reason.
struct ReasonGroup<'a> {
    reason: &'a FloatReason,
    layers: Vec<&'a str>,
}

/// The kernels of one operator.
struct Operator<'a> {
    operator: &'a str,
    arithmetic: Arithmetic,
    count: usize,
    /// Those that compute no layer.
    added: usize,
}

impl Record for Found<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |found| found.model),
            Self::field("quantized", Unit::Count, "Layers that the file has quantized", |found| {
                found.quantized
            }),
            Self::field(
                "in_integers",
                Unit::Count,
                "Those of them that the runtime computes in integers",
                |found| found.in_integers,
            ),
            Self::list("layers", "The quantized layers", |found| &found.layers),
            Self::list(
                "reasons",
                "Why layers are computed in float, the most frequent reason first",
                |found| &found.reasons,
            ),
            Self::list("operators", "The kernels that the runtime runs, by operator", |found| {
                &found.operators
            }),
        ]
    }
}

impl<'a> Row<'a> {
    fn arithmetic(&self) -> Option<Arithmetic> {
        self.kernel.map(|kernel| kernel.arithmetic)
    }

    fn element_type(&self) -> Option<&'a str> {
        Some(self.kernel?.element_type.as_str()).filter(|element_type| !element_type.is_empty())
    }

    fn tone(&self) -> Tone {
        if self.reason.is_none() { Tone::Good } else { Tone::Warning }
    }
}

impl Record for Row<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "The layer", |row| row.layer).title("layer"),
            Self::field("op_type", Unit::Text, "Its operator in the file", |row| row.op_type)
                .title("type")
                .rank(2),
            Self::field("kernel", Unit::Text, "The operator of the kernel that computes it", |row| {
                row.kernel.map(|kernel| kernel.operator.as_str())
            })
            .title("kernel"),
            Self::field(
                "arithmetic",
                Unit::Text,
                "integer: with codes; float: with real numbers; conversion: it only turns one into the other",
                |row| row.arithmetic().map(word),
            )
            .choices(Arithmetic::WORDS),
            Self::field("element_type", Unit::Text, "Element type of what the kernel reads first", |row| {
                row.element_type()
            })
            .title("computes in")
            .text(|row| match row.element_type() {
                Some(element_type) => element_type.to_owned(),
                None => "–".to_owned(),
            })
            .tone(Row::tone),
            Self::field(
                "code",
                Unit::Text,
                "Why it is computed in float, for machines; null if it is not",
                |row| row.reason.map(|reason| reason.code.as_str()),
            )
            .title("why not in integers")
            .text(|row| row.reason.map_or_else(String::new, |reason| reason.code.clone())),
            Self::field("reason", Unit::Text, "The same in words, for this layer", |row| {
                row.reason.map(|reason| reason.text.as_str())
            }),
            Self::field("next_step", Unit::Text, "What to do if it should be computed in integers", |row| {
                row.reason.map(|reason| reason.next_step.as_str())
            }),
        ]
    }
}

impl Record for ReasonGroup<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("code", Unit::Text, "The reason, for machines", |group| group.reason.code.as_str()),
            Self::field("count", Unit::Count, "How many layers have it", |group| group.layers.len()),
            Self::field("layers", Unit::Name, "These layers", |group| group.layers.clone()),
            Self::field("text", Unit::Text, "The reason in words, for the first layer", |group| {
                group.reason.text.as_str()
            }),
            Self::field(
                "next_step",
                Unit::Text,
                "What to do if they should be computed in integers",
                |group| group.reason.next_step.as_str(),
            ),
        ]
    }
}

impl Record for Operator<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("operator", Unit::Text, "The operator", |operator| operator.operator),
            Self::field(
                "arithmetic",
                Unit::Text,
                "integer: with codes; float: with real numbers; conversion: from one to the other; other: neither",
                |operator| word(operator.arithmetic),
            )
            .choices(Arithmetic::WORDS),
            Self::field("count", Unit::Count, "Kernels with it", |operator| operator.count),
            Self::field(
                "added",
                Unit::Count,
                "Those among them that compute no layer of the file: the runtime has added them",
                |operator| operator.added,
            ),
        ]
    }
}

impl Command for KernelsOfModel {
    type Arguments = Arguments;
    const NAME: &'static str = "kernels";
    const SUMMARY: &'static str = "Show which quantized layers really run in integers, and why others do not";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "kernels resnet8_int8.onnx",
            shows: "what ONNX Runtime makes of each quantized layer",
        },
        Example {
            line: "kernels resnet8_uint8.onnx --float; assert kernels.in_integers >= 15",
            shows: "that all but one run in integers, as a check",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Found<'_>>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.name.as_deref(), &task)?;
        model.runnable()?;
        arguments.running.check(&[&model])?;
        let options = arguments.running.options_of(&model, Execution::Optimized, None);
        let scratch = Scratch::new()?;
        let kernels = model.session.kernels(&options, scratch.path(), &task)?;
        drop(task);
        Ok(lay_out(&Found::of(&model.id, model.info(), &kernels), arguments.float))
    }
}

impl<'a> Found<'a> {
    fn of(model: &'a str, info: &'a ModelInfo, kernels: &'a Kernels) -> Self {
        let op_types: HashMap<&str, &str> =
            info.layers.iter().map(|layer| (layer.path.as_str(), layer.op_type.as_str())).collect();
        let mut of_layer: HashMap<&str, &Kernel> = HashMap::new();
        for kernel in &kernels.kernels {
            for layer in &kernel.layers {
                // A kernel that computes beats one that converts for it.
                let place = of_layer.entry(layer).or_insert(kernel);
                if place.arithmetic == Arithmetic::Conversion {
                    *place = kernel;
                }
            }
        }
        let rows = kernels.quantized.iter().map(|quantized| Row {
            layer: &quantized.layer,
            op_type: op_types.get(quantized.layer.as_str()).copied().unwrap_or_default(),
            kernel: of_layer.get(quantized.layer.as_str()).copied(),
            reason: quantized.reason.as_ref(),
        });
        let layers: Vec<Row<'a>> = rows.collect();
        let mut reasons: Vec<ReasonGroup<'a>> = Vec::new();
        for (reason, layer) in layers.iter().filter_map(|row| Some((row.reason?, row.layer))) {
            match reasons.iter_mut().find(|group| group.reason.code == reason.code) {
                Some(group) => group.layers.push(layer),
                None => reasons.push(ReasonGroup { reason, layers: vec![layer] }),
            }
        }
        reasons.sort_by_key(|group| std::cmp::Reverse(group.layers.len()));
        let mut operators: Vec<Operator<'a>> = Vec::new();
        for kernel in &kernels.kernels {
            let same = |known: &&mut Operator<'_>| {
                known.operator == kernel.operator && known.arithmetic == kernel.arithmetic
            };
            let added = usize::from(kernel.layers.is_empty());
            match operators.iter_mut().find(same) {
                Some(known) => (known.count, known.added) = (known.count + 1, known.added + added),
                None => operators.push(Operator {
                    operator: &kernel.operator,
                    arithmetic: kernel.arithmetic,
                    count: 1,
                    added,
                }),
            }
        }
        operators.sort_by(|left, right| right.count.cmp(&left.count).then(left.operator.cmp(right.operator)));
        Self {
            model,
            in_integers: layers.iter().filter(|row| row.reason.is_none()).count(),
            quantized: layers.len(),
            layers,
            reasons,
            operators,
        }
    }
}

fn lay_out(found: &Found<'_>, float_only: bool) -> Report {
    let mut report = Report::of(found);
    let name = (Tone::Name, found.model.to_owned());
    let in_float = found.quantized - found.in_integers;
    report = match (found.quantized, in_float) {
        (0, _) => report.toned_line([name, (Tone::Plain, ": no layer is quantized".to_owned())]),
        (all, 0) => report.toned_line([
            name,
            (Tone::Plain, ": ".to_owned()),
            (Tone::Good, format!("all {} run in integers", counted(all, "quantized layer"))),
        ]),
        (all, in_float) => report.toned_line([
            name,
            (
                Tone::Plain,
                format!(": {} of {} run in integers, ", found.in_integers, counted(all, "quantized layer")),
            ),
            (Tone::Warning, format!("{in_float} in float")),
        ]),
    };
    let shown: Vec<&Row<'_>> =
        found.layers.iter().filter(|row| !float_only || row.reason.is_some()).collect();
    if !shown.is_empty() {
        report = report.table(Table::of(shown));
    }
    for ReasonGroup { reason, layers } in &found.reasons {
        let more = match layers.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        report = report
            .toned_line([
                (Tone::Warning, format!("{}: ", reason.code)),
                (Tone::Name, layers[0].to_owned()),
                (Tone::Plain, format!("{more}: {}", reason.text)),
            ])
            .toned_line([(Tone::Dim, format!("  {}", reason.next_step))]);
    }
    let list = |wanted: fn(&Operator<'_>) -> usize| {
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for (name, count) in found.operators.iter().map(|operator| (operator.operator, wanted(operator))) {
            match counts.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += count,
                None => counts.push((name, count)),
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let some = counts.iter().filter(|(_, count)| *count > 0);
        some.map(|(operator, count)| format!("{count} {operator}")).collect::<Vec<_>>().join(", ")
    };
    let added = list(|operator| operator.added);
    report = report.toned_line([(Tone::Dim, format!("kernels: {}", list(|operator| operator.count)))]);
    if added.is_empty() {
        report
    } else {
        report.toned_line([(Tone::Dim, format!("added by the runtime: {added}"))])
    }
}
