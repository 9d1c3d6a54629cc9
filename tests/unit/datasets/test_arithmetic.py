import random
from collections import Counter
from dataclasses import replace

import pytest

from prm.datasets import arithmetic
from prm.datasets.splits import split_of

PROMPT = "Start with 47, add 38, subtract 12."
HARD = arithmetic.HARD


def evaluate(prompt: str) -> list[int]:
    """Results of all operations, read from the text in another way than the module does."""
    symbols = prompt.removeprefix("Start with ").removesuffix(".").split(", ")
    values = [int(symbols[0])]
    signs = {"add": "+", "subtract": "-", "multiply by": "*"}
    for operation in symbols[1:]:
        word, number = operation.rsplit(" ", 1)
        values.append(eval(f"{values[-1]} {signs[word]} {number}"))
    return values[1:]


def test_splits_share_no_problem():
    prompts = {split: {p.prompt for p in arithmetic.load(split, 400)} for split in ("train", "validation", "test")}
    assert [len(prompts[split]) for split in prompts] == [400, 400, 400]
    assert not prompts["train"] & prompts["validation"]
    assert not prompts["train"] & prompts["test"]
    assert not prompts["validation"] & prompts["test"]
    assert all(split_of(prompt) == split for split in prompts for prompt in prompts[split])


def test_fine_tuning_rows_are_train_problems():
    rows = list(arithmetic.student_examples(300))
    assert {split_of(row["prompt"]) for row in rows} == {"train"}
    assert list(arithmetic.student_examples(100)) == rows[:100]
    assert list(arithmetic.student_examples(100, seed=1)) != rows[:100]


def test_the_first_problems_stay_the_same():
    assert arithmetic.load("test", 40)[:13] == arithmetic.load("test", 13)
    first = arithmetic.load("test", 1)[0]
    assert (first.id, first.prompt, first.answer) == ("arithmetic/test/0", "Start with 15, subtract 9, add 24.", "30")


def test_problems_are_right_and_in_range():
    problems = arithmetic.load("validation", 210)
    for problem in problems:
        results = evaluate(problem.prompt)
        assert problem.answer == str(results[-1])
        assert problem.level == len(results)
        assert all(0 <= result <= 99 for result in results)
    assert Counter(p.level for p in problems) == dict.fromkeys(range(2, 9), 30)
    assert len({p.id for p in problems}) == 210
    assert {p.level for p in arithmetic.load("test", 10, levels=(3, 8))} == {3, 8}


def test_unknown_split():
    with pytest.raises(ValueError, match="no split 'dev'; it has test, train, validation"):
        arithmetic.load("dev", 1)


def test_parse_undoes_render():
    assert arithmetic.parse(PROMPT) == (47, [("+", 38), ("-", 12)])
    for problem in arithmetic.load("test", 100):
        assert arithmetic.render(*arithmetic.parse(problem.prompt)) == problem.prompt
    with pytest.raises(ValueError, match="not an arithmetic problem: 'What is 2"):
        arithmetic.parse("What is 2 + 2?")


def test_gold_solution():
    assert arithmetic.solution(PROMPT) == ("47 + 38, carry 1 = 85", "85 - 12 = 73", "#### 73")
    assert arithmetic.solution("Start with 27, multiply by 3, subtract 38.") == (
        "27 * 3, carry 2 = 81",
        "81 - 38, borrow 1 = 43",
        "#### 43",
    )


@pytest.mark.parametrize(
    ("a", "symbol", "b", "note", "forgotten"),
    [
        (47, "+", 38, ", carry 1", 75),  # 7 + 8 = 15: write 5, forget the 1
        (42, "+", 35, "", None),  # no carry, nothing to forget
        (95, "+", 4, "", None),
        (52, "-", 38, ", borrow 1", 26),  # smaller digit from the larger: 8 - 2 = 6, 5 - 3 = 2
        (47, "-", 38, ", borrow 1", 11),  # 8 - 7 = 1, 4 - 3 = 1
        (58, "-", 32, "", None),
        (27, "*", 3, ", carry 2", 61),  # 7 * 3 = 21: write 1, forget the 2; 2 * 3 = 6
        (23, "*", 2, "", None),
        (5, "*", 4, ", carry 2", 0),  # 20: the 2 is forgotten
    ],
)
def test_forgotten_carries(a, symbol, b, note, forgotten):
    """By hand: the student's column arithmetic, with the note of what is carried and without both."""
    right = {"+": a + b, "-": a - b, "*": a * b}[symbol]
    counts = Counter(
        arithmetic.student_trace(arithmetic.render(a, [(symbol, b)]), random.Random(seed))[0] for seed in range(200)
    )
    expected = {f"{a} {symbol} {b}{note} = {right}"}
    if forgotten is not None:
        expected.add(f"{a} {symbol} {b} = {forgotten}")
    assert {text for text, _ in counts.most_common(len(expected))} == expected


