//! Where the parts of a model are, by name.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Of fewer parts, one is found as fast by comparing all names.
const FEW: usize = 32;

/// The places of a model's parts by name, noted at the first lookup in each list: files have a hundred thousand layers, and
/// whoever looks each of them up must not compare each with each. What was noted is no part of the model.
#[derive(Debug, Default)]
pub struct Index {
    pub(super) inputs: Places,
    pub(super) outputs: Places,
    pub(super) values: Places,
    pub(super) layers: Places,
    pub(super) tensors: Places,
}

impl Clone for Index {
    /// The copy may be changed.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Index {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The places of the parts in one list, and how many there were.
#[derive(Debug, Default)]
pub(super) struct Places(OnceLock<(usize, HashMap<String, usize>)>);

impl Places {
    /// The first part of that name.
    pub fn find<'a, T>(&self, list: &'a [T], name: &str, name_of: impl Fn(&T) -> &str) -> Option<&'a T> {
        let by_comparing = || list.iter().find(|part| name_of(part) == name);
        if list.len() < FEW {
            return by_comparing();
        }
        let (count, places) = self.0.get_or_init(|| {
            let names = list.iter().enumerate().rev();
            (list.len(), names.map(|(place, part)| (name_of(part).to_owned(), place)).collect())
        });
        match places.get(name) {
            None if *count == list.len() => None,
            // A list that was changed since is searched.
            None => by_comparing(),
            Some(&place) => list.get(place).filter(|part| name_of(part) == name).or_else(by_comparing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_long_list_are_found_by_name_also_when_it_has_changed() {
        let mut list: Vec<String> = (0..100).map(|number| format!("n{}", number % 90)).collect();
        let places = Places::default();
        let find = |list: &[String], name: &str| {
            places.find(list, name, |part| part).map(|found| std::ptr::from_ref(found) as usize)
        };
        assert_eq!(find(&list, "n5"), Some(&raw const list[5] as usize), "the first of two");
        assert_eq!(find(&list, "n90"), None);
        list.push("more".to_owned());
        assert_eq!(find(&list, "more"), Some(&raw const list[100] as usize));
        list.remove(0);
        assert_eq!(find(&list, "n5"), Some(&raw const list[4] as usize));
    }
}
