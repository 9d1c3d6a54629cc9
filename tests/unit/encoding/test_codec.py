import copy
import json
from dataclasses import asdict

import pytest

from prm.datasets.arithmetic import build_tokenizer
from prm.encoding.codec import EncodedTrace, StepCodec
from prm.encoding.prompts import PROMPTS, PromptTemplate

PROMPT = "Let x be 4.\n\nWhat is x + 3?"
STEPS = ("Let x be 4.", "Then x + 3 = 7.", "The answer is \\boxed{7}.")


def ids_of(tokenizer, text):
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_arithmetic_trace_by_hand():
    tokenizer = build_tokenizer()
    encoded = StepCodec().encode(tokenizer, "Start with 47, add 38.", ("47 + 38 = 85", "#### 85"))
    assert tokenizer.convert_ids_to_tokens(encoded.input_ids) == [
        *("Start with ", "47", ", add ", "38", ".", "\n"),  # 0 to 5
        *("47", " + ", "38", " = ", "85", "\n"),  # 6 to 11
        *("#### ", "85", "\n"),  # 12 to 14
    ]
    assert encoded.step_ends == (11, 14)


@pytest.mark.parametrize("separator", ["\n\n", "\n", " ки\n"])
@pytest.mark.parametrize("fixture", ["plain_tokenizer", "merging_tokenizer", "trimming_tokenizer"])
def test_ids_are_those_of_the_pieces(request, fixture, separator):
    """Written out from TRL's definition: ids(prompt) + ids(step) + ids(separator) + ..., whatever the tokenizer merges."""
    tokenizer = request.getfixturevalue(fixture)
    encoded = StepCodec(separator=separator).encode(tokenizer, PROMPT, STEPS)
    expected = ids_of(tokenizer, PROMPT + "\n")
    if tokenizer.bos_token_id is not None:
        expected = (tokenizer.bos_token_id, *expected)
    ends = []
    for step in STEPS:
        expected += ids_of(tokenizer, step) + ids_of(tokenizer, separator)
        ends.append(len(expected) - 1)
    assert encoded == EncodedTrace(expected, tuple(ends))
    assert tokenizer.decode(encoded.input_ids).removeprefix("<bos>") == (
        PROMPT + "\n" + "".join(step + separator for step in STEPS)
    )


def test_the_separator_after_a_point_stays_a_separator(plain_tokenizer, merging_tokenizer):
    """Tokenized as one text, ".\\n\\n" is one token in many tokenizers and the separator cannot be found any more."""
    for tokenizer, separator in ((plain_tokenizer, ["Ċ", "Ċ"]), (merging_tokenizer, ["ĊĊ"])):
        encoded = StepCodec(separator="\n\n").encode(tokenizer, PROMPT, STEPS)
        tokens = tokenizer.convert_ids_to_tokens(encoded.input_ids)
        for end in encoded.step_ends:
            assert tokens[: end + 1][-len(separator) :] == separator
    whole = merging_tokenizer(PROMPT + "\n" + "".join(step + "\n\n" for step in STEPS))["input_ids"]
    assert "ĊĊ" not in merging_tokenizer.convert_ids_to_tokens(whole)


@pytest.mark.parametrize("fixture", ["plain_tokenizer", "merging_tokenizer"])
def test_a_separator_inside_a_step_moves_no_label(request, fixture):
    tokenizer = request.getfixturevalue(fixture)
    codec = StepCodec(separator="\n\n")
    encoded = codec.encode(tokenizer, PROMPT, ("Let x be 4.\n\nThen x + 3 = 7.", "#### 7"))
    assert len(encoded.step_ends) == 2
    first = encoded.input_ids[: encoded.step_ends[0] + 1]
    assert tokenizer.decode(first) == PROMPT + "\nLet x be 4.\n\nThen x + 3 = 7.\n\n"
    assert encoded.step_ends[1] == len(encoded.input_ids) - 1


def test_a_prefix_of_a_trace_is_a_prefix_of_its_ids(merging_tokenizer):
    codec = StepCodec(separator="\n\n")
    whole = codec.encode(merging_tokenizer, PROMPT, STEPS)
    for n in (1, 2):
        part = codec.encode(merging_tokenizer, PROMPT, STEPS[:n])
        assert part.input_ids == whole.input_ids[: whole.step_ends[n - 1] + 1]
        assert part.step_ends == whole.step_ends[:n]


