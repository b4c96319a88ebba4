#!/usr/bin/env bash
# Sets up and runs every check: the same command here and in CI. Stops at the first that fails.
#
# QP_SETUP_LIBTORCH=0 leaves libtorch and the PyTorch engine out: the tests that run TorchScript then fail.
# QP_DENY=1 installs cargo-deny if it is missing.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$QP_CHECKOUT"

times=()

# step NAME COMMAND...: runs the command and notes its time.
step() {
    local name="$1" start=$SECONDS status=0
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    # A subshell, so that `set -e` holds inside functions too.
    set +e
    (set -e; "$@")
    status=$?
    set -e
    if ((status != 0)); then
        printf '\n== %s: FAILED after %d s (exit code %d)\n' "$name" "$((SECONDS - start))" "$status" >&2
        exit 1
    fi
    times+=("$(printf '%5d s  %s' "$((SECONDS - start))" "$name")")
}

check_sums() {
    (cd models && python3 - SHA256SUMS <<'CODE'
import hashlib, pathlib, sys
lines = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
wrong = [name for digest, name in (line.split("  ", 1) for line in lines)
         if not pathlib.Path(name).is_file() or hashlib.sha256(pathlib.Path(name).read_bytes()).hexdigest() != digest]
sys.exit(f"not as recorded in models/SHA256SUMS: {', '.join(wrong)}" if wrong else None)
CODE
    )
}

run_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo test --locked --doc "${packages[@]}"
        cargo nextest run --locked "${packages[@]}"
    else
        cargo test --locked "${packages[@]}"
    fi
}

check_dependencies() {
    cargo deny --locked --all-features check --hide-inclusion-graph licenses bans sources
    # The advisories are a git repository elsewhere: what cannot be fetched is not a failure of this project.
    if cargo deny fetch db >/dev/null 2>&1; then
        cargo deny --locked --all-features check --hide-inclusion-graph advisories
    else
        echo "advisories: skipped, their database cannot be fetched here"
    fi
}

step "setup" scripts/setup.sh
qp_export_runtimes
packages=(--workspace)
if ! qp_has_libtorch; then
    echo "warning: no libtorch: the PyTorch engine is neither built nor tested"
    packages+=(--exclude qp-plugin-pytorch-engine)
fi

step "model files" check_sums
step "format" cargo fmt --all --check
step "lints" cargo clippy --locked "${packages[@]}" --all-targets -- -D warnings
# The plugins as libraries, where the tests look for them.
step "build" cargo build --locked "${packages[@]}"
step "tests" run_tests
if qp_has_libtorch && [[ "$(uname -s)" == Linux ]]; then
    step "package" scripts/check/package.sh "$(qp_target_folder)/debug"
fi
step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps "${packages[@]}"

deny=0.20.2
tools="$(qp_data_folder)/tools"
PATH="$PATH:$tools/bin"
if [[ "${QP_DENY:-0}" == 1 ]] && ! cargo deny --version >/dev/null 2>&1; then
    step "install cargo-deny" cargo install --quiet --locked --root "$tools" --version "$deny" cargo-deny
fi
if cargo deny --version >/dev/null 2>&1; then
    step "dependencies" check_dependencies
else
    times+=("skipped  dependencies: cargo-deny is not installed (QP_DENY=1 installs it)")
fi

printf '\n'
printf '%s\n' "${times[@]}"
printf '== all checks passed in %d s\n' "$SECONDS"
