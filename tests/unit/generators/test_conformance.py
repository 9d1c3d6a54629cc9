"""Every engine of `prm.generators.Generator` keeps the same promises. The embedded generator is run by

    hf             HfGenerator
    openai         OpenAIGenerator against the small server of tests/openai_server.py
    openai_text    the same, against a server that knows no token ids (fewer promises)
    vllm           VllmGenerator, where vLLM is installed
    vllm_serve     OpenAIGenerator against `vllm serve`, where vLLM is installed

CONTRIBUTING.md says how to run the last two.
"""

import math
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from prm.answers import states_answer
from prm.datasets.problems import load_problems
from prm.encoding.steps import complete_steps
from prm.generators import derive_seed, load_generator
from prm.generators.hf import HfGenerator
from prm.search.driver import search
from prm.search.methods import parse_method
from prm.types import Budget

ENGINES = ["hf", "openai", "openai_text", "vllm", "vllm_serve"]
CONTEXT = 256


@pytest.fixture(scope="module")
def reference():
    return load_generator("arithmetic")


@pytest.fixture(scope="module")
def folder(root):
    return root / "prm/assets/arithmetic_generator"


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    return request.param


@pytest.fixture(scope="module")
def make(engine, reference, folder, request):
    """`make(**settings)`: a generator of this engine, cheap to make again."""
    if engine == "hf":
        yield lambda **settings: HfGenerator(reference.model, reference.tokenizer, name="a", **settings)
    elif engine in ("openai", "openai_text"):
        openai_server = request.getfixturevalue("openai_server")
        with openai_server(reference.model, reference.tokenizer, plain=engine == "openai_text") as server:
            yield lambda **settings: load_generator(
                server.url, engine="openai", tokenizer=str(folder), token_ids=not server.plain, **settings
            )
    elif engine == "vllm":
        pytest.importorskip("vllm")
        from prm.generators.vllm import VllmGenerator

        options = {"gpu_memory_utilization": 0.1, "enforce_eager": True, "block_size": 32}
        first = load_generator("arithmetic", engine="vllm", engine_options=options)
        yield lambda **settings: VllmGenerator(
            first._engine, first.tokenizer, name="a", num_parameters=first.num_parameters, **settings
        )
    else:
        pytest.importorskip("vllm")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        flags = ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"]
        flags += ["--no-enable-chunked-prefill"]  # on CPUs; data/README.md
        flags += ["--gpu-memory-utilization", "0.1", "--served-model-name", "tiny", "--model", str(folder)]
        server = subprocess.Popen([sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flags])
        url = f"http://127.0.0.1:{port}/v1"
        while True:  # it takes a minute to start
            try:
                load_generator(url, engine="openai", tokenizer=str(folder), patience=1)
                break
            except RuntimeError:
                assert server.poll() is None, "the server ended"
                time.sleep(2)
        yield lambda **settings: load_generator(url, engine="openai", tokenizer=str(folder), **settings)
        server.terminate()
        server.wait(60)


@pytest.fixture(scope="module")
def exact(engine):
    """Skips what a server without token ids cannot promise."""
    if engine == "openai_text":
        pytest.skip("a server without token ids")


@pytest.fixture(scope="module")
def prefixes(reference):
    """Eight prefixes of many lengths, some with steps after the problem."""
    steps = ("47 + 38 = 85", "85 - 12 = 73")
    return [reference.encode(p.prompt, steps[: i % 3]) for i, p in enumerate(load_problems("arithmetic", "test", 8))]


def ending(tokenizer, ids, rule, until):
    """Why and after how many of these ids a continuation ends, by reading every beginning of it."""
    for n in range(1, len(ids) + 1):
        if ids[n - 1] == tokenizer.eos_token_id:
            return "eos", n
        closed = complete_steps(tokenizer.decode(ids[:n]), rule)
        if closed and states_answer(closed[-1]):
            return "answer", n
        if closed and until == "step":
            return "step", n
    return "length", len(ids)


def test_a_sample_depends_on_its_seed_only(make, prefixes):
    generator = make(max_new_tokens=80)
    places = [(p, s) for p in range(8) for s in range(2)]
    asked, seeds = [prefixes[p] for p, _ in places], [derive_seed(0, p, s) for p, s in places]
    together = generator.generate(asked, seeds)
    assert len({c.token_ids for c in together}) > 8  # repeated prefixes with different seeds differ
    assert len({len(c.token_ids) for c in together}) > 3
    order = np.random.default_rng(0).permutation(len(asked))
    shuffled = generator.generate([asked[i] for i in order], [seeds[i] for i in order])
    assert [together[i] for i in order] == shuffled
    assert [generator.generate([asked[i]], [seeds[i]])[0] for i in (0, 10, 15)] == [together[i] for i in (0, 10, 15)]
    assert generator.generate(asked, [seed + 1 for seed in seeds]) != together


def test_a_greedy_call_is_one_at_temperature_0(make, prefixes):
    """Whatever the temperature of the generator (2 is the highest that vLLM takes) and the seeds."""
    warm, cold = make(max_new_tokens=24, temperature=2.0), make(max_new_tokens=24, temperature=0.0)
    greedy = warm.generate(prefixes, range(8), until="step", greedy=True)
    assert greedy == warm.generate(prefixes, range(8, 16), until="step", greedy=True)
    assert greedy == cold.generate(prefixes, range(8), until="step")
    assert greedy != warm.generate(prefixes, range(8), until="step")


def test_who_waits_is_told_of_every_continuation_that_ended(make, prefixes):
    told = []
    make(max_new_tokens=12).generate(prefixes, [derive_seed(4, i) for i in range(8)], ended=told.append)
    assert sum(told) == 8
    assert len(told) > 1


