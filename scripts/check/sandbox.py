"""Loads files that may be malicious, in processes that cannot do harm, and says what loading them did.

A module for the scripts beside it. `Sandbox` starts servers: Python processes with PyTorch imported, with no network,
process ids of their own, and a file system of which only a scratch folder can be written (where the kernel lets them:
`unshare`). A server forks for each job. The fork has time, memory and file size limits, the scratch folder as its
working and home folder, and loads the file once, in one way:

    torch      torch.load(weights_only=False)
    weights    torch.load(weights_only=True)
    pickle     pickle.load, again and again to the end of the file
    records    the same for each entry of an archive that looks like a pickle or a file of torch.save
    jit        torch.jit.load, and a call of the module with tensors of ones
    export     torch.export.load
    many       pickle.load for each of the pickles in a list, with a persistent_load that gives storages
    picklescan, fickling    what these scanners say

It then answers with a report: `error` (how loading ended, if not well), `ended` ("well", "signal 11", "timeout" …),
`did`, the harm that was noticed, and `noted`, what is no harm but worth knowing. Both are lists of [kind, text]:

    run        a process or command is started; a code object, or source that is in the data, is executed
    write      a file is opened for writing, made, removed, renamed or changed, on Python's word or in the scratch folder
    connect    a socket is used
    native     a library is loaded or called through ctypes
    state      the process is changed: environment, working folder, signals, tracing, limits
    module     a module that lies in the scratch folder, beside the model, is imported
    changed    an attribute of a module or class of Python, NumPy or PyTorch is another than before

    noted:     read (a file is opened), import, built (a code object), made (source that Python's own modules compose),
               fx (source that torch.fx compiles)

What a module of an installed package does while it is imported is noted only if it starts processes, writes or
connects. Python's audit events and a profiler tell most; files are looked for in the scratch folder after the end, so
that what native code writes is seen too.
"""

import contextlib
import gc
import io
import json
import os
import pathlib
import queue
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

SECONDS = 15
SPARE_BYTES = 6 << 30
FILE_BYTES = 256 << 20
MAX_EVENTS = 40

RUN = {
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "pty.spawn",
    "subprocess.Popen",
    "builtins.breakpoint",
    "cpython.run_command",
    "cpython.run_file",
    "cpython.run_module",
    "cpython.run_stdin",
}
WRITE = {
    "os.chmod",
    "os.chown",
    "os.lchmod",
    "os.lockf",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.removexattr",
    "os.rmdir",
    "os.setxattr",
    "os.symlink",
    "os.truncate",
    "os.utime",
    "sqlite3.connect",
    "tempfile.mkdtemp",
    "tempfile.mkstemp",
}
STATE = {
    "cpython.PyInterpreterState_New",
    "os.chdir",
    "os.kill",
    "os.killpg",
    "os.putenv",
    "os.unsetenv",
    "resource.prlimit",
    "resource.setrlimit",
    "signal.pthread_kill",
    "sys.addaudithook",
    "sys.set_asyncgen_hooks_firstiter",
    "sys.setprofile",
    "sys.settrace",
    "syslog.openlog",
    "syslog.syslog",
}
CONNECT = ("socket.", "ftplib.", "http.client.", "imaplib.", "nntplib.", "poplib.", "smtplib.", "telnetlib.", "urllib.")
# Python's own modules that compile source which they have composed.
COMPOSERS = ("collections/__init__.py", "dataclasses.py", "enum.py", "functools.py", "attr/_make.py", "_pytree.py")


def is_installed(name):
    """Whether a file of Python source is part of Python or of an installed package."""
    return name.startswith(("<frozen", sys.prefix + "/lib", sys.base_prefix + "/lib"))


