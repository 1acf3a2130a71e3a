"""The shared library of *Optimization for Deep Learning: a course you can run*.

Modules are layered; each imports only from lower layers (``tests/test_layering.py`` enforces it):

- 0: ``device``, ``scale``, ``checks``
- 1: ``rules``, ``schedules``, ``losses``, ``objectives``, ``data``, ``models``, ``initialization``, ``normalization``,
  ``statistics``
- 2: ``optimizers``, ``curvature``, ``profiling``
- 3: ``training``, ``ensemble``
- 4: ``race``, ``claims``, ``homework``, ``benchmarks``, ``distributed``, ``compression``
- 5: ``plotting``, ``display``, ``interactive``
"""

__version__ = "0.1.0"
