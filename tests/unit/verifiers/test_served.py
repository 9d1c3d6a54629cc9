"""Scores through vLLM are those of Transformers, and what fails is never a score.

pooling        a small server in this process (tests/pooling_server.py) that answers with Transformers' own logits
vllm           vLLM's engine, where vLLM is installed (`make test-vllm`)
vllm_serve     the same as a server of its own, over HTTP
"""

import math
import shutil
import socket
import subprocess
import sys
import time

import pytest
from exported_verifiers import make_verifier, with_marker
from pooling_server import FAULTS, PoolingServer, plain_rows
from safetensors.torch import load_file, save_file

from prm.generators import endpoint
from prm.generators.endpoint import EndpointError
from prm.verifiers import find_verifier, load_verifier
from prm.verifiers.export import export_verifier
from prm.verifiers.pooling import engine_rows, server_rows
from prm.verifiers.scoring import Scoring, launch_line, vllm_options
from prm.verifiers.served import ServedVerifier, load_served

pytestmark = pytest.mark.slow  # servers are started, models are loaded

ENGINES = ["pooling", "vllm", "vllm_serve"]
CPU = {"enforce_eager": True, "gpu_memory_utilization": 0.1}

LAYOUTS = {
    "token_classification-llama": {},
    "token_classification-qwen2": {"marker": True},
    "qwen_prm-llama": {},
    "qwen_prm-qwen2": {"marker": True, "head": "mlp"},
    "math_shepherd-llama": {"marker": True, "bias": None},
    "sequence_classification-llama": {},
    "sequence_classification-qwen2": {"marker": True, "kind": "orm"},
}
"""Layout and body -> how the verifier was trained. Both tokenizers occur with each head."""

PROMPTS = ["Natalia sold 48 clips in April.", "Let x be 4.", "Let x be 4.", "Natalia sold 48 clips in April."]
STEPS_N = [
    ("She sold 24 in May.", "So 72.", "#### 72"),
    ("Then 2x = 8", "and x + 3 = 7.", "The answer is \\boxed{7}."),
    ("Then 2x = 8", "and x + 3 = 8."),
    ("So.\n\nShe sold 48 / 2 = 24\nclips in May.",),
]


@pytest.fixture(scope="module", params=LAYOUTS)
def exported(request, tmp_path_factory, plain_tokenizer, merging_tokenizer, trimming_tokenizer):
    """(the checkpoint, the folder of the layout)."""
    settings = LAYOUTS[request.param]
    form, body = request.param.split("-")
    folder = tmp_path_factory.mktemp(request.param)
    other = merging_tokenizer if form == "qwen_prm" else plain_tokenizer  # the latter does not survive it
    tokenizer = with_marker(trimming_tokenizer) if settings.get("marker") else other
    path = make_verifier(folder / "verifier", body, tokenizer, **settings)
    export_verifier(path, str(folder / "served"), form)
    return path, str(folder / "served")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module", params=ENGINES)
def served(request, exported):
    """The layout as this engine serves it."""
    _, folder = exported
    scoring = Scoring.load(folder)
    if request.param == "pooling":
        with PoolingServer(plain_rows(folder), length=256) as server:
            yield find_verifier(f"{folder}@{server.url}")
        return
    pytest.importorskip("vllm")
    if request.param == "vllm":
        verifier = load_served(f"{folder}@vllm", engine_options=CPU)
        yield verifier
        return
    port = free_port()
    line = launch_line(folder, vllm_options(scoring)).removeprefix(f"vllm serve {folder}")
    flags = f"--model {folder} --host 127.0.0.1 --port {port} --enforce-eager --gpu-memory-utilization 0.1"
    command = f"exec {sys.executable} -m vllm.entrypoints.openai.api_server {flags} {line}"
    server = subprocess.Popen(["bash", "-c", command])
    try:
        while True:  # it takes a minute to start
            try:
                verifier = load_served(f"{folder}@http://127.0.0.1:{port}", patience=1)
                break
            except RuntimeError:
                assert server.poll() is None, "the server ended"
                time.sleep(2)
        yield verifier
    finally:
        server.terminate()
        server.wait(60)


