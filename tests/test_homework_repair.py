# ruff: noqa: E501  (tables of cases)
"""Rebuilding a submission: what is safe is repaired and told, answers survive, nothing of nbgrader's metadata is believed."""

import json
from datetime import datetime
from zipfile import ZipFile

import homework_class as hc
import nbformat
import pytest
from dlopt.homework import intake, publish, repair
from dlopt.homework.course import Course, late_share, slug, stamp

RELEASE = publish.student_version(nbformat.read(hc.SOURCE, as_version=4))
RIGHT = hc.solutions()


def rebuild(nb):
    """The rebuilt notebook and the repairs of a submission (a notebook or bytes)."""
    cells, notes = repair.parse(nb if isinstance(nb, bytes) else hc.dumps(nb))
    made, repairs = repair.rebuild(cells, RELEASE)
    nbformat.validate(made)
    return made, notes + repairs


def answers(nb):
    """Sources of the answer cells."""
    return {repair.grade_id(c): c.source for c in nb.cells if c.metadata.get("nbgrader", {}).get("solution")}


def expect(nb, told, changed=None):
    """The rebuilt ``nb`` holds all right answers (``changed`` ones excepted), the released tests, and says ``told``."""
    made, repairs = rebuild(nb)
    wanted = {k: RIGHT[k] for k in answers(RELEASE)} | (changed or {})
    assert answers(made) == wanted
    tests = [
        (repair.grade_id(c), c.source, c.metadata) for c in made.cells if c.metadata.get("nbgrader", {}).get("grade")
    ]
    released = [(repair.grade_id(c), c.source, c.metadata) for c in RELEASE.cells if c.metadata.nbgrader.grade]
    assert [t for t in tests if t[0] != "interpretation"] == [t for t in released if t[0] != "interpretation"]
    assert any(told in r for r in repairs) if told else repairs == [], repairs
    return made


@pytest.fixture
def nb():
    """A right submission."""
    return hc.submission(RELEASE, RIGHT)


def test_an_untouched_structure_needs_no_repair(nb):
    made = expect(nb, None)
    assert len(made.cells) == len(RELEASE.cells)


def test_a_copied_answer_counts_once_and_both_copies_still_run(nb):
    twin = hc.cell(nb, "hvp").copy()
    twin["source"] = "def hvp(f, theta, v):\n    return None"
    nb.cells.insert(3, twin)
    made = expect(nb, "hvp: the cell exists more than once")
    assert any("return None" in c.source and repair.grade_id(c) is None for c in made.cells)


def test_of_a_copy_and_an_untouched_stub_the_copy_that_was_worked_on_counts(nb):
    stub = hc.cell(RELEASE, "hvp").copy()
    nb.cells.append(stub)
    expect(nb, "exists more than once")


@pytest.mark.parametrize("meddle", [
    lambda c: c.metadata.nbgrader.update(points=100), lambda c: c.update(source="pass"), lambda c: c.update(cell_type="markdown"),
    lambda c: c.metadata.nbgrader.update(grade=False), lambda c: c.metadata.nbgrader.update(solution=True, locked=False),
    lambda c: c.metadata.nbgrader.update(checksum="0"),
])  # fmt: skip
def test_a_test_cell_is_ours_whatever_was_done_to_it(nb, meddle):
    meddle(hc.cell(nb, "test_clip"))
    made, _ = rebuild(nb)
    assert answers(made) == {k: RIGHT[k] for k in answers(RELEASE)}
    assert hc.cell(made, "test_clip") == hc.cell(RELEASE, "test_clip")


def test_a_deleted_test_and_a_deleted_answer_come_back_as_released(nb):
    nb.cells = [c for c in nb.cells if repair.grade_id(c) not in ("test_hvp", "classify")]
    made = expect(nb, "test_hvp: this cell was missing", {"classify": hc.cell(RELEASE, "classify").source})
    assert made.cells.index(hc.cell(made, "test_hvp")) == RELEASE.cells.index(hc.cell(RELEASE, "test_hvp"))


