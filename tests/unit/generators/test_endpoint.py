"""How long an endpoint waits, what it repeats, and when it gives up; a server that fails: test_openai.py."""

import asyncio
import email.utils
import gzip
import zlib
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx2
import pytest

from prm.generators import endpoint
from prm.generators.endpoint import (
    CUTS,
    ENDS,
    Endpoint,
    EndpointError,
    MalformedAnswer,
    TooLong,
    finish_reason,
    whole_characters,
)


@pytest.fixture
def ask(monkeypatch):
    """`ask(server, statuses)` -> (the answer, seconds waited before each repetition); a status may have headers."""
    waits, now = [], [1000.0]

    async def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(endpoint.random, "uniform", lambda low, high: high)
    monkeypatch.setattr(endpoint, "time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0]))
    monkeypatch.setattr(endpoint, "asyncio", SimpleNamespace(sleep=sleep, timeout=asyncio.timeout))

    def run(server, statuses):
        requests = []

        class Client:
            @asynccontextmanager
            async def stream(self, method, url, json, headers):
                requests.append((method, url, json))
                status, headers = next(remaining)
                yield httpx2.Response(status, headers=headers, content=body())

        async def body():
            yield b'{"text": '
            yield b'"2"}'

        remaining = iter([status if isinstance(status, tuple) else (status, {}) for status in statuses])
        waits.clear()
        now[0] = 1000.0
        found = asyncio.run(server.ask(Client(), "completions", {"prompt": [1]}, lambda answer: answer["text"]))
        assert all(request == ("POST", f"{server.url}/completions", {"prompt": [1]}) for request in requests)
        return found, list(waits)

    return run


def test_waits_double_up_to_the_longest(ask):
    server = Endpoint("http://host/v1/")
    assert server.url == "http://host/v1"
    assert ask(server, [500] * 8 + [200]) == ("2", [0.5, 1, 2, 4, 8, 16, 30, 30])
    assert server.ledger == {"requests": 9, "retry: status 500": 8}
    assert ask(server, [200]) == ("2", [])


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503])
def test_what_may_pass_is_repeated(ask, status):
    assert ask(Endpoint("http://host"), [status, 200]) == ("2", [0.5])


@pytest.mark.parametrize("status", [301, 400, 401, 404, 422, 499])
def test_what_cannot_pass_is_an_error_at_once(ask, status):
    server = Endpoint("http://host")
    with pytest.raises(EndpointError, match=f"http://host/completions refused a request with status {status}"):
        ask(server, [status, 200])
    assert server.ledger == {"requests": 1}


def test_a_server_may_ask_for_a_longer_pause(ask):
    in_a_minute = email.utils.formatdate(1060.0, usegmt=True)
    long_ago = email.utils.formatdate(10.0, usegmt=True)
    for value, wait in (("7", 7), (" 7 ", 7), ("0", 0.5), (in_a_minute, 60), (long_ago, 0.5), ("soon", 0.5)):
        assert ask(Endpoint("http://host"), [(429, {"retry-after": value}), 200]) == ("2", [wait])


def test_it_gives_up_before_a_wait_that_is_too_long(ask):
    assert ask(Endpoint("http://host", patience=3.5), [500] * 3 + [200])[1] == [0.5, 1, 2]
    with pytest.raises(EndpointError, match=r"failed 3 times in 2 s, lastly with status 500"):
        ask(Endpoint("http://host", patience=3.4), [500] * 3 + [200])


def test_the_key_is_sent_if_there_is_one(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "abc")
    assert Endpoint("http://host").client(1).headers["authorization"] == "Bearer abc"
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "authorization" not in Endpoint("http://host").client(1).headers


def test_known_and_unknown_reasons_of_an_end():
    assert [finish_reason(Endpoint("http://u"), {"finish_reason": reason}) for reason in ENDS + CUTS] == [*ENDS, *CUTS]
    with pytest.raises(EndpointError, match="u ends a text with finish_reason 'tool_calls', which is none of stop"):
        finish_reason(Endpoint("http://u"), {"finish_reason": "tool_calls"})


def content(body, encoding=None, most=100):
    headers = {} if encoding is None else {"content-encoding": encoding}

    async def blocks():
        for at in range(0, len(body), 10):
            yield body[at : at + 10]

    return asyncio.run(endpoint._content(httpx2.Response(200, headers=headers, content=blocks()), most))


@pytest.mark.parametrize("encoding", [None, "identity", " Identity "])
def test_an_answer_is_read_up_to_the_most_that_it_can_have(encoding):
    assert content(b"x" * 100, encoding) == b"x" * 100
    with pytest.raises(MalformedAnswer, match="more than 100 bytes, which is more than what was asked for can have"):
        content(b"x" * 101, encoding)


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("X-GZIP", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_packed_answer_is_unpacked_up_to_the_most_that_it_can_have(encoding, pack):
    assert content(pack(b"x" * 100), encoding) == b"x" * 100
    with pytest.raises(MalformedAnswer, match="more than 100 bytes when unpacked"):
        content(pack(b"x" * 101), encoding)
    with pytest.raises(MalformedAnswer, match=rf"said to be {encoding.lower()}: "):
        content(b"x" * 50, encoding)


def test_an_encoding_that_was_not_asked_for_is_refused():
    with pytest.raises(MalformedAnswer, match="content encoding 'br', which was not asked for"):
        content(b"x", "br")


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "maximum context length is 512", TooLong),
        (413, "The prompt is too long", TooLong),
        (422, "Request Too Large", TooLong),
        (400, "the maximum number of tokens", TooLong),
        (400, "no such model", EndpointError),
        (404, "maximum context length", EndpointError),
    ],
)
def test_a_context_that_is_too_short_is_told_from_other_refusals(status, text, kind):
    class Client:
        @asynccontextmanager
        async def stream(self, method, url, json, headers):
            assert headers == {"Accept-Encoding": "gzip"}
            yield httpx2.Response(status, content=body())

    async def body():
        yield text.encode()

    with pytest.raises(EndpointError, match=f"status {status}: {text}") as error:
        asyncio.run(Endpoint("http://host").ask(Client(), "completions", {}, str))
    assert type(error.value) is kind


def test_halves_of_characters_are_replaced_and_what_is_no_text_is_malformed():
    assert whole_characters("a\ud800b\udfffc") == "a\ufffdb\ufffdc"
    with pytest.raises(MalformedAnswer, match="text 4"):
        whole_characters(4)


def test_the_first_answer_that_is_of_no_use_ends_the_run_and_a_later_one_is_asked_again(ask):
    server = Endpoint("http://host")
    assert type(server.unfit("x")) is EndpointError
    ask(server, [200])
    assert (server.answered, type(server.unfit("x"))) == (1, MalformedAnswer)


def test_a_client_has_so_many_connections_and_no_deadline_of_its_own(monkeypatch):
    given = {}
    monkeypatch.setattr(endpoint.httpx2, "AsyncClient", lambda **settings: given.update(settings))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    Endpoint("http://host").client(3)
    assert (given["limits"].max_connections, given["timeout"], given["headers"]) == (3, None, {})


@pytest.mark.parametrize("kind", [EndpointError, TooLong])
def test_an_error_shows_no_key_that_a_server_repeats(kind, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-long-secret")
    assert "sk-a-long-secret" not in str(kind("status 401: no such key as sk-a-long-secret"))
