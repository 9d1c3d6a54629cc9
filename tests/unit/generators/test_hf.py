"""HfGenerator on tiny random models, on models that write what they are told to, and on the embedded generator."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gguf_file import write_gguf
from successor_model import successor_model

from prm.answers import states_answer
from prm.datasets.problems import load_problems
from prm.encoding.prompts import PROMPTS
from prm.encoding.steps import complete_steps
from prm.generators import derive_seed, load_generator
from prm.generators.draws import uniform
from prm.generators.hf import HfGenerator
from prm.models.growing_rows import GrowingRows
from prm.models.slots import Slots


@pytest.fixture(scope="module")
def embedded():
    return load_generator("arithmetic")


@pytest.fixture(scope="module")
def embedded_prefixes(embedded):
    """Eight prefixes of eight lengths, some with steps after the problem."""
    problems = load_problems("arithmetic", "test", 8)
    steps = [("47 + 38 = 85", "85 - 12 = 73")[: i % 3] for i in range(8)]
    prefixes = [embedded.encode(problem.prompt, steps[i]) for i, problem in enumerate(problems)]
    assert len(set(map(len, prefixes))) >= 6
    return prefixes


def make(model, tokenizer, **settings):
    return HfGenerator(model, tokenizer, name="tiny", **settings)


def count_rows(model):
    """The shapes of the `input_ids` of every forward pass from now on."""
    shapes = []
    handle = model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    return shapes, handle


# --- A sample depends on its seed only ---


def test_samples_do_not_depend_on_the_batch(embedded, embedded_prefixes):
    places = [(p, s) for p in range(5) for s in range(2)]
    seeds = [derive_seed(0, p, s) for p, s in places]
    asked = [embedded_prefixes[p] for p, _ in places]
    together = embedded.generate(asked, seeds)
    assert len({c.token_ids for c in together}) > 5  # seeds differ, so texts do
    assert len({len(c.token_ids) for c in together}) > 3  # ragged ends too

    alone = [embedded.generate([prefix], [seed])[0] for prefix, seed in zip(asked, seeds, strict=True)]
    assert together == alone
    order = np.random.default_rng(0).permutation(len(asked))
    shuffled = embedded.generate([asked[i] for i in order], [seeds[i] for i in order])
    assert [together[i] for i in order] == shuffled
    small = HfGenerator(embedded.model, embedded.tokenizer, name="x", max_new_tokens=80, batch_size=4)
    assert small.generate(asked, seeds) == together


def test_first_steps_are_the_beginning_of_whole_traces(embedded, embedded_prefixes):
    seeds = list(range(8))
    steps = embedded.generate(embedded_prefixes, seeds, until="step")
    whole = embedded.generate(embedded_prefixes, seeds)
    for step, end in zip(steps, whole, strict=True):
        assert end.token_ids[: len(step.token_ids)] == step.token_ids


def test_a_long_neighbor_does_not_shorten_a_sample(plain_tokenizer, tiny_llama):
    """With 512 positions, a prefix of 500 leaves 12 tokens; the prefix of 3 beside it still gets its 40."""
    model = tiny_llama(len(plain_tokenizer))
    with torch.no_grad():
        model.lm_head.weight[plain_tokenizer.eos_token_id] = 0
    generator = make(model, plain_tokenizer, max_new_tokens=40)
    short, long = [7, 8, 9], list(range(10, 210)) * 2 + list(range(10, 110))
    seeds = [1, 2, 3, 4]
    both = generator.generate([short, long, short, long], seeds)
    assert [len(c.token_ids) for c in both] == [40, 12, 40, 12]
    assert {c.stop for c in both} == {"length"}
    assert generator.generate([short], [1])[0] == both[0]
    assert generator.generate([long], [4])[0] == both[3]


# --- The right token ---


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_qwen2"])
def test_greedy_is_what_transformers_generates(request, kind, plain_tokenizer):
    model = request.getfixturevalue(kind)(len(plain_tokenizer), seed=3)
    generator = make(model, plain_tokenizer, temperature=0, max_new_tokens=24)
    rng = np.random.default_rng(0)
    prefixes = [rng.integers(5, len(plain_tokenizer), size=n).tolist() for n in (1, 3, 17, 4, 40, 3)]
    found = generator.generate(prefixes, [0] * len(prefixes))
    for prefix, continuation in zip(prefixes, found, strict=True):
        ids = torch.tensor([prefix])
        expected = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24
        )[0, len(prefix) :].tolist()
        assert list(continuation.token_ids) == expected[: len(continuation.token_ids)]
        assert len(continuation.token_ids) == len(expected) or continuation.stop == "answer"
    assert len({c.token_ids for c in found}) >= 4


def test_greedy_on_the_embedded_generator(embedded, embedded_prefixes):
    greedy = HfGenerator(embedded.model, embedded.tokenizer, name="greedy", temperature=0, max_new_tokens=80)
    for prefix, continuation in zip(embedded_prefixes, greedy.generate(embedded_prefixes, [0] * 8), strict=True):
        ids = torch.tensor([prefix])
        expected = embedded.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=80
        )[0, len(prefix) :].tolist()
        assert list(continuation.token_ids) == expected[: len(continuation.token_ids)]
        assert len(continuation.token_ids) == len(expected) or continuation.stop == "answer"


def nucleus(probabilities, top_p):
    """The smallest set of likeliest tokens whose probability reaches `top_p`, renormalized. By a plain loop."""
    kept, total = {}, 0.0
    for i in sorted(range(len(probabilities)), key=lambda i: -probabilities[i]):
        if total >= top_p:
            break
        kept[i] = probabilities[i]
        total += probabilities[i]
    return np.array([kept.get(i, 0.0) / total for i in range(len(probabilities))])


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.5, 0.8), (1.0, 0.3)])
@pytest.mark.parametrize("derived", [True, False])
def test_frequencies_are_those_of_the_model(plain_tokenizer, tiny_llama, temperature, top_p, derived):
    """Pearson's chi-square over 6000 seeds, hashed ones and 0, 1, 2, ... alike."""
    model = tiny_llama(len(plain_tokenizer), seed=1)
    generator = make(
        model, plain_tokenizer, temperature=temperature, top_p=top_p, max_new_tokens=1, batch_size=2000
    )  # fmt: skip
    prefix, n = [20, 30, 40], 6000
    with torch.inference_mode():
        logits = model(torch.tensor([prefix])).logits[0, -1].double().numpy() / temperature
    probabilities = np.exp(logits - logits.max())
    expected = nucleus(probabilities / probabilities.sum(), top_p)

    seeds = [derive_seed(0, i) if derived else i for i in range(n)]
    drawn = [c.token_ids[0] for c in generator.generate([prefix] * n, seeds)]
    counts = np.bincount(drawn, minlength=len(expected))
    assert counts[expected == 0].sum() == 0
    common = expected * n >= 5
    observed = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum()) * n
    if wanted[-1] == 0:
        observed, wanted = observed[:-1], wanted[:-1]
    freedom = len(wanted) - 1
    chi_square = ((observed - wanted) ** 2 / wanted).sum()
    assert freedom >= 5
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom)