def test_renamed_ids_and_swapped_ids_are_undone_by_the_names_of_the_functions(nb):
    hc.cell(nb, "hvp").metadata.nbgrader.grade_id = "something"
    a, b = hc.cell(nb, "clip_gradients"), hc.cell(nb, "classify")
    a.metadata.nbgrader.grade_id, b.metadata.nbgrader.grade_id = "classify", "clip_gradients"
    expect(nb, "hvp: no cell has this id; the one that defines hvp was taken")


def test_without_any_metadata_the_answers_are_still_found(nb):
    for c in nb.cells:
        c.metadata.clear()
    made, repairs = rebuild(nb)
    found = answers(made)
    assert {k: found[k] for k in found if k != "experiment"} == {k: RIGHT[k] for k in found if k != "experiment"}
    assert any("interpretation: no cell has this id; the text below its question" in r for r in repairs)
    assert any(hc.QUICK in c.source for c in made.cells)


def test_additional_cells_stay_in_their_place(nb):
    index = nb.cells.index(hc.cell(nb, "hvp"))
    nb.cells.insert(index, nbformat.v4.new_code_cell("helper = 1"))
    made = expect(nb, None)
    before = made.cells[made.cells.index(hc.cell(made, "hvp")) - 1]
    assert before.source == "helper = 1"
    labels, sources = repair.student_code(made, skip=["experiment"])
    assert sources.index("helper = 1") < sources.index(RIGHT["hvp"]) and "your additional cell 1" in labels
    assert not any("assert" in s for s in sources) and RIGHT["experiment"] not in sources


def test_an_edited_setup_cell_runs_after_the_released_one(nb):
    hc.cell(nb, "setup").source += "\nimport itertools"
    made = expect(nb, "setup: this cell was edited")
    code = [c.source for c in made.cells if c.cell_type == "code"]
    assert code[0] == hc.cell(RELEASE, "setup").source and code[1].endswith("import itertools")


def test_moved_tests_return_to_their_place(nb):
    test = hc.cell(nb, "test_descent")
    nb.cells.remove(test)
    nb.cells.insert(0, test)
    made = expect(nb, None)
    assert [repair.grade_id(c) for c in made.cells] == [repair.grade_id(c) for c in RELEASE.cells]


@pytest.mark.parametrize("encode, told", [
    (lambda t: t.encode("latin-1"), "Windows-1252"), (lambda t: t.encode("utf-16"), "UTF-16"), (lambda t: t.encode("utf-8-sig"), None),
])  # fmt: skip
def test_other_encodings_are_read(nb, encode, told):
    hc.cell(nb, "interpretation").source = "é ü ß"
    text = json.dumps(nb, ensure_ascii=False).replace("θ", "t").replace("−", "-").replace("∇", "g")
    text = text.encode("latin-1", "ignore").decode("latin-1")
    made, repairs = rebuild(encode(text))
    assert answers(made)["interpretation"] == "é ü ß"
    assert any(told in r for r in repairs) if told else not any("encoding" in r for r in repairs)


def test_old_formats_without_cell_ids_and_with_foreign_kernels_and_large_outputs_are_read(nb):
    for c in nb.cells:
        c.pop("id", None)
    nb.nbformat_minor = 4
    nb.metadata.kernelspec = {"name": "ir", "language": "R", "display_name": "R"}
    hc.cell(nb, "hvp").outputs = [nbformat.v4.new_output("stream", text="x" * 10**6)]
    made = expect(nb, None)
    assert made.metadata == RELEASE.metadata and hc.cell(made, "hvp").outputs == []


@pytest.mark.parametrize("data, told", [
    (b"", "empty"), (b"  \n", "empty"), (b'{"cells": [', "damaged or cut off"), (b"[1]", "not a notebook of format 4"),
    (b'{"worksheets": []}', "format 4"), (b"%PDF-1.4 \xff\xfe\x00", "damaged"), (b"[" * 200_000, "nested too deeply"),
    (b"\xff\xfe\x00\xd8\x00\xd8", "not text"), (b"x" * (repair.MAX_BYTES + 1), "MB"),
])  # fmt: skip
def test_what_is_no_notebook_is_refused_with_the_reason(data, told):
    with pytest.raises(repair.Unreadable, match=told):
        repair.parse(data)


