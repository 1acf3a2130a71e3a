"""Run a process that sees no network, no sources, no gradebook, no other submission, and cannot outlive the call.

bubblewrap makes the namespaces; a cgroup (v2 or v1, where one may be written) or the kernel's own limits bound memory
and the number of processes. What none of these can bound is refused rather than run.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

INSIDE = Path(__file__).parent / "inside"
CGROUPS = Path("/sys/fs/cgroup")
HOME = "/home/student"
ROOT = "root's processes can only be counted by a cgroup, and none is writable: grade as an ordinary user"


class Refused(RuntimeError):
    """Student code cannot be contained on this machine; the message says what is missing."""


@dataclass(frozen=True)
class Limits:
    """Bounds on one sandbox: bytes of memory, of one file and of the temporary space; processes; open files."""

    memory: int = 2 * 2**30
    data: int = 8 * 2**30  # per process, address space that torch reserves but does not use included
    file: int = 64 * 2**20
    space: int = 256 * 2**20
    processes: int = 64
    files: int = 512


def _own_cgroup(controller=""):
    """This process's path in the v2 hierarchy (``controller=""``) or in a v1 one."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path.lstrip("/")
    return ""


def _try_group(parent, settings):
    """Make a group below ``parent`` with ``settings`` (file -> value), or return None where that is not possible."""
    group = parent / f"dlopt-{uuid.uuid4().hex[:12]}"
    try:
        group.mkdir()
    except OSError:
        return None
    try:
        for name, value in settings.items():
            if not (group / name).exists():
                raise OSError(f"{name} is not there")
            (group / name).write_text(str(value))
        if not os.access(group / "cgroup.procs", os.W_OK):
            raise OSError("cgroup.procs cannot be written")
    except OSError:
        group.rmdir()
        return None
    return group


def make_groups(limits, root=CGROUPS):
    """Create cgroups that bound memory and processes; returns their folders, or ``[]`` where none can be written."""
    both = {"memory.max": limits.memory, "pids.max": limits.processes}
    for parent in dict.fromkeys((root / _own_cgroup(), (root / _own_cgroup()).parent, root)):
        if root in (parent, *parent.parents) and (group := _try_group(parent, both)):
            return [group]
    groups = [
        _try_group(root / "memory" / _own_cgroup("memory"), {"memory.limit_in_bytes": limits.memory})
        or _try_group(root / "memory", {"memory.limit_in_bytes": limits.memory}),
        _try_group(root / "pids" / _own_cgroup("pids"), {"pids.max": limits.processes})
        or _try_group(root / "pids", {"pids.max": limits.processes}),
    ]
    if all(groups):  # and where it can be had, a fair share of the processor for every submission
        cpu = _try_group(root / "cpu" / _own_cgroup("cpu"), {"cpu.shares": 1024})
        return [*groups, cpu] if cpu else groups
    remove_groups([g for g in groups if g])
    return []


def remove_groups(groups, patience=5.0):
    """Remove the folders of ``make_groups`` once their processes are gone, which takes seconds on a busy machine."""
    for group in groups:
        end = time.monotonic() + patience
        while group.exists():
            try:
                group.rmdir()
            except OSError:
                if time.monotonic() > end:
                    break
                time.sleep(0.02)


def missing():
    """Why this machine cannot contain student code, or None if it can; tried with the command that grading uses."""
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed (Debian/Ubuntu: apt install bubblewrap)"
    _remove_stale()
    limits = Limits()
    groups = make_groups(limits)
    if not groups and os.geteuid() == 0:
        return ROOT
    try:
        probe = _bounded(command(["/usr/bin/true"], limits=limits), limits, groups)
        run = subprocess.run(probe, capture_output=True, text=True, timeout=20)
    finally:
        remove_groups(groups)
    return f"bubblewrap cannot make its namespaces here: {run.stderr.strip()[:200]}" if run.returncode else None


def _remove_stale(root=CGROUPS):
    """Remove the empty groups of a run that was killed; groups in use cannot be removed, so this harms nobody."""
    v1 = [root / name / below for name in ("memory", "pids", "cpu") for below in ("", _own_cgroup(name))]
    places = [root, root / _own_cgroup(), (root / _own_cgroup()).parent, *v1]
    for group in (g for place in places for g in place.glob("dlopt-*")):
        with contextlib.suppress(OSError):
            group.rmdir()


