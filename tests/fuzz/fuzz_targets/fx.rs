#![no_main]

#[path = "../src/changes.rs"]
mod changes;
#[path = "../src/random.rs"]
mod random;
#[path = "../src/text.rs"]
mod text;
#[path = "../src/words.rs"]
mod words;

mod targets {
    pub use qp_fuzz::*;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| changes::fx(bytes));

// As often as not by structure.
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = random::Random::new(u64::from(seed) << 1);
    let changed = if random.below(2) == 0 {
        text::mutate(&mut random, &data[..size], &data[..size], &words::FX)
    } else {
        Vec::new()
    };
    if changed.is_empty() || changed.len() > max_size {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    data[..changed.len()].copy_from_slice(&changed);
    changed.len()
});
