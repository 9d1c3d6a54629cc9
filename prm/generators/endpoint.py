"""Endpoint: an HTTP server that returns JSON and may fail. Temporary failures are retried and counted, up to a limit.

A request is repeated on status 429 (after `Retry-After`, if given) and 5xx, timeouts, refused or broken connections,
incomplete answers and answers of the wrong form, in whatever way they are wrong. No answer is read further than one to what
was asked can be long (`BYTES_PER_TOKEN`), compressed or not. It waits 0.5, 1, 2, ... 30 seconds in between, each shortened
at random so that many requests do not return at the same time. A request that has failed for `patience` seconds ends in an
error; other 4xx statuses do so at once.

    endpoint.ledger   Counter({"requests": 812, "retry: status 429": 11, "retry: timeout": 1})

Why a text ended is `finish_reason`, for which servers have names of their own. One that is not known here fails: a text that
may be cut must not pass as finished. What the first answer shows is how the server is set up, and asking again changes
nothing, so that ends the run at once; after a right answer it is a fault as any other (`Endpoint.unfit`).

Why `httpx2`: it is maintained, asynchronous, and already installed (huggingface_hub needs it). The `openai` package would
add its own retries, which cannot be counted, and typed objects that hide fields needed here (`token_ids`).
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
import re
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import httpx2

from prm.secrets import api_key, check_url, hide

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds
_TRANSIENT = {408, 409, 425, 429}  # besides 5xx

ENDS = ("stop", "eos", "eos_token", "stop_sequence")
"""`finish_reason` of a text that the model or a stop string has ended: OpenAI's name, and those of other servers (TGI)."""
CUTS = ("length", "content_filter")
"""`finish_reason` of a text that was cut, at the token limit or by a filter of the server."""


BYTES_PER_TOKEN = 256
"""Of an answer: more than the escaped text of a token, its number, and what servers say besides."""
SPARE_BYTES = 2**22
_HALVES = re.compile("[\ud800-\udfff]")
_TOO_LONG = re.compile(r"context|too (?:long|large)|maximum .*(?:length|tokens)", re.IGNORECASE)


class EndpointError(RuntimeError):
    """A server refused a request or did not answer in time. The message names the server, the cause and a remedy, and shows
    no key, even if the server repeats it."""

    def __init__(self, message: str) -> None:
        super().__init__(hide(message))


class TooLong(EndpointError):
    """The server refused a request because prompt and answer do not fit into the model's context."""


class MalformedAnswer(ValueError):
    """The answer of a server does not have the form that was asked for."""


