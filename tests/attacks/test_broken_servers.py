"""Servers that break their protocol in every way: each fault is tried again, counted, bounded, and named at the end."""

import asyncio
import gzip
import json
import zlib
from types import SimpleNamespace

import httpx2
import pytest

from prm.encoding.prompts import PromptTemplate
from prm.generators import endpoint, generate_what_fits
from prm.generators.chat import ChatCritic, Question
from prm.generators.endpoint import Endpoint, EndpointError
from prm.generators.openai import OpenAIGenerator

LIMIT = 40


def json_answer(**changes) -> bytes:
    """A right answer of a completions server, but for the changes."""
    choice = {"text": "4\n", "token_ids": TOKENS, "finish_reason": "stop", "stop_reason": "\n"}
    choice |= {name: value for name, value in changes.items() if name in choice}
    answer = {"choices": [choice], "usage": {"completion_tokens": len(TOKENS), "prompt_tokens": 3}}
    return json.dumps(answer | {name: value for name, value in changes.items() if name not in choice}).encode()


TOKENS: list[int] = []
BOMB = zlib.compressobj(9, zlib.DEFLATED, 31)
BOMB_BYTES = BOMB.compress(b" " * 2 * 10**7) + BOMB.flush()

FAULTS = {
    "gzip declared, plain body": (b"{}", {"content-encoding": "gzip"}),
    "gzip cut off": (gzip.compress(b"[" * 1000)[:20], {"content-encoding": "gzip"}),
    "gzip bomb": (BOMB_BYTES, {"content-encoding": "gzip"}),
    "an encoding nobody asked for": (b"\x1b\x03", {"content-encoding": "br"}),
    "endless body": (b" " * (endpoint.SPARE_BYTES + 10**6), {}),
    "a hundred thousand brackets": (b"[" * 10**5, {}),
    "brackets in brackets": (b'{"choices": ' + b"[" * 900 + b"]" * 900 + b"}", {}),
    "a number of 5,000 digits": (b'{"choices": ' + b"9" * 5000 + b"}", {}),
    "not UTF-8": (b'{"choices": "\xff"}', {}),
    "null": (b"null", {}),
    "a list": (b"[]", {}),
    "choices is a number": ({"choices": 3}, {}),
    "choices is an object": ({"choices": {"0": {}}}, {}),
    "a choice is a text": ({"choices": ["4"]}, {}),
    "usage is a list": ({"usage": [1]}, {}),
    "usage is a number": ({"usage": 5}, {}),
    "usage counts a text": ({"usage": {"completion_tokens": "5"}}, {}),
    "usage counts 300,000": ({"usage": {"completion_tokens": 300_000}}, {}),
    "usage counts less than nothing": ({"usage": {"completion_tokens": -1}}, {}),
    "usage counts NaN": ({"usage": {"completion_tokens": float("nan")}}, {}),
    "text is a number": ({"text": 4}, {}),
    "text is null": ({"text": None}, {}),
    "text of another tokenizer": ({"text": "zebra"}, {}),
    "no token ids": ({"token_ids": None}, {}),
    "token ids are a text": ({"token_ids": "17"}, {}),
    "token ids are a number": ({"token_ids": 17}, {}),
    "token ids are texts": ({"token_ids": ["4"]}, {}),
    "token ids are truth values": ({"token_ids": [True, True]}, {}),
    "a negative token id": ({"token_ids": [-1]}, {}),
    "a token id without a token": ({"token_ids": [10**6]}, {}),
    "a token id of 70 bits": ({"token_ids": [2**70]}, {}),
    "a token id of 300 bits": ({"token_ids": [2**300]}, {}),
    "no tokens": ({"token_ids": []}, {}),
    "300,000 tokens": ({"token_ids": [5] * 300_000}, {}),
    "one token too many": ({"token_ids": [5] * (LIMIT + 1)}, {}),
    "an unknown reason": ({"finish_reason": "tool_calls"}, {}),
    "no reason": ({"finish_reason": None}, {}),
    "a reason that is a list": ({"finish_reason": ["stop"]}, {}),
    "an error with status 200": (b'{"error": {"message": "overloaded"}}', {}),
    "HTML": (b"<html>502 Bad Gateway</html>", {"content-type": "text/html"}),
}
MODELS = {
    "data is missing": {},
    "data is a number": {"data": 3},
    "data is a list of texts": {"data": ["m"]},
    "a model is a number": {"data": [{"id": 3}]},
    "a model is a list": {"data": [{"id": ["m"]}]},
    "a context that is a text": {"data": [{"id": "m", "max_model_len": "512"}]},
    "a negative context": {"data": [{"id": "m", "max_model_len": -1}]},
    "a list": [],
}


