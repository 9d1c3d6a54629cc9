"""HfGenerator in a search: what is kept between calls changes no sample, saves what is charged, and is bounded."""

import random
from dataclasses import replace

import pytest
from transformers import MistralConfig, MistralForCausalLM

from prm.datasets.problems import load_problems
from prm.generators import load_generator
from prm.generators.draws import draw
from prm.generators.hf import HfGenerator
from prm.models.kept_tokens import KeptTokens
from prm.search import STRATEGIES
from prm.search.driver import search
from prm.search.methods import Method
from prm.types import Budget, Scores

SEARCHES = {
    "beam_search": {},
    "rebase": {},
    "mcts": {},
    "lookahead_search": {"lookahead": 1},
}


class Random:
    """A verifier whose scores depend on the text alone."""

    name, kind, num_parameters = "random", "prm", 0

    def score_batch(self, prompts, steps_N):
        scores_N = [[random.Random(f"{p}{step}").random() for step in s] for p, s in zip(prompts, steps_N, strict=True)]
        return [Scores(tuple(scores), scores[-1]) for scores in scores_N]


@pytest.fixture(scope="module")
def embedded():
    return load_generator("arithmetic")


def find(name, problems, generator):
    method = Method(name, STRATEGIES[name], "v", SEARCHES[name])
    return search(method, problems, generator, Random(), Budget(8), 0)


def prefilled(generator):
    """Tokens of prefixes that the model computes from now on: what is not padding in passes that begin a batch."""
    counts = []

    def count(module, args, named):
        if "logits_to_keep" in named:
            counts.append(int(named["attention_mask"][:, -named["input_ids"].shape[1] :].sum()))

    return counts, generator.model.register_forward_pre_hook(count, with_kwargs=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SEARCHES))
def test_a_search_finds_the_same_and_reads_what_it_is_charged(name, embedded, monkeypatch):
    problems = load_problems("arithmetic", "test", 3)
    counts, hook = prefilled(embedded)
    together = find(name, problems, embedded)
    kept_in_all = sum(counts)
    counts.clear()
    for problem, expected in zip(problems, together, strict=True):
        (alone,) = find(name, [problem], embedded)
        assert replace(alone.cost, seconds=0.0) == replace(expected.cost, seconds=0.0)
        assert sum(counts) == alone.cost.prompt_tokens
        counts.clear()
    monkeypatch.setattr(embedded, "keep_bytes", 0)
    again = find(name, problems, embedded)
    hook.remove()
    for kept, read_again in zip(together, again, strict=True):
        assert kept.candidates == read_again.candidates
        assert kept.tree == read_again.tree
        assert (kept.chosen, kept.scores) == (read_again.chosen, read_again.scores)
        ours, theirs = kept.cost, read_again.cost
        assert ours.prompt_tokens * 3 < theirs.prompt_tokens
        assert ours.prompt_tokens + ours.cached_tokens == theirs.prompt_tokens + theirs.cached_tokens
        saved = theirs.prompt_tokens - ours.prompt_tokens
        assert theirs.flops - ours.flops == 2 * embedded.num_parameters * saved
    assert sum(counts) == sum(result.cost.prompt_tokens for result in again)
    assert kept_in_all <= sum(result.cost.prompt_tokens for result in together)  # problems share what begins alike


