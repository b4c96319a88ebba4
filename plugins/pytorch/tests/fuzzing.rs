//! The fuzz targets, run for some seconds: over seeds, and over the same mutations of them each time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../../tests/fuzz/src/lib.rs"]
mod targets;

use std::path::Path;
use std::process::Command;

/// Mutations of all seeds of a target together.
const MUTATIONS: usize = 2_000;

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }

    fn mutate(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[at] = self.next() as u8,
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 => bytes.insert(at, self.next() as u8),
                3 => {
                    let end = (at + 1 + self.below(8)).min(bytes.len());
                    bytes.drain(at.min(end)..end);
                }
                _ => {
                    let start = self.below(other.len());
                    let end = (start + self.below(16)).min(other.len());
                    bytes.splice(at..at, other[start..end].iter().copied());
                }
            }
        }
        bytes
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds.py");
    let status = Command::new("python3").arg(script).arg(folder.path()).status().unwrap();
    assert!(status.success());
    let mut files: Vec<_> =
        std::fs::read_dir(folder.path().join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn run(target: &str, function: fn(&[u8])) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| function(seed));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..MUTATIONS {
        let (seed, other) = (random.below(seeds.len()), random.below(seeds.len()));
        function(&random.mutate(&seeds[seed], &seeds[other]));
    }
}

#[test]
fn mutated_pickles_are_described_or_refused() {
    run("pickle", targets::pickle);
}

#[test]
fn mutated_archives_are_described_or_refused() {
    run("archive", targets::archive);
}

#[test]
fn mutated_programs_are_described_or_refused() {
    run("program", targets::program);
}

#[test]
fn mutated_safetensors_are_described_or_refused() {
    run("safetensors", targets::safetensors);
}
