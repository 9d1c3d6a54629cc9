"""Samples that are written some tokens at a time, in growing rows or in slots, are those of a token at a time."""

import math

import numpy as np
import pytest
import torch
from successor_model import successor_model

from prm.generators import derive_seed
from prm.generators.hf import HfGenerator
from prm.models.growing_rows import GrowingRows
from prm.models.kept_tokens import KeptTokens
from prm.models.slots import Slots

WAYS = [(GrowingRows, 3), (GrowingRows, 8), (Slots, 1), (Slots, 3), (Slots, 8)]


def make(model, tokenizer, **settings):
    return HfGenerator(model, tokenizer, name="tiny", **settings)


def set_way(generator, kind, block):
    generator.rows, generator.block = kind(generator.model, generator.context), block


@pytest.fixture(scope="module")
def wordy(tiny_llama, merging_tokenizer):
    """A model that ends lines, paragraphs and texts often; what it writes depends on all it has read."""
    model = tiny_llama(len(merging_tokenizer), seed=4)
    texts = [merging_tokenizer.decode([i]) for i in range(len(merging_tokenizer))]
    likelier = torch.tensor([2.0 if "\n" in text else 0.0 for text in texts])
    likelier[merging_tokenizer.eos_token_id] = 1.0
    model.lm_head.register_forward_hook(lambda module, inputs, logits: logits + likelier)
    return model


@pytest.mark.parametrize(
    ("rule", "until", "greedy", "ways", "stops"),
    [
        ("line", "step", False, [(GrowingRows, 8), (Slots, 3)], {"step", "eos", "length"}),
        pytest.param("line", "end", False, WAYS, {"eos", "length"}, marks=pytest.mark.slow),
        pytest.param("line", "step", True, WAYS, {"step", "eos"}, marks=pytest.mark.slow),
        pytest.param("paragraph", "step", False, WAYS, {"step", "eos", "length"}, marks=pytest.mark.slow),
        pytest.param("paragraph", "end", False, [(Slots, 8)], {"eos", "length"}, marks=pytest.mark.slow),
        pytest.param("thought", "end", False, [(Slots, 8)], {"eos", "length"}, marks=pytest.mark.slow),
        pytest.param("whole", "step", False, [(Slots, 8)], {"eos", "length"}, marks=pytest.mark.slow),
    ],
)
def test_tokens_and_ends_are_those_of_a_token_at_a_time(wordy, merging_tokenizer, rule, until, greedy, ways, stops):
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 60, size=8)
    prefixes = [rng.integers(5, len(merging_tokenizer), size=n).tolist() for n in lengths for _ in range(3)]
    seeds = [derive_seed(5, i) for i in range(24)]
    limits = rng.integers(1, 40, size=24).tolist()
    generator = make(wordy, merging_tokenizer, step_rule=rule, max_new_tokens=25, batch_size=10, top_p=0.95)
    watched = merging_tokenizer.convert_tokens_to_ids(["Ċ", "ĊĊ"])
    asked = {"until": until, "limits": limits, "greedy": greedy, "watched": tuple(watched)}
    expected = generator.generate(prefixes, seeds, **asked)
    for way in ways:
        set_way(generator, *way)
        told = []
        found = generator.generate(prefixes, seeds, ended=told.append, **asked)
        assert [(one.token_ids, one.text, one.stop) for one in found] == [
            (one.token_ids, one.text, one.stop) for one in expected
        ]
        assert sum(told) == 24
        for (*place, odds), (*other, its) in zip(places(found), places(expected), strict=True):
            assert place == other
            assert math.isclose(odds, its, abs_tol=1e-4)
    assert len(places(expected)) >= 3
    assert {one.stop for one in expected} == stops


def places(found):
    return [place for one in found for place in one.odds]


def test_what_is_written_after_the_end_is_taken_back(plain_tokenizer):
    """The model writes `a . \\n b b b ...`; the first step ends with the line, and only its tokens are kept."""
    model = successor_model(plain_tokenizer, {"x": "a", "a": ".", ".": "Ċ", "Ċ": "b", "b": "b"})
    generator = make(model, plain_tokenizer, temperature=0, step_rule="line", max_new_tokens=20)
    prefix = plain_tokenizer("xx", add_special_tokens=False)["input_ids"]
    kept_ids = []
    for way in [(GrowingRows, 1), *WAYS]:
        set_way(generator, *way)
        kept = KeptTokens()
        found = generator.generate([prefix] * 2, [0, 1], until="step", kept=kept)
        assert {(one.text, one.stop, len(one.token_ids)) for one in found} == {("a.\n", "step", 3)}
        kept_ids.append(len(kept))
        assert kept.find([*prefix, *found[0].token_ids, 0]) == [0, 1, 2, 3]  # x x a . and not the line end, nor any b
    assert kept_ids == [4] * len(kept_ids)


def test_no_block_is_longer_than_what_may_be_written(plain_tokenizer):
    """The last tokens of a limit, and of the context, need no further pass."""
    model = successor_model(plain_tokenizer, {"b": "b", "x": "b"})  # 64 positions
    (x,) = plain_tokenizer("x", add_special_tokens=False)["input_ids"]
    generator = make(model, plain_tokenizer, temperature=0, max_new_tokens=500)
    for kind in (GrowingRows, Slots):
        set_way(generator, kind, 8)
        passes = []
        hook = model.register_forward_pre_hook(lambda *_: passes.append(1))  # noqa: B023
        found = generator.generate([[x], [x] * 60, [x] * 63], [0] * 3, limits=[13, 50, 50])
        hook.remove()
        assert [(one.stop, len(one.token_ids)) for one in found] == [("length", 13), ("length", 4), ("length", 1)]
        assert len(passes) == 13  # the prefixes, and 12 tokens after the first


@pytest.mark.slow
def test_a_search_goes_on_from_slots(wordy, merging_tokenizer):
    """Calls that go on from each other, with samples that wait for places: read what is new, sample what was sampled."""
    rng = np.random.default_rng(0)
    generator = make(wordy, merging_tokenizer, step_rule="line", max_new_tokens=12, batch_size=8)
    ways = [(GrowingRows, 1), *WAYS]
    kept = [KeptTokens() for _ in ways]
    prefixes = [rng.integers(5, 300, size=n).tolist() for n in (4, 19, 30, 7)] * 5
    for call in range(2):
        seeds = [derive_seed(call, i) for i in range(20)]
        results = []
        for way, mine in zip(ways, kept, strict=True):
            set_way(generator, *way)
            found = generator.generate(prefixes, seeds, until="step", kept=mine)
            results.append([(one.token_ids, one.stop, one.prefill, one.keeps) for one in found])
        assert all(result == results[0] for result in results)
        going = [(p, ids) for p, (ids, stop, *_) in zip(prefixes, results[0], strict=True) if stop == "step"]
        assert len(going) >= 5
        for mine in kept:
            assert len(mine) == len(kept[0])
            assert all(len(mine.find([*p, *ids])) == len(p) + len(ids) - 1 for p, ids in going)
        prefixes = [[*p, *ids] for p, ids in going[:5]] * 4
    # With room for little, what is kept differs, and no sample does.
    generator.keep_bytes = kept[0].bytes // 4
    for way, mine in zip(ways, kept, strict=True):
        set_way(generator, *way)
        found = generator.generate(prefixes, seeds, until="step", kept=mine)
        assert [one.token_ids for one in found] == [
            one.token_ids for one in generator.generate(prefixes, seeds, "step")
        ]
        assert 0 < mine.bytes <= generator.keep_bytes
