"""Few-shot prompts: which exemplars are taken, and the text that a base model or a chat model reads."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from prm.encoding.codec import StepCodec
from prm.encoding.exemplars import choose
from prm.encoding.prompts import PromptTemplate, files_of, prompt_template

ROWS = [
    {"id": "pens", "prompt": "Ann has 2 red and 6 blue pens. How many?", "solution": "2 + 6 = 8\n#### 8"},
    {"id": "rolls", "problem": "Ben bakes 4 trays of 12 rolls. How many?", "solution": "4 * 12 = 48\n#### 48"},
    {"id": "clips", "question": "Cara halves 48 clips. How many?", "answer": "48/2 = <<48/2=24>>24 clips\n#### 24"},
    {"id": "cards", "prompt": "Dan gives away 3 of 9 cards. How many are left?", "solution": "9 - 3 = 6\n#### 6"},
]
FILE = """
text: "Q: {prompt}\\nA:"
exemplars: solved/exemplars.jsonl
"""


@pytest.fixture
def template(tmp_path):
    """`template("shots: 2")`: the path of a template with these lines, whose exemplars are in a folder beside it."""
    (tmp_path / "solved").mkdir()
    write(tmp_path / "solved/exemplars.jsonl", ROWS)

    def make(*lines):
        path = tmp_path / "few.yaml"
        path.write_text(FILE + "\n".join(lines), encoding="utf-8")
        return str(path)

    return make


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_what_a_base_model_reads(template):
    few = prompt_template(template("ids: [clips, pens]"))
    assert few.render("What is 2 + 2?") == (
        "Q: Cara halves 48 clips. How many?\nA: 48/2 = 24 clips\n#### 24\n\n"
        "Q: Ann has 2 red and 6 blue pens. How many?\nA: 2 + 6 = 8\n#### 8\n\n"
        "Q: What is 2 + 2?\nA:"
    )
    assert (few.another_problem, few.step_rule) == ("Q:", "line")


def test_what_a_chat_model_reads(template, plain_tokenizer):
    """Exemplars are earlier turns; the system message comes before all of them."""
    few = prompt_template(template("ids: [pens]", "chat: true", "system: Be brief."))
    assert plain_tokenizer.decode(few.encode(plain_tokenizer, "2 + 2?")) == (
        "<|system|>\nBe brief.<eos>\n"
        "<|user|>\nQ: Ann has 2 red and 6 blue pens. How many?\nA:<eos>\n<|assistant|>\n2 + 6 = 8\n#### 8<eos>\n"
        "<|user|>\nQ: 2 + 2?\nA:<eos>\n<|assistant|>\n"
    )
    assert few.another_problem is None  # the turn has its end token


def test_a_text_that_ends_with_its_line_is_followed_by_the_solution():
    few = PromptTemplate("Problem: {prompt}\nSolution:\n", exemplars=(("1 + 1?", "1 + 1 = 2"),))
    assert few.render("2 + 2?") == "Problem: 1 + 1?\nSolution:\n1 + 1 = 2\n\nProblem: 2 + 2?\nSolution:\n"
    assert few.another_problem == "Problem:"


@pytest.mark.parametrize(
    ("text", "opening"),
    [("{prompt}\n", None), ("- {prompt}\n", None), ("Solve it.\n\nProblem 3: {prompt}\n", "Problem 3:")],
)
def test_only_words_with_a_colon_open_a_problem(text, opening):
    """A list or a blank line in a solution must not end its trace."""
    assert PromptTemplate(text).another_problem == opening


def test_solutions_say_how_steps_are_divided():
    paragraphs = PromptTemplate("{prompt}", chat=True, exemplars=(("1 + 1?", "We add.\n\nSo it is 2."),))
    lines = PromptTemplate("{prompt}", chat=True, exemplars=(("1 + 1?", "We add.\nSo it is 2."),))
    assert (paragraphs.step_rule, lines.step_rule, PromptTemplate("{prompt}", chat=True).step_rule) == (
        "paragraph", "line", "paragraph",
    )  # fmt: skip


def test_a_draw_depends_on_file_number_and_seed_alone(template):
    first = prompt_template(template("shots: 3")).exemplars
    assert first == prompt_template(template("shots: 3", "seed: 0")).exemplars
    assert len(set(first)) == 3
    others = {prompt_template(template("shots: 3", f"seed: {seed}")).exemplars for seed in range(1, 9)}
    assert len(others) > 3
    assert {problem for problem, _ in prompt_template(template("shots: 4")).exemplars} == {
        row.get("prompt") or row.get("problem") or row["question"] for row in ROWS
    }


def test_lines_are_the_ids_of_a_file_without_ids(tmp_path):
    rows = [{name: text for name, text in row.items() if name != "id"} for row in ROWS]
    path = write(tmp_path / "plain.jsonl", rows)
    assert choose(path, ids=[4, "1"]) == (
        ("Dan gives away 3 of 9 cards. How many are left?", "9 - 3 = 6\n#### 6"),
        ("Ann has 2 red and 6 blue pens. How many?", "2 + 6 = 8\n#### 8"),
    )


def test_the_texts_themselves_are_saved(template):
    """A checkpoint needs no file, and a changed file makes another template."""
    path = template("ids: [pens]")
    few = prompt_template(path)
    assert PromptTemplate(**json.loads(json.dumps(asdict(few)))) == few
    codec = StepCodec(few)
    assert StepCodec.from_dict(json.loads(json.dumps(asdict(codec)))) == codec
    solved = files_of(path)[1]
    assert files_of(path) == [path, solved]
    write(Path(solved), [ROWS[0] | {"solution": "8"}])
    assert prompt_template(path) != few
    assert files_of("few_shot_cot") == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "few.yaml: exemplars need either shots, how many are drawn at random, or ids, which of them are taken"),
        (["shots: 2", "ids: [pens]"], "exemplars need either shots"),
        (["shots: 5"], r"shots is 5; .*exemplars.jsonl has 4 exemplars, so it must be from 1 to 4"),
        (["shots: 0"], "shots is 0; "),
        (["shots: two"], "shots is 'two'; "),
        (["ids: [pens, hats]"], r"exemplars.jsonl has no exemplar 'hats'; it has pens, rolls, clips, cards, \.\.\."),
        (["ids: []"], "has no exemplar without an id"),
        (["ids: pens"], r"few.yaml: ids is 'pens'; it must be a list, such as \[pens\]"),
        (["ids: 3"], "few.yaml: ids is 3; it must be a list"),
        (["shots: true"], "few.yaml: shots is True; "),
        (["shots: 2", "seed: [1]"], r"few.yaml: seed is \[1\]; it is a whole number, for shots that are drawn"),
        (["ids: [pens]", "seed: 1"], "few.yaml: seed is 1; it is a whole number, for shots that are drawn"),
    ],
)
def test_a_choice_that_cannot_be_made(template, lines, message):
    with pytest.raises(ValueError, match=message):
        prompt_template(template(*lines))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "Why', r"exemplars.jsonl:1: no JSON \("),
        ('{"prompt": "Why?"}', "exemplars.jsonl:1: no text in a column solution or answer; the row has prompt"),
        ('{"prompt": "", "solution": "2"}', "exemplars.jsonl:1: no text in a column prompt or problem or question"),
        ('{"prompt": "Why?", "answer": 2}', "exemplars.jsonl:1: no text in a column solution or answer"),
        (
            '{"id": 1, "prompt": "a", "answer": "2"}\n{"id": "1", "prompt": "b", "answer": "3"}',
            "jsonl:2: an earlier row has",
        ),
        ("[1, 2]", r"exemplars.jsonl:1: '\[1, 2\]' is no row; a row is an object"),
        ("", "exemplars.jsonl holds no row"),
    ],
)
def test_a_file_of_exemplars_that_is_broken(template, tmp_path, line, message):
    path = template("shots: 1")
    (tmp_path / "solved/exemplars.jsonl").write_text(line)
    with pytest.raises(ValueError, match=message):
        prompt_template(path)


def test_a_template_with_exemplars_that_make_no_sense(tmp_path):
    with pytest.raises(ValueError, match="each must be a problem and its solution, both texts"):
        PromptTemplate("Q: {prompt}", exemplars=(("a", 2),))
    path = tmp_path / "few.yaml"
    path.write_text('text: "{prompt}"\nshots: 3')
    with pytest.raises(ValueError, match=r"few\.yaml: shots without exemplars, the file from which they are taken"):
        prompt_template(str(path))
    path.write_text('text: "{prompt}"\nexemplars: [a, b]\nshots: 3')
    with pytest.raises(ValueError, match=r"few\.yaml: exemplars is .*; it must be the path of a JSON Lines file"):
        prompt_template(str(path))
    path.write_text('text: "{prompt}"\nexemplars: missing.jsonl\nshots: 3')
    with pytest.raises(FileNotFoundError, match=r"missing\.jsonl"):
        prompt_template(str(path))


def test_empty_lines_between_exemplars_are_none(template, tmp_path):
    path = template("ids: [1, 3]")
    rows = ['{"prompt": "One?", "answer": "1"}', "  ", '{"prompt": "Three?", "answer": "3"}']
    (tmp_path / "solved/exemplars.jsonl").write_text("\n".join(rows))
    text = str(prompt_template(path))
    assert "One?" in text
    assert "Three?" in text