def test_the_random_numbers_are_those_of_splitmix64(plain_tokenizer, tiny_llama):
    """Published outputs of splitmix64; others would change every sample under an unchanged generator's name. A flat model
    turns a number u in [0, 1) into the token u * 338."""
    assert len(plain_tokenizer) == 338
    model = tiny_llama(338)
    torch.nn.init.zeros_(model.lm_head.weight)
    published = {
        0: (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC),
        1234567: (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431),
    }
    found = make(model, plain_tokenizer, max_new_tokens=4).generate([[5]] * 2, list(published))
    assert [c.token_ids for c in found] == [(298, 145, 8, 328), (118, 58, 179, 84)]
    for seed, numbers in published.items():  # to the last of their 53 bits
        drawn = uniform([seed] * 4, range(4)).tolist()
        assert drawn == [(number >> 11) / 2**53 for number in numbers]


def test_positions_draw_different_numbers(plain_tokenizer, tiny_llama):
    """A uniform number used twice would repeat a token: with a flat model, successive tokens must be independent."""
    model = tiny_llama(len(plain_tokenizer))
    torch.nn.init.zeros_(model.lm_head.weight)
    generator = make(model, plain_tokenizer, max_new_tokens=2)
    size = len(plain_tokenizer)
    pairs = [c.token_ids for c in generator.generate([[5]] * 2000, range(2000)) if len(c.token_ids) == 2]
    assert abs(sum(a == b for a, b in pairs) - 2000 / size) < 4 * math.sqrt(2000 / size)
    first, second = np.array(pairs).T
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / math.sqrt(len(pairs))