class Watch:
    """Notices what this process does from `arm` on, and writes it to a pipe, since the process may end at once."""

    def __init__(self, out, scratch, data):
        self.out, self.scratch, self.data = out, str(scratch), data
        self.armed = self.busy = False
        self.names, self.seen, self.files = [], set(), {}
        self.index = None
        sys.addaudithook(self.hook)

    def tell(self, **row):
        if self.index is not None:
            row["index"] = self.index
        os.write(self.out, json.dumps(row).encode() + b"\n")

    def note(self, list_, kind, text):
        row = (self.index, list_, kind, str(text)[:200])
        if row not in self.seen and len(self.seen) < MAX_EVENTS * (1 if self.index is None else 1000):
            self.seen.add(row)
            self.tell(**{list_: [kind, row[3]]})

    def arm(self):
        self.armed = True
        sys.setprofile(self.profile)

    def disarm(self):
        self.armed = False
        sys.setprofile(None)

    def frames(self):
        """The files of the frames that an event comes from, innermost first, up to the script's own."""
        frame, files = sys._getframe(2), []
        while frame is not None and (frame.f_code.co_filename != __file__ or not files):
            if frame.f_code.co_filename != __file__:
                files.append(frame.f_code.co_filename)
            elif frame.f_code.co_name not in ("hook", "judge", "profile"):
                break
            frame = frame.f_back
        return files

    def profile(self, frame, event, _argument):
        """Notices functions whose code comes from nowhere."""
        if event != "call" or self.busy or not self.armed:
            return
        name = frame.f_code.co_filename
        known = self.files.get(name)
        if known is None:
            known = self.files[name] = is_installed(name) or name == __file__
        if known or frame.f_code.co_name == "<module>":
            return
        self.busy = True
        try:
            module = frame.f_globals.get("__name__")
            if name.startswith("<eval_with_key>"):
                self.note("noted", "fx", frame.f_code.co_name)
            elif isinstance(module, str) and module.startswith("namedtuple_"):
                self.note("noted", "made", f"{module}: {frame.f_code.co_name}")
            elif module in ("__main__", "sandbox", None) or module not in sys.modules:
                self.note("did", "run", f"code of {name!r}: {frame.f_code.co_name}")
        finally:
            self.busy = False

    def hook(self, event, arguments):
        if not self.armed or self.busy:
            return
        self.busy = True
        try:
            self.judge(event, arguments)
        finally:
            self.busy = False

    def judge(self, event, arguments):
        shown = lambda: f"{event}{arguments!r}"[:200]
        is_write = event in WRITE or event.startswith("shutil.") or event == "open"
        if is_write and self.unpacks(str(arguments[0])):
            return
        if event == "pickle.find_class":
            self.names.append(arguments)
        elif event == "open":
            path, mode, flags = arguments
            if isinstance(path, int) or str(path) == os.devnull:
                return
            writes = any(letter in (mode or "") for letter in "wax+") or (
                isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            )
            if writes:
                self.note("did", "write", path)
            elif not str(path).startswith((sys.prefix, sys.base_prefix, "/proc", "/sys")):
                self.note("noted", "read", path)
        elif event in RUN:
            self.note("did", "run", shown())
        elif event in WRITE or event.startswith("shutil."):
            self.note("did", "write", shown())
        elif event in STATE:
            if event == "sys.setprofile":
                return
            self.note("did", "state", shown())
        elif event.startswith(CONNECT):
            if event not in ("socket.__new__", "socket.gethostname"):
                self.note("did", "connect", shown())
        elif event.startswith("ctypes."):
            if event in ("ctypes.dlopen", "ctypes.call_function") and not self.is_import():
                self.note("did", "native", shown())
        elif event in ("code.__new__", "function.__new__"):
            self.note("noted", "built", shown())
        elif event == "import":
            name, path = arguments[0], arguments[1]
            if isinstance(path, str) and path.startswith(self.scratch):
                self.note("did", "module", path)
            elif name not in sys.modules:
                self.note("noted", "import", name)
        elif event == "exec":
            name = arguments[0].co_filename
            if name.startswith(self.scratch):
                self.note("did", "module", name)
            elif not is_installed(name):
                self.code(f"executes {name!r}")
        elif event == "compile":
            source, name = arguments
            if source is not None and not (isinstance(name, str) and is_installed(name)):
                self.code(f"compiles {source!r}", source)

    def unpacks(self, path):
        """Whether PyTorch unpacks a tar archive of its first format, in a folder for temporary files which it removes."""
        frame, is_cleanup, is_tar = sys._getframe(3), False, False
        while frame is not None and frame.f_code.co_filename != __file__:
            name = frame.f_code.co_filename
            if name.endswith("/torch/serialization.py"):
                is_cleanup |= frame.f_code.co_name == "mkdtemp"
                return is_cleanup or (is_tar and path.startswith(self.scratch + "/tmp"))
            is_tar |= name.endswith(("/tarfile.py", "/tempfile.py"))
            frame = frame.f_back
        return False

    def is_import(self, files=None):
        return any(name.startswith("<frozen importlib") for name in files or self.frames())

    def code(self, text, source=None):
        """Source or code of which no installed file is the origin."""
        files = self.frames()
        origin = files[0] if files else ""
        if self.is_import(files) and not any(name.startswith(self.scratch) for name in files):
            return
        if isinstance(source, bytes):
            source = source.decode(errors="replace")
        is_data = isinstance(source, str) and len(source) > 3 and source.strip().encode() in self.data
        if origin.endswith("torch/fx/graph_module.py"):
            self.note("noted", "fx", text)
        elif origin.endswith("/ast.py"):
            self.note("noted", "made", text)
        elif origin.endswith(COMPOSERS) and not is_data:
            self.note("noted", "made", text)
        elif source is not None and origin.endswith("/typing.py"):
            self.note("noted", "built", text)
        else:
            self.note("did", "run", f"{text} by {origin or 'the pickle'}")


