//! Keeps what was read so that it need not be read again: a store under a byte budget that evicts the least recently
//! used entries.

pub mod key;

pub use key::{Key, Stamp};

use std::collections::BTreeMap;

/// Values by name. When they exceed the byte budget, the least recently used go first; a pinned one stays.
#[derive(Debug)]
pub struct Cache<V> {
    entries: BTreeMap<String, Entry<V>>,
    limit_bytes: u64,
    clock: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: u64,
    used: u64,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Found, and unchanged.
    pub hits: u64,
    /// Read from the file.
    pub misses: u64,
    /// Evicted to stay within the budget.
    pub evictions: u64,
}

impl<V> Cache<V> {
    /// An empty store.
    pub fn new(limit_bytes: u64) -> Self {
        Self { entries: BTreeMap::new(), limit_bytes, clock: 0, counts: Counts::default() }
    }

    /// The value under `name`, which becomes the most recently used.
    pub fn get(&mut self, name: &str) -> Option<&V> {
        self.clock += 1;
        let clock = self.clock;
        self.entries.get_mut(name).map(|entry| {
            entry.used = clock;
            &entry.value
        })
    }

    /// The value under `name`, without counting as a use.
    pub fn peek(&self, name: &str) -> Option<&V> {
        self.entries.get(name).map(|entry| &entry.value)
    }

    /// Counts a use that found its value.
    pub fn count_hit(&mut self) {
        self.counts.hits += 1;
    }

    /// Counts a use that had to read.
    pub fn count_miss(&mut self) {
        self.counts.misses += 1;
    }

    /// Inserts a value, replacing an older one of the same name.
    pub fn insert(&mut self, name: String, value: V, bytes: u64) {
        self.clock += 1;
        self.entries.insert(name, Entry { value, bytes, used: self.clock });
    }

    /// Removes a value.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        self.entries.remove(name).map(|entry| entry.value)
    }

    /// Evicts the least recently used values until the rest fits the budget; a `pinned` value stays even if it alone
    /// does not fit. Returns the names of the evicted values.
    pub fn evict(&mut self, pinned: impl Fn(&str) -> bool) -> Vec<String> {
        let mut gone = Vec::new();
        while self.bytes() > self.limit_bytes {
            let oldest = self
                .entries
                .iter()
                .filter(|(name, _)| !pinned(name))
                .min_by_key(|(_, entry)| entry.used)
                .map(|(name, _)| name.clone());
            let Some(name) = oldest else { break };
            self.entries.remove(&name);
            self.counts.evictions += 1;
            gone.push(name);
        }
        gone
    }

    /// The values in the order of their names, with the bytes that each counts for.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V, u64)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), &entry.value, entry.bytes))
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes that all values count for together.
    pub fn bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.bytes).sum()
    }

    /// The budget in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Changes the budget; nothing is evicted before the next [`Cache::evict`].
    pub fn set_limit_bytes(&mut self, limit_bytes: u64) {
        self.limit_bytes = limit_bytes;
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(limit_bytes: u64) -> Cache<u8> {
        let mut cache = Cache::new(limit_bytes);
        for (name, value) in [("a", 1), ("b", 2), ("c", 3)] {
            cache.insert(name.to_owned(), value, 10);
        }
        cache
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let mut cache = filled(20);
        assert_eq!(cache.get("a"), Some(&1));
        assert_eq!(cache.evict(|_| false), ["b"]);
        assert_eq!(cache.bytes(), 20);
        assert_eq!(cache.counts().evictions, 1);
    }

    #[test]
    fn a_pinned_value_stays_even_when_it_does_not_fit() {
        let mut cache = filled(5);
        assert_eq!(cache.evict(|name| name == "a"), ["b", "c"]);
        assert_eq!(cache.peek("a"), Some(&1));
    }

    #[test]
    fn a_look_is_no_use() {
        let mut cache = filled(20);
        assert_eq!(cache.peek("a"), Some(&1));
        assert_eq!(cache.evict(|_| false), ["a"]);
    }
}