class Server(httpx2.AsyncBaseTransport):
    """Gives one answer after the other, the last one for ever; to a request for models, the first of its own."""

    def __init__(self, answers, models=({"data": [{"id": "m", "max_model_len": 512}]},)):
        self.answers, self.models = list(answers), list(models)
        self.asked = []

    async def handle_async_request(self, request):
        its = self.models if request.method == "GET" else self.answers
        self.asked.append(request)
        answer = its.pop(0) if len(its) > 1 else its[0]
        content, headers, status = (*answer, 200)[:3] if isinstance(answer, tuple) else (answer, {}, 200)
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()

        async def blocks():
            for start in range(0, len(content), 65536):
                yield content[start : start + 65536]

        return httpx2.Response(status, headers=headers, content=blocks())


@pytest.fixture
def serve(monkeypatch, plain_tokenizer):
    """`serve(server, patience=0)`: an endpoint of this server."""
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(endpoint, "LONGEST_WAIT", 0.0)
    TOKENS[:] = plain_tokenizer("4\n", add_special_tokens=False)["input_ids"]

    def connect(server, tries=3):
        its = Endpoint("http://host/v1")
        monkeypatch.setattr(its, "client", lambda connections: httpx2.AsyncClient(transport=server, timeout=None))
        clock = iter(range(10**9))  # a second for every look: at the beginning, and after each failure
        monkeypatch.setattr(endpoint, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        its.patience = tries - 1
        return its

    return connect


def generator(its, tokenizer) -> OpenAIGenerator:
    return OpenAIGenerator(its, tokenizer, max_new_tokens=LIMIT, template=PromptTemplate(text="{prompt}"))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_between_right_answers_changes_nothing(serve, plain_tokenizer, name):
    content, headers = FAULTS[name]
    fault = (json_answer(**content) if isinstance(content, dict) else content, headers)
    server = Server([])
    its = serve(server)
    server.answers = [json_answer(), fault, json_answer()]
    drawn = generator(its, plain_tokenizer)
    prefix = drawn.encode("2 + 2")
    first, second = (drawn.generate([prefix], [seed], until="step")[0] for seed in (1, 2))
    assert first.text == second.text == "4\n"
    assert len(first.token_ids) == len(TOKENS)
    assert its.ledger["retry: malformed answer"] == 1, its.ledger


@pytest.mark.parametrize("name", FAULTS)
def test_a_server_that_is_always_wrong_ends_in_one_line(serve, plain_tokenizer, name):
    content, headers = FAULTS[name]
    server = Server([])
    its = serve(server)
    server.answers = [(json_answer(**content) if isinstance(content, dict) else content, headers)]
    drawn = generator(its, plain_tokenizer)
    with pytest.raises(EndpointError, match=r"http://host/v1") as error:
        drawn.generate([drawn.encode("2 + 2")], [1], until="step")
    assert len(str(error.value)) < 1000
    assert its.ledger["requests"] <= 4


@pytest.mark.parametrize("name", MODELS)
def test_odd_lists_of_models(serve, plain_tokenizer, name):
    its = serve(Server([json_answer()], models=[MODELS[name], {"data": [{"id": "m", "max_model_len": 512}]}]))
    assert generator(its, plain_tokenizer).context == 512
    assert its.ledger["retry: malformed answer"] == 1
    its = serve(Server([json_answer()], models=[MODELS[name]]))
    with pytest.raises(EndpointError, match="/models failed 3 times"):
        generator(its, plain_tokenizer)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity", ""])
def test_compressed_answers_are_read(serve, plain_tokenizer, encoding):
    content = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding, bytes)(b'{"x": 4}')
    its = serve(Server([(content, {"content-encoding": encoding} if encoding else {})]))

    async def ask():
        async with its.client(1) as client:
            return await its.ask(client, "completions", {"max_tokens": 1}, lambda answer: answer["x"])

    assert asyncio.run(ask()) == 4


