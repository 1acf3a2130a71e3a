"""What the tests share: the book, its site, a browser; and one plain line for whatever could not be checked."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAMS = {  # marker -> (names of the program, what is not checked without it, how to get it)
    "browser": (("chromium", "chromium-browser", "google-chrome"), "the site and JupyterLab in a real browser",
                "apt-get install chromium, or set DLOPT_CHROMIUM to a Chromium or Chrome"),
    "sandbox": (("bwrap",), "homework in its sandbox", "apt-get install bubblewrap"),
}


def program(marker):
    """The path of the program that tests with ``marker`` need, or None."""
    chosen = os.environ.get("DLOPT_CHROMIUM") if marker == "browser" else None
    return chosen or next(filter(None, map(shutil.which, PROGRAMS[marker][0])), None)


def in_ci():
    return os.environ.get("CI", "").lower() in ("1", "true")


def pytest_runtest_setup(item):
    for marker, (_, what, cure) in PROGRAMS.items():
        if item.get_closest_marker(marker) and program(marker) is None:
            message = f"not checked: {what}; {cure}"
            pytest.fail(message, pytrace=False) if in_ci() else pytest.skip(message)


def pytest_terminal_summary(terminalreporter):
    skipped = {str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])}
    for _, what, cure in PROGRAMS.values():
        if any(f"not checked: {what}" in reason for reason in skipped):
            terminalreporter.write_line(f"NOT CHECKED: {what}: {cure}", red=True, bold=True)


@pytest.fixture(scope="session")
def root():
    """The repository."""
    return ROOT
