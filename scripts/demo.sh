#!/usr/bin/env bash
# Sets up, builds qp and its plugins, and runs the demo: every variant of the sample family on one image.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$QP_CHECKOUT/scripts/setup.sh"
qp_export_runtimes
cd "$QP_CHECKOUT"
packages=(-p qp -p qp-plugin-onnx -p qp-plugin-pytorch)
if qp_has_libtorch; then
    packages+=(-p qp-plugin-pytorch-engine)
fi
cargo build --release --locked "${packages[@]}"
exec "$(qp_target_folder)/release/qp" run --echo models/demo.qp