# --- Where it stops ---


def test_stop_reasons_by_hand(embedded):
    tokenizer = embedded.tokenizer
    prefix = tokenizer("Start with 47, add 38.\n")["input_ids"]
    sum_ = {"\n": "47", "47": " + ", " + ": "38", "38": " = ", " = ": "85"}
    answer = {"\n": "#### ", "#### ": "85"}

    def write(successors, until="end", **settings):
        model = successor_model(tokenizer, successors)
        return make(model, tokenizer, temperature=0, **settings).generate([prefix], [0], until=until)[0]

    step = write(sum_ | {"85": "\n"}, until="step")
    assert (step.text, step.stop, len(step.token_ids)) == ("47 + 38 = 85\n", "step", 6)
    answered = write(answer | {"85": "\n"})
    assert (answered.text, answered.stop, len(answered.token_ids)) == ("#### 85\n", "answer", 3)
    assert write(answer | {"85": "\n"}, until="step") == answered
    ended = write(answer | {"85": "<eos>"})
    assert (ended.text, ended.stop, len(ended.token_ids)) == ("#### 85", "eos", 3)
    assert ended.token_ids[-1] == tokenizer.eos_token_id  # the end token is counted
    assert write(sum_ | {"85": "<eos>"}, until="step").stop == "eos"
    cut = write(sum_ | {"85": "\n"}, max_new_tokens=8)
    assert (cut.text, cut.stop, len(cut.token_ids)) == ("47 + 38 = 85\n47 + ", "length", 8)
    full = write(sum_ | {"85": "\n"}, max_new_tokens=500)
    assert (full.stop, len(full.token_ids)) == ("length", 64 - len(prefix))
    exact = write(sum_ | {"85": "\n"}, until="step", max_new_tokens=6)
    assert exact == step  # a step that ends at the limit has ended


def test_a_merged_separator_ends_a_step(plain_tokenizer, merging_tokenizer):
    def write(tokenizer, successors):
        generator = make(successor_model(tokenizer, successors), tokenizer, temperature=0, step_rule="paragraph")
        prefix = tokenizer("x", add_special_tokens=False)["input_ids"]
        found = generator.generate([prefix], [0], until="step")[0]
        return found.text, found.stop, tokenizer.convert_ids_to_tokens(found.token_ids)

    merged = write(merging_tokenizer, {"x": "a", "a": ".ĊĊ"})
    assert merged == ("a.\n\n", "step", ["a", ".ĊĊ"])
    plain = write(plain_tokenizer, {"x": "a", "a": ".", ".": "Ċ", "Ċ": "Ċ"})
    assert plain == ("a.\n\n", "step", ["a", ".", "Ċ", "Ċ"])


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["line", "paragraph"])
@pytest.mark.parametrize("fixture", ["plain_tokenizer", "merging_tokenizer"])
def test_a_step_ends_at_the_first_token_that_completes_it(request, fixture, rule):
    """Brute force: decode every beginning of the same sample; the first that holds a closed step is the step."""
    tokenizer = request.getfixturevalue(fixture)
    model = successor_model(tokenizer, {})
    line_ends = ["\n" in tokenizer.decode([i]) for i in range(len(tokenizer))]
    with torch.no_grad():  # every token is as likely as any other, but one in four holds a line end
        likelier = math.log(len(tokenizer) / sum(line_ends) / 4)
        model.lm_head.weight.copy_(torch.tensor(line_ends)[:, None] * likelier / math.sqrt(model.config.hidden_size))
    generator = make(model, tokenizer, step_rule=rule, max_new_tokens=60)
    whole = generator.generate([[20, 30]] * 80, range(80))
    steps = generator.generate([[20, 30]] * 80, range(80), until="step")
    stops = {"step": 0, "eos": 0, "length": 0, "answer": 0}
    for end, step in zip(whole, steps, strict=True):
        stops[step.stop] += 1
        ids = [i for i in end.token_ids if i != tokenizer.eos_token_id]
        first = next((k for k in range(1, len(ids) + 1) if complete_steps(tokenizer.decode(ids[:k]), rule)), None)
        if first is None:
            assert step == end
            continue
        text = tokenizer.decode(ids[:first])
        final = states_answer(complete_steps(text, rule)[-1])
        assert (step.token_ids, step.text) == (tuple(ids[:first]), text)
        assert step.stop == ("answer" if final else "step")
    assert stops["step"] > 30
    assert stops["eos"] + stops["length"] > 0