class Attributes:
    """What modules and classes have as attributes before anything is loaded, to see whether loading changes it."""

    MODULES = ("torch", "os", "sys", "json", "collections", "builtins", "pickle", "copyreg", "io", "numpy", "random")
    # What Python and PyTorch fill in when they come to it.
    USUAL = ("_abc_", "__slotnames__", "__doc__", "__warningregistry__", "__annotations__", "__dict__", "last_", "_cache")

    def __init__(self):
        self.modules, self.classes = {}, {}
        for name, module in list(sys.modules.items()):
            if module is None or name.partition(".")[0] not in self.MODULES:
                continue
            self.modules[name] = module, self.of(module)
            for value in list(vars(module).values()):
                if isinstance(value, type) and value not in self.classes:
                    self.classes[value] = self.of(value)

    @staticmethod
    def of(target):
        return {key: id(value) for key, value in vars(target).items() if isinstance(key, str)}

    def changes(self):
        """The names of attributes of which the value is another, and of new attributes of classes."""
        is_usual = lambda key: key.startswith(self.USUAL)
        for name, (module, before) in self.modules.items():
            for key, value in self.of(module).items():
                if before.get(key, value) != value and not is_usual(key):
                    yield f"{name}.{key}"
        for cls, before in self.classes.items():
            for key, value in self.of(cls).items():
                # Optimizers wrap their own `step` when they are unpickled.
                is_hook = key == "step" and cls.__module__.startswith("torch.optim")
                if before.get(key) != value and not is_usual(key) and not is_hook:
                    yield f"{cls.__module__}.{cls.__qualname__}.{key}"


def archive_entries(data):
    """The contents of an archive's entries, as a reader that forgives would find them."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            info.flag_bits &= ~1
            with contextlib.suppress(Exception):
                with archive.open(info) as entry:
                    entry._expected_crc = None
                    yield info.filename, entry.read()


def looks_like_pickle(name, content):
    if re.search(r"(^|/)data/[0-9]+$", name):
        # A storage, which nobody unpickles.
        return False
    ends = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".p", ".dat")
    return name.lower().endswith(ends) or (content[:1] == b"\x80" and content[1:2] <= b"\x05" and content[1:2] > b"\x01")


def unpickler(torch):
    import pickle

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, id):
            kind = id[1] if isinstance(id, tuple) and len(id) > 1 else None
            storage = torch.UntypedStorage(64)
            dtype = getattr(kind, "dtype", None) if isinstance(kind, type) else None
            if dtype is None:
                return storage
            return torch.storage.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)

    return Unpickler


class Plain:
    """Python's unpickler as it is."""

    def __new__(cls, file):
        import pickle

        return pickle.Unpickler(file)


