//! Which models and files a pattern matches.

use super::Playground;
use crate::cancel::CancelFlag;
use crate::error::{Error, Result};
use crate::spelling::{Pattern, natural_order};
use std::path::Path;

/// A pattern with more nested folders matches nothing: folders are walked recursively.
const MAX_COMPONENTS: usize = 64;

impl Playground {
    /// The models of the session that a pattern matches; if none, the files and folders, as paths that the user could
    /// have typed. Naturally sorted.
    ///
    /// # Errors
    /// `NotFound` if nothing matches, `Cancelled`.
    pub fn matching(&self, pattern: &Pattern, cancel: &CancelFlag) -> Result<Vec<String>> {
        let mut found: Vec<String> = self
            .names()
            .into_iter()
            .filter(|named| {
                std::iter::once(&named.id).chain(&named.other_names).any(|name| pattern.matches(name))
            })
            .map(|named| named.id)
            .collect();
        let components = pattern.components();
        if found.is_empty() && components.len() <= MAX_COMPONENTS {
            self.walk(&components, String::new(), cancel, &mut found)?;
        }
        found.sort_by(|one, other| natural_order(one, other));
        found.dedup();
        if found.is_empty() {
            return Err(Error::not_found("no model and no file matches")
                .with_hint("See `models` for the open models, or quote a word that is not a pattern."));
        }
        Ok(found)
    }

    /// Adds the paths that begin with `before` and go on as the components say.
    fn walk(
        &self,
        components: &[Pattern],
        before: String,
        cancel: &CancelFlag,
        found: &mut Vec<String>,
    ) -> Result<()> {
        cancel.check()?;
        let Some((first, rest)) = components.split_first() else { return Ok(()) };
        let separator = if rest.is_empty() { "" } else { "/" };
        let names = match first.plain() {
            Some(name) => vec![name],
            None => self.names_in(&before, first),
        };
        for name in names {
            let path = format!("{before}{name}{separator}");
            if !rest.is_empty() {
                self.walk(rest, path, cancel, found)?;
            } else if self.path(&path).exists() {
                found.push(path);
            }
        }
        Ok(())
    }

    /// The entries of a folder that a pattern matches; hidden ones only for a pattern that begins with a dot.
    fn names_in(&self, folder: &str, pattern: &Pattern) -> Vec<String> {
        let path = if folder.is_empty() { self.path(".") } else { self.path(folder) };
        let entries = std::fs::read_dir(if path.as_os_str().is_empty() { Path::new(".") } else { &path });
        // An unreadable folder has no matches.
        let names =
            entries.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter(|name| (!name.starts_with('.') || pattern.begins_with('.')) && pattern.matches(name))
            .collect()
    }
}
