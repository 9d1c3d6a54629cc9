"""What a verifier keeps between calls: scores as if all were read again, every token computed once, memory bounded."""

import math
import random
from dataclasses import replace

import pytest
import torch

from prm.encoding.codec import StepCodec
from prm.models.loading import from_base
from prm.models.prefix_cache import PrefixCache
from prm.training.trainer import add_lora
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.step_verifier import StepVerifier

CONFIG = VerifierConfig("prm", StepCodec(max_length=500), "value", "last", "base", "hash")
BYTES = 2 * 2 * 2 * 8 * 4
"""Of a token: keys and values, two layers, two heads of eight numbers in fp32."""


@pytest.fixture(scope="module")
def bases(tmp_path_factory, tiny_llama, tiny_qwen2, merging_tokenizer):
    folders = {}
    for name, make in (("llama", tiny_llama), ("qwen2", tiny_qwen2)):
        folders[name] = str(tmp_path_factory.mktemp(name))
        make(len(merging_tokenizer)).save_pretrained(folders[name])
        merging_tokenizer.save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def make(bases, merging_tokenizer):
    """`make(base, head, lora_r, **settings)`: a verifier whose `computed` has the tokens of every forward pass."""

    def verifier(base="llama", head="linear", lora_r=0, **settings):
        torch.manual_seed(0)
        model = from_base(bases[base], head=head)
        model = add_lora(model, lora_r) if lora_r else model
        for name, parameter in model.named_parameters():
            if "score" in name or "lora_B" in name:  # a new head hardly differs between steps, and B starts at zero
                torch.nn.init.normal_(parameter, std=0.3)
        made = StepVerifier(model, merging_tokenizer, CONFIG, **settings)
        made.computed = []
        model.register_forward_pre_hook(
            lambda module, inputs, named: made.computed.append(named["input_ids"].numel()), with_kwargs=True
        )
        return made

    return verifier


def some_search(seed, calls=8, step=lambda rng: f"{rng.choice('abc')} + {rng.randrange(3)}", jumps=True):
    """Calls of a search over several problems: each asks for some steps after what was asked before, or is asked again."""
    rng = random.Random(seed)
    seen = {f"What is {i} + {i}?": [()] for i in range(4)}
    for _ in range(calls):
        call = []
        for prompt in rng.sample(sorted(seen), rng.randint(1, 4)):
            parents = rng.choices(seen[prompt] if jumps else seen[prompt][-4:], k=rng.randint(1, 4))
            traces = [parent + tuple(step(rng) for _ in range(rng.randint(1, 3) if jumps else 1)) for parent in parents]
            seen[prompt] += traces
            call += [(prompt, trace) for trace in traces]
        if jumps:  # several problems' traces mixed
            rng.shuffle(call)
        yield [prompt for prompt, _ in call], [trace for _, trace in call]


def largest(a_N, b_N):
    return max(abs(x - y) for a, b in zip(a_N, b_N, strict=True) for x, y in zip(a.steps, b.steps, strict=True))


def nodes(tokenizer, calls, wanted=None):
    """Every distinct beginning, in tokens, of the traces of some calls."""
    ids_N = [
        (prompt, CONFIG.codec.encode(tokenizer, prompt, steps).input_ids)
        for prompts, steps_N in calls
        for prompt, steps in zip(prompts, steps_N, strict=True)
    ]
    return {(prompt, ids[:end]) for prompt, ids in ids_N for end in range(1, len(ids) + 1)}


