"""Served verifiers without a server and without a model: what is asked of vLLM's engine, and what may come back."""

import math
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from prm.encoding.codec import StepCodec
from prm.encoding.prompts import PromptTemplate
from prm.generators.endpoint import EndpointError, MalformedAnswer
from prm.verifiers import is_served, kind_of, pooling, served
from prm.verifiers.scoring import Example, Scoring, launch_line, vllm_options
from prm.verifiers.served import ServedVerifier, load_served

PROMPT, STEPS = "Let x be 4.", ("x is 4.", "2x is 8.")


def logit(ids):
    """A score that tells every beginning of a trace from every other."""
    return math.sin(sum(place * token for place, token in enumerate(ids, 1)))


def token_rows(ids_N):
    return [[[0.0, logit(ids[: end + 1])] for end in range(len(ids))] for ids in ids_N]


def twin_rows(ids_N):
    return [[[logit(ids)]] for ids in ids_N]


@pytest.fixture
def scoring(plain_tokenizer):
    codec = StepCodec(PromptTemplate("Q: {prompt}\n"), max_length=60)
    encoded = codec.encode(plain_tokenizer, PROMPT, STEPS)
    scores = tuple(1 / (1 + math.exp(-logit(encoded.input_ids[: end + 1]))) for end in encoded.step_ends)
    example = Example(PROMPT, STEPS, encoded.input_ids, encoded.step_ends, scores)
    ends = tuple(codec.step_end_ids(plain_tokenizer))
    return Scoring("token_classification", "prm", "", codec, ends, "last", "float32", 7, "prm-1", (example,))


@pytest.mark.parametrize("form", ["token_classification", "sequence_classification"])
def test_a_trace_is_scored_where_its_steps_end(form, scoring, plain_tokenizer):
    read = token_rows if form == "token_classification" else twin_rows
    verifier = ServedVerifier(replace(scoring, form=form), plain_tokenizer, read)
    assert verifier.largest_difference == pytest.approx(0, abs=1e-12)
    assert (verifier.kind, verifier.num_parameters) == ("prm", 7)
    other, too_long = ("x is 5.",), ("x is 4.",) * 30
    short, long, known = verifier.score_batch([PROMPT] * 3, [other, too_long, STEPS])
    assert long is None
    assert known.steps == pytest.approx(scoring.examples[0].scores)
    assert short.steps != known.steps[:1]
    with pytest.raises(ValueError, match="1 prompts but 2 traces"):
        verifier.score_batch([PROMPT], [STEPS, STEPS])


@pytest.mark.parametrize("form", ["token_classification", "sequence_classification"])
@pytest.mark.parametrize("objective", ["cross_entropy", "beta_binomial"])
def test_only_two_logits_that_learned_a_spread_tell_one(form, objective, scoring, plain_tokenizer):
    read = token_rows if form == "token_classification" else twin_rows
    verifier = ServedVerifier(replace(scoring, form=form, objective=objective), plain_tokenizer, read)
    (scores,) = verifier.score_batch([PROMPT], [STEPS])
    assert len(scores.spreads) == (2 if (form, objective) == ("token_classification", "beta_binomial") else 0)


def test_a_difference_up_to_the_tolerance_of_its_numbers_is_borne(scoring, plain_tokenizer):
    (example,) = scoring.examples
    for dtype, tolerance in (("float32", 1e-3), ("bfloat16", 0.05)):
        for factor in (0.9, 1.1):
            moved = replace(example, scores=(example.scores[0], example.scores[1] + factor * tolerance))
            its = replace(scoring, examples=(moved,))
            if factor < 1:
                verifier = ServedVerifier(its, plain_tokenizer, token_rows, dtype)
                assert verifier.largest_difference == pytest.approx(factor * tolerance)
                assert verifier.name.endswith("bfloat16") == (dtype == "bfloat16")
            else:
                with pytest.raises(ValueError, match="differ by") as error:
                    ServedVerifier(its, plain_tokenizer, token_rows, dtype)
                assert ("or say --dtype bfloat16" in str(error.value)) == (dtype == "float32")
    nan = replace(scoring, examples=(replace(example, scores=(math.nan, math.nan)),))
    with pytest.raises(ValueError, match="differ by nan"):
        ServedVerifier(nan, plain_tokenizer, token_rows)


def test_another_tokenizer_than_that_of_the_examples_is_refused(scoring, plain_tokenizer):
    (example,) = scoring.examples
    other = replace(example, input_ids=(*example.input_ids[:-1], 0))
    with pytest.raises(ValueError, match=r"its tokenizer is not that of scoring\.json"):
        ServedVerifier(replace(scoring, examples=(other,)), plain_tokenizer, token_rows)


