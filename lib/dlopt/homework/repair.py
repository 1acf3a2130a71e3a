"""From whatever a student handed in to a notebook with the released cells and the student's answers in them.

The grader never reads nbgrader's metadata from a submission: ids, points and tests come from the released notebook, and
only the sources of answers and of additional cells are taken over. So an edited test, a changed number of points or a
copied cell cannot do harm, and what was repaired is told.
"""

import copy
import json
import re
import uuid

import nbformat

MAX_BYTES, MAX_CELLS, MAX_SOURCE = 32 * 2**20, 500, 200_000
MAX_TEXT, ALL_TEXT = 20_000, 200_000  # characters of one text, and of all: hostile ones take a time quadratic in them


class Unreadable(ValueError):
    """The submission holds no notebook that could be graded; the message says why."""


def decode(data):
    """Bytes to text: UTF-8, UTF-16 with a mark, else Windows-1252; returns ``(text, repairs)``."""
    if len(data) > MAX_BYTES:
        raise Unreadable(f"the file has {len(data) / 2**20:.0f} MB, more than {MAX_BYTES // 2**20}: clear the outputs")
    if not data.strip():
        raise Unreadable("the file is empty")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return data.decode("utf-16"), ["encoding UTF-16 read"]
        except UnicodeDecodeError:
            raise Unreadable("the file is not text") from None
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace"), ["encoding Windows-1252 read"]


def parse(data):
    """The cells of a submitted file as ``(type, grade_id, source)``, without trusting its form.

    Raises:
        Unreadable: it is no notebook.
    """
    text, repairs = decode(data)
    try:
        nb = json.loads(text)
    except RecursionError:
        raise Unreadable("the file is nested too deeply to be a notebook") from None
    except ValueError as error:
        raise Unreadable(f"the file is not a notebook (damaged or cut off: {error})") from None
    if not isinstance(nb, dict) or not isinstance(nb.get("cells"), list):
        raise Unreadable("the file is JSON but not a notebook of format 4")
    cells = [_cell(c) for c in nb["cells"][:MAX_CELLS]]
    if len(nb["cells"]) > MAX_CELLS:
        repairs.append(f"{len(nb['cells'])} cells; all after the first {MAX_CELLS} left out")
    if None in cells:
        repairs.append(f"{cells.count(None)} cells without a readable source left out")
    cells, cut = _shortened([c for c in cells if c])
    return cells, repairs + cut


def _shortened(cells):
    """The cells with over-long texts cut off, and what was cut."""
    left, made, cut = ALL_TEXT, [], []
    for kind, gid, source in cells:
        most = min(MAX_TEXT, left)
        if kind == "markdown":
            if len(source) > most:
                cut.append(f"a text of {len(source)} characters was cut at {most}")
                source = source[:most]
            left -= len(source)
        made.append((kind, gid, source))
    return made, cut[:5]


def _cell(raw):
    if not isinstance(raw, dict):
        return None
    source = raw.get("source", "")
    if isinstance(source, list) and all(isinstance(s, str) for s in source):
        source = "".join(source)
    if not isinstance(source, str) or len(source) > MAX_SOURCE:
        return None
    source = source.encode("utf-8", "replace").decode().replace("\0", "").replace("\r\n", "\n")
    metadata = raw.get("metadata") if isinstance(raw.get("metadata"), dict) else {}
    ours = metadata.get("nbgrader") if isinstance(metadata.get("nbgrader"), dict) else {}
    gid = ours.get("grade_id") if isinstance(ours.get("grade_id"), str) else None
    return ("code" if raw.get("cell_type") == "code" else "markdown", gid, source)


def defined(source):
    """Names of the functions that a cell defines at top level; read without a parser, which hostile text may break."""
    return set(re.findall(r"^(?:async\s+)?def\s+(\w+)", source, flags=re.M))


def grade_id(cell):
    """The cell's grade_id, or None."""
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def _is(cell, what):
    return bool(cell.metadata.get("nbgrader", {}).get(what))


def _choose(answer, cells, used, repairs):
    """Index of the submitted cell that holds this answer, or None."""
    gid, stub = grade_id(answer), answer.source.strip()
    mine = [i for i, (_, g, _) in enumerate(cells) if g == gid and i not in used]
    names = defined(answer.source) if answer.cell_type == "code" else set()
    if names:
        named = [i for i, (kind, _, s) in enumerate(cells) if kind == "code" and i not in used and names & defined(s)]
        if not set(mine) & set(named):
            if named and mine:
                repairs.append(
                    f"{gid}: the cell with this id holds something else; the one that defines {_list(names)} was taken"
                )
            elif named:
                repairs.append(f"{gid}: no cell has this id; the one that defines {_list(names)} was taken")
            mine = [i for i in named if cells[i][1] != gid] or mine
    if len(mine) > 1:
        written = [i for i in mine if cells[i][2].strip() != stub]
        mine = written or mine
        repairs.append(f"{gid}: the cell exists more than once; the last one that was worked on counts")
    return mine[-1] if mine else None


