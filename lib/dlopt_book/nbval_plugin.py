"""Pytest plugin: keep what nbval saw, so that the notebook that was tested is the notebook that is shown.

nbval leaves a cell's outputs in ``item.test_outputs``; after a run without failures they are written, with the
notebook, to the file named by ``--executed-to``. One notebook a session.
"""

import nbformat
from nbval.kernel import RunningKernel

MARK = "@cell"  # a progress line for the parent process: "@cell DONE TOTAL"


def pytest_addoption(parser):
    parser.addoption("--executed-to", help="write the executed notebook to this file if every cell passed")


def pytest_configure(config):
    RunningKernel.execute_cell_input = _execute_as_jupyter_does
    config.pluginmanager.register(_Recorder(config.option.executed_to))


def _execute_as_jupyter_does(kernel, source, allow_stdin=None):
    """Send a cell with its history, which nbval leaves out; without it IPython overlooks a ``;`` that hides a value."""
    return kernel.kc.execute(source, store_history=True, allow_stdin=bool(allow_stdin), stop_on_error=False)


class _Recorder:
    def __init__(self, target):
        self.target, self.done = target, 0

    def pytest_runtest_logreport(self, report):
        self.done += report.when == "call"

    def pytest_runtest_logfinish(self, nodeid):
        print(f"\n{MARK} {self.done}", flush=True)

    def pytest_sessionfinish(self, session, exitstatus):
        if exitstatus == 0 and self.target:
            nbformat.write(executed_notebook(session.items), self.target)


def executed_notebook(items):
    """The notebook of nbval's ``items`` with the outputs of their run."""
    notebook = items[0].parent.nb
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for item in items:
        cell = code[item.cell_num]
        cell.outputs = [nbformat.from_dict(output) for output in item.test_outputs or []]
        cell.execution_count = item.cell_num + 1
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
    return notebook
