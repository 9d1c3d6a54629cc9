"""The likelihood of traces against one plain forward pass per trace."""

import math

import pytest
import torch

from prm.generators.hf import HfGenerator
from prm.verifiers.likelihood import LikelihoodVerifier

PROMPTS = ["What is 47 + 38?", "What is 47 + 38?", "What is 47 + 38?", "Start with 4."]
STEPS = [("47 + 38 = 85.", "#### 85"), ("47 + 38 = 75", "#### 75"), ("47 + 38 = 85.",), ("Let x be 4.\n\nSo", "x = 4")]


@pytest.fixture(params=["plain_tokenizer", "merging_tokenizer", "trimming_tokenizer"])
def generator(request, tiny_llama):
    tokenizer = request.getfixturevalue(request.param)
    return HfGenerator(tiny_llama(len(tokenizer)), tokenizer, name="tiny", max_new_tokens=12, temperature=0.5)


@torch.inference_mode()
def by_hand(generator, prompt, steps):
    """The geometric mean of the probabilities of the tokens after the prompt, up to the end of each step."""
    start, ids = len(generator.encode(prompt)), generator.encode(prompt, steps)
    logprobs = generator.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    of = [logprobs[i - 1, ids[i]].item() for i in range(start, len(ids))]
    ends = [len(generator.encode(prompt, steps[:k])) - start for k in range(1, len(steps) + 1)]
    return [math.exp(sum(of[:end]) / end) for end in ends]


@pytest.mark.parametrize("row_tokens", [4096, 1])
def test_scores_are_those_of_a_forward_pass_for_each_trace(generator, row_tokens):
    scores = LikelihoodVerifier(generator, row_tokens).score_batch(PROMPTS, STEPS)
    for its, prompt, steps in zip(scores, PROMPTS, STEPS, strict=True):
        assert its.steps == pytest.approx(by_hand(generator, prompt, steps), abs=1e-6)
        assert its.trace == its.steps[-1]
    assert len({round(its.trace, 6) for its in scores}) == 4


def test_what_traces_of_a_problem_share_is_read_once(generator):
    ids_N = [generator.encode(prompt, steps) for prompt, steps in zip(PROMPTS, STEPS, strict=True)]
    nodes = {tuple(ids[:end]) for ids in ids_N[:3] for end in range(1, len(ids) + 1)}
    scores = LikelihoodVerifier(generator).score_batch(PROMPTS, STEPS)
    assert sum(its.read for its in scores[:3]) == len(nodes)
    assert [its.read + its.cached for its in scores] == list(map(len, ids_N))
    assert (scores[3].read, scores[3].cached) == (len(ids_N[3]), 0)
    alone = LikelihoodVerifier(generator, row_tokens=1).score_batch(PROMPTS, STEPS)
    assert [its.read for its in alone] == list(map(len, ids_N))  # where nothing is packed, nothing is shared


def test_a_trace_beyond_the_context_has_no_score(generator):
    long = ("1 + 1 = 2",) * 200
    first, second = LikelihoodVerifier(generator).score_batch(PROMPTS[:2], [long, STEPS[1]])
    assert first is None
    assert second.steps == pytest.approx(by_hand(generator, PROMPTS[1], STEPS[1]), abs=1e-6)


def test_the_generator_samples_as_before(generator):
    prefixes = [generator.encode(prompt) for prompt in PROMPTS]
    before = generator.generate(prefixes, [1, 2, 3, 4])
    LikelihoodVerifier(generator).score_batch(PROMPTS, STEPS)
    assert generator.generate(prefixes, [1, 2, 3, 4]) == before


def test_its_name_is_that_of_the_generator(generator):
    verifier = LikelihoodVerifier(generator)
    assert verifier.name == f"likelihood-{generator.name}"
    assert (verifier.kind, verifier.num_parameters) == ("prm", generator.num_parameters)