def _list(names):
    return ", ".join(sorted(names))


def _written_below(answer, release, cells, used):
    """A written answer whose id is gone: the first text of the student's own below the released question."""
    where = release.cells.index(answer)
    question = next((c.source.strip() for c in reversed(release.cells[:where]) if c.cell_type == "markdown"), None)
    ours = {c.source.strip() for c in release.cells if not _is(c, "solution")}
    start = next((i for i, (_, _, s) in enumerate(cells) if s.strip() == question), None)
    if start is None:
        return None
    below = cells[start + 1 : start + 3]
    return next((start + 1 + k for k, (t, _, s) in enumerate(below)
                 if t == "markdown" and s.strip() not in ours and start + 1 + k not in used), None)  # fmt: skip


def rebuild(cells, release):
    """The released notebook with the student's answers and additional cells in it.

    Args:
        cells: what ``parse`` returned.
        release: the released notebook.

    Returns:
        The notebook and a list of sentences about what had to be repaired.
    """
    repairs, taken, used = [], {}, set()
    for answer in (c for c in release.cells if _is(c, "solution")):
        found = _choose(answer, cells, used, repairs)
        if found is None and answer.cell_type == "markdown":
            found = _written_below(answer, release, cells, used)
            repairs += (
                []
                if found is None
                else [f"{grade_id(answer)}: no cell has this id; the text below its question was taken"]
            )
        if found is None:
            repairs.append(f"{grade_id(answer)}: no cell holds this answer; the empty one was put back")
        else:
            taken[grade_id(answer)] = found
            used.add(found)
    repairs += _report_locked(cells, release)
    return _assemble(release, cells, taken, _extras(cells, release, used)), repairs


def _report_locked(cells, release):
    repairs, sources = [], {}
    for _, gid, source in cells:
        sources.setdefault(gid, []).append(source.strip())
    for cell in release.cells:
        gid = grade_id(cell)
        if gid and not _is(cell, "solution") and cell.cell_type == "code":
            if gid not in sources:
                repairs.append(f"{gid}: this cell was missing and was put back")
            elif cell.source.strip() not in sources[gid]:
                repairs.append(f"{gid}: this cell was edited; the released one was put back")
    return repairs


def _extras(cells, release, used):
    """Submitted cells that are neither answers nor released ones; tests of ours are left out even if edited."""
    tests = {grade_id(c) for c in release.cells if _is(c, "grade") and not _is(c, "solution")}
    texts = {c.source.strip() for c in release.cells}
    return [i for i, (_, gid, source) in enumerate(cells)
            if i not in used and gid not in tests and source.strip() and source.strip() not in texts]  # fmt: skip


def _assemble(release, cells, taken, extras):
    place = {id_: i for id_, i in taken.items()}
    anchor_of_source = {c.source.strip(): k for k, c in enumerate(release.cells)}
    anchor_of_cell = {i: k for k, c in enumerate(release.cells) for i in [place.get(grade_id(c))] if i is not None}
    anchor_of_id = {grade_id(c): k for k, c in enumerate(release.cells) if not _is(c, "solution")}
    after, last = {}, -1
    for i, (_, gid, source) in enumerate(cells):
        if i in extras:
            last = anchor_of_id.get(gid, last) if gid else last  # an edited cell of ours goes below the original
            after.setdefault(last, []).append(i)
        else:
            last = anchor_of_cell.get(i, anchor_of_source.get(source.strip(), last))
    nb = copy.deepcopy(release)
    nb.cells = [_extra(cells[i]) for i in after.get(-1, [])]
    for k, cell in enumerate(release.cells):
        cell = copy.deepcopy(cell)
        if _is(cell, "solution") and grade_id(cell) in taken:
            cell.source = cells[taken[grade_id(cell)]][2]
        nb.cells += [cell, *(_extra(cells[i]) for i in after.get(k, []))]
    return nb


def _extra(cell):
    make = nbformat.v4.new_code_cell if cell[0] == "code" else nbformat.v4.new_markdown_cell
    return make(cell[2], id=uuid.uuid5(uuid.NAMESPACE_OID, cell[2]).hex[:8] + uuid.uuid4().hex[:4])


def student_code(nb, skip=()):
    """Labels and sources of the code that the trusted grader runs: answers, additional cells, setup; no tests."""
    labels, sources, extra = [], [], 0
    for cell in nb.cells:
        gid = grade_id(cell)
        if cell.cell_type != "code" or gid in skip or (_is(cell, "grade") and not _is(cell, "solution")):
            continue
        extra += gid is None
        labels.append(f"cell “{gid}”" if gid else f"your additional cell {extra}")
        sources.append(cell.source)
    return labels, sources
