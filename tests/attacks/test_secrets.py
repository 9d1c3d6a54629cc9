"""Keys and passwords: whatever is wrong with them or done with them, they are in no message and in no file."""

import asyncio
import json
import sys
import urllib.parse
from dataclasses import dataclass

import httpx2
import pytest

from prm.command_line import run_script, same_command
from prm.generators.arguments import GeneratorArguments
from prm.generators.endpoint import Endpoint, EndpointError, MalformedAnswer
from prm.secrets import check_url, hide

KEY = "sk-proj-4fQ8zT1mXv9Lw2/Ab+c="


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return KEY


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\n\n", "\t"])
def test_what_a_file_adds_to_a_key_is_cut_off(end, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f"{end}{KEY}{end}")
    assert Endpoint("http://host").client(1).headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "wrong", [f"{KEY}\n{KEY}", f"{KEY} {KEY}", f"{KEY}\u00e9", f"{KEY}\x1b", f"{KEY}\r\nX-Other: 1"]
)
def test_a_key_that_cannot_be_sent_is_refused_at_once_and_not_shown(wrong, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", wrong)
    for start in (
        lambda: Endpoint("http://host"),
        lambda: GeneratorArguments(generator="http://host", engine="openai"),
    ):
        with pytest.raises(ValueError, match="OPENAI_API_KEY holds a blank, a line end or a letter") as error:
            start()
        assert KEY[:8] not in str(error.value)


def answer_of(status, body):
    """A client that always gets this answer."""

    answer = httpx2.MockTransport(lambda request: httpx2.Response(status, stream=httpx2.ByteStream(body.encode())))
    return httpx2.AsyncClient(transport=answer)


ECHOES = {
    "as it is": lambda key: f"Incorrect API key provided: {key}.",
    "in JSON": lambda key: json.dumps({"error": {"message": f"Bearer {key}", "headers": {"authorization": key}}}),
    "quoted": urllib.parse.quote,
    "over the cut": lambda key: "x" * 490 + key,
    "over the other cut": lambda key: "x" * 190 + key,
}


@pytest.mark.parametrize("status", [401, 500])
@pytest.mark.parametrize("echo", ECHOES)
def test_a_server_that_repeats_the_key_does_not_get_it_into_a_message(echo, status, key):
    endpoint = Endpoint("http://host", patience=0)
    with pytest.raises(EndpointError) as error:
        asyncio.run(endpoint.ask(answer_of(status, ECHOES[echo](key)), "models", None, lambda answer: answer))
    text = str(error.value)
    assert f"status {status}" in text
    assert key not in text
    assert key[:12] not in urllib.parse.unquote(text)


def test_an_answer_of_the_wrong_form_does_not_either(key):
    def read(answer):
        raise MalformedAnswer(f"{answer!r:.40}")

    with pytest.raises(EndpointError, match=r"\*\*\*") as error:
        asyncio.run(Endpoint("http://host", patience=0).ask(answer_of(200, json.dumps([key])), "completions", {}, read))
    assert key[:12] not in str(error.value)


@dataclass
class Arguments:
    words: str = ""


@pytest.mark.parametrize("words", [[], ["--debug"]])
@pytest.mark.parametrize("error", [ValueError, KeyError])
def test_no_error_of_a_script_shows_a_key(words, error, key, monkeypatch, capsys):
    def main(args):
        try:
            raise error(f"sent {key}")
        except error as first:
            raise error(f"{key} to http://me:pass@host/v1") from first

    monkeypatch.setattr(sys, "argv", ["script.py", *words])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    try:
        run_script(main, Arguments)
    except SystemExit as end:
        text = str(end)
    except error:
        sys.excepthook(*sys.exc_info())  # as Python does at the end
        text = capsys.readouterr().err
        assert "Traceback" in text
    assert "*** to http://***@host/v1" in text
    assert key not in text
    assert "pass@" not in text


URLS = [
    "http://me:secret@host/v1",
    "https://secret@host",
    "me:secret@host",
    "http://host/v1?key=secret",
    "http://host/#secret",
]


@pytest.mark.parametrize("url", URLS)
def test_a_password_in_a_url_is_refused_before_anything_is_written_and_not_shown(url):
    for start in (lambda: Endpoint(url), lambda: GeneratorArguments(generator=url, engine="openai")):
        with pytest.raises(
            ValueError, match=r"URL of the server holds more than an address, .* a key in OPENAI"
        ) as error:
            start()
        assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000/v1", "localhost", "", "ftp://host", "http://", "http://[::1", "http://a b", "http://h:x"]
)
def test_what_is_no_url_is_refused_at_once(url):
    with pytest.raises(ValueError, match="is no URL of a server; give one such as http://127"):
        GeneratorArguments(generator=url, engine="openai")


def test_addresses_are_taken():
    assert check_url("http://127.0.0.1:8000/v1/") == "http://127.0.0.1:8000/v1"
    assert check_url("https://[::1]:8000") == "https://[::1]:8000"


def test_the_recorded_command_has_no_token_for_the_hub(monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["a.py", "--hub_token", "hf_1", "--push_to_hub_token=hf_2", "--eos_token", "<eos>"]
    )
    assert "a.py --hub_token '***' '--push_to_hub_token=***' --eos_token '<eos>'" in same_command()


def test_nothing_else_is_hidden(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "-")
    assert hide("a-b at http://host/@x") == "a-b at http://host/@x"
