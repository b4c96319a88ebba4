//! Resolves what the user types to what they mean.

use crate::error::{Error, ErrorKind, Result};
use crate::spelling::{matches_pattern, nearest};

/// Something that can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The full name, unique.
    pub id: String,
    /// Shorter names, which several things may share: an alias, the file name, its stem. The most exact first.
    pub other_names: Vec<String>,
    /// The family; it names all its members.
    pub family: String,
}

/// All that `name` can mean: one thing by its full or a shorter name, or several by a family's name, a pattern with
/// `*` and `?`, or `all`.
///
/// # Errors
/// `NotFound` with the nearest names; `Ambiguous` when a shorter name matches several.
pub fn find_all<'a>(name: &str, things: &'a [Named]) -> Result<Vec<&'a Named>> {
    if name == "all" && !things.is_empty() {
        return Ok(things.iter().collect());
    }
    let single = find_one(name, things);
    if single.is_ok() {
        return single.map(|thing| vec![thing]);
    }
    let is_pattern = name.contains(['*', '?']);
    let fits = |thing: &&Named| {
        if is_pattern {
            std::iter::once(&thing.id)
                .chain(&thing.other_names)
                .any(|candidate| matches_pattern(name, candidate))
        } else {
            thing.family == name
        }
    };
    let several: Vec<_> = things.iter().filter(fits).collect();
    if several.is_empty() { single.map(|thing| vec![thing]) } else { Ok(several) }
}

/// The one thing that `name` means.
///
/// # Errors
/// `NotFound` with the nearest names; `Ambiguous` when it matches several.
pub fn find_one<'a>(name: &str, things: &'a [Named]) -> Result<&'a Named> {
    if let Some(exact) = things.iter().find(|thing| thing.id == name) {
        return Ok(exact);
    }
    let longest = things.iter().map(|thing| thing.other_names.len()).max().unwrap_or(0);
    for level in 0..longest {
        let fitting: Vec<_> = things
            .iter()
            .filter(|thing| thing.other_names.get(level).is_some_and(|other| other == name))
            .collect();
        match fitting[..] {
            [] => {}
            [one] => return Ok(one),
            [..] => return Err(ambiguous(name, &fitting)),
        }
    }
    Err(unknown(name, things))
}

fn ambiguous(name: &str, fitting: &[&Named]) -> Error {
    let ids: Vec<_> = fitting.iter().map(|thing| format!("`{}`", thing.id)).collect();
    Error::new(ErrorKind::Ambiguous, format!("`{name}` matches {} models", fitting.len()))
        .with_hint(format!("Choose one of {}.", ids.join(", ")))
}

fn unknown(name: &str, things: &[Named]) -> Error {
    let error = Error::not_found(format!("no model is named `{name}`"));
    if things.is_empty() {
        return error.with_hint("Open a folder of models first: `open PATH`.");
    }
    let names = things.iter().flat_map(|thing| std::iter::once(&thing.id).chain(&thing.other_names));
    match nearest(name, names.map(String::as_str)) {
        Some(near) => error.with_hint(format!("Did you mean `{near}`? See `models` for all.")),
        None => error.with_hint("See `models` for all."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn things() -> Vec<Named> {
        let named = |id: &str, stem: &str| Named {
            id: id.to_owned(),
            other_names: vec![stem.to_owned()],
            family: "resnet8".to_owned(),
        };
        vec![
            named("resnet8.onnx", "resnet8"),
            named("resnet8_int8.onnx", "resnet8_int8"),
            named("resnet8_int8.pt", "resnet8_int8"),
            named("resnet8_uint8.onnx", "resnet8_uint8"),
        ]
    }

    fn ids(name: &str) -> Vec<String> {
        find_all(name, &things()).unwrap().iter().map(|thing| thing.id.clone()).collect()
    }

    #[test]
    fn a_stem_is_enough_where_it_is_unique() {
        assert_eq!(ids("resnet8_uint8"), ["resnet8_uint8.onnx"]);
        let error = find_one("resnet8_int8", &things()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ambiguous);
        assert_eq!(error.hints(), ["Choose one of `resnet8_int8.onnx`, `resnet8_int8.pt`."]);
    }

    #[test]
    fn a_full_name_goes_before_a_family() {
        assert_eq!(ids("resnet8.onnx"), ["resnet8.onnx"]);
        assert_eq!(ids("resnet8"), ["resnet8.onnx"]);
        assert_eq!(ids("*.pt"), ["resnet8_int8.pt"]);
        assert_eq!(ids("all").len(), 4);
    }

    #[test]
    fn a_misspelled_name_gets_a_suggestion() {
        let error = find_one("resnet8_unit8.onnx", &things()).unwrap_err();
        assert_eq!(error.hints(), ["Did you mean `resnet8_uint8.onnx`? See `models` for all."]);
    }
}