def _binds(hidden):
    """Read-only view of the system and of this Python, with every path of ``hidden`` covered by an empty folder."""
    args = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        link = Path("/") / name
        if link.is_symlink():
            args += ["--symlink", os.readlink(link), str(link)]
        elif link.is_dir():
            args += ["--ro-bind", str(link), str(link)]
    seen = {Path(sys.prefix), Path(sys.base_prefix)}
    for prefix in sorted(seen):
        if not prefix.is_relative_to("/usr"):
            args += ["--ro-bind", str(prefix), str(prefix)]
    for etc in ("/etc/ld.so.cache", "/etc/fonts", "/etc/alternatives"):
        args += ["--ro-bind-try", etc, etc]
    for path in map(Path, hidden):
        if any(path.resolve().is_relative_to(p) for p in (*seen, Path("/usr"))):
            args += ["--tmpfs", str(path.resolve())]
    return args


def _environment():
    env = {"PATH": f"{sys.prefix}/bin:/usr/bin:/bin", "HOME": HOME, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    env |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return env | {"MPLCONFIGDIR": "/tmp/mpl", "IPYTHONDIR": "/tmp/ipython", "JUPYTER_PLATFORM_DIRS": "1"}


def command(argv, *, files=(), hidden=(), limits=None):
    """The bubblewrap command line that runs ``argv``.

    Args:
        argv: program and arguments as they are called inside.
        files: data files of the assignment, shown read-only in the working folder.
        hidden: folders that must not be seen even where a bound folder contains them.
        limits: bounds on temporary space.
    """
    limits = limits or Limits()
    args = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--as-pid-1"]
    args += ["--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL", "--hostname", "sandbox"]
    args += ["--proc", "/proc", "--dev", "/dev"]
    for folder in ("/dev/shm", "/tmp", HOME):  # before what is bound, which may itself lie below /tmp
        args += ["--size", str(limits.space), "--tmpfs", folder]
    args += [*_binds(hidden), "--ro-bind", str(INSIDE), "/grader/inside"]
    for fonts in (Path.home() / ".cache/matplotlib").glob("fontlist-*.json"):  # saves rebuilding it in every sandbox
        args += ["--ro-bind-try", str(fonts), f"/tmp/mpl/{fonts.name}"]
    for file in map(Path, files):
        args += ["--ro-bind", str(file), f"{HOME}/{file.name}"]
    args += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", HOME]
    for name, value in _environment().items():
        args += ["--setenv", name, value]
    return [*args, "--", *argv]


def _bounded(argv, limits, groups):
    """Prefix ``argv`` with a shell that sets limits and enters the cgroups before it becomes ``argv``."""
    lines = [
        f"ulimit -d {limits.data // 1024}",
        f"ulimit -f {limits.file // 512}",
        f"ulimit -n {limits.files}",
        "ulimit -c 0",
    ]
    lines += [f'echo $$ > "{group}/cgroup.procs"' for group in groups]
    return ["/bin/sh", "-c", " && ".join([*lines, 'exec "$@"']), "sh", *argv]


@contextlib.contextmanager
def process(script, *, files=(), hidden=(), limits=None, sandboxed=True):
    """A ``Popen`` of ``main`` in ``inside/<script>.py`` in a fresh sandbox, with pipes to its stdin and stdout.

    Whatever runs in it ends when the block is left.

    Raises:
        Refused: this machine cannot contain it and ``sandboxed`` was not switched off.
    """
    limits = limits or Limits()
    groups = make_groups(limits) if sandboxed else []
    if sandboxed and not groups and os.geteuid() == 0:
        raise Refused(ROOT)
    bound = str(0 if groups or not sandboxed else limits.processes)  # without a cgroup the script bounds itself
    start = f"import sys; sys.path.insert(0, {str('/grader' if sandboxed else INSIDE.parent)!r}); "
    argv = [sys.executable, "-I", "-c", f"{start}from inside.{script} import main; main()", bound]
    if sandboxed:
        argv = command(argv, files=files, hidden=hidden, limits=limits)
    argv = _bounded(argv, limits, groups)
    folder = tempfile.TemporaryDirectory(prefix="dlopt-")  # where an unsandboxed process starts
    child = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder.name,
        env={"PATH": os.environ.get("PATH", os.defpath)} if sandboxed else None,  # the instructor's may hold tokens
        start_new_session=True,
        bufsize=0,
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        for pipe in (child.stdin, child.stdout):
            pipe.close()
        child.wait()
        remove_groups(groups)
        folder.cleanup()
