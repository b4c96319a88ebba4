#!/usr/bin/env python3
"""Puts a built qp into an archive and a wheel; called by package.sh. Needs the standard library, cargo and readelf."""

import argparse
import base64
import gzip
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
SUFFIX = ".dylib" if platform.system() == "Darwin" else ".so"
# The libraries of plugins, and the crates that are linked into what is packaged.
PLUGINS = [f"lib{name}{SUFFIX}" for name in ("qp_plugin_onnx", "qp_plugin_pytorch", "qp_plugin_pytorch_engine")]
CRATES = ["qp", "qp-plugin-onnx", "qp-plugin-pytorch", "qp-plugin-pytorch-engine"]

# What each version of glibc that wheels are made for has beside it: the newest symbols of libstdc++ (PEP 600).
LIBSTDCXX = {(2, 17): (3, 4, 19), (2, 24): (3, 4, 22), (2, 28): (3, 4, 24), (2, 31): (3, 4, 28), (2, 34): (3, 4, 29),
             (2, 35): (3, 4, 30), (2, 38): (3, 4, 32), (2, 39): (3, 4, 33)}
# Libraries that such a system has, and those that the engine finds in the process once libtorch is open.
SYSTEM = re.compile(r"lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+)\.so\.\d+|ld-linux[-_a-z0-9]*\.so\.\d+")
TORCH = re.compile(r"lib(c10|torch|torch_cpu)\.so")

# Files that hold a licence, in any folder of a crate: fonts have theirs beside them.
NOTICE = re.compile(r"(licen[cs]e|copying|notice|copyright|unlicense)([-_.].*)?(?<!\.rs)(?<!\.toml)(?<!\.py)", re.IGNORECASE)


def run(*command, **options):
    """The standard output of a command, which must succeed."""
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, **options).stdout


def cargo_metadata(*arguments):
    """What cargo says of the workspace."""
    return json.loads(run("cargo", "metadata", "--format-version", "1", "--locked", *arguments, cwd=CHECKOUT))


def version_in(file, pattern):
    """The version that a source file holds."""
    match = re.search(pattern, (CHECKOUT / file).read_text(encoding="utf-8"))
    if not match:
        sys.exit(f"package: `{file}` has no version of the form `{pattern}`")
    return ".".join(re.findall(r"\d+", match[1]))


def host_triple():
    """The target that rustc builds for by itself."""
    return re.search(r"^host: (\S+)$", run("rustc", "-vV", text=True), re.MULTILINE)[1]