@pytest.mark.slow
@pytest.mark.parametrize("base", ["llama", "qwen2"])
@pytest.mark.parametrize("lora_r", [0, 4])
@pytest.mark.parametrize("head", ["linear", "mlp", "lm_tokens"])
def test_scores_equal_those_of_reading_everything_again(base, lora_r, head, make):
    """With room for everything, and with little, in small rows."""
    again = make(base, head, lora_r, keep_bytes=0)
    wide = make(base, head, lora_r)
    narrow = make(base, head, lora_r, batch_tokens=60, keep_bytes=200 * BYTES)
    scores = []
    for seed in range(2):
        for call in some_search(seed):
            expected = again.score_batch(*call)
            for keeping in (wide, narrow):
                mine = keeping.score_batch(*call)
                assert largest(mine, expected) < 1e-5
                assert [(its.read, its.cached) for its in mine] == [(its.read, its.cached) for its in expected]
                assert keeping._cache.bytes <= keeping._cache.max_bytes
                scores += [score for its in mine for score in its.steps]
    assert max(scores) - min(scores) > 0.1
    assert sum(wide.computed) < sum(narrow.computed) < 2 * sum(again.computed)  # rows of 60 tokens share less
    assert sum(wide.computed) < 0.6 * sum(again.computed)


def test_every_token_is_computed_once(make, merging_tokenizer):
    keeping, again = make(), make(keep_bytes=0)
    calls = list(some_search(0, jumps=False))
    for call in calls:
        keeping.score_batch(*call)
        again.score_batch(*call)
    assert sum(keeping.computed) == len(nodes(merging_tokenizer, calls))
    assert sum(again.computed) > 2 * sum(keeping.computed)
    passes = len(keeping.computed)
    keeping.score_batch(*calls[-1])
    assert len(keeping.computed) == passes  # all is known: the model is not asked
    assert keeping._cache.bytes == sum(keeping.computed) * BYTES


def test_a_step_that_ends_where_none_ended_before_has_its_own_score(make):
    """One step of two lines has the tokens of two steps."""
    keeping, again = make(), make(keep_bytes=0)
    for steps in (("a + 1\nb + 2",), ("a + 1", "b + 2"), ("a + 1", "b + 2", "c")):
        assert largest(keeping.score_batch(["2?"], [steps]), again.score_batch(["2?"], [steps])) < 1e-5
    assert (
        largest(keeping.score_batch(["2?"], [("a + 1\nb + 2",)]), again.score_batch(["2?"], [("a + 1\nb + 2",)])) < 1e-5
    )


def test_whole_traces_that_are_scored_once_leave_nothing_behind(make):
    verifier = make()
    verifier.score_batch(["1?", "1?", "2?"], [("a", "b"), ("c", "d"), ("a", "b")])
    assert verifier._cache.bytes == 0
    verifier.score_batch(["2?"], [("c", "d")])  # asked for again
    assert verifier._cache.bytes == verifier.computed[-1] * BYTES
    verifier.score_batch(["3?"], [("a",)])  # a first step
    assert verifier._cache.bytes == sum(verifier.computed[-2:]) * BYTES


def test_what_was_asked_for_least_recently_makes_room(make):
    verifier = make()

    def ask(prompt, *steps):
        verifier.score_batch([prompt], [steps])
        return verifier.computed[-1]

    one = ask("1?", "a")
    verifier._cache.max_bytes = 5 * one * BYTES // 2  # room for two of three
    assert (ask("2?", "a"), ask("1?", "a", "b") < one, ask("3?", "a")) == (one, True, one)
    assert ask("1?", "a", "c") < one  # was kept
    assert ask("2?", "a", "c") > one  # was dropped, and is read again
    assert verifier._cache.bytes <= verifier._cache.max_bytes


def test_one_byte_too_many_is_too_many(make):
    """The oldest prompt makes room, not those of the call."""
    verifier = make()
    verifier.score_batch(["1?"], [("a",)])
    one = verifier._cache.bytes
    verifier._cache.max_bytes = 2 * one - 1
    verifier.score_batch(["2?"], [("a",)])
    assert [verifier._cache._trees[prompt].bytes for prompt in ("1?", "2?")] == [0, one]


def test_of_many_prompts_the_least_recently_asked_for_is_forgotten(monkeypatch):
    monkeypatch.setattr(PrefixCache, "most_prompts", 2)
    cache = PrefixCache(1 << 20)
    assert [cache.ask(prompt) for prompt in ("1?", "2?", "1?", "3?", "1?", "2?", "3?")] == [
        *(False, False, True),
        *(False, True, False, False),  # 3 took the place of 2, and then 2 that of 3
    ]


