import copy
import json
from dataclasses import asdict, replace

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
    assert few_shot.startswith(
        "Q: A baker makes 4 trays of 12 rolls and sells 30 of them. How many rolls are left?\nA: The baker"
    )
    assert few_shot.endswith("#### 60\n\nQ: 2 + 2?\nA:")
    assert few_shot.count("\n#### ") == 3
    direct = PROMPTS["direct"]
    assert (direct.render("2 + 2?"), direct.trigger, direct.reasoning) == ("Q: 2 + 2?\nA:", "The answer is", False)
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
    with pytest.raises(
        ValueError, match="'plian' is not one of plain, direct, zero_shot_cot, few_shot_cot, chat, chat_cot"
    ):
        prompt_template("plian")


# --- Templates that ask for the date ---

DATED = {
    "llama": "{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string = strftime_now("
    '"%d %b %Y") %}{%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}{%- endif %}Today Date: {{ date_string }}',
    "smollm": '{%- set today = strftime_now("%d %B %Y") -%}Today Date: {{ today }}',
    "granite": "{{- 'Today\\'s Date: ' + strftime_now('%B %d, %Y') + '.' }}",
    "gpt_oss": "{%- macro system_message() -%}{{- 'Current date: ' + strftime_now( \"%Y-%m-%d\" ) }}{%- endmacro -%}"
    "{{- system_message() }}",
    "often": "{# strftime_now: the day #}{{ strftime_now('%A') }}, {{ strftime_now('%d') | int + 1 }}"
    " {{ strftime_now('%H:%M') }}",
}
"""The heads of real chat templates, as far as they read the clock."""
MESSAGES = "{% for message in messages %} {{ message['content'] }}<eos>{% endfor %}"


@pytest.fixture
def dated(plain_tokenizer):
    def with_template(text):
        tokenizer = copy.deepcopy(plain_tokenizer)
        tokenizer.chat_template = text + MESSAGES
        return tokenizer

    return with_template


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("llama", "Today Date: 26 Jul 2024"),
        ("smollm", "Today Date: 26 July 2024"),
        ("granite", "Today's Date: July 26, 2024."),
        ("gpt_oss", "Current date: 2024-07-26"),
        ("often", "Friday, 27 00:00"),
    ],
)
def test_a_chat_template_never_reads_the_clock(dated, clock, name, head):
    tokenizer, template = dated(DATED[name]), PROMPTS["chat"]
    messages = [{"role": "user", "content": "2 + 2?"}]
    texts, stock = [], set()
    for day in ("2031-03-01", "2031-11-09"):
        clock(day)
        texts.append(tokenizer.decode(template.encode(tokenizer, "2 + 2?")))
        stock.add(tokenizer.apply_chat_template(messages, tokenize=False))
    assert texts == [f"{head} 2 + 2?<eos>"] * 2
    assert len(stock) == 2  # the clock was changed, and the template as it is reads it


def test_the_date_is_a_setting_and_is_saved(dated):
    tokenizer, template = dated(DATED["smollm"]), PromptTemplate("{prompt}", chat=True, date="2025-12-01")
    assert tokenizer.decode(template.encode(tokenizer, "Hm?")) == "Today Date: 01 December 2025 Hm?<eos>"
    codec = StepCodec(template)
    assert StepCodec.from_dict(json.loads(json.dumps(asdict(codec)))) == codec
    assert template != replace(template, date="2025-12-02")
    with pytest.raises(ValueError, match="date '1 May' of a prompt template is no day such as 2024-07-26"):
        PromptTemplate("{prompt}", chat=True, date="1 May")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{% set f = '%d' %}{{ strftime_now(f) }}", r"would give another text at another time \(it uses strftime_now"),
        ("{{ strftime_now(format='%d') }}", "it uses strftime_now, and not as"),
        (
            "{% set now = strftime_now %}{{ now('%d') }}",
            "scores and samples could not be repeated. Write the text itself",
        ),
        ("{{ ['Hi', 'Hello'] | random }}", "it uses random"),
        ("{{ lipsum(n=1) }}", "it uses lipsum"),
        ("{{ now() }}", "cannot be rendered: 'now' is undefined; correct it in the model's folder"),
        ("{{ raise_exception('no system role') }}", "cannot be rendered: no system role; correct it"),
        ("{% if %}", "cannot be rendered: Expected an expression"),
    ],
)
def test_a_chat_template_that_cannot_be_fixed_is_refused(dated, text, message):
    with pytest.raises(ValueError, match=rf"(?s)^the chat template of .*{message}"):
        PROMPTS["chat"].encode(dated(text), "2 + 2?")


# --- Templates from a file ---


def test_a_template_of_ones_own_comes_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text('text: "{prompt}\\nBox it: \\\\boxed{}"\nchat: true\nsystem: Be brief.\n')
    mine = prompt_template(str(path))
    assert mine == PromptTemplate("{prompt}\nBox it: \\boxed{}", chat=True, system="Be brief.")
    assert mine.render("1 + 1?") == "1 + 1?\nBox it: \\boxed{}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text: Solve it", r"mine.yaml: prompt template 'Solve it' has no \{prompt\}"),
        (
            "text: '{prompt}'\nsytem: Be brief",
            "mine.yaml: a prompt template has the keys chat, date, exemplars, ids, reasoning, seed, shots, system, text, tr",
        ),
        ("just words", "mine.yaml holds 'just words' and no lines `name: value`; a prompt template is a YAML file"),
        ("text: '{prompt}'\nchat: maybe", "mine.yaml: chat of a prompt template is 'maybe'; it must be true or false"),
        ("text: '{prompt}'\nchat: true\nsystem: 3", "mine.yaml: system of a prompt template is 3; it must be text, in"),
        (
            "text: '{prompt}'\ndate: 2024-07-26",
            "mine.yaml: date of a prompt template is .*; it must be text, in quotes",
        ),
        ("text: '{prompt}'\nsystem: Be brief", "mine.yaml: a system message needs chat: true"),
    ],
)
def test_a_file_that_is_no_template_is_named_with_what_is_wrong(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        prompt_template(str(tmp_path / "mine.yaml"))


def test_no_instruction_holds_a_placeholder():
    """A small model copies it: 57 of 96 samples of Qwen2.5-Coder-0.5B-Instruct were `#### answer`."""
    for name, template in PROMPTS.items():
        assert "#### answer" not in template.text, name
    assert r"\boxed{}" in PROMPTS["chat_cot"].text
