#!/usr/bin/env bash
# Packages a build twice and holds both against each other, then installs archive and wheel into empty folders and runs what
# came out: scripts/check/package.sh [FOLDER OF A BUILD]. Needs no network.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

build="${1:-$(qp_target_folder)/release}"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

fail() {
    echo "package: $1" >&2
    exit 1
}

# Runs an installed qp as somebody who has nothing else; its plugins must be those beside it.
holds() {
    local prefix="$1" plugins missing
    plugins="$(env -i HOME="$folder/home" QP_HOME="$folder/home" "$prefix/bin/qp" --format json -c backends)"
    missing="$(python3 - "$prefix" "$plugins" <<'CODE'
import json, pathlib, sys
prefix, plugins = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])["plugins"]
found = {plugin["id"]: plugin["path"] for plugin in plugins if not plugin["error"]}
expected = {name: str(prefix / f"lib/qp/plugins/libqp_plugin_{name}.so") for name in ("onnx", "pytorch")}
files = ["lib/qp/plugins/libqp_plugin_pytorch_engine.so", "share/man/man1/qp.1", "share/bash-completion/completions/qp",
         "share/zsh/site-functions/_qp", "share/fish/vendor_completions.d/qp.fish"]
print(*([] if found == expected else [f"plugins {found}"]), *(name for name in files if not (prefix / name).is_file()))
CODE
)"
    [[ -z "$missing" ]] || fail "not as it should be in $prefix: $missing"
}

for round in 1 2; do
    "$QP_CHECKOUT/scripts/package.sh" --build "$build" --output "$folder/$round" >"$folder/log"
done
for file in "$folder"/1/*; do
    cmp "$file" "$folder/2/$(basename "$file")" || fail "two packages of one build differ"
done

tar -xzf "$folder"/1/*.tar.gz -C "$folder"
archive="$(basename "$folder"/1/*.tar.gz .tar.gz)"
holds "$folder/$archive"
[[ -s "$folder/$archive/share/doc/qp/THIRD-PARTY-NOTICES.txt" ]] || fail "no notices in the archive"
bash -n "$folder/$archive/share/bash-completion/completions/qp"

# pip checks names, tags and hashes.
python3 -m pip install --quiet --no-index --no-deps --disable-pip-version-check --prefix "$folder/wheel" "$folder"/1/*.whl
program="$(find "$folder/wheel" -name qp -path '*/bin/qp')"
holds "${program%/bin/qp}"
cat "$folder/log"