def load_all(make, data):
    file, count = io.BytesIO(data), 0
    while file.tell() < len(data):
        try:
            make(file).load()
        except Exception:
            if count == 0:
                raise
            return
        count += 1


def scan_picklescan(path):
    import logging

    from picklescan import scanner

    logging.disable()
    result = scanner.scan_file_path(path)
    if result.issues_count or result.infected_files:
        return "dangerous"
    if result.scan_err or not result.scanned_files:
        return "refused"
    return "unknown" if any(name.safety == scanner.SafetyLevel.Suspicious for name in result.globals) else "safe"


def scan_fickling(path):
    import logging

    from fickling.loader import scan_file, scan_zip_archive

    logging.disable()
    is_archive = zipfile.is_zipfile(path)
    results = list(scan_zip_archive(path, graceful=True).values()) if is_archive else [scan_file(path, graceful=True)]
    level = max((result.severity.value[0] for result in results), default=0)
    if level >= 3:
        return "dangerous"
    if not any(result.results for result in results):
        return "refused"
    return "unknown" if level or any(result.errors for result in results) else "safe"


def load(way, path, data, watch):
    """Loads a file in one way; what it gives back is kept alive to the end."""
    import torch

    if way in ("torch", "weights"):
        only = way == "weights"
        try:
            return torch.load(path, weights_only=only)
        except RuntimeError as error:
            if "on a CUDA device" not in str(error) and "don't know how to restore" not in str(error):
                raise
        return torch.load(path, map_location="cpu", weights_only=only)
    if way == "pickle":
        return load_all(Plain, data)
    if way == "records":
        kept = []
        make = unpickler(torch)
        for name, content in list(archive_entries(data)):
            if looks_like_pickle(name, content):
                try:
                    if content[:2] == b"PK":
                        kept.append(torch.load(io.BytesIO(content), map_location="cpu", weights_only=False))
                    else:
                        load_all(make, content)
                except Exception as error:
                    kept.append(error)
        return kept
    if way == "jit":
        module = torch.jit.load(path, map_location="cpu")
        try:
            takes = [a for a in module.forward.schema.arguments[1:] if not a.has_default_value()]
            return module(*[torch.ones(1, 3, 32, 32) if len(takes) > 1 else torch.ones(4, 4) for _ in takes])
        except Exception as error:
            return error
    if way == "export":
        return torch.export.load(path)
    raise ValueError(way)


def load_many(path, first, watch):
    """Loads the pickles of a list, each after its number; says of each how it ended."""
    import struct

    import torch

    make = unpickler(torch)
    data = pathlib.Path(path).read_bytes()
    at = index = 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        content = data[at + 4 : at + 4 + length]
        at += 4 + length
        if index >= first:
            watch.index, watch.data = index, content
            watch.tell(begins=True)
            error = None
            watch.arm()
            try:
                kept = make(io.BytesIO(content)).load()
                del kept
            except BaseException as caught:  # noqa: BLE001 - SystemExit, too, is an end like others
                error = f"{type(caught).__name__}: {caught}"[:200]
            watch.disarm()
            watch.tell(error=error, over=True)
        index += 1


