//! Makes names unique.

use std::collections::HashMap;

/// Names in use, each with the number to try first when it is repeated.
#[derive(Default)]
pub struct Names(HashMap<String, u64>);

impl Names {
    /// Names in use from the start.
    pub fn taken(names: impl Iterator<Item = String>) -> Self {
        Self(names.map(|name| (name, 2)).collect())
    }

    /// Whether the name is in use.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Takes the name, or the name followed by the first free number.
    pub fn unique(&mut self, name: String) -> String {
        let Some(mut number) = self.0.get(&name).copied() else {
            self.0.insert(name.clone(), 2);
            return name;
        };
        let candidate = loop {
            let candidate = format!("{name}_{number}");
            number += 1;
            if !self.0.contains_key(&candidate) {
                break candidate;
            }
        };
        self.0.insert(name, number);
        self.0.insert(candidate.clone(), 2);
        candidate
    }
}
