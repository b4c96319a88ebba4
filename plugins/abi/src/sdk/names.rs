//! Unique names.

use std::collections::{HashMap, HashSet};

/// Gives each name out once; a repeated one gets a number.
#[derive(Debug, Default)]
pub struct Names {
    taken: HashSet<String>,
    /// The number to try for the next name of a stem: a file may repeat one name a million times.
    next: HashMap<String, u64>,
}

impl Names {
    /// Names in use from the start.
    pub fn taken(names: impl Iterator<Item = String>) -> Self {
        Self { taken: names.collect(), next: HashMap::new() }
    }

    /// Whether the name is in use.
    pub fn has(&self, name: &str) -> bool {
        self.taken.contains(name)
    }

    /// Takes a name that is already in use, once or more often.
    pub fn take(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }

    /// Takes `stem`, or `stem` with `separator` and a number, starting at `first`.
    pub fn claim(&mut self, stem: &str, separator: char, first: u64) -> String {
        if self.taken.insert(stem.to_owned()) {
            return stem.to_owned();
        }
        let next = self.next.entry(stem.to_owned()).or_insert(first);
        loop {
            let name = format!("{stem}{separator}{next}");
            *next += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn a_name_is_given_once() {
        let mut names = Names::default();
        let claimed: Vec<String> =
            ["add", "add_1", "add", "add"].iter().map(|stem| names.claim(stem, '_', 1)).collect();
        assert_eq!(claimed, ["add", "add_1", "add_2", "add_3"]);
    }
}
