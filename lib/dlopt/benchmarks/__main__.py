"""``python -m dlopt.benchmarks [NAME ...]``: run the benchmarks, print them, write ``_build/bench/NAME.json``.

``--record`` writes into the package instead, from where the book's page shows it.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
os.environ.setdefault("MKL_NUM_THREADS", "1")

import importlib
import json
import pkgutil
import sys
import time
from pathlib import Path

import torch

import dlopt.benchmarks
from dlopt.benchmarks.measuring import machine
from dlopt.checks import one_of
from dlopt.device import device

SECONDS = 60.0  # for the measurements of one benchmark
RECORDS = Path(__file__).parent / "records"  # runs that the book shows; `--record` writes there


def available():
    """The benchmarks: modules of the package that have ``run`` and ``lines``, by name."""
    names = [module.name for module in pkgutil.iter_modules(dlopt.benchmarks.__path__) if module.name != "__main__"]
    modules = {name: importlib.import_module(f"dlopt.benchmarks.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "run") and hasattr(module, "lines")}


def text(result, lines):
    """What is printed: the machine, then the lines of the table."""
    where = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    return "\n".join([f"{result['benchmark']} ({result['seconds']} s)", where, *lines(result)]) + "\n"


def main(names, folder=Path("_build/bench"), seconds=SECONDS):
    """Run the named benchmarks, or all of them; print each and write ``NAME.json`` and ``NAME.txt``.

    Raises:
        ValueError: no benchmark has that name.
    """
    found = available()
    torch.set_num_threads(1)
    for name in [one_of("benchmark", name, found) for name in names] or found:
        start, where = time.time(), machine(device())
        result = found[name].run(seconds)
        result = {"benchmark": name, "machine": where, "seconds": round(time.time() - start), **result}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        (folder / f"{name}.txt").write_text(text(result, found[name].lines))
        print(text(result, found[name].lines), flush=True)


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--record"]
    main(arguments, folder=RECORDS if len(arguments) < len(sys.argv) - 1 else Path("_build/bench"))
