"""What the book's numbers on speed rest on: ``python -m dlopt.benchmarks``, or ``make bench``.

Every module of this package with a function ``run(seconds)`` is a benchmark; it returns what is written to
``_build/bench/<module>.json``, and its function ``lines(result)`` turns that into the lines that are printed.
:mod:`dlopt.benchmarks.measuring` holds the method.
"""
