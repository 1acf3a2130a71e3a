"""The benchmark of the parameter server runs, and its table says what was measured."""

import pytest
from dlopt.benchmarks import push_pull

pytestmark = pytest.mark.slow


def test_server_sends_and_all_reduce_are_measured_in_every_block():
    result = push_pull.run(0.5, sizes={"few": 1000}, workers=(2,), blocks=3)
    (row,) = result["rows"]
    assert row["size"] == "few" and row["workers"] == 2
    assert 0 < row["overhead"]["low"] <= row["overhead"]["median"] <= row["overhead"]["high"]
    assert min(row["server_ms"], row["sends_ms"], row["all_reduce_ms"]) > 0
    assert len(push_pull.lines(result)) == 2 and "few" in push_pull.lines(result)[1]
