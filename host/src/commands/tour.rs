//! `tour`: ten steps through a float model and its quantized form, each a real command on the models that are open.

use super::{Command, Example, Group, Scope};
use crate::editing::Subject;
use crate::error::{Error, Result};
use crate::language::quoted;
use crate::playground::{Playground, Tour};
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;

/// `tour`
pub(super) struct TourCommand;

/// The arguments of `tour`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The family of models; without it, the first that has a float and a quantized ONNX model
    #[arg(value_name = "FAMILY")]
    family: Option<String>,
    /// End the tour
    #[arg(long, conflicts_with = "family")]
    end: bool,
}

struct Plan {
    float: Option<String>,
    quantized: Option<String>,
    steps: Vec<Step>,
}

struct Step {
    number: usize,
    title: &'static str,
    line: String,
}

impl Record for Plan {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("float", Unit::Name, "The float model of the tour; null at its end", |plan| {
                plan.float.clone()
            }),
            Self::field("quantized", Unit::Name, "Its quantized form", |plan| plan.quantized.clone()),
            Self::list(
                "steps",
                "The steps; what a later one is about depends on the results of those before",
                |plan| &plan.steps,
            ),
        ]
    }
}

impl Record for Step {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("number", Unit::Count, "Place in the tour, from 1", |step| step.number).title("#"),
            Self::field("title", Unit::Text, "What the step shows", |step| step.title).title("step"),
            Self::field("line", Unit::Text, "Its command", |step| step.line.clone()).title("command"),
        ]
    }
}

impl Command for TourCommand {
    type Arguments = Arguments;
    const NAME: &'static str = "tour";
    const SUMMARY: &'static str = "Show what qp does in ten steps, with Enter from one to the next";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] =
        &[Example { line: "open .; tour", shows: "the ten steps for the models of the folder" }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Plan>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        if arguments.end {
            playground.tour = None;
            let ended = Plan { float: None, quantized: None, steps: Vec::new() };
            return Ok(Report::of(&ended).line("the tour has ended"));
        }
        let tour = find(arguments.family.as_deref(), playground)?;
        let steps = (0..STEPS.len())
            .map(|index| Step {
                number: index + 1,
                title: STEPS[index].0,
                line: line(&tour, index, playground),
            })
            .collect();
        let plan = Plan { float: Some(tour.float.clone()), quantized: Some(tour.quantized.clone()), steps };
        playground.tour = Some(tour);
        Ok(Report::of(&plan).table(Table::of(&plan.steps)).toned_line([(
            Tone::Plain,
            "Press Enter for the first step; any other command may come between; `tour --end` ends it."
                .to_owned(),
        )]))
    }
}

/// What each step shows, and its command: `{float}`, `{int8}`, `{data}` and `{layer}` are filled in.
const STEPS: [(&str, &str); 10] = [
    ("what is there: variants, precision, size", "summary"),
    ("look inside: scales, zero points, ranges", "quant --model {int8}"),
    ("run both and compare them, layer by layer", "compare {float} {int8} {data} --samples 32"),
    (
        "find the layer whose quantization costs most",
        "sensitivity {float} {int8} {data} --samples 32 --top 5",
    ),
    ("change it, in memory: steps 16 times as wide", "scale {layer}.weight × 16 --model {int8}"),
    ("see what that did", "try set {layer}.quantized off --model {int8}"),
    (
        "search a better scale, and set it",
        "sweep {layer}.weight.scale ×0.015625..×2 --steps 8 --apply {data} --samples 32 --model {int8}",
    ),
    ("take all of it back", "reset --model {int8}"),
    (
        "fewer errors: the layers to leave in float",
        "repair {int8} --reference {float} --min-sqnr 40 {data} --samples 32",
    ),
    ("guard it: a line for a script that CI runs", "assert compare.min_sqnr_db > 10.0"),
];

/// The next step of the tour: what it shows, and its line. `None` when there is no tour, or no step left.
pub fn next(playground: &mut Playground) -> Option<(String, String)> {
    let tour = playground.tour.clone()?;
    let Some((title, _)) = STEPS.get(tour.step) else {
        playground.tour = None;
        return None;
    };
    let line = line(&tour, tour.step, playground);
    let text = format!("{} of {}: {title}", tour.step + 1, STEPS.len());
    playground.tour = Some(Tour { step: tour.step + 1, ..tour });
    Some((text, line))
}

fn line(tour: &Tour, step: usize, playground: &Playground) -> String {
    // Samples of its own for a folder that has none.
    let before = if tour.data.is_none() && step == 2 { "input random --batch 32; " } else { "" };
    format!("{before}{}", STEPS[step].1)
        .replace("{float}", &quoted(&tour.float))
        .replace("{int8}", &quoted(&tour.quantized))
        .replace(
            "{data}",
            &tour.data.as_ref().map_or_else(String::new, |data| format!("--data {}", quoted(data))),
        )
        .replace("{layer}", &layer(tour, playground).unwrap_or_else(|| "LAYER".to_owned()))
}

/// The most sensitive layer that has a weight with one scale; before `sensitivity` the first such layer.
fn layer(tour: &Tour, playground: &Playground) -> Option<String> {
    let model = playground.loaded().find(|model| model.id == tour.quantized)?;
    let info = model.info();
    let is_fit = |layer: &&str| {
        Subject::find(&format!("{layer}.weight"), info).is_ok_and(|found| found.parameters.scales.len() == 1)
    };
    let measured = playground.results.get("sensitivity").and_then(|found| found["layers"].as_array());
    let ranked = measured.into_iter().flatten().filter_map(|row| row["layer"].as_str());
    let all = info.layers.iter().map(|layer| layer.path.as_str());
    ranked.chain(all).find(is_fit).map(str::to_owned)
}

/// A float and a quantized ONNX model of one family, and data beside them.
fn find(family: Option<&str>, playground: &Playground) -> Result<Tour> {
    let nothing = || {
        Error::state("there is no float model with a quantized form of the same family here").with_hint(
            "Open a folder that has both: `open PATH`. The samples of qp are in its folder `models`.",
        )
    };
    let catalog = playground.catalog.as_ref().ok_or_else(nothing)?;
    let fits = |variant: &&crate::catalog::Variant| {
        variant.format == "onnx" && family.is_none_or(|family| variant.family == family)
    };
    let scheme =
        |variant: &crate::catalog::Variant| variant.digest.as_ref().ok().map(|digest| digest.scheme.clone());
    let variants: Vec<_> = catalog.variants.iter().filter(fits).collect();
    for float in variants.iter().filter(|variant| scheme(variant) == Some(None)) {
        let of_it = |variant: &&&crate::catalog::Variant| {
            variant.family == float.family && scheme(variant) == Some(Some("QDQ".to_owned()))
        };
        let Some(quantized) = variants.iter().find(of_it) else { continue };
        let folder = float.path.parent().unwrap_or(std::path::Path::new(""));
        let data = playground.datasets.keys().next().cloned().or_else(|| {
            let mut names: Vec<_> = std::fs::read_dir(if folder.as_os_str().is_empty() {
                std::path::Path::new(".")
            } else {
                folder
            })
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "npz"))
            .filter(|path| !path.to_string_lossy().contains("golden"))
            .collect();
            names.sort();
            Some(names.first()?.to_str()?.to_owned())
        });
        return Ok(Tour { float: float.id.clone(), quantized: quantized.id.clone(), data, step: 0 });
    }
    Err(nothing())
}
