"""Sources as they stand in the library, and numbers for the prose."""

import ast

import numpy as np
import pytest
import torch
from dlopt import display, rules
from dlopt.statistics import mean_interval
from IPython.core.interactiveshell import InteractiveShell
from myst_nb.core.variables import format_plain_text
from myst_nb.ext.glue import extract_glue_data_cell
from nbformat.v4 import new_code_cell, new_output


def documented(x):
    """One line.

    And more.
    """
    # a comment stays
    return x  # so does this


class Documented:
    """A class with a docstring."""

    def method(self):
        """Its method's docstring."""

        return "text with # signs and \"\"\"quotes\"\"\""


def only_a_docstring():
    """Says it all."""


def test_the_source_is_shown_without_docstrings_and_otherwise_as_written():
    shown = str(display.show_source(documented))
    assert shown == "def documented(x):\n    # a comment stays\n    return x  # so does this"
    shown = str(display.show_source(Documented))
    assert "docstring" not in shown and 'return "text with # signs and \\"\\"\\"quotes' in shown


def test_docstrings_can_be_kept_and_a_body_of_nothing_else_always_is():
    assert '"""One line.' in str(display.show_source(documented, docstring=True))
    assert '"""Says it all."""' in str(display.show_source(only_a_docstring))


@pytest.mark.parametrize("rule", list(rules.RULES.values()))
def test_every_rule_can_be_shown_and_what_is_shown_is_python(rule):
    shown = ast.parse(str(display.show_source(rule)))
    functions = [node.name for node in shown.body if isinstance(node, ast.FunctionDef)]
    assert functions == [rule.__name__]


def test_several_functions_stand_two_lines_apart_and_markdown_is_a_code_block():
    shown = display.show_source(documented, only_a_docstring)
    assert "this\n\n\ndef only" in str(shown)
    assert shown._repr_mimebundle_()["text/markdown"] == f"```python\n{shown}\n```"


@pytest.mark.parametrize("thing", [len, 3, torch.tensor(1.0)])
def test_what_has_no_python_source_is_refused(thing):
    with pytest.raises(TypeError, match="show_source needs a function or class with Python source"):
        display.show_source(thing)


def test_a_result_with_a_table_is_shown_as_markdown():
    class Result:
        def table(self):
            return "| a |\n| --- |\n| 1 |"

    assert display.table(Result())._repr_mimebundle_()["text/markdown"].startswith("| a |")


def test_nothing_to_show_is_refused():
    with pytest.raises(TypeError, match="at least one"):
        display.show_source()


@pytest.fixture
def shell():
    """An IPython shell that collects what is displayed."""
    from IPython.utils.capture import capture_output

    InteractiveShell.instance()
    with capture_output() as captured:
        yield captured
    InteractiveShell.clear_instance()


def glued(captured):
    """What myst_nb's own reader finds in the outputs: {name: text in the prose}, and what the cell still shows."""
    outputs = [new_output("display_data", data=o.data, metadata=o.metadata) for o in captured.outputs]
    cell = new_code_cell(outputs=outputs)
    found = {key: format_plain_text(output["data"]["text/plain"], "s") for key, output in extract_glue_data_cell(cell)}
    return found, cell.outputs


@pytest.mark.parametrize("value, fmt, text", [
    (0.123456, None, "0.1235"), (0.123456, ".1%", "12.3%"), (-1.5, ".2f", "−1.50"), (42, None, "42"), (-3, None, "−3"),
    (torch.tensor(2.5), ".1f", "2.5"), (np.float64(1e-7), None, "1 × 10⁻⁷"), (np.array([3]), None, "3"),
    ("words", None, "words"), (True, None, "True"), (533_220, ",", "533,220"), (0.1, ".2f", "0.10"),
])
def test_the_prose_shows_a_glued_value_as_formatted_here(shell, value, fmt, text):
    assert display.glue("x", value, fmt) is None
    found, shown = glued(shell)
    assert found == {"x": text} and shown == []


def test_where_roles_show_no_values_the_cell_shows_them_by_name(shell):
    display.glue("one-rate", 0.123456, ".1%")
    display.glue_interval("one-gain", (0.5, 0.25, 0.75), ".2f", "nats")
    texts = [o.data["text/plain"] for o in shell.outputs]
    assert texts == ["one-rate: 12.3%", "one-gain: 0.50 [0.25,\N{NO-BREAK SPACE}0.75] nats"]


def test_an_interval_is_glued_with_its_ends_and_unit(shell):
    display.glue_interval("a", mean_interval(np.array([1.0, 2.0, 3.0])), unit="nats")
    display.glue_interval("b", (0.5, 0.25, 0.75), ".0%")
    assert glued(shell)[0] == {
        "a": "2.0 [−0.5,\N{NO-BREAK SPACE}4.5] nats", "b": "50% [25%,\N{NO-BREAK SPACE}75%]"}


@pytest.mark.parametrize("value", [torch.zeros(2), np.zeros((1, 3)), torch.zeros(0)])
def test_several_values_cannot_be_glued_as_one(value):
    with pytest.raises(TypeError, match="glue takes one value, got shape"):
        display.glue("x", value)
