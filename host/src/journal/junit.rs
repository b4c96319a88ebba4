//! The report as test runners write it and CI systems read it: a suite for each section, a case for each check. The
//! schema is `tests/junit.xsd`, which names its sources.

use super::{Journal, Outcome, Step};
use crate::error::{Error, Result};
use crate::printable;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use std::io::{self, Write};

/// The XML document.
pub(super) fn text(journal: &Journal) -> Result<Vec<u8>> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    write(journal, &mut writer)
        .map_err(|error| Error::internal("the report cannot be made").with_cause(error.to_string()))?;
    let mut text = writer.into_inner();
    text.push(b'\n');
    Ok(text)
}

fn write<W: Write>(journal: &Journal, writer: &mut Writer<W>) -> io::Result<()> {
    let steps: Vec<&Step> = journal.reported().collect();
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let counts = counts(&steps);
    let suites =
        writer.create_element("testsuites").with_attribute(("name", &*printable::line(&journal.script)));
    suites.with_attributes(counts.iter().map(|(name, count)| (*name, count.as_str()))).write_inner_content(
        |writer| {
            // Steps of one section follow each other.
            for suite in steps.chunk_by(|one, next| one.section == next.section) {
                write_suite(journal, suite, writer)?;
            }
            Ok(())
        },
    )?;
    Ok(())
}

fn counts(steps: &[&Step]) -> [(&'static str, String); 3] {
    let count = |outcome| steps.iter().filter(|step| step.outcome() == outcome).count().to_string();
    [
        ("tests", steps.len().to_string()),
        ("failures", count(Outcome::Failed)),
        ("errors", count(Outcome::Broken)),
    ]
}

fn write_suite<W: Write>(journal: &Journal, steps: &[&Step], writer: &mut Writer<W>) -> io::Result<()> {
    let section = steps.first().map(|step| step.section.as_str()).filter(|section| !section.is_empty());
    let name = printable::line(section.unwrap_or(&journal.script)).into_owned();
    let counts = counts(steps);
    let suite = writer.create_element("testsuite").with_attribute(("name", name.as_str()));
    suite
        .with_attributes(counts.iter().map(|(name, count)| (*name, count.as_str())))
        .write_inner_content(|writer| steps.iter().try_for_each(|step| write_case(step, &name, writer)))?;
    Ok(())
}

fn write_case<W: Write>(step: &Step, suite: &str, writer: &mut Writer<W>) -> io::Result<()> {
    let name = step.name(&step.text);
    let case = writer
        .create_element("testcase")
        .with_attribute(("classname", format!("{}.{suite}", step.file).as_str()))
        .with_attribute(("name", &*printable::line(&name)));
    let Some(error) = &step.error else {
        case.write_empty()?;
        return Ok(());
    };
    case.write_inner_content(|writer| {
        let tag = if step.outcome() == Outcome::Failed { "failure" } else { "error" };
        let detail: Vec<&str> = error.causes().iter().chain(error.hints()).map(String::as_str).collect();
        writer
            .create_element(tag)
            .with_attribute(("type", error.kind().name()))
            .with_attribute(("message", &*printable::line(error.message())))
            .write_text_content(BytesText::new(&printable::lines(&detail.join("\n"))))?;
        Ok(())
    })?;
    Ok(())
}