class Endpoint:
    """One server. `OPENAI_API_KEY`, if set, is sent as bearer token."""

    def __init__(self, url: str, *, timeout: float = 300.0, patience: float = 600.0) -> None:
        """
        Args:
            url: beginning of every path, e.g. `http://127.0.0.1:8000/v1`.
            timeout: seconds after which one attempt has failed.
            patience: seconds for which a request may keep failing, so that the server can be restarted in the meantime.

        Raises:
            ValueError: the URL is none, or holds a password; the key cannot be sent.
        """
        self.url = check_url(url)
        self._key = api_key()
        self.timeout = timeout
        self.patience = patience
        self.ledger: Counter[str] = Counter()
        """Requests sent, and retries by cause."""
        self.answered = 0
        """Requests that have been answered as they should."""

    def unfit(self, message: str) -> EndpointError | MalformedAnswer:
        """The error for an answer that is not of use here: the first one, or one among others that are."""
        return MalformedAnswer(message) if self.answered else EndpointError(message)

    def client(self, connections: int) -> httpx2.AsyncClient:
        """A client for calls of `ask`; open it with `async with`."""
        return httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            limits=httpx2.Limits(max_connections=connections),
            timeout=None,  # `ask` sets a deadline for the whole answer
        )

    async def ask(
        self, client: httpx2.AsyncClient, path: str, body: dict[str, Any] | None, read: Callable[[Any], T]
    ) -> T:
        """POST a body (GET without one) and return the JSON answer as converted by `read`.

        Args:
            read: raises `EndpointError` for an answer that asking again would not change; any other error in it means that
                the answer has the wrong form.

        Raises:
            EndpointError: the server refused the request, or the request kept failing for `patience` seconds.
            TooLong: it refused the request because the context is too short, as it says.
        """
        url = f"{self.url}/{path}"
        tokens = (body or {}).get("max_tokens", 0) * (1 + (body or {}).get("top_logprobs", 0))
        most = SPARE_BYTES + BYTES_PER_TOKEN * tokens + 8 * len(json.dumps(body))
        started, tries = time.monotonic(), 0
        while True:
            tries += 1
            self.ledger["requests"] += 1
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tries - 1)) * random.uniform(0.5, 1)
            # It succeeds, is refused for good, or fails for a cause that may pass.
            try:
                async with (
                    asyncio.timeout(self.timeout),
                    client.stream("GET" if body is None else "POST", url, json=body, headers=_ENCODING) as response,
                ):
                    content = await _content(response, most)
                status, text = response.status_code, content.decode(errors="replace")
                if status == 200:
                    answer = read(json.loads(content))
                    self.answered += body is not None
                    return answer
                if status < 500 and status not in _TRANSIENT:
                    kind = TooLong if status in (400, 413, 422) and _TOO_LONG.search(text) else EndpointError
                    raise kind(f"{url} refused a request with status {status}: {hide(text)[:500]}")
                cause, detail = f"status {status}", hide(text)[:200]
                wait = max(wait, _retry_after(response))
            except EndpointError:
                raise
            except TimeoutError:
                cause, detail = "timeout", f"no answer in {self.timeout:g} s"
            except httpx2.RemoteProtocolError as error:
                cause, detail = "broken answer", str(error)
            except httpx2.TransportError as error:
                cause, detail = "connection", str(error) or type(error).__name__
            # JSON may nest a thousand levels deep or hold numbers of any length; a token may be an object, a list a number.
            except Exception as error:
                cause, detail = "malformed answer", f"{type(error).__name__}: {error}"[:200]
            self.ledger[f"retry: {cause}"] += 1
            # Give up before a wait that would exceed the patience, not after it.
            failing = time.monotonic() - started
            if failing + wait > self.patience:
                raise EndpointError(
                    f"{url} failed {tries} times in {failing:.0f} s, lastly with {cause} ({detail}). Start the server"
                    " again, or give the right URL, then start this command again: what is committed is kept"
                )
            await asyncio.sleep(wait)


def whole_characters(text: Any) -> str:
    """The text, if it is one. Halves of characters, which no tokenizer takes, are replaced: a server cut the text there.

    Raises:
        MalformedAnswer: it is none.
    """
    if not isinstance(text, str):
        raise MalformedAnswer(f"text {text!r:.50}")
    return _HALVES.sub("\ufffd", text)


def finish_reason(endpoint: Endpoint, choice: Any) -> str:
    """Why the text of a choice ended: one of `ENDS` or `CUTS`.

    Raises:
        EndpointError, MalformedAnswer: the server gives another reason.
    """
    reason = choice["finish_reason"]
    if reason not in ENDS + CUTS:
        raise endpoint.unfit(
            f"{endpoint.url} ends a text with finish_reason {reason!r:.60}, which is none of {', '.join(ENDS + CUTS)}, so it"
            " is not known whether the text is complete. Set the server up so that it gives one of these, or use another one"
        )
    return reason


_ENCODING = {"Accept-Encoding": "gzip"}


async def _content(response: httpx2.Response, most: int) -> bytes:
    """The body of an answer.

    Raises:
        MalformedAnswer: it has more than `most` bytes, or is compressed and cannot be unpacked.
    """
    raw = bytearray()
    async for block in response.aiter_raw():
        raw += block
        if len(raw) > most:
            raise MalformedAnswer(f"more than {most:,} bytes, which is more than what was asked for can have")
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return bytes(raw)
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise MalformedAnswer(f"content encoding {encoding!r:.40}, which was not asked for")
    try:
        content = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(raw, most + 1)
    except zlib.error as error:
        raise MalformedAnswer(f"said to be {encoding}: {error}") from error
    if len(content) > most:
        raise MalformedAnswer(f"more than {most:,} bytes when unpacked, which is more than what was asked for can have")
    return content


def _retry_after(response: httpx2.Response) -> float:
    """Seconds that a server asks to wait, given as a number or as a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("retry-after", "0")
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
