# shellcheck shell=bash
# What the scripts share. Sourced, not run; the caller has set -euo pipefail.

# The checkout, whatever the current folder is.
QP_CHECKOUT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# Prints the folder where qp keeps its data, as qp itself finds it.
qp_data_folder() {
    if [[ -n "${QP_HOME:-}" ]]; then
        printf '%s/data\n' "$QP_HOME"
    elif [[ "$(uname -s)" == Darwin ]]; then
        printf '%s/Library/Application Support/qp\n' "$HOME"
    elif [[ "${XDG_DATA_HOME:-}" == /* ]]; then
        printf '%s/qp\n' "$XDG_DATA_HOME"
    else
        printf '%s/.local/share/qp\n' "$HOME"
    fi
}

# Exports QP_RUNTIMES and, where libtorch is installed, LIBTORCH, as setup.sh has left them in env.sh.
# A LIBTORCH from outside gives way: setup.sh has linked it into the data folder if it fits.
qp_export_runtimes() {
    unset LIBTORCH
    # shellcheck disable=SC1091
    . "$(qp_data_folder)/runtimes/env.sh"
}

# Whether the PyTorch engine can be built. Valid after qp_export_runtimes.
qp_has_libtorch() {
    [[ -n "${LIBTORCH:-}" ]]
}

# Prints cargo's target folder, by environment or configuration.
qp_target_folder() {
    cargo metadata --format-version 1 --no-deps --manifest-path "$QP_CHECKOUT/Cargo.toml" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'
}
