"""The form of a chapter: what every notebook of the book must look like before anyone runs it.

`faults` returns sentences; `tests/test_notebook_form.py` wants none.
"""

import ast
import re
from pathlib import Path

import nbformat

LINES, LONGEST, LONG_SHARE = 12, 25, 0.2  # lines a cell should have, may have, and the share that may exceed the first
FUNCTION_LINES = 15
WORDS_PER_LINE = 10
WORDS = 3850  # "about 3,500": a tenth of grace
ALT_WORDS = 6

BANNED_PROSE = {
    r"\{eval\}": "{eval} does not work in notebooks; use glue and {glue:text}",
    r"\[\]\(#": "[](#x) is invisible in JupyterLab; use {eq}, {numref} or {prf:ref}",
    r"(?m)^`{3,}\{(?!code)": "write directives with colon fences: without an extension JupyterLab shows ``` as code",
    r"!\[\]\(": "an image needs an alt text",
}
BANNED_CODE = {
    r"tqdm\.(auto|notebook)": "tqdm.auto needs scripts from other hosts; use tqdm",
    r"plt\.show": "no plt.show: return the axes",
    r"(?m)^\s*[%!]": "no magics or shell lines: the book must run anywhere",
    r"import \*": "no star imports",
    r"torch\.manual_seed|np\.random\.seed|random\.seed\(": "no global seeds; pass seed= or a generator",
    r"#\s*(NBVAL_SKIP|noqa)": "no cell is exempt from being run and checked",
}
NEEDED = {  # what every notebook of the book has; looked for in its prose
    r":::+\{prf:(theorem|lemma|proposition|algorithm)\}": "a theorem or algorithm box",
    r":::+\{(prf:proof|dropdown)\}|[Dd]erivation|[Pp]roof": "a proof or derivation",
    r"(?m)^\$\$ *\([\w-]+\)|\$\$ *\([\w-]+\)": "a numbered equation, $$ ... $$ (label)",
    r":::+\{exercise": "an exercise",
    r"(?m)^#+ .*[Ss]ummary": "a summary under its own heading",
    r"\{cite": "a citation",
}


