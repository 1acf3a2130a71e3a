"""A chapter in JupyterLab, in a real browser: it opens, all its cells run, its figure works."""

from pathlib import Path

import minibook
import pytest
from dlopt_book import lab
from nbformat.v4 import new_code_cell, new_markdown_cell

pytestmark = [pytest.mark.browser, pytest.mark.slow]
MODEL = Path(__file__).parent.parent / "chapters" / "gradient_descent.ipynb"
ACTIVE = "() => window.jupyterapp.shell.currentWidget.content.activeCellIndex"
FIGURE = ".jp-OutputArea .dlopt-figure[data-mounted]"


def test_the_model_chapter_runs_from_top_to_bottom_and_its_figure_answers_the_keyboard(chromium):
    with lab.server(MODEL) as address, lab.opened(chromium, address) as (page, complaints):
        state = lab.run_all(page, timeout=400)
        assert state["errors"] == []
        assert state["run"] == state["cells"] > 5
        figure = lab.in_view(page, FIGURE)
        assert figure is not None, "no interactive figure in the outputs"
        before = figure.locator(".dlopt-readout").inner_text()
        figure.locator("input[type=range]").first.focus()
        page.wait_for_timeout(500)  # the notebook makes the cell of what has the focus the active one
        cell = page.evaluate(ACTIVE)
        for _ in range(20):
            page.keyboard.press("ArrowRight")
        page.wait_for_timeout(500)
        assert figure.locator(".dlopt-readout").inner_text() != before
        assert page.evaluate(ACTIVE) == cell, "the arrow keys moved the notebook, not only the figure"
        assert complaints == []


def opened(folder, chromium, *cells):
    minibook.write(folder / "small.ipynb", new_markdown_cell("# Small"), *cells)
    with lab.server(folder / "small.ipynb") as address, lab.opened(chromium, address) as (page, _):
        return lab.run_all(page, timeout=60), lab.in_view(page, FIGURE)


def test_a_cell_that_fails_is_found_and_so_is_a_figure_that_is_missing(chromium, tmp_path):
    state, figure = opened(tmp_path, chromium, new_code_cell("x = 1"), new_code_cell("1 / 0"))
    assert state["errors"] == ["cell 1: ZeroDivisionError: division by zero"]
    assert figure is None


def test_a_notebook_that_does_not_end_in_time_is_found(chromium, tmp_path):
    minibook.write(tmp_path / "slow.ipynb", new_code_cell("import time\ntime.sleep(60)"))
    with lab.server(tmp_path / "slow.ipynb") as address, lab.opened(chromium, address) as (page, _):
        with pytest.raises(TimeoutError, match="only 0 of 1 cells had run after 3 s"):
            lab.run_all(page, timeout=3)


def test_an_error_in_a_script_of_an_output_is_heard(chromium, tmp_path):
    script = "from IPython.display import HTML\nHTML('<script>null.node</script>')"
    minibook.write(tmp_path / "faulty.ipynb", new_code_cell(script))
    with lab.server(tmp_path / "faulty.ipynb") as address, lab.opened(chromium, address) as (page, complaints):
        lab.run_all(page, timeout=60)
        page.wait_for_timeout(500)
        assert len(complaints) == 1 and "reading 'node'" in complaints[0]
