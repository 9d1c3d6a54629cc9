import json
from dataclasses import asdict

import pytest

from prm.encoding.codec import StepCodec
from prm.encoding.prompts import PROMPTS, PromptTemplate, bos, prompt_template


def test_braces_in_a_problem_survive():
    template = PromptTemplate("Q: {prompt}\n{style} {0}\n")
    assert template.render(r"Compute \frac{1}{2} of {prompt}.") == "Q: Compute \\frac{1}{2} of {prompt}.\n{style} {0}\n"


def test_ready_templates():
    assert PROMPTS["plain"].render("2 + 2?") == "2 + 2?\n"
    assert PROMPTS["zero_shot_cot"].render("2 + 2?") == "Q: 2 + 2?\nA: Let's think step by step.\n"
    few_shot = PROMPTS["few_shot_cot"].render("2 + 2?")
    assert few_shot.endswith("#### 60\n\nQ: 2 + 2?\nA: ")
    assert few_shot.count("\n#### ") == 3
    assert [name for name, template in PROMPTS.items() if template.chat] == ["chat", "chat_cot"]


def test_templates_that_cannot_work():
    with pytest.raises(ValueError, match=r"prompt template 'Q: ' has no \{prompt\}"):
        PromptTemplate("Q: ")
    with pytest.raises(ValueError, match="a system message needs chat: true"):
        PromptTemplate(system="Be brief.")


def test_a_plain_prompt_is_its_tokens(plain_tokenizer):
    ids = PROMPTS["plain"].encode(plain_tokenizer, "Let x be 4.")
    assert plain_tokenizer.decode(ids) == "Let x be 4.\n"
    assert plain_tokenizer.eos_token_id not in ids


def test_bos_comes_first_only_where_the_tokenizer_puts_it(plain_tokenizer, trimming_tokenizer):
    assert bos(plain_tokenizer) == []
    assert bos(trimming_tokenizer) == [trimming_tokenizer.bos_token_id]
    ids = PROMPTS["plain"].encode(trimming_tokenizer, "Let x be 4.")
    assert trimming_tokenizer.decode(ids) == "<bos>Let x be 4.\n"


def test_a_chat_prompt_opens_the_turn_of_the_assistant(plain_tokenizer, trimming_tokenizer):
    template = PromptTemplate("{prompt}", chat=True, system="Be brief.")
    assert plain_tokenizer.decode(template.encode(plain_tokenizer, "2 + 2?")) == (
        "<|system|>\nBe brief.<eos>\n<|user|>\n2 + 2?<eos>\n<|assistant|>\n"
    )
    assert trimming_tokenizer.decode(template.encode(trimming_tokenizer, "2 + 2?")) == (
        "<bos><|system|>\n\nBe brief.<eos><|user|>\n\n2 + 2?<eos><|assistant|>\n\n"
    )


def test_chat_needs_a_chat_template():
    from prm.datasets.arithmetic import build_tokenizer

    with pytest.raises(ValueError, match="has no chat template; use a prompt template without chat"):
        PROMPTS["chat"].encode(build_tokenizer(), "Start with 47, add 38.")


def test_separators_survive_a_chat_template_that_trims(trimming_tokenizer):
    """Llama 3's template trims what an assistant says, so the separator after the last step would be lost."""
    steps = ("Let x be 4.", "The answer is 7.")
    codec = StepCodec(PROMPTS["chat"], separator="\n\n")
    encoded = codec.encode(trimming_tokenizer, "What is x + 3?", steps)
    head = "<bos><|user|>\n\nWhat is x + 3?<eos><|assistant|>\n\n"
    assert trimming_tokenizer.decode(encoded.input_ids) == head + "Let x be 4.\n\nThe answer is 7.\n\n"
    separator = trimming_tokenizer("\n\n", add_special_tokens=False)["input_ids"][-1]
    assert [encoded.input_ids[end] for end in encoded.step_ends] == [separator, separator]

    messages = [
        {"role": "user", "content": "What is x + 3?"},
        {"role": "assistant", "content": "\n\n".join(steps) + "\n\n"},
    ]
    assert trimming_tokenizer.apply_chat_template(messages, tokenize=False) == (
        head + "Let x be 4.\n\nThe answer is 7.<eos>"
    )


@pytest.mark.parametrize("name", PROMPTS)
def test_a_template_can_be_saved(name):
    assert PromptTemplate(**json.loads(json.dumps(asdict(PROMPTS[name])))) == PROMPTS[name]


def test_unknown_prompt_name():
    assert prompt_template("plain") == PromptTemplate()
    with pytest.raises(ValueError, match="'plian' is not one of plain, zero_shot_cot, few_shot_cot, chat, chat_cot"):
        prompt_template("plian")
