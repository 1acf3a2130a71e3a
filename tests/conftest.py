"""What the tests share: the book, its site, a browser; and one plain line for whatever could not be checked."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from dlopt_book import browser as browsers
from dlopt_book import firefox, report
from dlopt_book import site as sites
from dlopt_book.book import Book

ROOT = Path(__file__).parent.parent
PROGRAMS = {  # marker -> (names of the program, what is not checked without it, how to get it)
    "browser": (browsers.NAMES, "the site and JupyterLab in a real browser",
                "apt-get install chromium, or set DLOPT_CHROMIUM to a Chromium or Chrome"),
    "firefox": (firefox.NAMES, "the site in Firefox", "apt-get install firefox-esr, or set DLOPT_FIREFOX to a Firefox"),
    "sandbox": (("bwrap",), "homework in its sandbox", "apt-get install bubblewrap"),
}


TOGETHER = ("test_homework", "test_distributed")  # control groups, ports: one file at a time
SITE_TABLE = "site table"  # among the properties of a test: a line for each page


def program(marker):
    """The path of the program that tests with ``marker`` need, or None."""
    if marker == "browser":
        return browsers.chromium()
    if marker == "firefox":
        return firefox.firefox()
    return next(filter(None, map(shutil.which, PROGRAMS[marker][0])), None)


def in_ci():
    return os.environ.get("CI", "").lower() in ("1", "true")


def pytest_collection_modifyitems(items):
    """Where the suite runs in several processes, a file stays in one; so do all that watch what processes leave."""
    for item in items:
        group = next((start for start in TOGETHER if item.path.stem.startswith(start)), item.path.stem)
        item.add_marker(pytest.mark.xdist_group(group))


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
    passed_or_failed = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    table = [line for report in passed_or_failed for name, line in report.user_properties if name == SITE_TABLE]
    if table:
        terminalreporter.write_line("\n".join([report.HEAD, *table, report.TARGETS]))


@pytest.fixture
def keyboard():
    """Ctrl-C raises KeyboardInterrupt, even where the suite runs in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def root():
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def site(root):
    """The folder of the built site; it must belong to the files as they are now (`make test` has just made it)."""
    made = os.environ.get("BOOK_MADE") and (Book(root).site / "index.html").exists()
    if not made and not sites.is_current(Book(root)):
        message = "not checked: the site, which is missing or older than its sources; make book"
        pytest.fail(message, pytrace=False) if in_ci() else pytest.skip(message)
    return Book(root).site


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium."""
    with browsers.browser() as running:
        yield running
