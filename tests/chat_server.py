"""A chat server on the loopback device that answers by a script, and fails as told. Tests use the fixture `chat_server`:

    with chat_server(lambda prompt, seed: "First wrong paragraph: none", faults=["429", None]) as server:
        ChatCritic(Endpoint(server.url), "critic")

`faults` are gone through request by request, again and again; None is an honest answer.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("429", "500", "half", "garbage", "no usage")


class ChatServer:
    """Serves one model, named `critic`. Prompt tokens are words, generated tokens are lines."""

    def __init__(self, script: Callable[[str, int], str], faults: Sequence[str | None] = (None,)) -> None:
        self.script = script
        self.answered: list[tuple[str, int]] = []
        """(prompt, seed) of every honest answer."""
        self.bodies: list[dict] = []
        self._faults = itertools.cycle(faults)
        self._lock = threading.Lock()
        self._server = _Listener(("127.0.0.1", 0), _handler(self))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self._server.shutdown()
        self._server.server_close()

    def next_fault(self) -> str | None:
        with self._lock:
            return next(self._faults)

    def answer(self, body: dict) -> dict:
        prompt = body["messages"][-1]["content"]
        text = self.script(prompt, body["seed"])
        with self._lock:
            self.answered.append((prompt, body["seed"]))
        lines = text.splitlines()
        finish = "stop" if len(lines) <= body["max_tokens"] else "length"
        message = {"role": "assistant", "content": "\n".join(lines[: body["max_tokens"]])}
        used = {"prompt_tokens": len(prompt.split()), "completion_tokens": min(len(lines), body["max_tokens"])}
        return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": used}


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address) -> None:
        """A client that was killed is no error of the server's."""


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.bodies.append(body)
            if body["model"] != "critic" or self.path != "/v1/chat/completions":
                return self.reply(404, b'{"error": {"message": "no such model"}}')
            fault = server.next_fault()
            if fault in ("429", "500"):
                return self.reply(int(fault), b"{}")
            if fault == "garbage":
                return self.reply(200, b"<html>502 Bad Gateway</html>")
            answer = server.answer(body)
            if fault == "no usage":
                del answer["usage"]
            self.reply(200, json.dumps(answer).encode(), half=fault == "half")

        def reply(self, status: int, content: bytes, half: bool = False) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if half else content)
            self.close_connection = half

    return Handler