def child(job, out, scratch, attributes):
    """One job, in the fork."""
    os.setsid()
    os.chdir(scratch)
    os.environ["HOME"] = os.environ["TMPDIR"] = str(scratch)
    tempfile.tempdir = str(scratch)
    sys.path.insert(0, str(scratch))
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seconds = int(job.get("seconds", SECONDS))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    path, way = job["path"], job["way"]
    if way in ("picklescan", "fickling"):
        error, says = None, "refused"
        try:
            says = {"picklescan": scan_picklescan, "fickling": scan_fickling}[way](path)
        except BaseException as caught:  # noqa: BLE001
            error = f"{type(caught).__name__}: {caught}"[:200]
        os.write(out, json.dumps({"says": says, "error": error}).encode() + b"\n")
        os._exit(0)
    data = pathlib.Path(path).read_bytes() if way != "many" else b""
    content = data
    if data[:2] == b"PK":
        with contextlib.suppress(Exception):
            content = b"\0".join(entry for _, entry in archive_entries(data))
    watch = Watch(out, scratch, content)
    error = None
    if way == "many":
        load_many(path, job.get("first", 0), watch)
        watch.index = None
    else:
        watch.arm()
        try:
            kept = load(way, path, data, watch)
            del kept
            gc.collect()
        except BaseException as caught:  # noqa: BLE001
            error = f"{type(caught).__name__}: {caught}"[:300]
        watch.disarm()
    for what in list(attributes.changes())[:5]:
        watch.note(*(("noted", "fx") if what.startswith("torch.fx.graph_module.") else ("did", "changed")), what)
    names = sorted({f"{module}.{name}" for module, name in watch.names})[:200]
    os.write(out, json.dumps({"error": error, "names": names, "end": True}).encode() + b"\n")
    # What is freed at the end runs __del__ and callbacks.
    watch.armed = True
    os._exit(0)


IGNORED_FILES = {"__pycache__"}


def made_files(scratch, before):
    now = {str(path.relative_to(scratch)) for path in scratch.rglob("*") if not IGNORED_FILES & set(path.parts)}
    return sorted(now - before)


def perform(job, root, attributes):
    """Forks for a job and reports."""
    scratch = root / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    for folder in ("pwned", "cases/marker", "markers"):
        (scratch / folder).mkdir(parents=True)
    # Imported, it leaves a trace.
    (scratch / "pwned_module.py").write_text("open('pwned/imported', 'w')\n")
    path = pathlib.Path(job["path"])
    for beside in path.parent.glob("*.py") if job["way"] in ("torch", "weights", "pickle") else ():
        if beside.stat().st_size < 20_000:
            shutil.copy(beside, scratch)
    before = set(made_files(scratch, set()))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            child(job, writer, scratch, attributes)
        finally:
            os._exit(113)
    os.close(writer)
    deadline = time.monotonic() + job.get("seconds", SECONDS)
    pieces, is_late = [], False
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            is_late = True
            break
        if select.select([reader], [], [], left)[0]:
            piece = os.read(reader, 1 << 16)
            if not piece:
                break
            pieces.append(piece)
        else:
            is_late = True
            break
        # Whoever inherited the pipe may outlive the fork.
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) and not select.select([reader], [], [], 0.2)[0]:
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(reader)
    rows = []
    for line in b"".join(pieces).splitlines():
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    report = {"error": None, "did": [], "noted": [], "names": [], "ended": "well"}
    is_whole = any("end" in row or "says" in row for row in rows)
    if is_late:
        report["ended"] = "timeout"
    elif os.WIFSIGNALED(status):
        report["ended"] = f"signal {os.WTERMSIG(status)}"
    elif not is_whole:
        report["ended"] = f"exit {os.WEXITSTATUS(status)}"
    each = {}
    for row in rows:
        if "index" in row:
            one = each.setdefault(row["index"], {"did": [], "noted": [], "error": None, "over": False})
            for key in ("did", "noted"):
                if key in row:
                    one[key].append(row[key])
            if row.get("over"):
                one.update(over=True, error=row["error"])
            continue
        for key in ("did", "noted"):
            if key in row:
                report[key].append(row[key])
        for key in ("error", "names", "says"):
            if row.get(key):
                report[key] = row[key]
    report["did"] += [["write", f"made {name}"] for name in made_files(scratch, before)[:10]]
    if each:
        report["each"] = [[index, one] for index, one in sorted(each.items())]
    return report