def test_how_often_the_student_is_wrong():
    rng = random.Random(0)
    carry = Counter(arithmetic.student_trace("Start with 47, add 38.", rng)[0] for _ in range(4000))
    plain = Counter(arithmetic.student_trace("Start with 42, add 35.", rng)[0] for _ in range(4000))
    # 0.6 * 0.8 + 0.4 * 0.1 = 0.52 forget the carry; 0.02 of the others slip.
    assert carry["47 + 38 = 75"] / 4000 == pytest.approx(0.52, abs=0.025)
    assert carry["47 + 38, carry 1 = 85"] / 4000 == pytest.approx(0.48 * 0.98, abs=0.025)
    assert plain["42 + 35 = 77"] / 4000 == pytest.approx(0.98, abs=0.01)
    assert set(plain) == {f"42 + 35 = {result}" for result in (67, 75, 76, 77, 78, 79, 87)}


def test_mistakes_of_a_trace_are_correlated():
    """Two carries: a careless student (0.6) forgets both with 0.64, a careful one (0.4) with 0.01."""
    rng = random.Random(0)
    traces = [arithmetic.student_trace("Start with 16, add 15, add 19.", rng) for _ in range(4000)]
    both = sum("carry" not in trace[0] and "carry" not in trace[1] for trace in traces) / 4000
    assert both == pytest.approx(0.6 * 0.64 + 0.4 * 0.01, abs=0.03)  # 0.52 ** 2 = 0.27 if they were independent


def test_student_traces_stay_in_range_and_follow_on():
    for row in arithmetic.student_examples(400):
        *steps, final = row["completion"].split("\n")
        _, operations = arithmetic.parse(row["prompt"])
        assert [(step.split()[1], int(step.split()[2].rstrip(","))) for step in steps] == operations
        results = [int(step.split()[-1]) for step in steps]
        assert [int(step.split()[0]) for step in steps[1:]] == results[:-1]
        assert final == f"#### {results[-1]}"
        assert all(0 <= result <= 99 for result in results)


@pytest.mark.parametrize(
    ("steps", "labels"),
    [
        (("47 + 38, carry 1 = 85", "85 - 12 = 73", "#### 73"), (True, True, True)),
        (("47 + 38, carry 1 = 85", "85 - 12 = 63", "#### 63"), (True, False, False)),
        (("47 + 38 = 75", "75 - 12 = 63", "#### 63"), (False, False, False)),
        (("47 + 38 = 75", "85 - 12 = 73", "#### 73"), (False, False, False)),  # a wrong start cannot be mended
        (("47 + 38, carry 1 = 85",), (True,)),
        (("47 + 38 = 85",), (False,)),  # the right number by luck
        (
            ("47 + 38, carry 1 = 85", "85 - 12 = 73", "#### 73", "#### 73"),
            (True, True, True, False),
        ),  # one step too many
        ((), ()),
    ],
)
def test_check_steps(steps, labels):
    assert arithmetic.check_steps(PROMPT, steps) == labels


def test_tokenizer_round_trip():
    tokenizer = arithmetic.build_tokenizer()
    for row in arithmetic.student_examples(60):
        text = row["prompt"] + "\n" + row["completion"] + "\n"
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids


def test_tokenizer_has_one_token_per_number_and_word_group():
    tokenizer = arithmetic.build_tokenizer()
    assert tokenizer.convert_ids_to_tokens(
        tokenizer("Start with 47, add 38.\n47 + 38, carry 1 = 85\n#### 85")["input_ids"]
    ) == [
        *("Start with ", "47", ", add ", "38", ".", "\n"),
        *("47", " + ", "38", ", carry ", "1", " = ", "85", "\n", "#### ", "85"),
    ]
    assert len(tokenizer) == 3 + 13 + 100


def test_nobody_notes_a_carry_in_the_unkind_set():
    prompt = "Start with 27, multiply by 3, subtract 38."
    assert arithmetic.solution(prompt, HARD) == ("27 * 3 = 81", "81 - 38 = 43", "#### 43")
    rng = random.Random(0)
    steps = Counter(arithmetic.student_trace("Start with 47, add 38.", rng, HARD)[0] for _ in range(4000))
    # As in the kind set: 0.6 * 0.8 + 0.4 * 0.1 = 0.52 forget the carry.
    assert steps["47 + 38 = 75"] / 4000 == pytest.approx(0.52, abs=0.025)
    assert steps["47 + 38 = 85"] / 4000 == pytest.approx(0.48 * 0.98, abs=0.025)
    assert sum(steps.values()) - steps["47 + 38 = 75"] - steps["47 + 38 = 85"] < 4000 * 0.03


