"""OpenAIGenerator and its Endpoint against a server that fails: same texts, every retry counted, no endless waiting."""

import json
import threading
import time

import pytest

from prm.datasets.problems import load_problems
from prm.encoding.prompts import PromptTemplate
from prm.generators import derive_seed, endpoint, load_generator
from prm.generators.endpoint import Endpoint, EndpointError


@pytest.fixture(scope="module")
def model():
    return load_generator("arithmetic")


@pytest.fixture(scope="module")
def folder(root):
    return str(root / "prm/assets/arithmetic_generator")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Waits of milliseconds between tries."""
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(endpoint, "LONGEST_WAIT", 0.1)


@pytest.fixture(scope="module")
def work(model):
    problems = load_problems("arithmetic", "test", 4)
    prefixes = [model.encode(problem.prompt) for problem in problems for _ in range(4)]
    return prefixes, [derive_seed(0, i) for i in range(16)]


@pytest.fixture(scope="module")
def expected(openai_server, model, folder, work):
    """What a server without faults writes."""
    with openai_server(model.model, model.tokenizer) as server:
        generator = connect(server, folder)
        found = generator.generate(*work)
        requests = len(server.requests)
    assert generator.ledger == {
        "requests": requests + 1,  # the list of models
        "completion_tokens": sum(len(c.token_ids) for c in found),
        "tokens after the end": 0,
    }
    return found


def connect(server, folder, **settings):
    return load_generator(server.url, engine="openai", tokenizer=folder, max_new_tokens=80, **settings)


def retries(generator):
    return {cause.removeprefix("retry: "): n for cause, n in generator.ledger.items() if cause.startswith("retry")}


CAUSES = {
    "429": "status 429",
    "500": "status 500",
    "hang": "timeout",
    "half": "broken answer",
    "garbage": "malformed answer",
    "empty": "malformed answer",
    "two": "malformed answer",
    "number": "malformed answer",
    "no ids": "malformed answer",
}
"""What the server does, and what the ledger calls it."""


def test_a_server_that_fails_half_its_requests_changes_nothing(openai_server, model, folder, work, expected):
    faults = [
        "429",
        None,
        "500",
        None,
        "half",
        None,
        "garbage",
        None,
        "empty",
        None,
        "two",
        None,
        "number",
        None,
        "no ids",
        None,
    ]
    with openai_server(model.model, model.tokenizer, faults=faults) as server:
        generator = connect(server, folder)
        assert generator.generate(*work) == expected
    counts = {}
    for fault in faults:
        if fault is not None:
            counts[CAUSES[fault]] = counts.get(CAUSES[fault], 0) + server.served.pop(fault, 0)
    assert retries(generator) == counts
    assert sum(counts.values()) >= server.served["ok"] - 1 >= 40
    assert generator.ledger["requests"] == len(server.requests) + 1


def test_a_server_that_hangs_is_asked_again(openai_server, model, folder, work, expected):
    faults = ["hang", None, None, None]
    with openai_server(model.model, model.tokenizer, faults=faults, hang_seconds=2) as server:
        generator = connect(server, folder, timeout=1)
        prefixes, seeds = work
        assert generator.generate(prefixes[:4], seeds[:4]) == expected[:4]
    assert retries(generator)["timeout"] >= server.served["hang"] >= 1


def test_no_other_deadline_ends_a_request():
    """httpx2 would end every request after five seconds, which is less than most solutions take."""
    assert set(Endpoint("http://server/v1").client(3).timeout.as_dict().values()) == {None}


def test_a_server_is_started_again_in_between(openai_server, model, folder, work, expected):
    with openai_server(model.model, model.tokenizer) as server:
        generator = connect(server, folder)

        def restart():
            while len(server.requests) < 10:
                time.sleep(0.01)
            server.stop()
            time.sleep(0.5)
            server.start()

        thread = threading.Thread(target=restart)
        thread.start()
        assert generator.generate(*work) == expected
        thread.join()
    assert set(retries(generator)) <= {"connection", "broken answer"}
    assert sum(retries(generator).values()) >= 1


@pytest.mark.parametrize(("fault", "cause"), [("429", "status 429"), ("garbage", "malformed answer")])
def test_a_server_that_never_answers_right_is_given_up(openai_server, model, folder, work, fault, cause):
    with openai_server(model.model, model.tokenizer, faults=[fault]) as server:
        generator = connect(server, folder, patience=1)
        started = time.monotonic()
        with pytest.raises(EndpointError, match=rf"{server.url}/completions failed \d+ times .* with {cause}"):
            generator.generate(*work)
        assert time.monotonic() - started < 30
    assert retries(generator)[cause] > 5


def test_a_dead_server_is_an_error_that_says_what_to_do(openai_server, model, folder, work):
    with openai_server(model.model, model.tokenizer) as server:
        generator = connect(server, folder, patience=1)
    started = time.monotonic()
    with pytest.raises(EndpointError, match=r"lastly with connection .*Start the server again, or give the right URL"):
        generator.generate(*work)
    with pytest.raises(EndpointError, match="/models failed"):
        connect(server, folder, patience=1)
    assert time.monotonic() - started < 30


def test_a_server_that_asks_for_a_pause_gets_it(openai_server, model, folder, work, expected, monkeypatch):
    pauses = []
    real = endpoint.asyncio.sleep

    async def sleep(seconds):
        pauses.append(seconds)
        await real(0)

    monkeypatch.setattr(endpoint.asyncio, "sleep", sleep)
    with openai_server(model.model, model.tokenizer, faults=["429", None], retry_after="7") as server:
        found = connect(server, folder).generate(work[0][:1], work[1][:1])
    assert found == expected[:1]
    assert len(pauses) == server.served["429"]
    assert min(pauses) == 7
    with (
        openai_server(model.model, model.tokenizer, faults=["429"], retry_after="3600") as server,
        pytest.raises(EndpointError, match="failed 1 times in 0 s"),  # waiting an hour would exceed the patience
    ):
        connect(server, folder).generate(*work)


# --- What is refused at once ---


def test_what_cannot_pass_is_not_retried(openai_server, model, folder, plain_tokenizer, tmp_path, work):
    with openai_server(model.model, model.tokenizer, name="served") as server:
        with pytest.raises(EndpointError, match="serves served, not other; give `model`"):
            connect(server, folder, model="other")
        with pytest.raises(ValueError, match="give its folder or hub name"):
            load_generator(server.url, engine="openai")
        with pytest.raises(ValueError, match="engine openai reads no GGUF files"):
            load_generator(server.url, engine="openai", gguf_file="x.gguf")
        generator = connect(server, folder)
        server.name = "another"  # while the generator was at work
        with pytest.raises(
            EndpointError, match=r"refused a request with status 404: .*The model served does not exist"
        ):
            generator.generate(*work)
        server.name = "served"
        assert retries(generator) == {}
        plain_tokenizer.save_pretrained(tmp_path)
        other = connect(server, str(tmp_path))
        with pytest.raises(EndpointError, match="give the tokenizer of the served model"):
            other.generate(*work)
    with (
        openai_server(model.model, model.tokenizer, plain=True) as server,
        pytest.raises(EndpointError, match=r"returns no token ids.*token_ids=False"),
    ):
        connect(server, folder).generate(*work)
    with pytest.raises(ValueError, match="engine 'sglang' is not one of hf, vllm, openai"):
        load_generator("arithmetic", engine="sglang")


def test_both_calls_for_an_answer_go_to_the_server(openai_server, model, folder, work):
    """And give what they give in this process, with a server that fails as well."""
    prefixes, seeds = work[0][::4], work[1][::4]
    template = PromptTemplate("{prompt}\n", trigger="#### ")
    here = load_generator("arithmetic", template=template, temperature=0).generate(prefixes, seeds)
    with openai_server(model.model, model.tokenizer, faults=["500", None]) as server:
        generator = connect(server, folder, template=template, temperature=0)
        found = generator.generate(prefixes, seeds)
        asked = [
            body for body in server.requests if body["prompt"][-1] == model.tokenizer.convert_tokens_to_ids("#### ")
        ]
    assert found == here
    assert generator.ledger["answers asked for"] == 4
    assert len(asked) == 8  # half of the requests failed
    assert {body["temperature"] for body in asked} == {0.0}
    assert [c.asked for c in found] == [len(body["prompt"]) for body in sorted_by_prefix(asked[1::2], prefixes)]


def sorted_by_prefix(bodies, prefixes):
    """Requests in the order of the prefixes with which their prompts begin."""
    return [next(body for body in bodies if body["prompt"][: len(prefix)] == prefix) for prefix in prefixes]


def test_requests_say_all_that_matters(openai_server, model, folder, work, monkeypatch):
    """Above all that a server's own defaults for sampling are overruled."""
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    prefixes, seeds = work
    with openai_server(model.model, model.tokenizer) as server:
        generator = connect(server, folder, temperature=0.7, top_p=0.9, extra_body={"priority": 1})
        generator.generate(prefixes[:1], seeds[:1])
        plain = connect(server, folder, token_ids=False)
        plain.generate(prefixes[:1], seeds[:1])
    first, second, *_, last = server.requests
    assert first == {
        "model": "tiny", "prompt": prefixes[0], "max_tokens": 80, "temperature": 0.7, "top_p": 0.9, "seed": seeds[0],
        "stop": ["\n"], "return_token_ids": True, "include_stop_str_in_output": True, "stop_token_ids": [1], "top_k": 0,
        "min_p": 0.0, "repetition_penalty": 1.0, "priority": 1,
    }  # fmt: skip
    assert second["prompt"][: len(prefixes[0])] == prefixes[0]
    assert len(second["prompt"]) > len(prefixes[0])
    assert second["seed"] == derive_seed(seeds[0], len(second["prompt"]) - len(prefixes[0]))
    assert last.keys() == {"model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop"}
    assert last["prompt"].startswith(model.tokenizer.decode(prefixes[0]))
    assert server.keys == {"Bearer secret"}
    assert "secret" not in json.dumps(server.requests)
