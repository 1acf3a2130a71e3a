"""Is this machine ready for the course?  ``python -m dlopt.doctor`` prints what is there and what each gap costs."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PYTHON, TORCH = (3, 11), (2, 11)
PACKAGES = {  # what the chapters need; torch is looked at with its version
    "numpy": "nothing runs", "scipy": "curvature and statistics do not run", "matplotlib": "no figure is drawn",
    "fonttools": "glyphs cannot be rendered", "scikit-learn": "digits, diabetes and breast_cancer are missing",
    "tqdm": "nothing trains", "tensorly": "the chapter on low rank does not run",
    "ipykernel": "no cell runs", "jupyterlab": "chapters cannot be opened",
}
TOOLS = {  # what only the book and the homework need
    "jupyterlab-myst": "boxes, references and citations appear in JupyterLab as they are written",
    "jupyter-book": "the site cannot be built", "nbval": "notebooks cannot be tested",
    "nbgrader": "homework cannot be released or graded",
    "playwright": "the site's formulas are not typeset, and nothing is checked in a browser",
}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PROGRAMS = {
    "chromium": (CHROMIUM, "no check in a browser: apt-get install chromium, or set DLOPT_CHROMIUM to one"),
    "bubblewrap": (("bwrap",), "homework cannot be graded in its sandbox: apt-get install bubblewrap"),
    "C++ compiler": (("c++", "g++", "clang++"), "optimizers run eager: compile=True is not available"),
}
MEMORY_GIB, DISK_GIB = 4, 6
LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, where it has one


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ``ok``, what was found, what its absence costs, and whether chapters need it."""

    name: str
    ok: bool
    found: str
    cost: str = ""
    needed: bool = True

    def line(self):
        """The finding as one line of text."""
        mark = "ok     " if self.ok else "missing"
        return f"{mark}  {self.name:<16} {self.found}" + ("" if self.ok else f"  ->  {self.cost}")


def _version(text):
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in text.split("+")[0].split(".")[:2])


def _installed(package):
    """The version of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_versions():
    """Python and torch against the lowest versions that the library supports."""
    python, torch = ".".join(map(str, sys.version_info[:3])), _installed("torch")
    return [
        Finding("Python", sys.version_info[:2] >= PYTHON, python, f"Python {PYTHON[0]}.{PYTHON[1]} or newer is needed"),
        Finding("torch", torch is not None and _version(torch) >= TORCH, torch or "not installed",
                "nothing runs, torch 2.11 or newer is needed: pip install -r requirements.txt"),
    ]


def check_packages(packages=PACKAGES, needed=True):
    """Every installed package that the course uses, with its version.

    Args:
        packages: what the absence of each package costs.
        needed: whether chapters need them.
    """
    found = {name: _installed(name) for name in packages}
    return [Finding(name, found[name] is not None, found[name] or "not installed",
                    f"{cost}: pip install -r requirements.txt", needed) for name, cost in packages.items()]


def check_programs(programs=PROGRAMS):
    """System programs, looked up on PATH (Chromium first in ``DLOPT_CHROMIUM``); bubblewrap is tried."""
    findings = []
    for name, (commands, cost) in programs.items():
        chosen = os.environ.get("DLOPT_CHROMIUM") if name == "chromium" else None
        found = next(filter(None, map(shutil.which, [chosen] if chosen else commands)), None)
        place = found or (f"DLOPT_CHROMIUM={chosen} is no program" if chosen else "not on PATH")
        complaint = _unusable(found) if found and name == "bubblewrap" else ""
        if complaint:
            cost = f"homework cannot be graded in its sandbox: {complaint}"
        findings.append(Finding(name, found is not None and not complaint, place, cost, needed=False))
    return findings


def _unusable(bwrap):
    """What bubblewrap complains about where the system forbids the namespaces that the sandbox needs, else empty."""
    argv = [bwrap, "--unshare-all", "--unshare-user", "--disable-userns", "--ro-bind", "/", "/", sys.executable, "-V"]
    try:
        run = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if run.returncode == 0 else run.stderr.strip()[:120] or f"it ends with status {run.returncode}"


def memory_gib():
    """Memory in GiB that this process may have: the machine's or its container's; None where the system does not tell.
    """
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    limit = LIMIT.read_text().strip() if LIMIT.exists() else ""
    return min(memory, int(limit) if limit.isdigit() else memory) / 2**30


def check_machine():
    """Device, memory, free disk, and a directory that can be written."""
    memory, disk = memory_gib(), shutil.disk_usage(Path.cwd()).free / 2**30
    known = f"{memory:.1f} GiB" if memory else "unknown"
    return [
        _device(),
        Finding("memory", memory is None or memory >= MEMORY_GIB, known, f"chapters want {MEMORY_GIB} GiB"),
        Finding("free disk", disk >= DISK_GIB, f"{disk:.1f} GiB", f"the environment takes up to {DISK_GIB} GiB"),
        _writable(Path.cwd()),
        _writable(Path(tempfile.gettempdir())),
    ]


def _device():
    try:
        from dlopt.device import describe, device  # here, so that a machine without torch is examined too

        return Finding("device", True, describe(device()))
    except (ImportError, OSError) as error:
        return Finding("device", False, "torch cannot be imported", f"nothing runs: {error}")
    except ValueError as error:
        return Finding("device", False, f"DLOPT_DEVICE={os.environ.get('DLOPT_DEVICE')}", f"nothing trains: {error}")


def _writable(folder):
    return Finding("writable", os.access(folder, os.W_OK), str(folder), "checkpoints and caches cannot be saved here")


def check_fonts():
    """The fonts from which the glyph images are rendered (they come with matplotlib)."""
    try:
        from dlopt.data.fonts import FONTS, font_path
    except (ImportError, OSError) as error:
        return [Finding("fonts", False, "not looked at", f"glyphs cannot be rendered: {error}")]
    missing = []
    for name in FONTS:
        try:
            font_path(name)
        except FileNotFoundError:
            missing.append(name)
    found = f"{len(FONTS) - len(missing)} of {len(FONTS)}" + (f", without {', '.join(missing)}" if missing else "")
    return [Finding("fonts", not missing, found, "glyphs cannot be rendered: reinstall matplotlib")]


def examine():
    """All findings, in the order in which they are printed."""
    packages = check_packages() + check_packages(TOOLS, needed=False)
    return check_versions() + packages + check_machine() + check_fonts() + check_programs()


def main():
    """Print the findings; the exit status is 1 if something that the chapters need is missing."""
    findings = examine()
    print(f"{platform.platform()}, {os.cpu_count()} cores")
    print("\n".join(finding.line() for finding in findings))
    needed = [finding for finding in findings if finding.needed and not finding.ok]
    print("Ready: every chapter runs." if not needed else f"Not ready: {', '.join(f.name for f in needed)}.")
    return 1 if needed else 0


if __name__ == "__main__":
    raise SystemExit(main())
