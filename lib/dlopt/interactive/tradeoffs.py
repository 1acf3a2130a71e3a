"""The figure of the chapter on compression."""

from dlopt.checks import in_closed, positive
from dlopt.interactive.figure import Interactive


def pareto_explorer(runs=None, raw=None, id="pareto-explorer"):
    """Accuracy against bytes for every combination of sparsity, bits and rank that was run.

    Args:
        runs: list of dicts ``sparsity`` in [0, 1), ``bits`` (32: as trained), ``rank`` (0: full), ``bytes`` > 0 and
            ``accuracy`` in [0, 1]; None shows four settings, to try the controls.
        raw: bytes of the uncompressed weights, to which the ratio refers; None takes the largest of ``runs``.
        id: HTML id, unique on its page.

    Returns:
        The figure; it displays itself as the last expression of a cell.

    Raises:
        ValueError: no runs, or a number out of its range.
    """
    if runs is None:
        shown = [(0.0, 32, 4000, 0.95), (0.0, 4, 500, 0.94), (0.9, 32, 600, 0.9), (0.9, 4, 80, 0.88)]
        runs = [{"sparsity": s, "bits": b, "rank": 0, "bytes": size, "accuracy": a} for s, b, size, a in shown]
    keys = {"sparsity": lambda n, v: in_closed(n, v), "accuracy": lambda n, v: in_closed(n, v), "bytes": positive,
            "bits": positive, "rank": lambda n, v: in_closed(n, v, 0, 1e6)}
    plain = [{key: check(key, run[key]) for key, check in keys.items()} for run in runs]
    if not plain:
        raise ValueError("runs must hold at least one setting, got none")
    raw = max(run["bytes"] for run in plain) if raw is None else positive("raw", raw)
    return Interactive("pareto_explorer", "Sparsity, bits and rank", "Choose how many weights are removed, how many "
                       "bits each keeps and the rank of the layers; the dashed line joins the settings that nothing "
                       "beats.",
                       {"runs": plain, "raw": raw}, id)