@pytest.mark.parametrize(
    ("steps", "labels", "mistake"),
    [
        (("47 + 38 = 85", "85 - 12 = 73", "#### 73"), (True, True, True), None),
        (("47 + 38 = 75", "75 - 12 = 63", "#### 63"), (False, False, False), "forgotten"),
        (("47 + 38 = 85", "85 - 12 = 72", "#### 72"), (True, False, False), "slip"),
        (("47 + 38 = 85", "#### 85"), (True, False), "other"),
        (("47 + 38, carry 1 = 85",), (False,), "slip"),  # a step of the other set
    ],
)
def test_step_truth_of_the_unkind_set(steps, labels, mistake):
    assert arithmetic.check_steps(PROMPT, steps, HARD) == labels
    assert arithmetic.first_mistake(PROMPT, steps, HARD) == mistake


def test_the_unkind_set_has_its_own_problems_and_longer_chains():
    splits = {split: arithmetic.load(split, 220, variant=HARD) for split in ("train", "validation", "test")}
    for split, problems in splits.items():
        assert {split_of(problem.prompt) for problem in problems} == {split}
        assert Counter(problem.level for problem in problems) == dict.fromkeys(range(2, 13), 20)
        assert all(problem.answer == str(evaluate(problem.prompt)[-1]) for problem in problems)
    assert (splits["test"][0].id, splits["test"][0].source) == ("arithmetic_hard/test/0", "arithmetic_hard")
    with pytest.raises(ValueError, match="arithmetic_hard has no split 'dev'"):
        arithmetic.load("dev", 1, variant=HARD)


def test_the_unkind_generator_also_reads_corrected_exercises():
    rows = list(arithmetic.student_examples(1000, variant=HARD))
    lists = [row["turns"] for row in rows if not row["prompt"]]
    assert len(lists) == pytest.approx(750, abs=45)
    wrong = 0
    for exercise, learned in (turn for turns in lists for turn in turns):
        first, correction, end = learned.split("\n")
        result, right = int(first.removeprefix(" = ")), eval(exercise)
        assert (correction, end) == ("" if result == right else f" = {right}", "")
        wrong += result != right
    assert all(len(turns) == arithmetic.EXERCISES for turns in lists)
    assert wrong / (arithmetic.EXERCISES * len(lists)) == pytest.approx(0.5, abs=0.05)
    assert {split_of(row["prompt"]) for row in rows if row["prompt"]} == {"train"}
    assert not any("carry" in str(row) or "borrow" in str(row) for row in rows)
    tokenizer = arithmetic.build_tokenizer()
    text = "".join(map("".join, lists[0]))
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]


def test_exercises_of_the_kind_set_have_their_notes():
    rng, kinds = random.Random(0), Counter()
    for _ in range(2000):
        exercise, learned = arithmetic.exercise(rng, arithmetic.KIND)
        a, symbol, b = exercise.split()
        gold, _ = arithmetic.solution(arithmetic.render(int(a), [(symbol, int(b))]))
        note, equals, result = gold.removeprefix(exercise).rpartition(" = ")
        first, correction, end = learned.split("\n")
        written, _, wrong = first.rpartition(" = ")
        assert end == ""
        if not correction:
            kinds["right"] += 1
            assert first == f"{note}{equals}{result}"
            continue
        assert wrong != result
        # What is missing: a forgotten carry with the result, or after a slip the result alone.
        assert (written, correction) in ((note, f"{equals}{result}"), ("", f"{note}{equals}{result}"))
        kinds["forgotten" if written != note else "slip"] += 1
    assert kinds["right"] == pytest.approx(1050, abs=120)
    assert min(kinds["forgotten"], kinds["slip"]) > 200


def test_where_all_rows_are_exercises_each_begins_with_a_problem():
    variant = replace(HARD, exercises=1.0)
    for row in arithmetic.student_examples(30, variant=variant):
        assert split_of(row["prompt"]) == "train"
        assert len(row["turns"]) == arithmetic.EXERCISES - len(row["prompt"]) // 20


@pytest.mark.parametrize(("text", "result"), [("47 + 38", 75), ("52 - 38", 26), ("58 - 32", 26), ("7 * 8", 6)])
def test_results_without_the_carry(text, result):
    a, symbol, b = text.split()
    assert arithmetic._forget_carry(int(a), symbol, int(b)) == result