def test_prefixes_that_fill_the_context_and_missing_seeds_are_errors(plain_tokenizer, tiny_llama):
    generator = make(tiny_llama(len(plain_tokenizer)), plain_tokenizer, max_new_tokens=4)
    with pytest.raises(ValueError, match="512 tokens fills the model's context of 512"):
        generator.generate([[5] * 512], [0])
    assert len(generator.generate([[5] * 511], [0])[0].token_ids) == 1
    with pytest.raises(ValueError, match="1 prefixes but 2 seeds"):
        generator.generate([[5]], [0, 1])
    assert generator.generate([], []) == []


# --- What it costs ---


def test_equal_prefixes_are_read_once_and_finished_rows_leave(embedded):
    prefixes = [embedded.encode(problem.prompt) for problem in load_problems("arithmetic", "test", 3)]
    asked = [prefix for prefix in prefixes for _ in range(20)]
    shapes, handle = count_rows(embedded.model)
    found = embedded.generate(asked, range(60))
    handle.remove()
    assert shapes[0] == (3, max(map(len, prefixes)))
    rows = [rows for rows, columns in shapes[1:]]
    assert {columns for _, columns in shapes[1:]} == {1}
    assert rows[0] == 60
    assert rows == sorted(rows, reverse=True)
    lengths = [len(c.token_ids) for c in found]
    assert len(shapes) == max(lengths)  # the last token needs no forward pass
    alive = [sum(length > t + 1 for length in lengths) for t in range(len(rows))]
    assert all(alive_t <= rows_t <= max(alive_t / 0.95, 1) for alive_t, rows_t in zip(alive, rows, strict=True))
    assert rows[-1] < 60


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_qwen2"])
def test_a_batch_that_is_filled_up_samples_the_same(request, kind, plain_tokenizer):
    """What a GPU does: samples that wait take free places, beside rows of other lengths and with other tokens written."""
    model = request.getfixturevalue(kind)(len(plain_tokenizer), seed=2)
    rng = np.random.default_rng(1)
    prefixes = [rng.integers(5, len(plain_tokenizer), size=n).tolist() for n in rng.integers(1, 40, size=30)]
    asked, seeds = [prefix for prefix in prefixes for _ in range(4)], [derive_seed(1, i) for i in range(120)]
    limits = rng.integers(1, 50, size=120).tolist()
    shapes, handle = count_rows(model)
    found, decoded = {}, {}
    for refills in (False, True):
        generator = make(model, plain_tokenizer, max_new_tokens=50, batch_size=32)
        assert (type(generator.rows), generator.block) == (GrowingRows, 1)  # on a CPU
        if refills:
            generator.rows = Slots(model, generator.context)
        told = []
        found[refills] = generator.generate(asked, seeds, limits=limits, ended=told.append)
        assert sum(told) == 120
        decoded[refills] = [rows for rows, columns in shapes if columns == 1]
        assert max(decoded[refills]) <= 32
        if refills:  # samples of one prefix come together: few are read twice
            assert 30 <= sum(rows for rows, columns in shapes if columns > 1) <= 33
        shapes.clear()
    handle.remove()
    assert found[True] == found[False]
    assert len({len(continuation.token_ids) for continuation in found[True]}) > 10
    # Fewer passes for the same tokens.
    assert len(decoded[True]) < 0.8 * len(decoded[False])
    half = len(decoded[True]) // 2
    assert np.mean(decoded[True][:half]) > 0.8 * 32 > np.mean(decoded[False])


