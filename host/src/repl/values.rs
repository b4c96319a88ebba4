//! What the value of an argument can be: names of the session, files, what its help lists.

use super::complete::Offer;
use super::vocabulary::{Known, KnownLayer, RunSetting, Vocabulary};
use crate::commands;
use crate::playground::arrays_in;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files that are not samples.
const NO_SAMPLES: [&str; 5] = ["qp", "md", "toml", "json", "svg"];
/// More arrays of a file are not offered.
const MOST_ARRAYS: usize = 200;

/// What `argument` of `command` can be.
pub fn values_of(command: &str, argument: &clap::Arg, partial: &str, vocabulary: &Vocabulary) -> Vec<Offer> {
    let choices = argument.get_possible_values();
    if !choices.is_empty() {
        let help = |choice: &clap::builder::PossibleValue| choice.get_help().map(ToString::to_string);
        return choices
            .iter()
            .map(|choice| Offer::new(choice.get_name()).about(help(choice).unwrap_or_default()))
            .collect();
    }
    let kind = argument
        .get_value_names()
        .and_then(|names| names.first())
        .map(|name| name.as_str())
        .unwrap_or_default();
    let declared =
        vocabulary.options.iter().filter(|option| Some(option.name.as_str()) == argument.get_long());
    let values: Vec<Offer> = declared.flat_map(|option| &option.values).map(Offer::new).collect();
    if !values.is_empty() {
        return values;
    }
    match kind {
        "NAME=VALUE" if matches!(argument.get_long(), Some("option" | "set")) => settings(vocabulary),
        "MODEL" if partial.contains('/') => files(vocabulary, partial, |name| is_model(vocabulary, name)),
        // The model may be left out, and what follows it is a file.
        "[MODEL] PATH" => {
            let mut values = whole(&vocabulary.models);
            values.extend(files(vocabulary, partial, |_| true));
            values
        }
        "MODEL" => whole(&vocabulary.models),
        "LAYER" => layers(vocabulary, partial, |layer| match command {
            "weights" => layer.has_weights,
            "quant" | "reset" => layer.is_quantized,
            _ => true,
        }),
        // What is set stands behind a dot.
        "TARGET" => layers(vocabulary, partial, |layer| layer.is_quantized || command == "sweep")
            .into_iter()
            .map(|offer| Offer { is_whole: false, ..offer })
            .collect(),
        "OP_TYPE" | "OPERATORS" => operators(vocabulary),
        "BACKEND" => whole(&vocabulary.backends),
        "COMMAND" => {
            commands::TABLE.iter().map(|entry| Offer::new(entry.name).about(entry.summary)).collect()
        }
        // Where samples are expected, their names.
        "DATA" => {
            let datasets = vocabulary.datasets.iter().map(|name| Offer::new(name).about("data set"));
            let is_sample = |name: &str| !is_model(vocabulary, name) && !has_extension(name, &NO_SAMPLES);
            let mut values =
                arrays(vocabulary, partial).unwrap_or_else(|| files(vocabulary, partial, is_sample));
            values.extend(datasets);
            values
        }
        "PATH" | "LIBRARY" | "FILE" => {
            let fits = |name: &str| match command {
                "open" => is_model(vocabulary, name),
                "source" | "record" => has_extension(name, &["qp"]),
                "cd" => false,
                _ => true,
            };
            arrays(vocabulary, partial).unwrap_or_else(|| files(vocabulary, partial, fits))
        }
        _ => listed_in_help(argument),
    }
}

/// `NAME=VALUE` of every setting of runs.
fn settings(vocabulary: &Vocabulary) -> Vec<Offer> {
    let of = |option: &RunSetting| -> Vec<Offer> {
        let about = |offer: Offer| offer.about(&option.about);
        let values = option.values.iter().map(|value| about(Offer::new(format!("{}={value}", option.name))));
        match option.values.is_empty() {
            true => vec![about(Offer { is_whole: false, ..Offer::new(format!("{}=", option.name)) })],
            false => values.collect(),
        }
    };
    vocabulary.options.iter().flat_map(of).collect()
}

