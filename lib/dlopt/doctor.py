"""Is this machine ready for the course?  ``python -m dlopt.doctor`` prints what is there and what each gap costs."""

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from dlopt.data.fonts import FONTS, font_path
from dlopt.device import describe, device

PYTHON = (3, 11)
TORCH = (2, 11)
PACKAGES = {
    "numpy": "nothing runs", "scipy": "curvature and statistics do not run", "matplotlib": "no figure is drawn",
    "scikit-learn": "digits, diabetes and breast_cancer are missing", "jupyterlab": "chapters cannot be opened",
    "jupyter-book": "the site cannot be built", "nbval": "notebooks cannot be tested",
    "nbgrader": "homework cannot be released or graded",
}
PROGRAMS = {
    "chromium": (("chromium", "chromium-browser", "google-chrome"), "no check in a browser"),
    "bubblewrap": (("bwrap",), "homework cannot be graded in its sandbox"),
    "C++ compiler": (("c++", "g++", "clang++"), "optimizers run eager: compile=True is not available"),
}
MEMORY_GIB, DISK_GIB = 4, 6


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ``ok``, what was found, and what its absence costs."""

    name: str
    ok: bool
    found: str
    cost: str = ""

    def line(self):
        """The finding as one line of text."""
        mark = "ok     " if self.ok else "missing"
        return f"{mark}  {self.name:<16} {self.found}" + ("" if self.ok else f"  ->  {self.cost}")


def _version(text):
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in text.split("+")[0].split(".")[:2])


def check_versions():
    """Python and torch against the lowest versions that the library supports."""
    python = ".".join(map(str, sys.version_info[:3]))
    return [
        Finding("Python", sys.version_info[:2] >= PYTHON, python, f"Python {PYTHON[0]}.{PYTHON[1]} or newer is needed"),
        Finding("torch", _version(torch.__version__) >= TORCH, torch.__version__, "torch 2.11 or newer is needed"),
    ]


def check_packages(packages=PACKAGES):
    """Every installed package that the course uses, with its version."""
    findings = []
    for name, cost in packages.items():
        try:
            findings.append(Finding(name, True, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(name, False, "not installed", f"{cost}: pip install -r requirements.txt"))
    return findings


def check_programs(programs=PROGRAMS):
    """System programs, looked up on PATH."""
    findings = []
    for name, (commands, cost) in programs.items():
        found = next((path for path in map(shutil.which, commands) if path), None)
        findings.append(Finding(name, found is not None, found or "not on PATH", cost))
    return findings


def memory_gib():
    """Physical memory in GiB, or None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None


def check_machine():
    """Device, memory, free disk, and a directory that can be written."""
    memory, disk = memory_gib(), shutil.disk_usage(Path.cwd()).free / 2**30
    known = f"{memory:.1f} GiB" if memory else "unknown"
    return [
        Finding("device", True, describe(device())),
        Finding("memory", memory is None or memory >= MEMORY_GIB, known, f"chapters want {MEMORY_GIB} GiB"),
        Finding("free disk", disk >= DISK_GIB, f"{disk:.1f} GiB", f"the environment takes up to {DISK_GIB} GiB"),
        _writable(Path.cwd()),
        _writable(Path(tempfile.gettempdir())),
    ]


def _writable(folder):
    return Finding("writable", os.access(folder, os.W_OK), str(folder), "checkpoints and caches cannot be saved here")


def check_fonts():
    """The fonts from which the glyph images are rendered (they come with matplotlib)."""
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
    return check_versions() + check_packages() + check_machine() + check_fonts() + check_programs()


def main():
    """Print the findings; the exit status is 1 if something that the chapters need is missing."""
    findings = examine()
    print(f"{platform.platform()}, {os.cpu_count()} cores")
    print("\n".join(finding.line() for finding in findings))
    needed = [f for f in findings if not f.ok and f.name not in PROGRAMS]
    print("Ready: every chapter runs." if not needed else f"Not ready: {', '.join(f.name for f in needed)}.")
    return 1 if needed else 0


if __name__ == "__main__":
    raise SystemExit(main())