def faults(path):
    """Everything that is wrong with the form of the notebook at ``path``, one sentence each; empty if nothing is."""
    notebook = nbformat.read(path, as_version=4)
    code = [(number, cell) for number, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    prose = [(number, cell) for number, cell in enumerate(notebook.cells) if cell.cell_type == "markdown"]
    return [*_file(Path(path), notebook), *_clean(code), *_length(code, prose), *_imports(code), *_functions(code),
            *_claims(code), *_figures(code), *_banned(code, BANNED_CODE), *_banned(prose, BANNED_PROSE),
            *_fences(prose), *_needed(notebook, code, prose)]


def _file(path, notebook):
    if re.search(r"\d", path.stem):
        yield f"{path.name}: no numbers in file names; _toc.yml owns the order"
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        yield f"not a valid notebook: {str(error).splitlines()[0]}"
    name = notebook.metadata.get("kernelspec", {}).get("name")
    if name != "python3":
        yield f"kernelspec must be python3, got {name!r}"
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "the first cell must be prose and begin with the title, '# ...'"


def _clean(code):
    for number, cell in code:
        if cell.outputs or cell.execution_count is not None:
            yield f"cell {number}: commit notebooks without outputs and execution counts"


def lines(source):
    """The lines of code that count: not the blank ones."""
    return [line for line in source.splitlines() if line.strip()]


def words(source):
    """The number of words a reader reads in a Markdown cell: no mathematics, code, fences or options."""
    text = re.sub(r"(?s)\$\$.*?\$\$|^`{3,}.*?^`{3,}", " ", source, flags=re.M)
    text = re.sub(r"(?m)^:{3,}.*$|^:[\w-]+:.*$|<[^>]*>", " ", text)
    text = re.sub(r"\$[^$]*\$|\{[\w:]+\}`[^`]*`", " x ", text)  # a formula or a reference is read as one word
    return len(re.findall(r"\w+(?:['’-]\w+)*", text))


def _length(code, prose):
    counts = {number: len(lines(cell.source)) for number, cell in code}
    for number, count in counts.items():
        if count > LONGEST:
            yield f"cell {number}: {count} lines, at most {LONGEST}"
    long = sum(count > LINES for count in counts.values())
    if long > LONG_SHARE * len(counts):
        yield f"{long} of {len(counts)} code cells have more than {LINES} lines; at most {LONG_SHARE:.0%} may"
    read, written = sum(words(cell.source) for _, cell in prose), sum(counts.values())
    if read > WORDS:
        yield f"{read} words; split a chapter above about 3,500"
    if read < WORDS_PER_LINE * written:
        yield f"{read} words for {written} lines of code, at least {WORDS_PER_LINE} a line: move code into the library"


def _tree(cell):
    try:
        return ast.parse(cell.source)
    except SyntaxError:
        return ast.parse("")  # a magic, which `_banned` reports


def _imports(code):
    kinds = ast.Import | ast.ImportFrom
    if code and not any(isinstance(node, kinds) for node in _tree(code[0][1]).body):
        yield f"cell {code[0][0]}: the first code cell must be the imports"
    for number, cell in code[1:]:
        if any(isinstance(node, kinds) for node in ast.walk(_tree(cell))):
            yield f"cell {number}: imports belong in the first code cell"


def _functions(code):
    for number, cell in code:
        for node in ast.walk(_tree(cell)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > FUNCTION_LINES:
                yield f"cell {number}: function {node.name} has more than {FUNCTION_LINES} lines"


def _claims(code):
    for number, cell in code:
        tree = _tree(cell)
        calls = [node for node in ast.walk(tree) if _is_claim(node)]
        if len(calls) > 1:
            yield f"cell {number}: one claim a cell, got {len(calls)}"
        if calls and not (isinstance(tree.body[-1], ast.Expr) and tree.body[-1].value in calls):
            yield f"cell {number}: claim(...) must be the last expression of its cell, or its verdict is not shown"
        for call in calls:
            if any(k.arg in ("supported", "effect", "interval") and _typed(k.value) for k in call.keywords):
                yield f"cell {number}: a claim rests on computed values, never on typed ones"


def _is_claim(node):
    return isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", None)) == "claim"


def _typed(node):
    """Whether an expression is a literal: True, 0.3, (0.1, 0.2)."""
    return not any(isinstance(part, ast.Name | ast.Call | ast.Attribute) for part in ast.walk(node))


def _figures(code):
    for number, cell in code:
        book = cell.metadata.get("mystnb", {})
        if "figure" in book:
            tree = _tree(cell)
            if tree.body and isinstance(tree.body[-1], ast.Expr) and not cell.source.rstrip().endswith(";"):
                yield f"cell {number}: end the last line of a figure's cell with a semicolon, or its value is shown too"
            yield from (f"cell {number}: {fault}" for fault in _figure(book))


def _figure(book):
    figure, alt = book["figure"], book.get("image", {}).get("alt", "")
    if not re.fullmatch(r"fig-[\w-]+", figure.get("name", "")):
        yield f"a figure's name must be fig-..., got {figure.get('name')!r}"
    if not figure.get("caption", "").strip():
        yield "a figure needs a caption"
    if len(alt.split()) < ALT_WORDS:
        yield f"a figure needs an alt text that says what it shows (mystnb.image.alt), got {alt!r}"


def bare_figures(executed):
    """Cells of an executed notebook that show an image but have no figure metadata, one sentence each."""
    for number, cell in enumerate(executed.cells):
        shown = [kind for output in cell.get("outputs", []) for kind in output.get("data", {})]
        if any(kind.startswith("image/") for kind in shown) and "figure" not in cell.metadata.get("mystnb", {}):
            yield f"cell {number}: shows an image without name, caption and alt text (mystnb.figure, mystnb.image.alt)"


def _banned(cells, patterns):
    for number, cell in cells:
        yield from (f"cell {number}: {why}" for pattern, why in patterns.items() if re.search(pattern, cell.source))


def _fences(prose):
    for number, cell in prose:
        rows = cell.source.splitlines()
        for i, row in enumerate(rows):
            if re.match(r":{3,}\{", row) and not _blank_after_options(rows, i):
                yield f"cell {number}: leave a blank line after {row.strip()!r} and its options, for JupyterLab"
            if re.fullmatch(r":{3,}\s*", row) and i and not re.match(r"\s*$|:", rows[i - 1]):
                yield f"cell {number}: leave a blank line before the closing {row.strip()}, for JupyterLab"


def _blank_after_options(rows, i):
    after = next((row for row in rows[i + 1 :] if not row.startswith(":") or row.startswith(":::")), "")
    return not after.strip() or after.startswith(":::")


def _needed(notebook, code, prose):
    if notebook.metadata.get("dlopt", {}).get("reference"):  # a page to look things up in, not a chapter
        return
    text = "\n\n".join(cell.source for _, cell in prose)
    yield from (f"the notebook lacks {what}" for pattern, what in NEEDED.items() if not re.search(pattern, text))
    if not any(_is_claim(node) for _, cell in code for node in ast.walk(_tree(cell))):
        yield "the notebook lacks a claim"
    if not notebook.metadata.get("dlopt", {}).get("continues") and not any(
            "interactive" in cell.source for _, cell in code):
        yield 'the notebook lacks an interactive figure (a second part says "dlopt": {"continues": "stem"})'
