#!/usr/bin/env bash
# Makes what installs qp without a clone: an archive and a Python wheel. See --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<'TEXT'
usage: scripts/package.sh [--build FOLDER] [--output FOLDER]

  --build FOLDER   package the program and the plugins that are there, in place of a release build made now
  --output FOLDER  where the archive and the wheel go (default: `package` in cargo's target folder)

The archive unpacks anywhere: bin/qp finds its plugins in ../lib/qp/plugins. The wheel is installed with pip and has the
same inside. Neither has a runtime: qp finds ONNX Runtime and libtorch in the user's Python environment.

SOURCE_DATE_EPOCH is the time of all files, else that of the last commit: the same build gives the same bytes.
TEXT
}

build="" output=""
while (($#)); do
    case "$1" in
        --build | --output)
            (($# > 1)) || { usage >&2; exit 2; }
            printf -v "${1#--}" '%s' "$(realpath -m "$2")"
            shift 2
            ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done

target="$(qp_target_folder)"
if [[ -z "$build" ]]; then
    "$QP_CHECKOUT/scripts/setup.sh"
    qp_export_runtimes
    qp_has_libtorch || { echo "package: no libtorch, so that the PyTorch engine cannot be built" >&2; exit 1; }
    cd "$QP_CHECKOUT"
    cargo build --release --locked -p qp -p qp-plugin-onnx -p qp-plugin-pytorch -p qp-plugin-pytorch-engine
    build="$target/release"
elif [[ -f "$(qp_data_folder)/runtimes/env.sh" ]]; then
    qp_export_runtimes
fi
if [[ -z "${SOURCE_DATE_EPOCH:-}" ]]; then
    SOURCE_DATE_EPOCH="$(git -C "$QP_CHECKOUT" log -1 --format=%ct)"
fi
export SOURCE_DATE_EPOCH
exec python3 "$QP_CHECKOUT/scripts/package.py" --build "$build" --output "${output:-$target/package}"