CHAT_FAULTS = {
    "content is a number": {"choices": [{"message": {"content": 4}, "finish_reason": "stop"}]},
    "content is an object": {"choices": [{"message": {"content": {"a": 1}}, "finish_reason": "stop"}]},
    "no message": {"choices": [{"finish_reason": "stop"}]},
    "message is a text": {"choices": [{"message": "4", "finish_reason": "stop"}]},
    "usage is null": {"usage": None},
    "usage is a list": {"usage": []},
    "usage counts a text": {"usage": {"prompt_tokens": "3", "completion_tokens": 2}},
    "usage counts 300,000": {"usage": {"prompt_tokens": 3, "completion_tokens": 300_000}},
    "a text of a megabyte": {"choices": [{"message": {"content": "4" * 10**6}, "finish_reason": "stop"}]},
}


def chat_answer(text="First wrong paragraph: 2", **changes):
    choices = [{"message": {"content": text}, "finish_reason": "stop"}]
    return {"choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": 9}} | changes


def ask(its, number=1):
    answers = []
    questions = [Question(f"trace#{i}", f"key{i}", 0, 7, "Is it right?") for i in range(number)]
    ChatCritic(its, "m", max_new_tokens=LIMIT, batch_size=1).ask(questions, answers.extend)
    return answers


@pytest.mark.parametrize("name", CHAT_FAULTS)
def test_a_chat_server_that_fails(serve, name):
    its = serve(Server([chat_answer(**CHAT_FAULTS[name]), chat_answer()]))
    assert [answer.text for answer in ask(its)] == ["First wrong paragraph: 2"]
    assert its.ledger["retry: malformed answer"] == 1
    with pytest.raises(EndpointError, match=r"judging trace#0: .* failed 3 times"):
        ask(serve(Server([chat_answer(**CHAT_FAULTS[name])])))


REFUSALS = {
    "vllm": (400, "This model's maximum context length is 512 tokens. However, you requested 600 tokens"),
    "openai": (400, '{"error": {"code": "context_length_exceeded"}}'),
    "llama.cpp": (400, '{"error": {"type": "exceed_context_size_error"}}'),
    "tgi": (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 512: too long"),
    "proxy": (413, "Request Entity Too Large"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_question_that_is_too_long_for_the_server_has_an_empty_answer(serve, name):
    status, text = REFUSALS[name]
    refusal = (text.encode(), {}, status)
    found = ask(serve(Server([refusal, chat_answer(), refusal, chat_answer()])), number=4)
    assert sorted((answer.key, answer.text, answer.finished) for answer in found) == [
        ("key0", "", False),
        ("key1", "First wrong paragraph: 2", True),
        ("key2", "", False),
        ("key3", "First wrong paragraph: 2", True),
    ]
    with pytest.raises(EndpointError, match=rf"judging trace#0: .*status {status}"):  # as with max_tokens set too high
        ask(serve(Server([refusal])), number=2)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_prefix_that_is_too_long_for_the_server_has_no_room(serve, plain_tokenizer, name):
    status, text = REFUSALS[name]
    models = [{"data": [{"id": "m"}]}]
    refusal = (text.encode(), {}, status)
    server = Server([], models)
    drawn = generator(serve(server), plain_tokenizer)
    server.answers = [refusal, json_answer()]
    prefix = drawn.encode("2 + 2")
    drawn.batch_size = 1
    found = generate_what_fits(drawn, [prefix, prefix], [1, 2], until="step")
    assert [(its.text, its.stop) for its in found] == [("", "length"), ("4\n", "step")]
    server = Server([refusal], models)
    with pytest.raises(EndpointError, match=f"status {status}"):
        generator(serve(server), plain_tokenizer).generate([prefix], [1])


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8000/v1", "localhost:8000", "/v1", "", "ftp://host/v1", "http:///v1", "http:/host/v1", "https://"],
)
def test_a_url_without_a_scheme_is_refused_at_once(url):
    with pytest.raises(ValueError, match=r"is no URL of a server; give one such as http://127.0.0.1:8000/v1"):
        Endpoint(url)


def test_half_a_character_becomes_one(serve, plain_tokenizer):
    its = serve(Server([chat_answer(text="5 \ud83d 4")]))
    assert [answer.text for answer in ask(its)] == ["5 \ufffd 4"]