def test_odd_cells_are_dropped_or_read_and_never_raise():
    odd = [3, None, {}, {"source": 5}, {"source": ["a", 1]}, {"source": "x" * 300_000}, {"source": "\ud800 \x00", "metadata": []},
           {"cell_type": "raw", "source": ["a\r\n", "b"], "metadata": {"nbgrader": {"grade_id": ["list"]}}}]  # fmt: skip
    cells, repairs = repair.parse(json.dumps({"cells": odd}).encode())
    assert [c[2] for c in cells] == ["", "? ", "a\nb"] and "5 cells" in repairs[0]
    made, _ = repair.rebuild(cells, RELEASE)
    assert len(made.cells) >= len(RELEASE.cells)


# --- taking submissions ------------------------------------------------------------------------------------------------


def found(*paths):
    """Files of these paths, without content."""
    return [intake.File(intake.PurePosixPath(p), datetime(2026, 11, 1).astimezone(), lambda: b"") for p in paths]


@pytest.mark.parametrize("paths, students", [
    (["alice/gradient_descent.ipynb", "bob/work/other.ipynb"], {"alice", "bob"}),
    (["class/alice/a.ipynb", "class/bob/b.ipynb"], {"alice", "bob"}),
    (["alice/gradient_descent/gradient_descent.ipynb"], {"alice"}),
    (["alice.ipynb", "bob.ipynb"], {"alice", "bob"}),
    (["gradient_descent_alice.ipynb", "bob-gradient_descent (1).ipynb"], {"alice", "bob"}),
    (["Ann Lee_123_assignsubmission_file_/gradient_descent.ipynb", "Ann Lee_124_assignsubmission_file/x.ipynb"], {"Ann_Lee_123", "Ann_Lee_124"}),
    (["leeann_LATE_11_22_gradient_descent.ipynb", "kimbo_12_23_gradient_descent-1.ipynb"], {"leeann_11", "kimbo_12"}),
    (["王伟/a.ipynb", "José/b.ipynb"], {"王伟", "José"}),
])  # fmt: skip
def test_layouts_of_folders_and_learning_systems(paths, students):
    owned, nobody = intake.group(found(*paths), hc.TOPIC)
    assert set(owned) == students and nobody == []


def test_names_that_look_alike_stay_two_students_and_a_file_without_owner_is_told():
    owned, nobody = intake.group(found("a b/x.ipynb", "a_b/x.ipynb", "gradient_descent.ipynb"), hc.TOPIC)
    assert len(owned) == 2 and nobody == ["gradient_descent.ipynb"]


def test_roster_translates_numbers_and_names_and_refuses_other_tables(tmp_path):
    (tmp_path / "r.csv").write_text("lms,student_id,email\n123,ann,a@b\nBo Li,bo,\n")
    known = intake.roster(tmp_path / "r.csv")
    owned, _ = intake.group(found("Ann Lee_123_assignsubmission_file_/g.ipynb", "Bo Li/g.ipynb"), hc.TOPIC, known)
    assert set(owned) == {"ann", "bo"}
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="must have the columns lms and student_id"):
        intake.roster(tmp_path / "bad.csv")


def test_the_named_and_newest_notebook_is_chosen_and_assumptions_are_told():
    files = found("a/draft.ipynb", "a/Gradient_Descent.ipynb", "a/notes.pdf")
    assert intake.choose(files, hc.TOPIC)[0].path.name == "Gradient_Descent.ipynb"
    best, notes = intake.choose(found("a/mine.ipynb"), hc.TOPIC)
    assert notes == ["the file was called mine.ipynb"]
    with pytest.raises(repair.Unreadable, match="no notebook was handed in"):
        intake.choose(found("a/notes.pdf"), hc.TOPIC)


@pytest.fixture
def course(tmp_path):
    """A course with a release, without a gradebook."""
    made = Course(tmp_path / "course", hc.ROOT / "chapters/homework", tmp_path / "site")
    made.release(hc.TOPIC).parent.mkdir(parents=True)
    nbformat.write(RELEASE, made.release(hc.TOPIC))
    return made


