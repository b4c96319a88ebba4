#!/usr/bin/env bash
# Sets up, builds qp and its plugins, and runs the demo: every variant of the sample family on one image.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$QP_CHECKOUT/scripts/setup.sh"
qp_export_runtimes
cd "$QP_CHECKOUT"
cargo build --release --locked
if qp_has_libtorch; then
    cargo build --release --locked -p qp-plugin-pytorch-engine
fi
exec "$(qp_target_folder)/release/qp" run models/demo.qp
