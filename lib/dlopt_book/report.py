"""Every page of the site against its targets, as a table: ``python -m dlopt_book report [RUNS]``."""

import gzip
import json
import os
import shutil
import statistics
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dlopt_book import browser, firefox

TEXT_KB = 350  # a page without its figures, compressed
BOXES = 8000  # that a browser lays out before a phone shows the page; what Lighthouse measures follows from them
LONG_TASK_MS, SLOWER = 150, 4  # the longest task of a phone's processor, which is so many times slower than this one
LOADS = 3  # of which the least counts: what else the machine does only adds to a task
LIGHTHOUSE = {"performance": 0.90, "accessibility": 1.0, "best-practices": 1.0, "seo": 1.0}
DESKTOP_PERFORMANCE = 0.98
COMPRESSED = {".html", ".css", ".js", ".svg", ".json", ".txt"}
TASKS = """() => new Promise(done => {
  const found = [];
  const note = list => found.push(...list.getEntries().map(entry => entry.duration));
  new PerformanceObserver(note).observe({type: 'longtask', buffered: true});
  setTimeout(() => done(Math.max(0, ...found)), 300);
})"""


HEAD = (f"{'page':<34}{'text kB':>8}{'figures':>8}{'requests':>9}{'boxes':>7}{'complaints':>11}{'task ms':>8}"
        "  Lighthouse")
TARGETS = (f"targets: text < {TEXT_KB} kB, at most {BOXES} boxes laid out when a page opens, no complaints (console, "
           "other hosts, axe in light and dark, 390 px), "
           f"no task above {LONG_TASK_MS} ms on a processor {SLOWER} times slower")


@dataclass
class Row:
    """One page as measured; sizes in kB (1000 bytes), ``problems`` in words, ``scores`` by Lighthouse's names."""

    page: str
    text: float = 0
    figures: float = 0
    requests: int = 0
    boxes: int = 0
    problems: list = field(default_factory=list)
    task: float = 0
    scores: dict = field(default_factory=dict)

    def misses(self):
        """The targets that the page misses, in words."""
        found = list(self.problems)
        if self.text > TEXT_KB:
            found.append(f"weighs {self.text:.0f} kB without figures, target {TEXT_KB}")
        if self.boxes > BOXES:
            found.append(f"{self.boxes} boxes are laid out when it opens, target {BOXES}")
        if self.task > LONG_TASK_MS:
            found.append(f"a task of {self.task:.0f} ms on a phone, target {LONG_TASK_MS}")
        targets = LIGHTHOUSE | {"desktop": DESKTOP_PERFORMANCE}
        return found + [f"Lighthouse {name} {score:.2f}, target {targets[name]}" for name, score in self.scores.items()
                        if score < targets[name]]


@cache
def transferred(path):
    """Bytes that a server which compresses text sends for a file."""
    data = Path(path).read_bytes()
    return len(gzip.compress(data, 6)) if Path(path).suffix in COMPRESSED else len(data)


def weigh(site, addresses):
    """Kilobytes of text (all but figures) and of figures for the requests made from a site, and their number."""
    files = {Path(site) / unquote(urlsplit(address).path).lstrip("/") for address in addresses}
    sizes = {file: transferred(file) for file in files if file.is_file()}
    figures = sum(bytes for file, bytes in sizes.items() if "_images" in file.parts)
    return (sum(sizes.values()) - figures) / 1000, figures / 1000, len(sizes)


def measure(running, site, base, name, slow=True, accessibility=True):
    """Look at one page, with axe if ``accessibility``, and if ``slow`` load it on a slow phone; returns its `Row`."""
    row, asked, counted = Row(name), [], []
    row.problems = browser.check(running, f"{base}/{name}", accessibility=accessibility, asked=asked,
                                 counted=counted)
    row.text, row.figures, row.requests = weigh(site, asked)
    row.boxes = counted[0]
    if slow:
        row.task = min(_longest_task(running, f"{base}/{name}") for _ in range(LOADS))
    return row


def _longest_task(running, address):
    with browser.opened(running, address, size=browser.PHONE, slower=SLOWER) as (page, _):
        return page.evaluate(TASKS)


def lighthouse():
    """The path of Lighthouse's command, ``DLOPT_LIGHTHOUSE`` or on ``PATH``; None if there is none."""
    return os.environ.get("DLOPT_LIGHTHOUSE") or shutil.which("lighthouse")


def score(address, runs, desktop=False):
    """Lighthouse's scores of a page, medians over ``runs``, on a slow phone or on a desktop machine."""
    flags = "--headless=new --no-sandbox --disable-dev-shm-usage"
    command = [lighthouse(), address, "--quiet", "--output=json", f"--chrome-flags={flags}",
               *(["--preset=desktop", "--only-categories=performance"] if desktop else [])]
    environment = {**os.environ, "CHROME_PATH": browser.chromium()}
    found = []
    for _ in range(runs):
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise RuntimeError(f"Lighthouse does not run: {done.stderr[-400:]}")
        found.append({k: v["score"] or 0 for k, v in json.loads(done.stdout)["categories"].items()})
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def report(site, runs=1, say=print, only=None):
    """Measure every page, say the table line by line, then every miss; returns the rows."""
    able, rows = lighthouse() is not None and runs > 0, []
    say(HEAD)
    with browser.browser() as running, browser.served(site, compress=True) as base:
        for name in only or browser.pages(site):
            row = measure(running, site, base, name)
            if able:
                row.scores = score(f"{base}/{name}", runs)
                row.scores["desktop"] = score(f"{base}/{name}", runs, desktop=True)["performance"]
            rows.append(row)
            say(line(row))
    say(TARGETS)
    if not able:
        say("Lighthouse: not run; npm install --global lighthouse, or set DLOPT_LIGHTHOUSE to its command")
    if firefox.firefox() is None:
        say("Firefox: not run; apt-get install firefox-esr")
    else:
        with firefox.running() as session:
            found = firefox.survey(session, site, lambda line: say(f"MISSED  Firefox: {line}"))
        say(f"Firefox: {len(found)} of {2 * len(browser.pages(site))} views have complaints (from a server, from file)")
    for row in rows:
        for miss in row.misses():
            say(f"MISSED  {row.page}: {miss}")
    return rows


def line(row):
    """A page's line in the table under ``HEAD``."""
    scores = " ".join(f"{name[:4]} {value:.2f}" for name, value in row.scores.items()) or "-"
    return (f"{row.page:<34}{row.text:>8.0f}{row.figures:>8.0f}{row.requests:>9}{row.boxes:>7}{len(row.problems):>11}"
            f"{row.task or '-':>8}  {scores}")