def test_scores_are_those_of_transformers(exported, served):
    path, _ = exported
    reference = load_verifier(path)
    expected = [scores.steps for scores in reference.score_batch(PROMPTS, STEPS_N)]
    assert max(max(steps) for steps in expected) - min(min(steps) for steps in expected) > 0.1
    found = served.score_batch(PROMPTS, STEPS_N)
    for scores, steps in zip(found, expected, strict=True):
        assert scores.steps == pytest.approx(steps, abs=1e-4)
        assert scores.trace == scores.steps[-1]
    assert served.largest_difference <= 1e-4
    assert served.kind == reference.kind
    again = served.score_batch(PROMPTS[::-1], STEPS_N[::-1])[::-1]
    for scores, before in zip(again, found, strict=True):
        assert scores.steps == pytest.approx(before.steps, abs=1e-5)
    print(f"MEASURED {type(served).__name__} {served.name} {served.largest_difference:.1e}")


def test_a_trace_that_is_too_long_has_no_score(served):
    short, long = served.score_batch(["Let x be 4."] * 2, [("x is 4.",), ("x is 4.",) * 80])
    assert short is not None
    assert long is None


@pytest.fixture(scope="module")
def token_head(tmp_path_factory, plain_tokenizer):
    folder = tmp_path_factory.mktemp("token_head")
    path = make_verifier(folder / "verifier", "llama", plain_tokenizer)
    for form in ("token_classification", "sequence_classification"):
        export_verifier(path, str(folder / form), form)
    return folder


def test_a_token_head_reads_every_trace_and_the_twin_every_new_step(token_head):
    """Requests and the tokens that problems pay for, by hand."""
    a, b, c = ("x is 4.",), ("x is 4.", "2x is 8."), ("x is 4.", "2x is 9.")
    prompts = ["Let x be 4."] * 3
    whole = load_verifier(str(token_head / "verifier")).score_batch(prompts, [a, b, c])
    lengths = [scores.read + scores.cached for scores in whole]

    folder = str(token_head / "token_classification")
    with PoolingServer(plain_rows(folder), length=200) as server:
        verifier = find_verifier(f"{folder}@{server.url}")
        server.requests.clear()
        found = verifier.score_batch([*prompts, prompts[0]], [a, b, c, b])
        assert [scores.read for scores in found] == [*lengths, 0]  # equal traces are read once
        assert found[3].cached == lengths[1]
        assert {scores.ends for scores in found} == {()}
        assert sorted(len(request["input"]) for request in server.requests) == sorted(lengths)  # sent side by side
        assert {request["task"] for request in server.requests} == {"token_classify"}

    folder = str(token_head / "sequence_classification")
    with PoolingServer(plain_rows(folder), length=200) as server:
        verifier = find_verifier(f"{folder}@{server.url}")
        server.requests.clear()
        found = verifier.score_batch(prompts, [a, b, c])
        assert sorted(len(request["input"]) for request in server.requests) == sorted(lengths)  # step 1 of all is one
        assert [(its.read, its.cached, its.ends) for its in found] == [(w.read, w.cached, w.ends) for w in whole]
        server.requests.clear()
        verifier.score_batch(prompts[:2], [b, (*b, "#### 8")])
        assert len(server.requests) == 1


def test_steps_that_hold_the_step_token_do_not_move_the_others(tmp_path, trimming_tokenizer):
    path = make_verifier(tmp_path / "verifier", "llama", with_marker(trimming_tokenizer), marker=True)
    export_verifier(path, str(tmp_path / "served"), "token_classification")
    steps = ("x <step> is 4.", "2x is 8.")
    with PoolingServer(plain_rows(str(tmp_path / "served")), length=200) as server:
        (scores,) = find_verifier(f"{tmp_path / 'served'}@{server.url}").score_batch(["Let <step> be 4."], [steps])
    assert scores.steps == pytest.approx(load_verifier(path).score("Let <step> be 4.", steps), abs=1e-5)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_asked_again_and_never_a_score(fault, token_head, monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.01)
    folder = str(token_head / "token_classification")
    scoring = Scoring.load(folder)
    with PoolingServer(plain_rows(folder), length=200) as server:
        rows, its = server_rows(server.url, scoring, folder, patience=0.5)
        verifier = ServedVerifier(scoring, load_verifier(folder).tokenizer, rows)
        right = verifier.score_batch(PROMPTS, STEPS_N)
        server.faults = iter([fault] * 3 + [None] * 9)
        assert verifier.score_batch(PROMPTS, STEPS_N) == right
        assert sum(count for cause, count in its.ledger.items() if cause.startswith("retry")) == 3
        server.faults = iter([fault] * 999)
        with pytest.raises(EndpointError, match="failed"):
            verifier.score_batch(PROMPTS, STEPS_N)


