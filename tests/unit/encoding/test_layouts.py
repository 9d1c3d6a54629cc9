"""Layouts of other projects' verifiers: the texts they make, where scores are read in them, and what is refused."""

from copy import copy
from itertools import pairwise

import pytest

from prm.encoding.codec import StepCodec
from prm.encoding.layouts import Layout
from prm.encoding.prompts import PromptTemplate

PROMPT, STEPS = "2 + 3 + 4?", ("2 + 3 = 5", "5 + 4 = 9")
CHAT = PromptTemplate("{prompt} ", chat=True)
TEXT = Layout(PromptTemplate("{prompt} "), "\n", " ки", form="text", numbered=True)
ANSWER = Layout(PromptTemplate("{prompt}", chat=True, system="Think."), "", "<eos>", form="answer")
TURNS = Layout(CHAT, "", None, form="turns")
MESSAGE = Layout(CHAT, "\n", None, form="message", read="end")
LAYOUTS = {"text": TEXT, "answer": ANSWER, "turns": TURNS, "message": MESSAGE}


def parts(layout, tokenizer, steps=STEPS):
    """The text up to where each score is read, and from one to the next."""
    encoded = layout.encode(tokenizer, PROMPT, steps)
    starts = (0, *(end + 1 for end in encoded.step_ends))
    assert len(encoded.input_ids) == starts[-1]  # nothing after the last score
    return [tokenizer.decode(encoded.input_ids[a:b]) for a, b in pairwise(starts)]


def test_the_text_of_every_form(plain_tokenizer):
    assert parts(TEXT, plain_tokenizer) == [f"{PROMPT} Step 1: {STEPS[0]} ки", f"\nStep 2: {STEPS[1]} ки"]
    before = f"<|system|>\nThink.<eos>\n<|user|>\n{PROMPT}<eos>\n<|assistant|>\n"
    assert parts(ANSWER, plain_tokenizer) == [f"{before}{STEPS[0]}<eos>", f"{STEPS[1]}<eos>"]
    first = f"<|user|>\n{PROMPT} {STEPS[0]}"
    assert parts(TURNS, plain_tokenizer) == [
        f"{first}<eos>\n<|assistant|>\n",
        f"+<eos>\n<|user|>\n{STEPS[1]}<eos>\n<|assistant|>\n",
    ]
    assert parts(MESSAGE, plain_tokenizer) == [f"{first}\n{STEPS[1]}<eos>\n<|assistant|>\n", ""]


def test_a_step_that_has_its_number_is_not_given_another(plain_tokenizer):
    assert parts(TEXT, plain_tokenizer, ("Step 1: a", "Step 10: b")) == [
        f"{PROMPT} Step 1: a ки",
        "\nStep 2: Step 10: b ки",
    ]


@pytest.mark.parametrize("tokenizer", ["plain_tokenizer", "merging_tokenizer", "trimming_tokenizer"])
@pytest.mark.parametrize("form", LAYOUTS)
def test_one_more_step_changes_nothing_before_it(form, tokenizer, request):
    """Else what a search has kept of a trace would be of no use."""
    tokenizer, layout = request.getfixturevalue(tokenizer), LAYOUTS[form]
    whole, first = (layout.encode(tokenizer, PROMPT, steps) for steps in (STEPS, STEPS[:1]))
    if layout.read == "steps":
        assert whole.step_ends[0] == first.step_ends[0]
        assert whole.input_ids[: first.step_ends[0] + 1] == first.input_ids
    other = layout.encode(tokenizer, PROMPT, ("x = 1",))
    shared = layout.prompt_length(tokenizer, PROMPT)
    assert 3 < shared < len(other.input_ids)
    assert other.input_ids[:shared] == first.input_ids[:shared]


def test_pieces_are_those_of_the_codec_but_for_bos(plain_tokenizer, trimming_tokenizer):
    prompt = PromptTemplate("{prompt}")
    ours = StepCodec(prompt, "\n").encode(trimming_tokenizer, PROMPT, STEPS)
    bos = trimming_tokenizer.bos_token_id
    for how, start in (("tokenizer", (bos,)), ("always", (bos,)), ("never", ())):
        its = Layout(prompt, "\n", bos=how).encode(trimming_tokenizer, PROMPT, STEPS)
        assert its.input_ids == (*start, *ours.input_ids[1:])
        assert [its.input_ids[end] for end in its.step_ends] == [ours.input_ids[end] for end in ours.step_ends]
        text = Layout(prompt, "\n", form="text", bos=how).encode(trimming_tokenizer, PROMPT, STEPS)
        assert (text.input_ids[:1] == (bos,)) == bool(start)
        assert trimming_tokenizer.decode(text.input_ids[: text.step_ends[0] + 1]).endswith(STEPS[0])
    assert plain_tokenizer.bos_token_id is None
    without = Layout(prompt, "\n", bos="always").encode(plain_tokenizer, PROMPT, STEPS)
    assert without == StepCodec(prompt, "\n").encode(plain_tokenizer, PROMPT, STEPS)


def test_without_a_marker_a_score_may_be_read_at_a_token_that_goes_on(merging_tokenizer):
    layout = Layout(PromptTemplate("{prompt} "), "\n\n", None, form="text")
    assert parts(layout, merging_tokenizer, ("4.", "9.")) == [f"{PROMPT} 4.\n\n", "9."]


def test_padding_at_the_end_is_not_read(plain_tokenizer):
    layout = Layout(PromptTemplate("{prompt}\n"), "\n", form="text", read="end", eos=True)
    eos = plain_tokenizer.eos_token_id
    assert layout.encode(plain_tokenizer, PROMPT, STEPS).input_ids[-1] == eos
    skipped = Layout(PromptTemplate("{prompt}\n"), "\n", form="text", read="end", eos=True, pad_id=eos)
    encoded = skipped.encode(plain_tokenizer, PROMPT, STEPS)
    assert plain_tokenizer.decode(encoded.input_ids) == f"{PROMPT}\n{STEPS[0]}\n{STEPS[1]}"
    assert encoded.step_ends == (len(encoded.input_ids) - 1,) * 2


def test_a_template_that_writes_answers_otherwise_is_refused(plain_tokenizer):
    tokenizer = copy(plain_tokenizer)
    tokenizer.chat_template = plain_tokenizer.chat_template.replace("<|assistant|>\n", "<|assistant|>\n<think>")
    for layout in (ANSWER, TURNS):
        with pytest.raises(ValueError, match="writes an answer otherwise than after its own start"):
            layout.encode(tokenizer, PROMPT, STEPS)


@pytest.mark.parametrize("form", LAYOUTS)
def test_no_steps_and_empty_steps_are_refused(form, plain_tokenizer):
    with pytest.raises(ValueError, match="a trace without steps cannot be encoded"):
        LAYOUTS[form].encode(plain_tokenizer, PROMPT, ())
    with pytest.raises(ValueError, match="step 2 of 2 is empty"):
        LAYOUTS[form].encode(plain_tokenizer, PROMPT, ("a", " "))