@pytest.mark.slow
def test_a_batch_of_the_embedded_generator_that_is_filled_up(embedded, embedded_prefixes):
    asked, seeds = embedded_prefixes * 4, [derive_seed(2, i) for i in range(32)]
    generator = HfGenerator(embedded.model, embedded.tokenizer, name="x", max_new_tokens=80, batch_size=8)
    for until in ("end", "step"):
        expected = embedded.generate(asked, seeds, until=until)
        generator.rows, generator.block = Slots(embedded.model, generator.context), 3  # as on a GPU
        assert generator.generate(asked, seeds, until=until) == expected


# --- What it is called, and what it is made of ---


def test_the_name_changes_with_what_changes_the_samples(plain_tokenizer, tiny_llama):
    model = tiny_llama(len(plain_tokenizer))
    settings = {
        "temperature": 0.8,
        "top_p": 0.9,
        "max_new_tokens": 30,
        "step_rule": "line",
        "template": PROMPTS["plain"],
    }
    name = make(model, plain_tokenizer, **settings).name
    assert re.fullmatch(r"tiny-[0-9a-f]{8}", name)
    for same in ({"batch_size": 3}, {"batch_size": 64}):
        assert make(model, plain_tokenizer, **settings, **same).name == name
    assert make(tiny_llama(len(plain_tokenizer)), plain_tokenizer, **settings).name == name
    others = [
        {"temperature": 0.7},
        {"top_p": 0.8},
        {"max_new_tokens": 31},
        {"step_rule": "paragraph"},
        {"template": PROMPTS["chat"]},
    ]
    names = [make(model, plain_tokenizer, **settings | other).name for other in others]
    names += [make(tiny_llama(len(plain_tokenizer), seed=1), plain_tokenizer, **settings).name]
    assert len({name, *names}) == 7


def test_prompt_and_steps_are_encoded_apart(merging_tokenizer, tiny_llama):
    generator = make(tiny_llama(len(merging_tokenizer)), merging_tokenizer, step_rule="paragraph")
    ids = generator.encode("4", ["8.", "x"])
    assert merging_tokenizer.decode(ids) == "4\n8.\n\nx\n\n"
    assert merging_tokenizer.convert_ids_to_tokens(ids) == ["4", "Ċ", "8", ".ĊĊ", "x", "ĊĊ"]


def test_a_folder_round_trip(plain_tokenizer, tiny_llama, tmp_path):
    model = tiny_llama(len(plain_tokenizer))
    model.save_pretrained(tmp_path)
    plain_tokenizer.save_pretrained(tmp_path)
    loaded = load_generator(str(tmp_path), max_new_tokens=9)
    assert loaded.num_parameters == sum(p.numel() for p in model.parameters())
    assert loaded.model.dtype == torch.float32
    in_memory = HfGenerator(model, plain_tokenizer, name=tmp_path.name, max_new_tokens=9)
    assert loaded.name == in_memory.name
    assert loaded.generate([[9, 8, 7]], [3]) == in_memory.generate([[9, 8, 7]], [3])


