"""Fashion-MNIST and CIFAR-10, served over loopback in OpenML's format; offline; damaged; not what was announced."""

import gzip
import hashlib
import http.server
import json
import socket
import threading

import numpy as np
import pytest
import torch
from dlopt.data import cifar10, fashion_mnist, glyphs, openml
from dlopt.data.openml import fashion_mnist_or_glyphs
from sklearn.datasets import _openml

N = 70  # images in the fixture


def pixels(channels, side):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (N, channels * side * side)), np.arange(N) % 10


def arff(x, y):
    columns = [f"@ATTRIBUTE pixel{k} REAL" for k in range(1, x.shape[1] + 1)]
    rows = [",".join(map(str, row)) + f",{label}" for row, label in zip(x.tolist(), y.tolist())]
    head = ["@RELATION fixture", *columns, "@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}", "@DATA"]
    return "\n".join(head + rows).encode() + b"\n"


def feature(index, name, kind, target):
    entry = {"index": str(index), "name": name, "data_type": kind, "is_target": target, "is_ignore": "false",
             "is_row_identifier": "false", "number_of_missing_values": "0"}  # fmt: skip
    return entry | ({"nominal_value": [str(k) for k in range(10)]} if kind == "nominal" else {})


def answers(title, body, n_features, base, md5):
    features = [feature(k, f"pixel{k + 1}", "numeric", "false") for k in range(n_features)]
    features.append(feature(n_features, "class", "nominal", "true"))
    name, api = title.lower(), "/api/v1/json/data"
    found = {"data": {"dataset": [{"did": 7, "name": title, "version": 1, "status": "active", "format": "ARFF"}]}}
    description = {"id": "7", "name": title, "version": "1", "format": "ARFF", "status": "active", "file_id": "8",
                   "description": "a fixture", "url": f"{base}/data/v1/download/8/{name}.arff",
                   "default_target_attribute": "class", "md5_checksum": md5}  # fmt: skip
    qualities = {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": str(N)}]}}
    return {
        f"{api}/list/data_name/{name}/limit/2/data_version/1": json.dumps(found).encode(),
        f"{api}/7": json.dumps({"data_set_description": description}).encode(),
        f"{api}/features/7": json.dumps({"data_features": {"feature": features}}).encode(),
        f"{api}/qualities/7": json.dumps(qualities).encode(),
        f"/data/v1/download/8/{name}.arff": body,
    }


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """``serve(name, damage=..., md5=...)`` starts a server that OpenML's addresses point to; returns what it got."""
    servers = []

    def start(name, body=None, md5=None):
        title, _, _, channels, side, *_ = openml.TABLES[name]
        body = arff(*pixels(channels, side)) if body is None else body
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                content = pages.get(self.path)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Encoding", "gzip")
                self.end_headers()
                self.wfile.write(gzip.compress(content or b""))

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        base = f"http://127.0.0.1:{server.server_port}"
        pages = answers(title, body, channels * side * side, base, md5 or hashlib.md5(body).hexdigest())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        point_to(base)
        monkeypatch.setitem(openml.TABLES, name, (title, 1, N, channels, side, *openml.TABLES[name][5:]))
        return asked

    def point_to(base):
        for constant in ("_SEARCH_NAME", "_DATA_INFO", "_DATA_FEATURES", "_DATA_QUALITIES"):
            address = getattr(_openml, constant)
            monkeypatch.setattr(_openml, constant, base + address[address.index("/api/") :])

    start.point_to = point_to
    monkeypatch.setenv("DLOPT_CACHE", str(tmp_path / "cache"))
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("name, load, shape", [
    ("fashion_mnist", fashion_mnist, (1, 28, 28)), ("cifar10", cifar10, (3, 32, 32)),
])
def test_the_table_arrives_as_standardized_images_in_three_parts(serve, name, load, shape):
    serve(name)
    data = load(seed=1, dtype=torch.float64, progress=False)
    x, y = pixels(shape[0], shape[1])
    images = torch.cat([data.x_train, data.x_val, data.x_test])
    labels = torch.cat([data.y_train, data.y_val, data.y_test])
    assert images.shape == (N, *shape) and data.n_classes == 10
    mean, std = (torch.tensor(data.details[k], dtype=torch.float64).view(1, -1, 1, 1) for k in ("mean", "std"))
    sent = {(row.tobytes(), label) for row, label in zip(x.astype(np.uint8), y)}
    raw = (images * std + mean).round().to(torch.uint8).flatten(1).numpy()
    assert {(row.tobytes(), label) for row, label in zip(raw, labels.tolist())} == sent
    assert abs(data.x_train.mean((0, 2, 3))).max() < 1e-12
    assert abs(data.x_train.std((0, 2, 3), correction=0) - 1).max() < 1e-12


def test_the_second_time_nothing_is_fetched_and_the_downloaded_text_is_gone(serve, tmp_path):
    asked = serve("fashion_mnist")
    first = fashion_mnist(progress=False)
    n = len(asked)
    again = fashion_mnist(progress=False)
    assert n == 5 == len(asked) and torch.equal(first.x_train, again.x_train)
    assert [p.name.split("-")[0] for p in (tmp_path / "cache").iterdir()] == ["openml"]
    assert not (tmp_path / "cache" / "openml-download").exists()


def test_progress_is_shown_on_request(serve, capfd):
    serve("fashion_mnist")
    fashion_mnist(progress=True)
    assert "fetching fashion_mnist" in capfd.readouterr().err


def test_offline_it_says_so_in_one_line_and_names_the_bundled_alternative(serve, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.point_to(f"http://127.0.0.1:{port}")
    monkeypatch.setattr(_openml.time, "sleep", lambda seconds: None)
    with pytest.raises(ConnectionError) as caught:
        cifar10(progress=False)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("cifar10 must be downloaded once from OpenML (about 650 MB)")
    assert "use the bundled dlopt.data.glyphs(60_000, size=32)" in message
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_a_wrong_checksum_is_refused_and_leaves_nothing(serve, tmp_path):
    serve("fashion_mnist", md5="0" * 32)
    with pytest.warns(RuntimeWarning, match="Invalid cache"), pytest.raises(ValueError, match="md5 checksum"):
        fashion_mnist(progress=False)
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_another_table_than_announced_is_refused(serve, tmp_path):
    x, y = pixels(1, 28)
    serve("fashion_mnist", body=arff(x + 300, y))
    with pytest.raises(ValueError, match="fashion_mnist must be 70 x 784 gray values 0 ... 255 .* got .* 300"):
        fashion_mnist(progress=False)
    assert not list((tmp_path / "cache").rglob("*.bin"))


def test_a_full_disk_while_downloading_is_named_and_cleaned_up(serve, tmp_path, monkeypatch):
    serve("fashion_mnist")

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_openml.shutil, "copyfileobj", no_space)
    with pytest.raises(OSError, match="no space for the 35 MB of fashion_mnist .* set DLOPT_CACHE elsewhere"):
        with pytest.warns(RuntimeWarning, match="Invalid cache"):
            fashion_mnist(progress=False)
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_full_scale_takes_the_download_where_there_is_one(serve):
    serve("fashion_mnist")
    assert torch.equal(fashion_mnist_or_glyphs(3, progress=False).x_train, fashion_mnist(3, progress=False).x_train)


def test_full_scale_without_a_network_says_so_and_takes_glyphs(monkeypatch):
    def unreachable(*arguments):
        raise ConnectionError("fashion_mnist must be downloaded once from OpenML")

    monkeypatch.setattr(openml, "_load", unreachable)
    with pytest.warns(UserWarning, match=r"downloaded once from OpenML; going on with glyphs\(30\)"):
        found = fashion_mnist_or_glyphs(2, n=30)
    assert torch.equal(found.x_train, glyphs(30, seed=2).x_train)
