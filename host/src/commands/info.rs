//! `info`: one model in detail.

use super::fields::{OpCount, listing, severity_tone, severity_word};
use super::{Command, Example, Group, Scope};
use crate::catalog::Digest;
use crate::error::Result;
use crate::model::{Finding, ModelInfo, Property, Severity, ValueInfo, type_text};
use crate::playground::{Loaded, Playground};
use crate::render::number;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Cell, Report};
use crate::render::style::Tone;

/// `info [NAME]`
pub(super) struct Info;

/// The arguments of `info`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model; without it, the current one
    #[arg(value_name = "MODEL")]
    name: Option<String>,
    /// Show the code of the model: its methods, then everything with every call inlined
    #[arg(long)]
    code: bool,
}

struct Described<'a> {
    model: &'a str,
    backend: &'a str,
    format: &'a str,
    digest: Digest,
    verdict: Option<&'a str>,
    bytes: u64,
    hash: Option<String>,
    producer: &'a Option<String>,
    versions: &'a [Property],
    inputs: &'a [ValueInfo],
    outputs: &'a [ValueInfo],
    op_counts: Vec<OpCount<'a>>,
    tensors: usize,
    external_files: Vec<&'a str>,
    metadata: &'a [Property],
    findings: &'a [Finding],
    run_obstacle: &'a Option<crate::error::Error>,
}

impl Record for Described<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |model| model.model),
            Self::field("backend", Unit::Text, "Backend that reads it", |model| model.backend),
            Self::field("format", Unit::Text, "File format", |model| model.format),
            Self::flat(Digest::fields(), |model| Some(&model.digest)).always(),
            Self::field(
                "verdict",
                Unit::Text,
                "Whether loading the file with its own framework is safe, unknown or dangerous; null if the format holds no code",
                |model| model.verdict,
            ),
            Self::field("bytes", Unit::Bytes, "Size of its files", |model| model.bytes),
            Self::field("hash", Unit::Text, "BLAKE3 hash of its files", |model| model.hash.clone()),
            Self::field("producer", Unit::Text, "Program that wrote the file", |model| {
                model.producer.clone()
            }),
            Self::list("versions", "Versions of the format and of operator sets", |model| model.versions),
            Self::list("inputs", "Inputs of the graph", |model| model.inputs),
            Self::list("outputs", "Outputs of the graph", |model| model.outputs),
            Self::list(
                "op_counts",
                "How often each operator or class occurs, most frequent first",
                |model| &model.op_counts,
            ),
            Self::field("tensors", Unit::Count, "Number of stored tensors", |model| model.tensors),
            Self::field(
                "external_files",
                Unit::Text,
                "Files that hold tensors outside the model file",
                |model| model.external_files.clone(),
            ),
            Self::list("metadata", "Metadata of the file", |model| model.metadata),
            Self::list("findings", "What the reader noticed", |model| model.findings),
            Self::error("run_obstacle", "Why the backend cannot run it on any machine", |model| {
                model.run_obstacle.as_ref()
            }),
        ]
    }
}

impl Command for Info {
    type Arguments = Arguments;
    const NAME: &'static str = "info";
    const SUMMARY: &'static str = "Show a model's producer, inputs and outputs, size, operators and scheme";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "info resnet8_int8.onnx", shows: "one model in detail" },
        Example { line: "info resnet8_traced.pt --code", shows: "the TorchScript of a whole model" },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![
            ReportShape::of::<Described<'_>>(1).when("without `--code`"),
            ReportShape::of::<listing::Shown<'_>>(1).when("with `--code`"),
        ]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.name.as_deref(), &task)?;
        if arguments.code {
            return Ok(listing::report(&model.id, "", &model.session.listing(None, &task)?));
        }
        drop(task);
        Ok(report(&model))
    }
}

