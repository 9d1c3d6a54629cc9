"""Endpoint: an HTTP server that is asked for JSON and may fail. Retries what may pass, counts it, and gives up in time.

A request is sent again on 429 (after `Retry-After`, if given) and 5xx, timeouts, refused or broken connections, answers
that break off and answers that are not what was asked for. It waits 0.5, 1, 2, ... 30 seconds in between, each shortened
at random so that many do not come back at once. What has failed for `patience` seconds ends in an error; other 4xx do at
once.

    endpoint.ledger   Counter({"requests": 812, "retry: status 429": 11, "retry: timeout": 1})

Why `httpx2`: it is maintained, asynchronous, and here already (huggingface_hub needs it). The `openai` package would add its
own retries, which cannot be counted, and typed objects that hide the fields that matter here (`token_ids`).
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import httpx2

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds
_TRANSIENT = {408, 409, 425, 429}  # beside 5xx


class EndpointError(RuntimeError):
    """A server refused a request, or did not answer it in time. The message says where, why and what to do."""


class MalformedAnswer(ValueError):
    """What a server answered is not what it was asked for."""


class Endpoint:
    """One server. `OPENAI_API_KEY`, if set, is sent as bearer token."""

    def __init__(self, url: str, *, timeout: float = 300.0, patience: float = 600.0) -> None:
        """
        Args:
            url: in front of every path, e.g. `http://127.0.0.1:8000/v1`.
            timeout: seconds until one try has failed.
            patience: seconds that a request may go on failing, so that a server can be started again in between.
        """
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.patience = patience
        self.ledger: Counter[str] = Counter()
        """Requests sent, and retries by cause."""

    def client(self, connections: int) -> httpx2.AsyncClient:
        """To be opened with `async with` by whoever calls `ask`."""
        key = os.environ.get("OPENAI_API_KEY")
        return httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx2.Limits(max_connections=connections),
            timeout=None,  # `ask` sets a deadline for the whole answer
        )

    async def ask(
        self, client: httpx2.AsyncClient, path: str, body: dict[str, Any] | None, read: Callable[[Any], T]
    ) -> T:
        """POST a body (GET without one); the JSON answer as `read` understands it. `read` raises `MalformedAnswer`, or
        KeyError, IndexError, TypeError or ValueError, if the answer is not what was asked for.

        Raises:
            EndpointError: the server refused the request, or it went on failing for `patience` seconds.
        """
        url = f"{self.url}/{path}"
        started, tries = time.monotonic(), 0
        while True:
            tries += 1
            self.ledger["requests"] += 1
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tries - 1)) * random.uniform(0.5, 1)
            try:
                async with asyncio.timeout(self.timeout):
                    response = await client.request("GET" if body is None else "POST", url, json=body)
                status = response.status_code
                if status == 200:
                    return read(response.json())
                if status < 500 and status not in _TRANSIENT:
                    raise EndpointError(f"{url} refused a request with status {status}: {response.text[:500]}")
                cause, detail = f"status {status}", response.text[:200]
                wait = max(wait, _retry_after(response))
            except TimeoutError:
                cause, detail = "timeout", f"no answer in {self.timeout:g} s"
            except httpx2.RemoteProtocolError as error:
                cause, detail = "broken answer", str(error)
            except httpx2.TransportError as error:
                cause, detail = "connection", str(error) or type(error).__name__
            except (KeyError, IndexError, TypeError, ValueError) as error:  # JSONDecodeError is a ValueError
                cause, detail = "malformed answer", f"{type(error).__name__}: {error}"
            self.ledger[f"retry: {cause}"] += 1
            failing = time.monotonic() - started
            if failing + wait > self.patience:
                raise EndpointError(
                    f"{url} failed {tries} times in {failing:.0f} s, lastly with {cause} ({detail}). Start the server"
                    " again, or give the right URL, then start this command again: what is committed is kept"
                )
            await asyncio.sleep(wait)


def _retry_after(response: httpx2.Response) -> float:
    """Seconds that a server asks to wait; it may say them or a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("retry-after", "0")
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