def test_scores_of_the_twin_are_remembered_and_the_oldest_forgotten(scoring, plain_tokenizer, monkeypatch):
    asked = []

    def read(ids_N):
        asked.extend(ids_N)
        return twin_rows(ids_N)

    monkeypatch.setattr(served, "REMEMBERED", 3)
    verifier = ServedVerifier(replace(scoring, form="sequence_classification"), plain_tokenizer, read)
    assert len(asked) == 2
    verifier.score_batch([PROMPT], [STEPS])
    assert len(asked) == 2
    verifier.score_batch([PROMPT], [("x is 5.",)])
    assert len(asked) == 3
    verifier.score_batch([PROMPT], [STEPS])  # there is room for three
    assert len(asked) == 3
    verifier.score_batch([PROMPT], [("x is 6.",)])  # the first step of the example has to go
    assert len(asked) == 4
    verifier.score_batch([PROMPT], [STEPS[:1]])
    assert len(asked) == 5
    verifier.score_batch([PROMPT], [("x is 6.",)])
    assert len(asked) == 5


def two(*rows):
    return [list(row) for row in rows]


@pytest.mark.parametrize(
    ("form", "data", "message"),
    [
        ("token_classification", two((0.5, 1), (2, -3.5), (0, 0)), None),  # of all three tokens
        ("token_classification", two((0.5, 1)), None),  # of the one step
        ("token_classification", two((0.5, 1), (2, 3)), "2 rows for 3 tokens with 1 step ends"),
        ("token_classification", [], "0 rows"),
        ("token_classification", "high", "'high' rows"),
        ("token_classification", two((0.5,)), "not 2 finite numbers"),
        ("token_classification", two((0.5, 1, 2)), "not 2 finite numbers"),
        ("token_classification", [[0.5, True]], "not 2 finite numbers"),
        ("token_classification", [["a", 0.5]], "not 2 finite numbers"),
        ("token_classification", [[0.5, None]], "not 2 finite numbers"),
        ("token_classification", [[0.5, math.inf]], "not 2 finite numbers"),
        ("token_classification", [0.5], "not 2 finite numbers"),
        ("sequence_classification", [0.5], None),
        ("sequence_classification", [1], None),
        ("sequence_classification", [0.5, 1.0], "not 1 finite numbers"),
        ("sequence_classification", [math.nan], "not 1 finite numbers"),
    ],
)
def test_only_finite_numbers_in_the_wanted_form_are_logits(form, data, message, scoring):
    its = replace(scoring, form=form, step_end_ids=(9,))
    if message is None:
        rows = [data] if form == "sequence_classification" else data
        assert pooling.checked_rows(data, [5, 6, 9], its) == rows
    else:
        with pytest.raises(MalformedAnswer, match=message):
            pooling.checked_rows(data, [5, 6, 9], its)


@pytest.mark.parametrize(
    ("form", "task"), [("token_classification", "token_classify"), ("sequence_classification", "classify")]
)
def test_the_engine_is_told_the_layout_and_gives_raw_logits(form, task, scoring, monkeypatch):
    seen = {}

    class LLM:
        def __init__(self, **options):
            seen["options"] = options

        def encode(self, prompts, params, **settings):
            seen["asked"] = (prompts, params, settings)
            read = token_rows if form == "token_classification" else twin_rows
            found = read([prompt["prompt_token_ids"] for prompt in prompts])
            data_N = found if form == "token_classification" else [rows[0] for rows in found]
            return [
                SimpleNamespace(outputs=SimpleNamespace(data=torch.tensor(data, dtype=torch.double))) for data in data_N
            ]

    stand_in = SimpleNamespace(LLM=LLM, PoolingParams=lambda **settings: settings)
    monkeypatch.setitem(sys.modules, "vllm", stand_in)
    monkeypatch.setattr(pooling, "check_key_set", lambda *its: seen.update(checked=its))
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "")  # so that it is put back, set or not
    monkeypatch.delenv("VLLM_ENABLE_V1_MULTIPROCESSING")
    its = replace(scoring, form=form)
    read = pooling.engine_rows("folder", its, "bfloat16", {"tensor_parallel_size": 2})
    options = seen["options"]
    assert {name: options[name] for name in ("model", "trust_remote_code", "dtype", "max_model_len")} == {
        "model": "folder", "trust_remote_code": False, "dtype": "bfloat16", "max_model_len": 60
    }  # fmt: skip
    assert options["tensor_parallel_size"] == 2
    assert seen["checked"] == ("folder", form)
    assert pooling.os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    rows_N = token_rows if form == "token_classification" else twin_rows
    assert read([(5, 6, 4), (7,)]) == rows_N([(5, 6, 4), (7,)])
    prompts, params, settings = seen["asked"]
    assert prompts == [{"prompt_token_ids": [5, 6, 4]}, {"prompt_token_ids": [7]}]
    assert (params, settings) == ({"use_activation": False}, {"pooling_task": task, "use_tqdm": False})
    pooling.engine_rows("folder", its, "bfloat16")
    assert "tensor_parallel_size" not in seen["options"]


