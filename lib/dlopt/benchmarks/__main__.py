"""``python -m dlopt.benchmarks [NAME ...]``: run the benchmarks, print them, write ``_build/bench/NAME.json``."""

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

SECONDS = 100.0  # for the measurements of one benchmark


def available():
    """The benchmarks: modules of the package that have ``run`` and ``lines``, by name."""
    names = [module.name for module in pkgutil.iter_modules(dlopt.benchmarks.__path__) if module.name != "__main__"]
    modules = {name: importlib.import_module(f"dlopt.benchmarks.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "run") and hasattr(module, "lines")}


def main(names, folder=Path("_build/bench"), seconds=SECONDS):
    """Run the named benchmarks, or all of them.

    Raises:
        ValueError: no benchmark has that name.
    """
    found = available()
    torch.set_num_threads(1)
    for name in names or found:
        one_of("benchmark", name, found)
        start, where = time.time(), machine(device())
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in where.items())}")
        result = found[name].run(seconds)
        result = {"benchmark": name, "machine": where, "seconds": round(time.time() - start), **result}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(result, indent=1))
        print("\n".join(found[name].lines(result)), f"\n{result['seconds']} s; wrote {folder / name}.json", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