@pytest.fixture
def logits_of(monkeypatch):
    """`logits_of(generator, ...)`: the logits of every token sampled by one call, and the continuations."""

    def call(generator, *args, **settings):
        seen = []

        def sample(logits, *settings):
            seen.append(logits.clone())
            return draw(logits, *settings)

        monkeypatch.setattr("prm.generators.decoding.draw", sample)
        found = generator.generate(*args, until="step", **settings)
        return seen, [(c.token_ids, c.stop) for c in found]

    return call


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_qwen2"])
def test_logits_equal_those_of_reading_everything_again(model, request, merging_tokenizer, logits_of):
    """Calls of a search with prefixes of many lengths: after what was sampled, after half of it and another token, old ones
    again, and new prompts; with room for all tokens, and for 80 (a token takes 256 bytes)."""
    model = request.getfixturevalue(model)(len(merging_tokenizer))
    generator = HfGenerator(model, merging_tokenizer, name="tiny", step_rule="line", max_new_tokens=20, batch_size=8)
    rng = random.Random(0)
    kept = {4 << 30: KeptTokens(), 80 * 256: KeptTokens()}
    seen = [[rng.randrange(5, 300) for _ in range(n)] for n in (3, 17, 9)]
    ragged = 0
    for call in range(6):
        prefixes = rng.choices(seen[-12:], k=9)
        ragged += len({len(kept[4 << 30].find(prefix)) for prefix in prefixes}) > 2
        seeds = [100 * call + i for i in range(9)]
        expected, found = logits_of(generator, prefixes, seeds)
        for room, mine in kept.items():
            generator.keep_bytes = room
            logits, found_with_it = logits_of(generator, prefixes, seeds, kept=mine)
            assert found_with_it == found
            assert mine.bytes <= room
            for a, b in zip(logits, expected, strict=True):
                assert (a - b).abs().max() < 1e-5
        for prefix, (ids, stop) in zip(prefixes, found, strict=True):
            if stop == "step":
                seen.append([*prefix, *ids])
                seen.append([*prefix, *ids[: len(ids) // 2], rng.randrange(5, 300)])
        seen.append([rng.randrange(5, 300) for _ in range(rng.randrange(1, 30))])
    assert len(seen) > 30
    assert ragged > 3
    large, small = (mine.bytes for mine in kept.values())
    assert large > 2 * small > 0


def test_whole_traces_keep_nothing(embedded, monkeypatch):
    given, generate = [], embedded.generate

    def record(*args, kept=None, **settings):
        given.append(kept)
        return generate(*args, kept=kept, **settings)

    monkeypatch.setattr(embedded, "generate", record)
    problems = load_problems("arithmetic", "test", 2)
    search(Method("best_of_n", STRATEGIES["best_of_n"], "v", {}), problems, embedded, Random(), Budget(4), 0)
    assert given == [None]
    find("beam_search", problems, embedded)
    assert given[1] is given[-1]
    assert len(given[1]) > 50
    find("beam_search", problems[:1], embedded)
    assert given[-1] is not given[1]  # every search begins with nothing


def mistral(tokenizer, **settings):
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=None, pad_token_id=0,
        eos_token_id=tokenizer.eos_token_id, **settings,
    )  # fmt: skip
    return MistralForCausalLM(config).eval()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sliding_window": 8}, "reads its prefix again, because the model has layers .*DynamicSlidingWindowLayer"),
        (
            {"sliding_window": None, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "reads its prefix again, because the model rotates keys by the length of the text .rope_type dynamic",
        ),
    ],
)
def test_models_that_forget_read_their_prefixes_again(settings, message, plain_tokenizer):
    generator = HfGenerator(mistral(plain_tokenizer, **settings), plain_tokenizer, name="m", max_new_tokens=5)
    kept = KeptTokens()
    with pytest.warns(UserWarning, match=message):
        (found,) = generator.generate([[5, 6, 7]], [1], until="step", kept=kept)
    assert (len(kept), found.keeps, found.prefill) == (0, False, 3)
    assert found == generator.generate([[5, 6, 7]], [1], until="step")[0]


def test_full_attention_is_kept(plain_tokenizer):
    generator = HfGenerator(mistral(plain_tokenizer, sliding_window=None), plain_tokenizer, name="m", max_new_tokens=5)
    (found,) = generator.generate([[5, 6, 7]], [1], until="step", kept=KeptTokens())
    assert (found.keeps, found.prefill) == (True, 3)  # what it would have needed alone


def test_a_prefix_is_kept_even_if_all_that_followed_it_has_ended(plain_tokenizer):
    """Another sample of it may be asked for."""
    generator = HfGenerator(mistral(plain_tokenizer, sliding_window=None), plain_tokenizer, name="m", max_new_tokens=5)
    kept = KeptTokens()
    (found,) = generator.generate([[5, 6, 7]], [1], until="step", limits=[1], kept=kept)
    assert found.stop == "length"
    assert kept.find([5, 6, 7, 0]) == [0, 1, 2]


def test_the_prefix_that_was_asked_for_last_is_kept_longest(plain_tokenizer):
    generator = HfGenerator(mistral(plain_tokenizer, sliding_window=None), plain_tokenizer, name="m", max_new_tokens=5)
    first, second, third = [5, 6, 7], [8, 9, 10], [11, 12, 13]
    kept = KeptTokens()

    def ask(prefix):
        generator.generate([prefix], [1], until="step", limits=[1], kept=kept)

    ask(first)
    generator.keep_bytes = 2 * kept.bytes  # room for two of them
    ask(second)
    ask(first)
    ask(third)
    assert [len(kept.find([*prefix, 0])) for prefix in (first, second, third)] == [3, 0, 3]
