#!/usr/bin/env bash
# Makes this machine ready to build and run qp: checks the tools, installs the native runtimes into qp's data folder.
# Safe to run again and at the same time as another; what is whole is left alone.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<'TEXT'
usage: scripts/setup.sh [--without-libtorch] [--verify]

  --without-libtorch  do not install libtorch (also: QP_SETUP_LIBTORCH=0); qp then inspects .pt files, but does not
                      run them
  --verify            compare the installed files with their hashes, and not only their sizes

Runtimes go to $QP_HOME/data/runtimes if QP_HOME is set, else to qp's data folder ($XDG_DATA_HOME/qp or
~/.local/share/qp on Linux, ~/Library/Application Support/qp on macOS). A libtorch named by LIBTORCH, or the `torch`
package of python3, is linked in place of a download if its version fits.

Supported: Linux on x86-64. On Linux on ARM and macOS on Apple silicon ONNX Runtime is downloaded too, but libtorch is
used only if LIBTORCH or python3 has it; neither is tested.
TEXT
}

options=()
for argument in "$@"; do
    case "$argument" in
        --without-libtorch | --verify) options+=("$argument") ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done
if [[ "${QP_SETUP_LIBTORCH:-1}" == 0 ]]; then
    options+=(--without-libtorch)
fi

missing=()

# Whether version $1 is at least version $2.
at_least() {
    [[ "$(printf '%s\n%s\n' "$2" "$1" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1)" == "$2" ]]
}

check_rust() {
    local needed found
    needed="$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$QP_CHECKOUT/Cargo.toml" | head -n 1)"
    if ! found="$(cd "$QP_CHECKOUT" && cargo --version 2>/dev/null && rustc --version 2>/dev/null)"; then
        missing+=("a Rust toolchain (cargo and rustc ${needed:-}): install it with rustup, see https://rustup.rs")
        return
    fi
    found="$(sed -n 's/^rustc \([0-9.]*\).*/\1/p' <<<"$found")"
    if [[ -n "$needed" ]] && ! at_least "$found" "$needed"; then
        missing+=("Rust $needed or newer (found $found): run \`rustup update stable\`")
    fi
}

check_compiler() {
    local compiler="${CXX:-c++}"
    # Unquoted: CXX may hold options.
    # shellcheck disable=SC2086
    if ! $compiler -std=c++20 -x c++ -c -o /dev/null - >/dev/null 2>&1 <<'CODE'
#include <optional>
#include <string>
int main() { std::optional<std::string> text{"qp"}; if constexpr (sizeof(int) > 1) { return text ? 0 : 1; } }
CODE
    then
        missing+=("a C++20 compiler (\`$compiler\`): install g++ or clang, e.g. \`apt install g++\`, \`dnf install gcc-c++\`, \`xcode-select --install\`; or set CXX")
    fi
}

check_python() {
    if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1; then
        missing+=("python3, 3.8 or newer: install it, e.g. \`apt install python3 python3-pip\`")
    elif ! python3 -m pip --version >/dev/null 2>&1; then
        missing+=("pip for python3: install it, e.g. \`apt install python3-pip\` or \`python3 -m ensurepip --user\`")
    fi
}

check_rust
check_compiler
check_python
if ((${#missing[@]} > 0)); then
    echo "setup: missing on this machine:" >&2
    printf '  - %s\n' "${missing[@]}" >&2
    exit 1
fi
echo "tools: Rust, C++20, Python with pip found"

data="$(qp_data_folder)"
python3 "$QP_CHECKOUT/scripts/runtimes.py" --data "$data" ${options[@]+"${options[@]}"}
echo "setup: done; for cargo by hand: . '$data/runtimes/env.sh'"