fn whole(names: &[Known]) -> Vec<Offer> {
    names.iter().map(|known| Offer::new(&known.name).about(&known.about)).collect()
}

/// The layers that fit; plumbing only if nothing else begins like that, or has it within.
fn layers(vocabulary: &Vocabulary, partial: &str, fits: impl Fn(&KnownLayer) -> bool) -> Vec<Offer> {
    let of = |is_plumbing: bool| -> Vec<Offer> {
        let wanted = vocabulary.layers.iter().filter(|layer| layer.is_plumbing == is_plumbing && fits(layer));
        wanted.map(|layer| Offer::new(&layer.name).about(&layer.about)).collect()
    };
    let found = of(false);
    let lower = partial.to_lowercase();
    if found.iter().any(|offer| offer.text.to_lowercase().contains(&lower)) { found } else { of(true) }
}

fn operators(vocabulary: &Vocabulary) -> Vec<Offer> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for layer in &vocabulary.layers {
        *counts.entry(&layer.op_type).or_default() += 1;
    }
    counts
        .iter()
        .map(|(name, count)| {
            Offer::new(*name).about(format!("{count} {}", if *count == 1 { "layer" } else { "layers" }))
        })
        .collect()
}

/// Help that ends with a list, as in `the engine: x86, fbgemm or qnnpack`.
fn listed_in_help(argument: &clap::Arg) -> Vec<Offer> {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let Some((_, list)) = help.rsplit_once(": ") else { return Vec::new() };
    let list = list.replace(" or ", ", ").replace(" and ", ", ");
    let items: Vec<&str> = list.split(", ").map(|item| item.trim_matches('`')).collect();
    let is_word = |item: &&str| {
        !item.is_empty() && item.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
    };
    let is_list = items.len() > 1 && items.iter().all(is_word);
    if is_list { items.into_iter().map(Offer::new).collect() } else { Vec::new() }
}

fn has_extension(name: &str, extensions: &[&str]) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|found| extensions.iter().any(|extension| found.eq_ignore_ascii_case(extension)))
}

fn is_model(vocabulary: &Vocabulary, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    vocabulary.extensions.iter().any(|extension| name.ends_with(&format!(".{extension}")))
}

/// `FILE.npz:KEY`, once the file is written.
fn arrays(vocabulary: &Vocabulary, partial: &str) -> Option<Vec<Offer>> {
    let (file, _) = partial.rsplit_once(':').filter(|(file, _)| has_extension(file, &["npz"]))?;
    let keys = arrays_in(&place(&vocabulary.base, file));
    Some(
        keys.into_iter()
            .take(MOST_ARRAYS)
            .map(|key| Offer::new(format!("{file}:{key}")).about("array"))
            .collect(),
    )
}

fn place(base: &Path, path: &str) -> PathBuf {
    match path.strip_prefix("~/").zip(directories::BaseDirs::new()) {
        Some((rest, folders)) => folders.home_dir().join(rest),
        None => base.join(path),
    }
}

/// Folders, and the files that fit; all files if none does. A folder does not complete the word, as its content may follow.
fn files(vocabulary: &Vocabulary, partial: &str, fits: impl Fn(&str) -> bool) -> Vec<Offer> {
    let all = paths(&vocabulary.base, partial);
    let fitting: Vec<Offer> =
        all.iter().filter(|offer| !offer.is_whole || fits(&offer.text)).cloned().collect();
    if fitting.is_empty() { all } else { fitting }
}

/// Files and folders of the folder that was typed, hidden ones only if asked for.
pub fn paths(base: &Path, partial: &str) -> Vec<Offer> {
    let split = partial.rfind('/').map_or(0, |slash| slash + 1);
    let (folder, start) = partial.split_at(split);
    let place = place(base, folder);
    let place = if place.as_os_str().is_empty() { PathBuf::from(".") } else { place };
    let Ok(entries) = std::fs::read_dir(place) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_wanted = start.starts_with('.') || !name.starts_with('.');
            let is_folder = std::fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_dir());
            let text = format!("{folder}{name}{}", if is_folder { "/" } else { "" });
            is_wanted.then_some(Offer { text, is_whole: !is_folder, about: String::new() })
        })
        .collect()
}
