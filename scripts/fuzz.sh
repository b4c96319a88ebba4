#!/usr/bin/env bash
# Fuzzes what reads strangers' files, and the command language: scripts/fuzz.sh [TARGET…] [-- OPTIONS OF LIBFUZZER]
#
# Without a target each of them in turn, for FUZZ_SECONDS (60) each, on one core. Needs `cargo install cargo-fuzz`.
# A finding is a file in tests/fuzz/artifacts/TARGET; `cargo fuzz run TARGET FILE` in tests/fuzz repeats it.
set -euo pipefail
cd "$(dirname "$0")/.."

targets=()
while (($#)) && [[ $1 != -- ]]; do
    targets+=("$1")
    shift
done
(($#)) && shift
((${#targets[@]})) || targets=(pickle archive program fx torchscript safetensors onnx script)

# The flags of libFuzzer's instrumentation are of the nightly compiler; the stable one takes them when asked so.
export RUSTC_BOOTSTRAP=1
python3 tests/fuzz/seeds.py tests/fuzz/corpus
for target in "${targets[@]}"; do
    echo "fuzzing $target"
    # No allocation above 256 MB, no input above 10 seconds.
    (cd tests/fuzz && cargo fuzz run --fuzz-dir . --sanitizer "${FUZZ_SANITIZER:-none}" "$target" -- \
        -dict="dictionaries/$target.dict" -max_total_time="${FUZZ_SECONDS:-60}" -max_len=65536 \
        -malloc_limit_mb=256 -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 "$@")
done
