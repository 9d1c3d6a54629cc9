"""The prompt with earlier attempts: its text, in the words of the embedded vocabulary and in chat templates."""

import pytest

from prm.datasets import arithmetic
from prm.encoding.prompts import PROMPTS
from prm.encoding.revisions import revision_prompt, shown
from prm.types import Trace

WRONG = Trace("p", ("47 + 38 = 75", "#### 75"), "75", False, step_rule="line")
WORDY = Trace("p", ("Adding up:", "It is 75."), "75", False, step_rule="paragraph")


def test_the_text():
    assert revision_prompt("Start with 47, add 38.", []) == "Start with 47, add 38."
    assert revision_prompt("Start with 47, add 38.", [WRONG, WORDY]) == (
        "Start with 47, add 38.\n\n\n47 + 38 = 75\n#### 75\n\n\nAdding up:\n\nIt is 75.\n\n\nStart with 47, add 38."
    )


def test_the_embedded_vocabulary_has_all_of_it():
    tokenizer = arithmetic.build_tokenizer()
    ids = PROMPTS["plain"].encode(tokenizer, revision_prompt("Start with 47, add 38.", [WRONG, WRONG]))
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == revision_prompt("Start with 47, add 38.", [WRONG, WRONG]) + "\n"


@pytest.mark.parametrize("tokenizer", ["merging_tokenizer", "trimming_tokenizer"])
def test_a_chat_template_shows_it_in_one_message(tokenizer, request):
    tokenizer = request.getfixturevalue(tokenizer)
    text = tokenizer.decode(PROMPTS["chat"].encode(tokenizer, revision_prompt("What is 47 + 38?", [WORDY])))
    assert text.count("What is 47 + 38?\n\n\nAdding up:\n\nIt is 75.\n\n\nWhat is 47 + 38?<eos>") == 1


def test_the_last_ones_that_state_an_answer_are_shown():
    chain = [Trace("p", (f"#### {i}",), str(i), None, index=i) for i in range(6)]
    cut = Trace("p", ("1 +",), None, False, finished=False)
    lost = Trace("p", ("no idea",), None, False)
    assert shown([*chain, cut, lost]) == tuple(chain[2:])
    assert shown([*chain[:2], cut, chain[2]], memory=2) == (chain[1], chain[2])
    assert shown([cut]) == ()