def test_a_marker_takes_the_place_of_the_separator(plain_tokenizer):
    tokenizer = copy.deepcopy(plain_tokenizer)
    codec = StepCodec(marker="<extra_0>")
    with pytest.raises(ValueError, match=r"marker '<extra_0>' is \d+ tokens .*a marker must be one: add it with"):
        codec.encode(tokenizer, PROMPT, STEPS)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<extra_0>"]})
    encoded = codec.encode(tokenizer, PROMPT, STEPS)
    marker = tokenizer.convert_tokens_to_ids("<extra_0>")
    assert [i for i, token in enumerate(encoded.input_ids) if token == marker] == list(encoded.step_ends)
    assert tokenizer.decode(encoded.input_ids) == PROMPT + "\n" + "".join(step + "<extra_0>" for step in STEPS)


def test_a_marker_is_one_token_where_the_tokenizer_begins_texts_with_another(trimming_tokenizer):
    tokenizer = copy.deepcopy(trimming_tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<extra_0>"]})
    codec = StepCodec(marker="<extra_0>")
    assert codec.step_end_ids(tokenizer) == [tokenizer.convert_tokens_to_ids("<extra_0>")]
    encoded = codec.encode(tokenizer, PROMPT, STEPS)
    assert tokenizer.decode(encoded.input_ids) == f"<bos>{PROMPT}\n" + "".join(f"{step}<extra_0>" for step in STEPS)


def test_traces_that_cannot_be_encoded(plain_tokenizer):
    with pytest.raises(ValueError, match=r"a trace without steps cannot be encoded \(prompt 'Let x be 4"):
        StepCodec().encode(plain_tokenizer, PROMPT, ())
    with pytest.raises(ValueError, match=r"step 2 of 2 is empty \(prompt 'Let x be 4.*; remove it"):
        StepCodec().encode(plain_tokenizer, PROMPT, ("x = 4", " \n"))
    with pytest.raises(ValueError, match="separator '' has no tokens"):
        StepCodec(separator="").encode(plain_tokenizer, PROMPT, STEPS)


@pytest.mark.parametrize(
    ("max_length", "steps", "length"), [(15, 2, 15), (16, 2, 15), (14, 1, 12), (12, 1, 12), (11, 0, 0), (1, 0, 0)]
)
def test_truncation_at_a_step_boundary(max_length, steps, length):
    """The trace of `test_arithmetic_trace_by_hand`: its steps end at the tokens 11 and 14."""
    codec = StepCodec(max_length=max_length)
    encoded = codec.encode(build_tokenizer(), "Start with 47, add 38.", ("47 + 38 = 85", "#### 85"))
    assert len(encoded.input_ids) == 15
    assert codec.fit(encoded) == steps
    assert codec.truncate(encoded) == EncodedTrace(encoded.input_ids[:length], (11, 14)[:steps])


@pytest.mark.parametrize(
    "codec",
    [
        StepCodec(),
        StepCodec(PROMPTS["few_shot_cot"], separator="\n\n", max_length=4096),
        StepCodec(PromptTemplate("{prompt}", chat=True, system="Be brief."), marker="<extra_0>"),
    ],
)
def test_a_codec_can_be_saved(codec):
    assert StepCodec.from_dict(json.loads(json.dumps(asdict(codec)))) == codec


def test_codecs_saved_before_can_be_loaded():
    saved = {"prompt": {"text": "{prompt}", "chat": True, "system": None}, "separator": "\n\n", "marker": None}
    assert StepCodec.from_dict(saved | {"max_length": 512}) == StepCodec(
        PromptTemplate("{prompt}", True), "\n\n", None, 512
    )


def test_what_fits_is_counted_to_the_token():
    encoded = EncodedTrace(tuple(range(10)), (3, 6, 9))
    assert [StepCodec(max_length=n).fit(encoded) for n in (3, 4, 9, 10)] == [0, 1, 2, 3]
    assert StepCodec(max_length=9).truncate(encoded) == EncodedTrace(tuple(range(7)), (3, 6))
    assert StepCodec(max_length=3).truncate(encoded) == EncodedTrace((), ())
    assert (StepCodec().max_length, StepCodec().separator, StepCodec().marker) == (2048, "\n", None)
