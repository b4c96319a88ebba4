//! `section`: a heading in a script.

use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::Report;
use crate::render::style::Tone;

/// `section TITLE`
pub(super) struct Section;

/// The arguments of `section`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The title
    #[arg(value_name = "TITLE", required = true)]
    words: Vec<String>,
}

struct Titled {
    title: String,
}

impl Record for Titled {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::field("title", Unit::Text, "The title", |titled| titled.title.clone())]
    }
}

impl Command for Section {
    type Arguments = Arguments;
    const NAME: &'static str = "section";
    const SUMMARY: &'static str = "Print a heading; CI reports group what follows under it";
    const GROUP: Group = Group::Script;
    const EXAMPLES: &'static [Example] = &[Example { line: "section Accuracy", shows: "a heading" }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Titled>(1)]
    }

    fn run(arguments: Arguments, _: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let titled = Titled { title: arguments.words.join(" ") };
        Ok(Report::of(&titled).preparation(true).toned_line([(Tone::Name, titled.title)]))
    }
}