def linked_crates(metadata):
    """The crates of others that end up in the program or in a plugin: no build scripts, macros or tests."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [identity for identity, package in packages.items() if package["name"] in CRATES and not package["source"]]
    seen = set()
    while waiting:
        identity = waiting.pop()
        is_macro = any("proc-macro" in target["kind"] for target in packages[identity]["targets"])
        if identity in seen or is_macro:
            continue
        seen.add(identity)
        waiting += [dependency["pkg"] for dependency in nodes[identity]["deps"]
                    if any(kind["kind"] is None for kind in dependency["dep_kinds"])]
    found = [packages[identity] for identity in seen if packages[identity]["source"]]
    return sorted(found, key=lambda package: (package["name"], package["version"]))


def notices(triple):
    """The licences of what is linked in, each text once."""
    texts, lacking = {}, []
    for package in linked_crates(cargo_metadata("--filter-platform", triple)):
        label = f"{package['name']} {package['version']} ({package['license'] or 'see its file'})"
        if package["repository"]:
            label += f", {package['repository']}"
        files = [path for path in Path(package["manifest_path"]).parent.rglob("*")
                 if path.is_file() and NOTICE.fullmatch(path.name)]
        for path in files:
            text = path.read_text(encoding="utf-8", errors="replace").strip()
            texts.setdefault(text, []).append(label)
        if not files:
            lacking.append(label)
    libtorch = os.environ.get("LIBTORCH")
    for path in sorted(Path(libtorch, "licenses/torch").glob("*") if libtorch else []):
        texts.setdefault(path.read_text(encoding="utf-8").strip(), []).append("PyTorch, whose headers the engine is built with")
    parts = ["qp is made of the following, besides its own sources and Rust's standard library (MIT OR Apache-2.0).\n"]
    for text, labels in sorted(texts.items(), key=lambda item: (item[1], item[0])):
        parts.append("\n".join(sorted(set(labels))) + "\n\n" + text + "\n")
    if lacking:
        parts.append("These say their licence in their manifest alone; the texts of MIT and Apache-2.0 are beside this "
                     "file:\n\n" + "\n".join(lacking) + "\n")
    return ("\n" + "-" * 100 + "\n\n").join(parts).encode()


def contents(build, triple):
    """What is installed: path below the prefix -> (bytes, whether it is a program)."""
    def built(name):
        path = build / name
        if not path.is_file():
            sys.exit(f"package: `{path}` is not built")
        return path.read_bytes()

    def generated(document):
        return run(build / "qp", "--generate", document, env={})

    found = {"bin/qp": (built("qp"), True)}
    found |= {f"lib/qp/plugins/{name}": (built(name), True) for name in PLUGINS}
    found |= {
        "share/man/man1/qp.1": (generated("man"), False),
        "share/bash-completion/completions/qp": (generated("bash"), False),
        "share/zsh/site-functions/_qp": (generated("zsh"), False),
        "share/fish/vendor_completions.d/qp.fish": (generated("fish"), False),
    }
    for name in ("LICENSE-MIT", "LICENSE-APACHE"):
        found[f"share/doc/qp/{name}"] = ((CHECKOUT / name).read_bytes(), False)
    found["share/doc/qp/THIRD-PARTY-NOTICES.txt"] = (notices(triple), False)
    return dict(sorted(found.items()))


def write_archive(path, folder, files, epoch):
    """An archive with everything in `folder`; owner, times and order do not depend on this machine."""
    with open(path, "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=epoch) as packed, \
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        folders = {str(parent) for name in files for parent in Path(folder, name).parents if str(parent) != "."}
        for name in sorted(folders):
            item = tarfile.TarInfo(name)
            item.type, item.mode, item.mtime = tarfile.DIRTYPE, 0o755, epoch
            archive.addfile(item)
        for name, (data, is_program) in files.items():
            item = tarfile.TarInfo(f"{folder}/{name}")
            item.size, item.mode, item.mtime = len(data), 0o755 if is_program else 0o644, epoch
            archive.addfile(item, io.BytesIO(data))


def platform_tag(build):
    """The oldest system that the wheel runs on, as the symbols say that its libraries need."""
    machine = platform.machine()
    glibc, libstdcxx = (2, 17), (0,)
    for name in ["qp", *PLUGINS]:
        text = run("readelf", "--wide", "--version-info", "--dynamic", build / name, text=True, env={"LC_ALL": "C", **os.environ})
        for library in re.findall(r"\(NEEDED\).*\[(.+)\]", text):
            if not SYSTEM.fullmatch(library) and not (TORCH.fullmatch(library) and name.endswith(f"engine{SUFFIX}")):
                print(f"package: `{name}` needs `{library}`: the wheel is for machines that have it", file=sys.stderr)
                return f"linux_{machine}"
        needed = lambda prefix: [tuple(map(int, found.split("."))) for found in re.findall(rf"Name: {prefix}_([0-9.]+)", text)]
        glibc = max([glibc, *needed("GLIBC")])
        libstdcxx = max([libstdcxx, *needed("GLIBCXX")])
    fitting = [version for version, newest in LIBSTDCXX.items() if newest >= libstdcxx]
    if not fitting:
        return f"linux_{machine}"
    major, minor = max(glibc[:2], min(fitting))
    return f"manylinux_{major}_{minor}_{machine}"


def write_wheel(folder, package, files, tag, epoch):
    """A wheel that puts the files below the environment's prefix; pip needs no Python code of it."""
    name, version = package["name"].replace("-", "_"), package["version"]
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        sys.exit(f"package: `{version}` is not a version that pip and cargo write alike")
    licences = [path for path in files if path.startswith("share/doc/")]
    onnxruntime = version_in("plugins/onnx/src/runtime/library.rs", r"const OLDEST_PACKAGE: Version = Version\(\[([\d, ]+)\]\)")
    torch = version_in("plugins/pytorch/src/runtime/search.rs", r'const WANTED_VERSION: &str = "([\d.]+)"')
    torch = ".".join(torch.split(".")[:2])
    metadata = [
        "Metadata-Version: 2.4", f"Name: {package['name']}", f"Version: {version}", f"Summary: {package['description']}",
        f"License-Expression: {package['license']}", *(f"License-File: {Path(path).name}" for path in licences),
        "Requires-Python: >=3.8",
        "Provides-Extra: onnx", f'Requires-Dist: onnxruntime>={onnxruntime},<2; extra == "onnx"',
        "Provides-Extra: torch", f'Requires-Dist: torch=={torch}.*; extra == "torch"',
        "Description-Content-Type: text/plain", "",
        "The command `qp`, a quantization playground for the terminal: it inspects, runs and compares float and quantized",
        "networks. Models run on the onnxruntime and torch of the environment, if they are there.", "",
    ]
    info = f"{name}-{version}.dist-info"
    members = {}
    for path, (data, is_program) in files.items():
        if path in licences:
            members[f"{info}/licenses/{Path(path).name}"] = (data, False)
        elif path.startswith("bin/"):
            members[f"{name}-{version}.data/scripts/{Path(path).name}"] = (data, is_program)
        else:
            members[f"{name}-{version}.data/data/{path}"] = (data, is_program)
    wheel = ["Wheel-Version: 1.0", "Generator: qp scripts/package.py", "Root-Is-Purelib: false", f"Tag: py3-none-{tag}", ""]
    members[f"{info}/METADATA"] = ("\n".join(metadata).encode(), False)
    members[f"{info}/WHEEL"] = ("\n".join(wheel).encode(), False)
    digest = lambda data: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    record = [f"{path},sha256={digest(data)},{len(data)}\n" for path, (data, _) in members.items()]
    members[f"{info}/RECORD"] = ("".join([*record, f"{info}/RECORD,,\n"]).encode(), False)
    path = folder / f"{name}-{version}-py3-none-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for member, (data, is_program) in members.items():
            # The format knows no time before 1980.
            item = zipfile.ZipInfo(member, time.gmtime(max(epoch, 315532800))[:6])
            item.create_system, item.compress_type = 3, zipfile.ZIP_DEFLATED
            item.external_attr = (0o100755 if is_program else 0o100644) << 16
            archive.writestr(item, data, compresslevel=9)
    return path


def main():
    """Packages what is built."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="folder of the program and the plugins")
    parser.add_argument("--output", type=Path, required=True, help="folder for the archive and the wheel")
    arguments = parser.parse_args()
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    package = next(package for package in cargo_metadata("--no-deps")["packages"] if package["name"] == "qp")
    triple = host_triple()
    files = contents(arguments.build, triple)
    arguments.output.mkdir(parents=True, exist_ok=True)
    folder = f"{package['name']}-{package['version']}-{triple}"
    archive = arguments.output / f"{folder}.tar.gz"
    write_archive(archive, folder, files, epoch)
    made = [archive]
    if platform.system() == "Linux":
        made.append(write_wheel(arguments.output, package, files, platform_tag(arguments.build), epoch))
    else:
        print("package: wheels are made on Linux only", file=sys.stderr)
    for path in made:
        print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
