//! Functions and classes that need each other: libtorch compiles the last of them inside the first.

use super::MAX_CHAIN;
use std::collections::{HashMap, HashSet};

/// The functions and classes of all sources, by qualified name.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    by_name: HashMap<String, Definition>,
}

/// A function, or a class with its methods.
#[derive(Debug, Default)]
pub(super) struct Definition {
    /// Qualified names that it reads.
    pub(super) reads: HashSet<String>,
    /// For each method, the attributes that it reads; some of them are methods.
    pub(super) methods: HashMap<String, HashSet<String>>,
}

/// What is known about how deep a definition leads.
#[derive(Clone, Copy)]
enum Depth {
    /// It is being followed.
    Open,
    Known(usize),
}

impl Definitions {
    /// The definition with this qualified name, created if missing.
    pub(super) fn entry(&mut self, name: &str) -> &mut Definition {
        if !self.by_name.contains_key(name) {
            self.by_name.insert(name.to_owned(), Definition::default());
        }
        self.by_name.entry(name.to_owned()).or_default()
    }

    /// # Errors
    /// A message if some definition leads further than [`MAX_CHAIN`].
    pub(super) fn check(&self) -> Result<(), String> {
        let mut known = HashMap::new();
        self.by_name.keys().try_for_each(|name| self.follow(name, 0, &mut known).map(drop))
    }

    fn follow<'a>(
        &'a self,
        name: &'a str,
        above: usize,
        known: &mut HashMap<&'a str, Depth>,
    ) -> Result<usize, String> {
        match known.get(name) {
            // libtorch rejects definitions that need themselves.
            Some(Depth::Open) => return Ok(0),
            Some(Depth::Known(depth)) if above + depth <= MAX_CHAIN => return Ok(*depth),
            Some(Depth::Known(_)) => return Err(too_long(name)),
            None => {}
        }
        let Some((name, definition)) = self.by_name.get_key_value(name) else { return Ok(0) };
        let own = 1 + definition.methods_in_a_row();
        if above + own > MAX_CHAIN {
            return Err(too_long(name));
        }
        known.insert(name, Depth::Open);
        let mut deepest = 0;
        for read in &definition.reads {
            if let Some(read) = self.defined(read) {
                deepest = deepest.max(self.follow(read, above + own, known)?);
            }
        }
        known.insert(name, Depth::Known(own + deepest));
        Ok(own + deepest)
    }

    /// The definition that a qualified name leads to: the name may continue with an attribute.
    fn defined<'a>(&self, mut name: &'a str) -> Option<&'a str> {
        while !self.by_name.contains_key(name) {
            name = name.rsplit_once('.')?.0;
        }
        Some(name)
    }
}

impl Definition {
    /// How many methods call each other in a chain.
    fn methods_in_a_row(&self) -> usize {
        let mut known = HashMap::new();
        self.methods.keys().map(|name| self.follow_method(name, 0, &mut known)).max().unwrap_or(0)
    }

    fn follow_method<'a>(
        &'a self,
        name: &'a str,
        above: usize,
        known: &mut HashMap<&'a str, Depth>,
    ) -> usize {
        match known.get(name) {
            Some(Depth::Open) => return 0,
            Some(Depth::Known(depth)) => return *depth,
            None => {}
        }
        let Some((name, reads)) = self.methods.get_key_value(name) else { return 0 };
        if above > MAX_CHAIN {
            return 1;
        }
        known.insert(name, Depth::Open);
        let inner = reads.iter().filter(|read| self.methods.contains_key(read.as_str()));
        let depth = 1 + inner.map(|read| self.follow_method(read, above + 1, known)).max().unwrap_or(0);
        known.insert(name, Depth::Known(depth));
        depth
    }
}

fn too_long(name: &str) -> String {
    format!("`{name}` needs more than {MAX_CHAIN} functions and classes that need each other")
}