def test_branches_that_are_not_asked_for_make_room_before_a_prompt_of_the_same_call_does(make):
    wide, steps = make(), [(letter,) for letter in "abcdefgh"]
    wide.score_batch(["1?"] * 8, steps)
    wide._cache.max_bytes = wide._cache.bytes
    wide.score_batch(["1?"], [("a", "b")])
    assert 0 < wide._cache.bytes < wide._cache.max_bytes / 2
    before = len(wide.computed)
    wide.score_batch(["1?"], [("a", "b", "c")])
    assert wide.computed[before:] == [wide.computed[-1]]
    assert wide.computed[-1] < 5
    assert largest(wide.score_batch(["1?"] * 8, steps), make(keep_bytes=0).score_batch(["1?"] * 8, steps)) < 1e-5


def test_of_more_problems_than_there_is_room_for_some_are_kept(make):
    """Dropped in turn, each would be dropped just before it is asked for again, and nothing would be found."""
    prompts = [f"What is {i} + 1?" for i in range(10)]
    verifier, steps = make(batch_tokens=20), ()
    verifier._cache.max_bytes = 10**9
    verifier.score_batch(prompts, [("a",)] * 10)
    all_of_it = sum(verifier.computed)
    verifier._cache.max_bytes = all_of_it * BYTES * 3 // 4
    for step in "abcdef":
        steps += (step,)
        verifier.computed.clear()
        scores = verifier.score_batch(prompts, [steps] * 10)
    assert sum(its.read + its.cached for its in scores) * 3 // 4 > sum(verifier.computed)


def test_a_verifier_that_keeps_nothing_says_so(make):
    (kept,) = make().score_batch(["1 + 1?"], [("a", "b + 1")])
    (not_kept,) = make(keep_bytes=0).score_batch(["1 + 1?"], [("a", "b + 1")])
    assert (len(kept.ends), kept.ends[-1], not_kept.ends) == (3, kept.read, ())
    assert kept.steps == not_kept.steps


def test_spreads_are_those_of_the_beta_whose_mean_is_the_score_kept_or_read_again(make):
    """Only of a verifier that learned counts; the score is the softmax of the two logits, as every reader computes it."""
    plain, again, kept = make(), make(keep_bytes=0), make()
    again.config = kept.config = replace(CONFIG, objective="beta_binomial", targets="counts")
    for _ in range(2):  # the second time from what is kept
        for prompts, steps_N in some_search(3):
            for other, mine, new in zip(*(v.score_batch(prompts, steps_N) for v in (plain, kept, again)), strict=True):
                assert other.spreads == ()
                assert other.steps == mine.steps
                assert mine.spreads == pytest.approx(new.spreads, abs=1e-5)
                assert all(
                    0 < its < (score * (1 - score)) ** 0.5 for its, score in zip(mine.spreads, mine.steps, strict=True)
                )
    # Both logits up by log 3: the same scores, from three times the counts.
    before = again.score_batch(["What is 1 + 1?"], [("1 + 1",)])[0]
    again.model.score.bias.data += math.log(3)
    after = again.score_batch(["What is 1 + 1?"], [("1 + 1",)])[0]
    (score,), a, b = after.steps, before.spreads[0], after.spreads[0]
    assert before.steps == pytest.approx(after.steps)
    counts = score * (1 - score) / a**2 - 1
    assert score * (1 - score) / b**2 - 1 == pytest.approx(3 * counts, rel=1e-3)


def test_traces_of_equal_tokens_may_be_divided_into_other_steps(make, merging_tokenizer):
    """A step that holds a separator was read before as one; then a trace has two steps there, beside one that has not."""
    prompt, one, two = "What is 1 + 1?", ("a + 1\nb + 2",), ("a + 1", "b + 2")
    encode = CONFIG.codec.encode
    assert encode(merging_tokenizer, prompt, one).input_ids == encode(merging_tokenizer, prompt, two).input_ids
    kept, again = make(), make(keep_bytes=0)
    kept.score_batch([prompt], [one])
    asked = [prompt] * 2, [two, (*one, "c")]
    assert largest(kept.score_batch(*asked), again.score_batch(*asked)) < 1e-5