@pytest.mark.parametrize(
    ("gpu", "bf16", "asked", "expected"),
    [
        (True, True, None, "bfloat16"),
        (True, False, None, "float32"),
        (False, True, None, "float32"),
        (True, True, "float32", "float32"),
        (False, False, "bfloat16", "bfloat16"),
    ],
)
def test_the_engine_computes_in_bf16_where_the_machine_does(
    gpu, bf16, asked, expected, scoring, plain_tokenizer, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    monkeypatch.setattr(Scoring, "load", lambda folder: scoring)
    monkeypatch.setattr(served, "load_tokenizer", lambda folder: plain_tokenizer)
    given = []
    monkeypatch.setattr(served, "engine_rows", lambda *its: given.append(its) or token_rows)
    verifier = load_served("folder@vllm", asked, engine_options={"seed": 1})
    assert given == [("folder", scoring, expected, {"seed": 1})]
    assert verifier.name.endswith("bfloat16") == (expected == "bfloat16")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("out/prm@vllm", True), ("out/prm@http://h:1", True), ("a@b@https://h/v1", True), ("out/prm@vllm_2", False),
     ("out/prm@http", False), ("@vllm", False), ("out/prm", False)],
)  # fmt: skip
def test_a_served_verifier_is_named_by_its_folder_and_its_place(name, is_one):
    assert is_served(name) == is_one
    missing = r"scoring\.json is missing" if is_one else r"prm_config\.json|does not exist|no checkpoint|no folder"
    with pytest.raises(FileNotFoundError, match=missing):
        kind_of(name)


def test_vllm_is_told_what_follows_from_the_layout(scoring):
    its = {"runner": "pooling", "dtype": "float32", "max_model_len": 60}
    whole = {"pooler_config": {"task": "token_classify", "pooling_type": "ALL"}}
    assert vllm_options(scoring) == its | whole
    assert vllm_options(scoring, "bfloat16") == its | whole | {"dtype": "bfloat16"}
    assert vllm_options(replace(scoring, form="sequence_classification")) == its
    tokens = replace(scoring, form="math_shepherd", label_tokens=("-", "+"))
    overrides = {"classifier_from_token": ["-", "+"], "method": "no_post_processing"}
    assert vllm_options(tokens) == its | whole | {"convert": "classify", "hf_overrides": overrides}
    marked = replace(scoring, codec=replace(scoring.codec, marker="<step>"), step_end_ids=(7, 9))
    pooler = {"task": "token_classify", "pooling_type": "STEP", "step_tag_id": 9}
    assert vllm_options(marked) == its | {"pooler_config": pooler}
    line = launch_line("out/prm", vllm_options(scoring))
    assert line.startswith("vllm serve out/prm --runner pooling --dtype float32 --max-model-len 60 --pooler-config '{")


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({"anything": 60}, "anything"),
        ({"anything": None}, "anything"),
        ({"other": 60, "/models/prm": 61}, "/models/prm"),
        ({"other": 60, "another": 60}, "serves other, another, and none is called prm; start it with"),
        ({}, "serves nothing, and none is called prm"),
        ({"prm": 59}, "reads 59 tokens and the verifier 60; start it with --max-model-len 60"),
    ],
)
def test_a_server_is_asked_for_the_model_of_this_name(models, expected, scoring, monkeypatch):
    asked = []

    class Server:
        def __init__(self, url, patience):
            assert (url, patience) == ("http://host", 5.0)
            self.url = url

        @asynccontextmanager
        async def client(self, connections):
            yield None

        async def ask(self, client, path, body, read):
            if path == "v1/models":
                return read({"data": [{"id": name, "max_model_len": length} for name, length in models.items()]})
            asked.append((path, body))
            return read({"data": [{"data": token_rows([body["input"]])[0]}]})

        def unfit(self, message):
            return EndpointError(message)

    monkeypatch.setattr(pooling, "Endpoint", Server)
    if expected not in models:
        with pytest.raises(EndpointError, match=expected):
            pooling.server_rows("http://host/v1/", scoring, "out/prm", 5.0)
        return
    read, _ = pooling.server_rows("http://host/v1/", scoring, "out/prm", 5.0)
    assert read([(5, 6, 4), (7,)]) == token_rows([(5, 6, 4), (7,)])
    assert asked[0] == (
        "pooling", {"model": expected, "task": "token_classify", "use_activation": False, "input": [5, 6, 4]}
    )  # fmt: skip
    monkeypatch.setitem(globals(), "logit", lambda ids: math.nan)
    with pytest.raises(EndpointError, match=r"http://host gave logits \[0.0, nan\]"):
        read([(5,)])


def test_a_verifier_of_any_family_is_served_but_for_one_that_writes():
    assert is_served("trl:out/prm@http://h:1")
    assert not is_served("generative:out/prm@http://h:1")