def serve(root):
    """Answers jobs, a line each, until the input ends."""
    root = pathlib.Path(root)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    is_apart = True
    for command in (["mount", "-t", "tmpfs", "tmpfs", str(root)], ["mount", "-o", "remount,bind,ro", "/"]):
        is_apart &= subprocess.run(command, capture_output=True, check=False).returncode == 0
    import warnings

    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    for name in PRELOADED:
        with contextlib.suppress(Exception):
            __import__(name)
    with contextlib.suppress(Exception):
        torch.load(io.BytesIO(b""), weights_only=False)
    sys.argv = ["python"]
    attributes = Attributes()
    gc.collect()
    # What is there now needs no collecting, and is not copied for each fork.
    gc.freeze()
    print(json.dumps({"ready": True, "is_apart": is_apart, "torch": torch.__version__}), file=answers)
    for line in sys.stdin:
        report = perform(json.loads(line), root, attributes)
        print(json.dumps(report), file=answers)


PRELOADED = """
numpy numpy.ma numpy.random numpy.core.multiarray torchvision sympy sympy.parsing.sympy_parser uuid logging string
pickle zipfile tarfile json decimal fractions zoneinfo weakref contextlib dataclasses functools pathlib linecache
torch.fx torch.fx.graph_module torch.fx._symbolic_trace torch.fx.experimental.symbolic_shapes
torch.fx._lazy_graph_module torch.package torch.export torch.optim.lr_scheduler torch.utils.data torch.nn.utils.parametrize
torch.nn.utils.spectral_norm torch.ao.quantization torch.ao.nn.quantized torch.ao.nn.quantized.dynamic
torch.ao.nn.intrinsic.quantized torch.ao.quantization.fx._lower_to_native_backend torch.ao.quantization.quantize
torch.jit._pickle torch._tensor torch.nn.parallel torch.serialization torch.storage torch.hub torch.utils.collect_env
picklescan.scanner fickling.loader fickling.analysis fickling.pytorch importlib.metadata zlib lzma bz2 gzip
torchvision.models torchvision.transforms torchvision.ops torchvision.datasets torch.distributed._tensor unittest.mock
""".split()


class Sandbox:
    """Servers that answer jobs; `run` gives the reports in the order of the jobs."""

    def __init__(self, python=sys.executable, count=2):
        self.servers = []
        for _ in range(count):
            root = tempfile.mkdtemp(prefix="sandbox-")
            command = [python, "-W", "ignore", __file__, "--serve", root]
            apart = ["unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc"]
            may_unshare = shutil.which("unshare") and subprocess.run([*apart, "true"], capture_output=True, check=False).returncode == 0
            environment = {
                "PATH": os.defpath,
                "OMP_NUM_THREADS": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": root,
                "TORCHINDUCTOR_CACHE_DIR": root,
                "CUDA_VISIBLE_DEVICES": "",
                "TRANSFORMERS_VERBOSITY": "error",
            }
            server = subprocess.Popen(
                [*(apart if may_unshare else []), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                text=True,
            )
            self.servers.append((server, root))
        for server, _ in self.servers:
            line = server.stdout.readline()
            if not line:
                sys.exit("the sandbox does not start: does this Python have torch?")
            self.greeting = json.loads(line)

    def run(self, jobs):
        jobs = list(jobs)
        reports, waiting = [None] * len(jobs), queue.SimpleQueue()
        for number in range(len(jobs)):
            waiting.put(number)

        def work(server):
            while True:
                try:
                    number = waiting.get_nowait()
                except queue.Empty:
                    return
                server.stdin.write(json.dumps(jobs[number]) + "\n")
                server.stdin.flush()
                line = server.stdout.readline()
                reports[number] = json.loads(line) if line else None

        threads = [threading.Thread(target=work, args=(server,)) for server, _ in self.servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return reports

    def close(self):
        for server, root in self.servers:
            server.stdin.close()
            server.wait()
            shutil.rmtree(root, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


if __name__ == "__main__" and sys.argv[1:2] == ["--serve"]:
    serve(sys.argv[2])
