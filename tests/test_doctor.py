"""The set-up check names what is missing and what it costs."""

import subprocess
import sys

from dlopt import doctor


def test_a_missing_package_is_named_with_its_cost_and_the_way_out():
    (finding,) = doctor.check_packages({"no-such-package-here": "nothing runs"})
    assert not finding.ok
    assert "nothing runs: pip install -r requirements.txt" in finding.line()


def test_a_missing_program_is_named_and_a_present_one_shows_its_path():
    missing, present = doctor.check_programs(
        {"teapot": (("no-such-teapot",), "no tea"), "python": ((sys.executable,), "nothing runs")}
    )
    assert not missing.ok and missing.line().endswith("->  no tea")
    assert present.ok and sys.executable in present.line()


def test_a_chromium_that_the_reader_chose_counts_and_a_wrong_choice_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    chromium = {"chromium": doctor.PROGRAMS["chromium"]}
    monkeypatch.setenv("DLOPT_CHROMIUM", sys.executable)
    assert doctor.check_programs(chromium)[0].found == sys.executable
    monkeypatch.setenv("DLOPT_CHROMIUM", "/no/such/browser")
    assert "DLOPT_CHROMIUM=/no/such/browser is no program  ->  no check" in doctor.check_programs(chromium)[0].line()
    monkeypatch.delenv("DLOPT_CHROMIUM")
    assert "not on PATH  ->  no check in a browser: apt-get install chromium" in doctor.check_programs()[0].line()


def test_a_bubblewrap_that_the_system_forbids_does_not_count(monkeypatch, tmp_path):
    bwrap = tmp_path / "bwrap"
    bwrap.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = doctor.check_programs({"bubblewrap": doctor.PROGRAMS["bubblewrap"]})[0]
    assert not finding.ok and finding.line().endswith("in its sandbox: bwrap: No permissions to create a new namespace")


def test_what_only_the_homework_needs_does_not_keep_the_chapters_from_running(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "TOOLS", {"no-such-package-here": "homework cannot be graded"})
    monkeypatch.setenv("PATH", "/nowhere")
    assert doctor.main() == 0
    said = capsys.readouterr().out
    assert "no-such-package-here not installed  ->  homework cannot be graded" in said
    assert said.endswith("Ready: every chapter runs.\n")


def test_a_device_that_is_not_there_is_a_line_and_not_an_error(monkeypatch):
    monkeypatch.setenv("DLOPT_DEVICE", "cuda:99")
    finding = next(f for f in doctor.check_machine() if f.name == "device")
    assert not finding.ok and "DLOPT_DEVICE=cuda:99  ->  nothing trains: device must be one" in finding.line()


def test_a_machine_without_torch_is_examined_to_the_end():
    hide = """
import sys, importlib.metadata as metadata
sys.modules["torch"] = None
version = metadata.version
def without_torch(name):
    if name == "torch":
        raise metadata.PackageNotFoundError(name)
    return version(name)
metadata.version = without_torch
from dlopt import doctor
sys.exit(doctor.main())
"""
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == ""
    assert "missing  torch            not installed  ->  nothing runs" in done.stdout
    assert "C++ compiler" in done.stdout and "Not ready: torch, device, fonts." in done.stdout


def test_memory_is_that_of_the_container(monkeypatch, tmp_path):
    whole = doctor.memory_gib()
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    monkeypatch.setattr(doctor, "LIMIT", tmp_path / "memory.max")
    assert doctor.memory_gib() == 1
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor.memory_gib() >= whole


def test_versions_are_compared_as_numbers_not_as_text():
    assert doctor._version("2.9.1") < doctor._version("2.11.0+cpu")


def test_a_folder_that_cannot_be_written_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert not doctor._writable(tmp_path).ok


def test_the_command_ends_well_where_the_suite_runs_and_names_every_check():
    done = subprocess.run([sys.executable, "-m", "dlopt.doctor"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ready: every chapter runs." in done.stdout
    for name in ("torch", "device", "memory", "free disk", "fonts", "chromium", "bubblewrap", "jupyterlab-myst"):
        assert name in done.stdout


def test_a_gap_in_what_chapters_need_gives_exit_status_one(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "check_fonts", lambda: [doctor.Finding("fonts", False, "0 files", "no glyphs")])
    assert doctor.main() == 1
    assert "Not ready: fonts." in capsys.readouterr().out
