#![no_main]

#[path = "../src/onnx.rs"]
mod onnx;
#[path = "../src/random.rs"]
mod random;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| onnx::onnx(bytes));

// As often as not by structure.
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = random::Random::new(u64::from(seed) << 1);
    let changed = if random.below(2) == 0 {
        onnx::mutate(&mut random, &data[..size], &data[..size])
    } else {
        Vec::new()
    };
    if changed.is_empty() || changed.len() > max_size {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    data[..changed.len()].copy_from_slice(&changed);
    changed.len()
});
