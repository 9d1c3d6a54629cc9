"""A small server of the OpenAI completions protocol, right or faulty, in a thread of the test.

It serves a Hugging Face model through `HfGenerator` and knows what `vllm serve` knows of the protocol: token-id prompts,
`return_token_ids`, stop strings that stay in the text, seeds. Tests use it through the fixture `openai_server`:

    with openai_server(faults=["429", None, "hang"]) as server:
        load_generator(server.url, engine="openai", tokenizer=server.tokenizer)

`faults` are gone through request by request, again and again; None is an honest answer. `stop` and `start` end the server
and begin it again on the same port.
"""

from __future__ import annotations

import itertools
import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prm.generators.hf import HfGenerator
from prm.models.fingerprints import fingerprint

FAULTS = ("429", "500", "hang", "half", "garbage", "empty", "two", "number", "no ids")
"""Statuses; no answer for `hang_seconds`; half of an answer; not JSON; JSON without choices; two choices for
one; a number for a text; an empty list of token ids."""


_ANSWERS: dict[tuple, tuple[int, ...]] = {}
"""Requests that had a seed, and what was sampled for them: tests ask for the same again and again."""


class OpenAIServer:
    """Serves one model on a free port of the loopback device."""

    def __init__(
        self,
        model,
        tokenizer,
        *,
        name="tiny",
        faults: Sequence[str | None] = (None,),
        hang_seconds=1.0,
        retry_after="0",
        plain=False,
    ) -> None:
        """
        Args:
            plain: know no more than OpenAI's own protocol: no token ids, no `stop_reason`, the stop string cut off.
        """
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self._weights = fingerprint(model, tokenizer)
        self.hang_seconds, self.retry_after, self.plain = hang_seconds, retry_after, plain
        self.requests: list[dict] = []
        """Bodies of the requests for completions, those that met a fault included."""
        self.served: Counter[str] = Counter()
        """Faults (and "ok") by how often they were given."""
        self.keys: set[str | None] = set()
        """What clients sent as `Authorization`."""
        self._faults = itertools.cycle(faults)
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self._waiting: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> OpenAIServer:
        self.start()
        return self

    def __exit__(self, *error) -> None:
        self.stop()

    def start(self) -> None:
        self._server = _Listener(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def next_fault(self) -> str | None:
        with self._lock:
            fault = next(self._faults)
            self.served[fault or "ok"] += 1
            return fault

    def complete(self, body: dict) -> dict:
        """The answer to a request, as `vllm serve` gives it."""
        prompt = body["prompt"]
        if isinstance(prompt, str):
            prompt = self.tokenizer(prompt)["input_ids"]
        ids, text, reason = [], "", None
        stops = [] if body.get("stop") is None else body["stop"]
        for token in self._sample(prompt, body):
            ids.append(token)
            if token in {self.tokenizer.eos_token_id, *body.get("stop_token_ids", ())}:
                finish = "stop"
                break
            text = self.tokenizer.decode(ids, skip_special_tokens=True)
            reason = next((stop for stop in stops if stop in text), None)
            if reason is not None:
                keep = text.index(reason) + (len(reason) if body.get("include_stop_str_in_output") else 0)
                text, finish = text[:keep], "stop"
                break
        else:
            finish = "length"
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        if not self.plain:
            choice["stop_reason"] = reason
            choice["token_ids"] = ids if body.get("return_token_ids") else None
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(ids), "total_tokens": len(prompt) + len(ids)}
        return {"id": "cmpl-1", "object": "text_completion", "created": 0, "model": self.name, "choices": [choice],
                "usage": usage}  # fmt: skip

    def _sample(self, prompt: list[int], body: dict) -> tuple[int, ...]:
        """What the model writes: at least up to the first stop string."""
        limit = body.get("max_tokens", 16)
        request = (self._weights, tuple(prompt), body.get("seed"), limit, _settings(body))
        if request not in _ANSWERS or body.get("seed") is None:
            future: Future = Future()
            self._waiting.put((prompt, body, future))
            _ANSWERS[request] = future.result().token_ids[:limit]
        return _ANSWERS[request]

    def _work(self) -> None:
        """Samples for all requests that wait, in batches of like settings."""
        while True:
            jobs = [self._waiting.get()]
            time.sleep(0.003)
            while not self._waiting.empty():
                jobs.append(self._waiting.get())
            for (temperature, top_p, stop), batch in _group(jobs, lambda job: _settings(job[1])).items():
                generator = HfGenerator(
                    self.model,
                    self.tokenizer,
                    name=self.name,
                    step_rule={"\n": "line", "\n\n": "paragraph"}.get(stop, "whole"),
                    temperature=temperature,
                    top_p=top_p,
                    max_new_tokens=max(body.get("max_tokens", 16) for _, body, _ in batch),
                )
                prompts = [prompt for prompt, _, _ in batch]
                seeds = [body.get("seed", time.time_ns()) for _, body, _ in batch]
                for (_, _, future), found in zip(batch, generator.generate(prompts, seeds, until="step"), strict=True):
                    future.set_result(found)


def _settings(body: dict) -> tuple:
    return body.get("temperature", 1.0), body.get("top_p", 1.0), (body.get("stop") or [""])[0]


def _group(jobs: list, key) -> dict:
    groups: dict = {}
    for job in jobs:
        groups.setdefault(key(job), []).append(job)
    return groups


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request, client_address) -> None:
        """A client that went away is no error of the server's."""


def _handler(server: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args) -> None:
            pass

        def do_GET(self) -> None:
            context = {} if server.plain else {"max_model_len": server.model.config.max_position_embeddings}
            self.answer(200, {"object": "list", "data": [{"id": server.name, "object": "model"} | context]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append(body)
            server.keys.add(self.headers["Authorization"])
            if body["model"] != server.name:
                self.answer(404, {"error": {"message": f"The model {body['model']} does not exist."}})
                return
            fault = server.next_fault()
            if fault == "hang":
                time.sleep(server.hang_seconds)
                self.close_connection = True
            elif fault in ("429", "500"):
                self.answer(
                    int(fault),
                    {"error": {"message": "busy"}},
                    {"Retry-After": server.retry_after} if fault == "429" else {},
                )
            elif fault == "garbage":
                self.send(200, b"<html>502 Bad Gateway</html>")
            elif fault == "empty":
                self.answer(200, {"object": "text_completion"})
            else:
                answer = server.complete(body)
                if fault == "two":
                    answer["choices"] *= 2
                if fault == "number":
                    answer["choices"][0]["text"] = 7
                if fault == "no ids":
                    answer["choices"][0]["token_ids"] = []
                self.answer(200, answer, half=fault == "half")

        def answer(self, status: int, value: dict, headers: dict | None = None, half: bool = False) -> None:
            self.send(status, json.dumps(value).encode(), headers, half)

        def send(self, status: int, content: bytes, headers: dict | None = None, half: bool = False) -> None:
            self.send_response(status)
            for name, text in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if half else content)
            self.close_connection = half or server._server is None

    return Handler
