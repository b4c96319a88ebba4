//! The mutator of a target that knows the structure of what it reads.

/// Mutates by structure as often as not, by libFuzzer's own changes of bytes otherwise. `mutate` gives the changed file, empty if
/// it knows none.
macro_rules! by_structure {
    (|$random:ident, $bytes:ident| $mutate:expr) => {
        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            let mut random = random::Random::new(u64::from(seed) << 1);
            let changed = if random.below(2) == 0 {
                let ($random, $bytes) = (&mut random, &data[..size]);
                $mutate
            } else {
                Vec::new()
            };
            if changed.is_empty() || changed.len() > max_size {
                return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
            }
            data[..changed.len()].copy_from_slice(&changed);
            changed.len()
        });
    };
}