def test_bfloat16_on_request_rounds_the_weights_but_no_angle(plain_tokenizer, tiny_llama, tmp_path):
    model = tiny_llama(len(plain_tokenizer))
    model.save_pretrained(tmp_path)
    plain_tokenizer.save_pretrained(tmp_path)
    loaded = load_generator(str(tmp_path), dtype="bfloat16", max_new_tokens=9)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}
    # `model.to(bfloat16)` rounds the frequencies of the rotary embeddings: 0.4% of 300 positions is more than a radian.
    assert torch.equal(loaded.model.model.rotary_emb.inv_freq, model.model.rotary_emb.inv_freq)
    assert loaded.name != load_generator(str(tmp_path), max_new_tokens=9).name
    assert len(loaded.generate([[9, 8, 7]], [3])[0].token_ids) > 0
    with pytest.raises(ValueError, match="engine openai takes no dtype, the server decides; leave it out"):
        load_generator("http://127.0.0.1:1/v1", engine="openai", dtype="bfloat16")


def test_a_gguf_file_is_read_and_can_be_saved(plain_tokenizer, tiny_qwen2, tmp_path):
    model = tiny_qwen2(len(plain_tokenizer))
    write_gguf(tmp_path / "tiny.gguf", model, plain_tokenizer)
    generator = load_generator(str(tmp_path), gguf_file="tiny.gguf", temperature=0, max_new_tokens=9)
    text = "Start with 47, add 38.\n"
    ids = generator.tokenizer(text)["input_ids"]
    assert ids == plain_tokenizer(text)["input_ids"]
    expected = make(model, plain_tokenizer, temperature=0, max_new_tokens=9).generate([ids], [0])
    assert generator.generate([ids], [0]) == expected
    generator.model.save_pretrained(tmp_path / "saved")  # a model as transformers reads it from GGUF cannot be saved
    generator.tokenizer.save_pretrained(tmp_path / "saved")
    again = load_generator(str(tmp_path / "saved"), temperature=0, max_new_tokens=9)
    assert again.generate([ids], [0]) == expected


@pytest.mark.parametrize("setting", [{"temperature": -1}, {"top_p": 1.5}, {"top_p": 0}, {"max_new_tokens": 0}])
def test_settings_that_would_sample_nonsense_are_refused(setting):
    with pytest.raises(
        ValueError,
        match=f"{next(iter(setting))}.*must be at least|{next(iter(setting))} above 0 and at most 1|at least 0 and top_p",
    ):
        load_generator("arithmetic", **setting)


@pytest.mark.parametrize(
    ("device", "gpu", "bf16", "dtype", "expected"),
    [
        (None, True, True, None, ("cuda", torch.bfloat16)),
        (None, True, False, None, ("cuda", torch.float32)),
        (None, False, False, None, ("cpu", torch.float32)),
        ("cpu", True, True, None, ("cpu", torch.float32)),
        ("cuda:1", True, True, None, ("cuda:1", torch.bfloat16)),
        ("cpu", False, False, "bfloat16", ("cpu", torch.bfloat16)),
        ("cuda", True, True, "float32", ("cuda", torch.float32)),
    ],
)
def test_a_gpu_that_has_bf16_computes_in_it_unless_told_otherwise(
    device, gpu, bf16, dtype, expected, monkeypatch, tiny_llama, plain_tokenizer
):
    model = tiny_llama(len(plain_tokenizer))
    moved = SimpleNamespace(to=lambda place: placed.append(place) or model)
    placed, converted = [], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    monkeypatch.setattr("prm.generators.hf.load_model_and_tokenizer", lambda *asked: (asked, plain_tokenizer))
    monkeypatch.setattr("prm.generators.hf.in_dtype", lambda *its: converted.append(its) or moved)
    found = HfGenerator.from_pretrained("some/folder", gguf_file="file.gguf", device=device, dtype=dtype)
    assert (placed[0], converted[0]) == (expected[0], (("some/folder", "file.gguf", expected[1]), expected[1]))
    default = HfGenerator(model, plain_tokenizer, name="folder").name
    assert found.name.startswith("folder-")
    assert (found.name == default) == (dtype is None)  # only numbers that were asked for are part of the name
