//! Mutations of seeds for the ordinary tests.

use crate::random::Random;
use std::path::Path;
use std::process::Command;

/// Mutations of all seeds of a target together.
const MUTATIONS: usize = 2_000;
/// The same for targets that do much with each.
#[allow(dead_code, reason = "not all tests have such targets")]
pub const FEW: usize = 300;

/// `seed` with bytes changed, inserted, removed, and taken from `other`.
pub fn bytes(random: &mut Random, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 => bytes.insert(at, random.next() as u8),
            3 => {
                let end = (at + 1 + random.below(8)).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
            _ => {
                let start = random.below(other.len());
                let end = (start + random.below(16)).min(other.len());
                bytes.splice(at..at, other[start..end].iter().copied());
            }
        }
    }
    bytes
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let script =
        folders.map(|folder| folder.join("tests/fuzz/seeds.py")).find(|script| script.exists()).unwrap();
    let status = Command::new("python3").arg(script).arg(folder.path()).status().unwrap();
    assert!(status.success());
    let mut files: Vec<_> =
        std::fs::read_dir(folder.path().join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Runs a target over its seeds, and over mutations of them that are the same each time.
#[allow(dead_code, reason = "some tests have mutations of their own alone")]
pub fn run(target: &str, function: fn(&[u8])) {
    run_with(target, function, bytes);
}

/// The same with other mutations: what `mutate` makes of two seeds.
#[allow(dead_code, reason = "some tests have fewer mutations")]
pub fn run_with(target: &str, function: fn(&[u8]), mutate: fn(&mut Random, &[u8], &[u8]) -> Vec<u8>) {
    run_some(MUTATIONS, target, function, mutate);
}

/// The same with so many mutations.
pub fn run_some(
    mutations: usize,
    target: &str,
    function: fn(&[u8]),
    mutate: fn(&mut Random, &[u8], &[u8]) -> Vec<u8>,
) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| function(seed));
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    for _ in 0..mutations {
        let (seed, other) = (random.below(seeds.len()), random.below(seeds.len()));
        function(&mutate(&mut random, &seeds[seed], &seeds[other]));
    }
}