fn report(model: &Loaded) -> Report {
    let info = model.info();
    let described = describe(model, info);
    let mut fields = vec![
        ("model".to_owned(), Cell::name(model.id.clone())),
        ("format".to_owned(), Cell::text(format!("{} ({})", info.format, described.backend))),
        ("precision".to_owned(), Cell::text(described.digest.precision_text())),
        ("producer".to_owned(), Cell::option(info.producer.clone(), Cell::text)),
        ("versions".to_owned(), properties_cell(&info.versions)),
        ("parameters".to_owned(), Cell::count(described.digest.parameters)),
        (
            "quantized".to_owned(),
            Cell::option(described.digest.quantized_share, |share| {
                Cell::text(format!("{} of the parameters", number::percent(share)))
            }),
        ),
        (
            "size".to_owned(),
            Cell::text(format!(
                "{}, {} of it in tensors",
                number::bytes(model.bytes),
                number::bytes(described.digest.tensor_bytes)
            )),
        ),
        ("tensors".to_owned(), Cell::count(described.tensors as u64)),
    ];
    if let Some(verdict) = described.verdict {
        let gravest = info.findings.iter().map(|finding| finding.severity).max();
        let tone = if verdict == "safe" { Tone::Plain } else { gravest.map_or(Tone::Plain, severity_tone) };
        fields.push(("verdict".to_owned(), Cell::text(verdict).tone(tone)));
    }
    for (role, values) in [("input", &info.inputs), ("output", &info.outputs)] {
        fields.extend(
            values
                .iter()
                .map(|value| (role.to_owned(), Cell::text(format!("{}  {}", value.name, type_text(value))))),
        );
    }
    let ops: Vec<String> = described
        .op_counts
        .iter()
        .map(|op| format!("{} {}", op.count, if op.op_type.is_empty() { "?" } else { op.op_type }))
        .collect();
    fields.push((
        "layers".to_owned(),
        match ops.is_empty() {
            true => Cell::count(0),
            false => Cell::text(format!("{}: {}", number::count(info.layer_count() as u64), ops.join(", "))),
        },
    ));
    if !described.external_files.is_empty() {
        fields.push(("external data".to_owned(), Cell::text(described.external_files.join(", "))));
    }
    fields.extend(
        info.metadata
            .iter()
            .map(|property| (property.name.clone(), Cell::text(shortened(&property.value)).tone(Tone::Dim))),
    );
    let mut report = Report::of(&described).fields(fields);
    for finding in &info.findings {
        let (tone, word) = (severity_tone(finding.severity), severity_word(finding.severity));
        report = report.toned_line([(tone, format!("{word}: ")), (Tone::Plain, finding.message.clone())]);
        for line in subject_lines(finding) {
            report = report.line(line);
        }
    }
    if let Some(obstacle) = &info.run_obstacle {
        report = report
            .toned_line([(Tone::Warning, "cannot be run: ".to_owned()), (Tone::Plain, obstacle.one_line())]);
        for hint in obstacle.hints() {
            report = report.toned_line([(Tone::Name, "  hint: ".to_owned()), (Tone::Plain, hint.clone())]);
        }
    }
    report
}

fn describe<'a>(model: &'a Loaded, info: &'a ModelInfo) -> Described<'a> {
    Described {
        model: &model.id,
        backend: &model.session.plugin().id,
        format: &info.format,
        digest: Digest::new(info),
        verdict: info.extra.iter().find(|pair| pair.name == "verdict").map(|pair| pair.value.as_str()),
        bytes: model.bytes,
        hash: model.hash_text(),
        producer: &info.producer,
        versions: &info.versions,
        inputs: &info.inputs,
        outputs: &info.outputs,
        op_counts: info
            .op_type_counts()
            .into_iter()
            .map(|(op_type, count)| OpCount { op_type, count })
            .collect(),
        tensors: info.tensors.len(),
        external_files: info.external_files().collect(),
        metadata: &info.metadata,
        findings: &info.findings,
        run_obstacle: &info.run_obstacle,
    }
}

/// The subjects of a serious finding: calls numbered, one a line; names on one line.
fn subject_lines(finding: &Finding) -> Vec<String> {
    const MOST_CALLS: usize = 20;
    const MOST_NAMES: usize = 12;
    if finding.severity == Severity::Note || finding.subjects.is_empty() {
        return Vec::new();
    }
    let are_calls = finding.code.ends_with(".calls");
    let most = if are_calls { MOST_CALLS } else { MOST_NAMES };
    let shown = finding.subjects.iter().take(most);
    let more = finding.subjects.len().saturating_sub(most);
    let more = (more > 0).then(|| format!("… and {more} more, with --json"));
    if are_calls {
        let numbered = shown.enumerate().map(|(index, call)| format!("  {:>2}  {call}", index + 1));
        return numbered.chain(more.map(|more| format!("      {more}"))).collect();
    }
    let names: Vec<String> = shown.cloned().chain(more).collect();
    vec![format!("  {}", names.join(", "))]
}

fn properties_cell(properties: &[Property]) -> Cell {
    if properties.is_empty() {
        return Cell::missing();
    }
    let texts: Vec<_> =
        properties.iter().map(|property| format!("{} {}", property.name, property.value)).collect();
    Cell::text(texts.join(", "))
}

/// The beginning of a text that may be long: metadata can hold whole files.
fn shortened(text: &str) -> String {
    const MOST: usize = 120;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= MOST && line.len() == text.len() {
        return line.to_owned();
    }
    let start: String = line.chars().take(MOST).collect();
    format!("{start}… ({})", number::bytes(text.len() as u64))
}
