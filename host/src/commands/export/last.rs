//! The last result as a file: as other programs read tables, or as values of a graph's nodes.

use crate::backend::Progress;
use crate::error::{Error, Result};
use crate::file;
use crate::playground::Playground;
use crate::render::{csv, json, markdown};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// The last result: which command gave it, and what.
fn last(playground: &Playground) -> Result<&(&'static str, crate::render::report::Report)> {
    playground.last_report.as_ref().ok_or_else(|| {
        Error::state("there is no result yet")
            .with_hint("Run a command first: `compare`, `layers`, `evaluate`.")
    })
}

/// Writes the last result in the form that the file's ending says. Returns the command's name.
///
/// # Errors
/// `State` without a result, `Usage` for another ending, `Io`.
pub(super) fn write_report(playground: &Playground, path: &Path, may_replace: bool) -> Result<&'static str> {
    let (command, report) = last(playground)?;
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let text = match extension.to_ascii_lowercase().as_str() {
        "json" => json::report(report, true),
        "csv" => csv::report(report),
        "md" | "markdown" => markdown::report(report),
        _ => {
            return Err(Error::usage(format!(
                "`{}` does not say in which form: end it with .json, .csv or .md",
                path.display()
            )));
        }
    };
    let text = if text.ends_with('\n') { text } else { text + "\n" };
    file::write(path, text.as_bytes(), may_replace)?;
    Ok(command)
}

/// Writes one number for each layer of the last result as node data of Model Explorer. Returns the command's name and how
/// many nodes have a number.
///
/// Format: `GraphNodeData` of the Python package `ai-edge-model-explorer`: results by the name of a node's output, and
/// colors from the worst to the best value.
///
/// # Errors
/// `State` without a result, `NotFound` if it has no such number for layers, `Io`; those of loading the model.
pub(super) fn write_node_data(
    playground: &mut Playground,
    field: &str,
    path: &Path,
    may_replace: bool,
    progress: &dyn Progress,
) -> Result<(&'static str, usize)> {
    let (command, report) = last(playground)?;
    let (command, value) = (*command, report.value());
    let rows = rows(value, field)
        .ok_or_else(|| nothing(command, value, field))?
        .iter()
        .filter_map(|row| Some((name_of(row)?.to_owned(), number(row.get(field)?)?)))
        .collect::<Vec<_>>();
    let model = ["candidate", "model"].iter().find_map(|key| value.get(*key)?.as_str()).map(str::to_owned);
    let model = model.map(|model| playground.model(Some(&model), progress)).transpose()?;
    let mut results = Map::new();
    for (layer, value) in &rows {
        // A node is found by what it computes, or else by its name.
        let known = model.as_ref().and_then(|model| model.info().layer(layer));
        let outputs = known.map(|layer| layer.outputs.as_slice()).unwrap_or_default();
        let key = outputs.iter().find(|name| !name.is_empty()).unwrap_or(layer);
        results.insert(key.clone(), json!({ "value": value }));
    }
    let count = results.len();
    let is_better_high = field.contains("sqnr") || field.contains("similarity") || field.contains("accuracy");
    let (low, high) = if is_better_high { ("#d73027", "#1a9850") } else { ("#1a9850", "#d73027") };
    let document = json!({
        "name": format!("{command}: {field}"),
        "results": results,
        "gradient": [
            { "stop": 0, "bgColor": low },
            { "stop": 0.5, "bgColor": "#fee08b" },
            { "stop": 1, "bgColor": high },
        ],
    });
    let text = json::document(&document, true) + "\n";
    file::write(path, text.as_bytes(), may_replace)?;
    Ok((command, count))
}

/// The name of a row's layer in the model that is shown.
fn name_of(row: &Value) -> Option<&str> {
    ["candidate_layer", "layer", "path"].iter().find_map(|key| row.get(*key)?.as_str())
}

/// A number that JSON has; a level without any noise or signal has none.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite())
}

/// The rows of layers with this number.
fn rows<'a>(value: &'a Value, field: &str) -> Option<&'a Vec<Value>> {
    let has_it = |row: &Value| name_of(row).is_some() && row.get(field).and_then(number).is_some();
    let mut lists = value.as_object()?.values().filter_map(Value::as_array);
    lists.find(|rows| rows.iter().any(has_it))
}

fn nothing(command: &str, value: &Value, field: &str) -> Error {
    let lists = value.as_object().into_iter().flat_map(Map::values).filter_map(Value::as_array);
    let rows = lists.flatten().filter(|row| name_of(row).is_some()).filter_map(Value::as_object);
    let known: BTreeSet<&str> =
        rows.flatten().filter(|(_, value)| value.is_number()).map(|(name, _)| name.as_str()).collect();
    let error =
        Error::not_found(format!("the last result, of `{command}`, has no number `{field}` for layers"));
    if known.is_empty() {
        error.with_hint("`compare`, `sensitivity`, `layers` and `bench --layers` have numbers for layers.")
    } else {
        error.with_hint(format!("It has {}.", known.into_iter().collect::<Vec<_>>().join(", ")))
    }
}