def test_many_prefixes_at_once(make, prefixes, engine):
    """For vLLM, more prompt tokens than it reads in one step."""
    generator = make(max_new_tokens=2)
    copies = 40 if engine.startswith("vllm") else 10
    seeds = [derive_seed(5, i) for i in range(8 * copies)]
    found = generator.generate(prefixes * copies, seeds)
    assert found[:8] == generator.generate(prefixes, seeds[:8])
    assert sum(map(len, prefixes)) * 40 > 4096


def test_ids_text_and_stop_agree(make, prefixes, reference, exact):
    tokenizer = reference.tokenizer
    stops = set()
    for rule, limit in (("line", 80), ("paragraph", 80), ("whole", 80), ("line", 9)):
        generator = make(max_new_tokens=limit, step_rule=rule)
        for until in ("step", "end"):
            found = generator.generate(prefixes, [derive_seed(1, i) for i in range(8)], until=until)
            assert [c.prefill for c in found] == [len(prefix) for prefix in prefixes]
            for c in found:
                ids = list(c.token_ids)
                assert (c.stop, len(ids)) == ending(tokenizer, ids, rule, until)
                assert c.text == tokenizer.decode([i for i in ids if i != tokenizer.eos_token_id])
                assert len(ids) <= limit
                assert c.stop != "length" or len(ids) == limit
                stops.add(c.stop)
    assert stops == {"step", "eos", "length"}  # this generator ends its texts after the answer


def test_texts_of_a_server_without_token_ids(make, prefixes, reference, engine):
    """The promises that remain: texts end where they should, and ids are the local reading of them."""
    if engine != "openai_text":
        pytest.skip("the test above asks for more")
    for until in ("step", "end"):
        found = make(max_new_tokens=80).generate(prefixes, range(8), until=until)
        for c in found:
            assert c.text == reference.tokenizer.decode([i for i in c.token_ids if i != 1])
            assert c.text.endswith("\n") == (c.stop in ("step", "answer"))
    assert {c.stop for c in found} <= {"answer", "eos"}


def test_greedy_is_the_same_everywhere(make, prefixes, reference):
    greedy = {"temperature": 0, "max_new_tokens": 80}
    expected = HfGenerator(reference.model, reference.tokenizer, name="greedy", **greedy).generate(prefixes, range(8))
    found = make(**greedy).generate(prefixes, range(8))
    assert [c.text.rstrip("\n") for c in found] == [c.text for c in expected]
    assert len({c.text for c in found}) >= 4


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_first_tokens_follow_the_model(make, prefixes, reference, exact, top_p):
    """Pearson's chi-square over 200 seeds, where the embedded model is unsure: after an operator of the problem."""
    n, temperature, prefix = 200, 1.5, prefixes[0][:5]
    with torch.inference_mode():
        logits = reference.model(torch.tensor([prefix])).logits[0, -1].double() / temperature
    ranked, order = logits.softmax(-1).sort(descending=True)
    ranked[ranked.cumsum(-1) - ranked >= top_p] = 0
    expected = torch.zeros_like(ranked).scatter(0, order, ranked / ranked.sum()).numpy()
    generator = make(temperature=temperature, top_p=top_p, max_new_tokens=1)
    drawn = [c.token_ids[0] for c in generator.generate([prefix] * n, [derive_seed(3, i) for i in range(n)])]
    counts = np.bincount(drawn, minlength=len(expected))
    assert counts[expected == 0].sum() == 0
    common = expected * n >= 5
    observed = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum()) * n
    keep = wanted > 0
    chi_square = ((observed[keep] - wanted[keep]) ** 2 / wanted[keep]).sum()
    freedom = keep.sum() - 1
    assert freedom >= 5
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom)


def test_nothing_to_do_and_what_cannot_be_done(make, prefixes, engine):
    generator = make(max_new_tokens=80)
    assert generator.generate([], []) == []
    with pytest.raises(ValueError, match="1 prefixes but 2 seeds"):
        generator.generate(prefixes[:1], [0, 1])
    if engine == "openai_text":
        return  # the server does not tell its context
    with pytest.raises(ValueError, match=f"{CONTEXT} tokens fills the model's context of {CONTEXT}"):
        generator.generate([prefixes[0], [5] * CONTEXT], [0, 0])
    (last,) = generator.generate([[5] * (CONTEXT - 1)], [0])
    assert len(last.token_ids) == 1


def test_names_and_encoding(make, reference, engine):
    generator = make(max_new_tokens=80)
    assert generator.name == make(max_new_tokens=80).name
    others = [make(max_new_tokens=81), make(temperature=0.5), make(step_rule="paragraph")]
    assert len({generator.name, *(other.name for other in others)}) == 4
    assert engine == "hf" or engine.split("_")[0] in generator.name or engine == "vllm_serve"
    assert generator.encode("Start with 47.", ["47 + 38 = 85"]) == reference.encode("Start with 47.", ["47 + 38 = 85"])
    assert generator.step_rule == "line"


def test_traces(make, engine):
    problems = load_problems("arithmetic", "test", 3)
    results = search(parse_method("majority", []), problems, make(max_new_tokens=80), None, Budget(3), seed=4)
    traces_P = [result.candidates for result in results]
    assert [[trace.id for trace in traces] for traces in traces_P] == [
        [f"{p.id}#{i}" for i in range(3)] for p in problems
    ]
    assert {trace.status for traces in traces_P for trace in traces} <= {"ok", "no_answer"}
    assert any(trace.correct for traces in traces_P for trace in traces)
    assert all(trace.num_tokens > 5 and trace.steps[-1].startswith("####") for traces in traces_P for trace in traces)