def test_a_zip_of_the_learning_system_with_zips_traversal_and_rubbish_in_it(course, tmp_path, nb):
    with ZipFile(tmp_path / "inner.zip", "w") as inner:
        inner.writestr("folder/gradient_descent.ipynb", hc.dumps(nb))
    with ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("Ann_1_assignsubmission_file_/gradient_descent.ipynb", hc.dumps(nb))
        archive.write(tmp_path / "inner.zip", "Bo_2_assignsubmission_file_/work.zip")
        archive.writestr("Eve_3_assignsubmission_file_/../../../../evil/gradient_descent.ipynb", hc.dumps(nb))
        archive.writestr("Max_4_assignsubmission_file_/broken.zip", b"PK\x03\x04 rubbish")
        archive.writestr("__MACOSX/Ann_1_assignsubmission_file_/._gradient_descent.ipynb", b"x")
    report, nobody = intake.collect(course, hc.TOPIC, tmp_path / "all.zip")
    assert {s: state for s, (state, _) in report.items()} == {
        "Ann_1": "new",
        "Bo_2": "new",
        "Eve_3": "new",
        "Max_4": "unreadable",
    }
    assert nobody == [] and not (tmp_path / "evil").exists() and "broken.zip" in report["Max_4"][1][0]
    assert course.status(hc.TOPIC)["Max_4"]["state"] == "ungraded"


def test_collecting_again_keeps_the_newest_and_an_unreadable_one_does_not_replace_it(course, tmp_path, nb):
    folder = tmp_path / "in" / "ann"
    folder.mkdir(parents=True)
    file = folder / "gradient_descent.ipynb"

    def hand_in(data, when):
        file.write_bytes(data)
        (folder / "timestamp.txt").write_text(when)
        return intake.collect(course, hc.TOPIC, tmp_path / "in")[0]["ann"][0]

    assert hand_in(hc.dumps(nb), "2026-11-02 10:00:00 UTC") == "new"
    assert hand_in(hc.dumps(nb), "2026-11-02 10:00:00 UTC") == "same"
    assert hand_in(hc.dumps(RELEASE), "2026-11-01 10:00:00 UTC") == "older"
    assert hand_in(b"", "2026-11-04 10:00:00 UTC") == "unreadable"
    assert answers(nbformat.read(course.submitted(hc.TOPIC, "ann"), 4))["hvp"] == RIGHT["hvp"]
    assert "the earlier one counts" in course.status(hc.TOPIC)["ann"]["warning"]
    assert hand_in(hc.dumps(RELEASE), "2026-11-03 10:00:00 UTC") == "new"
    assert len(list((course.root / "received").rglob("*.ipynb"))) == 3
    kept = course.submitted(hc.TOPIC, "ann").with_name("timestamp.txt").read_text()
    assert kept == "2026-11-03 10:00:00 UTC"


def test_collect_refuses_before_the_release_and_what_is_neither_folder_nor_zip(course, tmp_path):
    with pytest.raises(FileNotFoundError, match="has not been released"):
        intake.collect(course, "losses", tmp_path)
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(ValueError, match="neither a folder nor a zip"):
        intake.files(tmp_path / "x.txt")


@pytest.mark.parametrize("seconds, share", [(0, 0), (900, 0), (901, 0.1), (86400, 0.1), (86401, 0.2), (10**7, 0.5)])
def test_late_rule(seconds, share):
    assert late_share(seconds, {"grace_minutes": 15, "per_day": 0.1, "at_most": 0.5}) == pytest.approx(share)


def test_settings_are_written_once_checked_and_the_secret_is_private(course):
    assert course.settings()["per_day"] == 0.1
    (course.root / "course.toml").write_text("[late]\nper_day = 2.0\n")
    with pytest.raises(ValueError, match=r"late.per_day must be in \[0, 1\], got 2.0"):
        course.settings()
    assert course.secret() == course.secret() and len(course.secret()) == 32
    assert (course.root / "secret").stat().st_mode & 0o077 == 0


def test_slug_and_stamp():
    assert slug("../x y/..") == "x_y" and slug("***") == "unnamed"
    assert stamp(datetime.fromisoformat("2026-11-01T12:00:00+01:00")) == "2026-11-01 11:00:00 UTC"