@pytest.mark.parametrize(("fault", "message"), [("nan", "is the head in its weights"), ("short", "another pooler")])
def test_a_server_that_is_set_up_wrongly_ends_the_run_at_once(fault, message, token_head):
    folder = str(token_head / "token_classification")
    with PoolingServer(plain_rows(folder), [fault], length=200) as server, pytest.raises(EndpointError, match=message):
        find_verifier(f"{folder}@{server.url}")


def test_another_verifier_or_another_server_is_refused(token_head, tmp_path, plain_tokenizer):
    folder = str(token_head / "token_classification")

    rows = plain_rows(folder)

    def turned(ids):
        return [row[::-1] for row in rows(ids)]

    cases = [
        (200, ValueError, r"examples in scoring\.json differ by 0\.\d+ from what they must be"),
        (100, EndpointError, "reads 100 tokens and the verifier 200; start it with --max-model-len 200"),
    ]
    for length, kind, message in cases:
        with PoolingServer(turned, length=length) as server, pytest.raises(kind, match=message):
            find_verifier(f"{folder}@{server.url}")
    with pytest.raises(FileNotFoundError, match=r"scoring\.json is missing"):
        find_verifier(f"{tmp_path}@http://127.0.0.1:9")


def test_what_is_served_in_bf16_may_differ_by_its_rounding_and_has_another_name(token_head):
    folder = str(token_head / "token_classification")
    rows = plain_rows(folder)

    def rounded(ids):
        return [[bad, good + 0.03] for bad, good in rows(ids)]

    with PoolingServer(rounded, length=200) as server:
        name = f"{folder}@{server.url}"
        with pytest.raises(ValueError, match="or say --dtype bfloat16 if it is served in that"):
            find_verifier(name)
        verifier = find_verifier(name, "bfloat16")
    assert 1e-3 < verifier.largest_difference < 0.03 / 4 + 1e-4  # the slope of the logistic function is at most 1/4
    assert verifier.name == f"prm-vllm-{verifier.scoring.fingerprint}bfloat16"


def test_a_key_is_sent_and_a_password_in_the_url_is_refused_unseen(token_head, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-12345")
    folder = str(token_head / "token_classification")
    with PoolingServer(plain_rows(folder), length=200) as server:
        find_verifier(f"{folder}@{server.url}/v1")
        assert server.keys == {"Bearer sk-12345"}
    with pytest.raises(ValueError, match="more than an address") as error:
        find_verifier(f"{folder}@http://me:hunter2@host/v1")
    assert "hunter2" not in str(error.value)


def test_weights_without_a_head_are_not_served(token_head, tmp_path):
    """vLLM would serve them, and say nothing."""
    folder = tmp_path / "served"
    shutil.copytree(token_head / "token_classification", folder)
    weights = load_file(folder / "model.safetensors")
    del weights["score.bias"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks score\.bias"):
        engine_rows(str(folder), Scoring.load(folder), "float32")


def test_probabilities_of_extreme_logits():
    twin = Scoring("sequence_classification", "prm", "", None, (), "last", "float32", 1, "", (), offset=1.0)
    assert twin.probability([-1.0]) == 0.5
    assert twin.probability([-2000.0]) == 0.0
    assert twin.probability([2000.0]) == 1.0
    assert math.isclose(twin.probability([0.0]), 1 / (1 + math.exp(-1)))
