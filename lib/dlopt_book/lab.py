"""A chapter as its reader in JupyterLab meets it: opened in a browser, all its cells run, its figure used."""

import contextlib
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from dlopt_book.execution import environment

START = 90  # seconds that the server may take on a busy machine
STATE = """() => {
  const panel = window.jupyterapp.shell.currentWidget, cells = [...panel.content.model.cells];
  const code = cells.filter(c => c.type === 'code');
  const outputs = code.flatMap((c, i) => c.sharedModel.getOutputs().map(o => ({cell: i, ...o})));
  return {
    cells: code.length,
    run: code.filter(c => c.executionCount !== null).length,
    busy: panel.sessionContext.session?.kernel?.status !== 'idle',
    errors: outputs.filter(o => o.output_type === 'error').map(o => `cell ${o.cell}: ${o.ename}: ${o.evalue}`),
  };
}"""


@contextlib.contextmanager
def server(notebook):
    """JupyterLab on a copy of ``notebook`` in a folder of its own; gives the address that opens it.

    Raises:
        RuntimeError: the server does not answer in time; holds its log.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "chapters").mkdir()
        shutil.copy(notebook, home / "chapters" / notebook.name)
        token, log = secrets.token_hex(16), home / "log"
        with open(log, "w") as output:
            process = subprocess.Popen(_command(home, token), stdout=output, stderr=subprocess.STDOUT, cwd=home,
                                       env=_environment(home))
        try:
            yield _address(process, home, log, token) + f"/lab/tree/{notebook.name}?token={token}"
        finally:
            process.terminate()  # the server shuts its kernels down
            process.wait(timeout=30)


def _command(home, token):
    return [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--expose-app-in-browser",
            "--ServerApp.port=0", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={home / 'chapters'}",
            f"--IdentityProvider.token={token}", "--LabApp.news_url=None", "--LabApp.check_for_updates_class="
            "jupyterlab.NeverCheckForUpdate", f"--ServerApp.info_file={home / 'info.json'}"]


def _environment(home):
    """As for a new user: settings, workspaces and runtime files in ``home``."""
    own = {name: str(home / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR",
                                                       "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")}
    return {**environment(), **own}


def _address(process, home, log, token):
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        found = [word for line in log.read_text().splitlines() for word in line.split()
                 if word.startswith("http://127.0.0.1:")]
        if found:
            base = found[0].split("/lab")[0].rstrip("/")
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{base}/api?token={token}", timeout=5):
                return base
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start within {START} s:\n{log.read_text()[-2000:]}")


@contextlib.contextmanager
def opened(running, address):
    """The notebook at ``address`` open in JupyterLab, its kernel ready; gives the page and what scripts complained."""
    context = running.new_context(viewport={"width": 1400, "height": 1000})
    page, heard = context.new_page(), []
    page.on("pageerror", lambda error: heard.append(f"script error: {error}") if not _of_jupyterlab(error) else None)
    try:
        page.goto(address)
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status"
                               " === 'idle'", timeout=60_000)
        yield page, heard
    finally:
        context.close()


def _of_jupyterlab(error):
    """Whether an error was raised by JupyterLab's own bundles, all of it: no script of an output took part."""
    frames = [line for line in (error.stack or "").splitlines() if line.strip().startswith("at ")]
    return bool(frames) and all("/static/" in frame for frame in frames)


def run_all(page, timeout):
    """Run every cell, as the menu's "Run All Cells" does.

    Args:
        page: from `opened`.
        timeout: seconds for the whole notebook.

    Returns:
        A dict: ``cells`` of code, how many have ``run``, ``errors`` in words.

    Raises:
        TimeoutError: the notebook is not done in time; says how far it came.
    """
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        page.wait_for_timeout(500)
        state = page.evaluate(STATE)
        if state["errors"] or (state["run"] == state["cells"] and not state["busy"]):
            return state
    raise TimeoutError(f"only {state['run']} of {state['cells']} cells had run after {timeout} s")


def in_view(page, selector):
    """Scroll the notebook until the cell whose output holds ``selector`` is attached, and return it (or None)."""
    for number in range(page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length")):
        page.evaluate("n => window.jupyterapp.shell.currentWidget.content.scrollToItem(n)", number)
        page.wait_for_timeout(50)
        if page.locator(selector).count():
            return page.locator(selector).first
    return None
