"""What is seen in JupyterLab: nbgrader's validate button by students, formgrader on our gradebook by instructors."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import homework_class as hc
import nbformat
import pytest
from dlopt.homework import gradebook
from dlopt.homework.course import Course
from dlopt_book import browser as browsers

pytestmark = [pytest.mark.slow, pytest.mark.browser]
TOKEN = "homework-test"
TRUST_PORT = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"


@contextlib.contextmanager
def jupyterlab(folder):
    """The address of a JupyterLab that shows ``folder``; ended with everything it started."""
    port = int(subprocess.run([sys.executable, "-c", TRUST_PORT], capture_output=True, text=True).stdout)
    home = folder / ".home"
    home.mkdir(exist_ok=True)
    bin_ = Path(sys.executable).parent
    env = os.environ | {"HOME": str(home), "PATH": f"{bin_}:{os.environ['PATH']}", "PYTHONWARNINGS": "ignore"}
    env = {k: v for k, v in env.items() if not k.startswith("JUPYTER_")}
    command = [str(bin_ / "jupyter-lab"), "--no-browser", "--allow-root", f"--port={port}",
               "--ServerApp.port_retries=0", "--LabApp.news_url=",
               f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}",
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]  # fmt: skip
    with (folder / "jupyter.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/api/status?token={TOKEN}", server)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait_for(url, server, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, "JupyterLab ended"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as reply:
            return json.load(reply)
        time.sleep(0.3)
    raise TimeoutError(f"JupyterLab did not answer in {seconds} s")


def validate(page, address, name):
    """Open a notebook, press Validate, and return the text of the dialog."""
    page.goto(f"{address}/lab/tree/{name}?token={TOKEN}&reset")
    page.locator(".jp-NotebookPanel .jp-Notebook").wait_for(timeout=90_000)
    page.locator('.jp-Notebook .jp-MarkdownCell h1:has-text("Homework")').wait_for(timeout=60_000)
    page.get_by_role("button", name="Validate").first.click(timeout=60_000)
    dialog = page.locator(".jp-Dialog", has_text="Validation Results").or_(page.locator(".nbgrader-ValidateDialog"))
    dialog.first.wait_for(timeout=120_000)
    return dialog.first.inner_text()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on a course, with two students' notebooks in its folder: ``(address, page of a browser)``."""
    root = tmp_path_factory.mktemp("lab")
    course = Course(root / "course", hc.ROOT / "chapters/homework", root / "downloads")
    gradebook.release(course, hc.TOPIC)
    released = nbformat.read(course.release(hc.TOPIC), as_version=4)
    wrong = hc.solutions() | {"power_iteration": "def power_iteration(product, v0, steps):\n    return 3.0, v0"}
    for name, answers in (("solved", hc.solutions()), ("wrong", wrong)):
        (course.root / f"{name}.ipynb").write_bytes(hc.dumps(hc.submission(released, answers)))
    with jupyterlab(course.root) as address, browsers.browser() as browser:
        page = browser.new_page()
        yield address, page
        page.close()


def test_validate_button_passes_a_solution_and_names_the_failing_test_of_a_wrong_one(lab):
    address, page = lab
    assert "passes all the tests" in validate(page, address, "solved.ipynb")
    told = validate(page, address, "wrong.ipynb")
    assert "the vector must have length 1" in told or "the largest eigenvalue" in told or "keep the sign" in told


def test_formgrader_lists_the_assignment_of_our_gradebook(lab):
    address, page = lab
    page.goto(f"{address}/formgrader?token={TOKEN}")
    listed = page.get_by_text(hc.TOPIC).first
    listed.wait_for(timeout=60_000)
    assert listed.is_visible()
