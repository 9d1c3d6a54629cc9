"""A small server of vLLM's /pooling, right or faulty, in a thread of the test.

    with PoolingServer(plain_rows(folder), faults=["500", None]) as server:
        load_served(f"{folder}@{server.url}")

It answers with what a function makes of the token ids: a list of rows, or of the twin one row. `faults` are gone through
request by request, again and again; None is an honest answer.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from transformers import AutoConfig

from prm.models.loading import load_weights
from prm.verifiers.plain import class_of
from prm.verifiers.scoring import Scoring

FAULTS = ("500", "garbage", "nan", "short", "wide", "text")
"""Status; not JSON; a number that is none; a row too few; a label too many; a word for a number."""


class PoolingServer:
    """Serves on a free port of the loopback device."""

    def __init__(
        self, rows: Callable[[list[int]], Any], faults: Sequence[str | None] = (None,), name="served", length=64
    ) -> None:
        self.rows, self.name, self.length = rows, name, length
        self.requests: list[dict] = []
        self.keys: set[str | None] = set()
        self.lock, self.faults = threading.Lock(), itertools.cycle(faults)

    def __enter__(self) -> PoolingServer:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, body: dict) -> tuple[int, bytes]:
        with self.lock:
            self.requests.append(body)
            fault, data = next(self.faults), self.rows(body["input"])
        if fault == "500":
            return 500, b"{}"
        if fault == "garbage":
            return 200, b"<html>"
        if fault == "nan":
            data = _first(data, float("nan"))
        elif fault == "text":
            data = _first(data, "high")
        elif fault == "short":
            data = data[:-1]
        elif fault == "wide":
            data = [[*row, 0.0] for row in data] if isinstance(data[0], list) else [*data, 0.0]
        return 200, json.dumps({"data": [{"index": 0, "object": "pooling", "data": data}]}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                served = [{"id": server.name, "max_model_len": server.length}]
                self.send(200, json.dumps({"data": served}).encode())

            def do_POST(self) -> None:
                server.keys.add(self.headers["Authorization"])
                self.send(*server.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

            def send(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        return Handler


def _first(data: list, value: Any) -> list:
    """The data with another first number."""
    return [[value, *data[0][1:]], *data[1:]] if isinstance(data[0], list) else [value, *data[1:]]


def plain_rows(folder):
    """What a right server answers, by plain Transformers."""
    scoring = Scoring.load(folder)
    kind = class_of(AutoConfig.from_pretrained(folder), scoring.form)
    model = load_weights(kind, folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def rows(ids):
        logits = model(torch.tensor([ids])).logits[0]
        if scoring.form == "sequence_classification":
            return logits.tolist()
        logits = logits[:, list(scoring.label_ids)]
        if scoring.codec.marker is not None:
            logits = logits[[i for i, token in enumerate(ids) if token == scoring.step_end_ids[-1]]]
        return logits.tolist()

    return rows
