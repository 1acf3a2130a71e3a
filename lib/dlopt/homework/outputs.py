"""What a submission prints and draws, for the feedback: executed in the sandbox, cleaned here, worth no points."""

import base64
import binascii
import json
import os
import select
import time

import nbformat

from dlopt.homework import sandbox
from dlopt.homework.grader import MAX_FRAME, Frames, dump, load
from dlopt.homework.repair import grade_id

CELL_SECONDS, LONG_SECONDS, TOTAL_SECONDS = 15, 60, 120  # a long cell is an experiment
TEXT, PICTURE = 4000, 2**20  # characters of one text, bytes of one PNG
ALL = 6 * 2**20  # characters of all outputs of a notebook, which travel in the feedback page


def _text(value):
    text = "".join(map(str, value)) if isinstance(value, list) else str(value)
    text = text.encode("utf-8", "replace").decode().replace("\0", "")
    return text if len(text) <= TEXT else text[:TEXT] + "\n… (cut)"


def _picture(value):
    try:
        raw = base64.b64decode("".join(value) if isinstance(value, list) else value)
    except (binascii.Error, TypeError, ValueError):
        return None
    return base64.b64encode(raw).decode() if raw.startswith(b"\x89PNG") and len(raw) <= PICTURE else None


def clean(output):
    """One output with only text and PNG left, or None; no HTML, script or widget reaches the instructor's browser."""
    kind = output.get("output_type") if isinstance(output, dict) else None
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return nbformat.v4.new_output("stream", name=name, text=_text(output.get("text", "")))
    if kind == "error":
        traceback = output.get("traceback") if isinstance(output.get("traceback"), list) else []
        told = {"ename": _text(output.get("ename", "")), "evalue": _text(output.get("evalue", ""))}
        return nbformat.v4.new_output("error", **told, traceback=[_text(line) for line in traceback[:30]])
    if kind in ("display_data", "execute_result") and isinstance(output.get("data"), dict):
        data = {}
        if "image/png" in output["data"] and (picture := _picture(output["data"]["image/png"])):
            data["image/png"] = picture
        if "text/plain" in output["data"]:
            data["text/plain"] = _text(output["data"]["text/plain"])
        return nbformat.v4.new_output("display_data", data) if data else None
    return None


def _note(text):
    return nbformat.v4.new_output("stream", name="stdout", text=f"[grader] {text}\n")


def _read(child, message):
    """Yield the runner's messages until it ends or its time is over."""
    os.set_blocking(child.stdin.fileno(), True)
    child.stdin.write(dump(message))
    frames, end = Frames(MAX_FRAME), time.monotonic() + TOTAL_SECONDS
    while (left := end - time.monotonic()) > 0:
        if select.select([child.stdout], [], [], min(left, 0.5))[0]:
            data = os.read(child.stdout.fileno(), 65536)
            if not data:
                return
            try:
                for body in frames.feed(data):
                    yield load(body)
            except ValueError:
                return


def run(nb, long=(), **options):
    """Execute ``nb`` in a sandbox; returns ``{cell index: [outputs]}``, never raises for what the student's code does.

    Args:
        nb: the notebook.
        long: grade ids of cells that may take long.
        options: passed on to ``sandbox.process``.
    """
    found, running, size = {}, None, {}
    plain = nbformat.from_dict({**nb, "metadata": {}})
    slow = {c.id: LONG_SECONDS for c in nb.cells if grade_id(c) in long}
    with sandbox.process("run_notebook", **options) as child:
        for message in _read(child, {"notebook": plain, "seconds": {"default": CELL_SECONDS} | slow}):
            if "end" in message:
                return found
            if type(message.get("running")) is int:
                running = message["running"]
            elif type(message.get("cell")) is int and 0 <= message["cell"] < len(nb.cells):
                outputs = message.get("outputs") if isinstance(message.get("outputs"), list) else []
                kept = [c for o in outputs[:50] if (c := clean(o)) is not None]
                size[message["cell"]] = len(json.dumps(kept))
                if sum(size.values()) > ALL:
                    kept, size[message["cell"]] = [_note("the outputs of this notebook are too large to keep")], 0
                found[message["cell"]] = kept + ([_note(_text(message["note"]))] if message.get("note") else [])
    if running is not None and running < len(nb.cells):
        found.setdefault(running, []).append(_note("the run was stopped here: nothing after this cell was executed"))
    return found
