//! Mutations of seeds for the ordinary tests.

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
pub fn run(target: &str, function: fn(&[u8])) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| function(seed));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..MUTATIONS {
        let (seed, other) = (random.below(seeds.len()), random.below(seeds.len()));
        function(&random.mutate(&seeds[seed], &seeds[other]));
    }
}
