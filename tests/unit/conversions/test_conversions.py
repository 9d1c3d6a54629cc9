"""Sets of other projects, row by row: tests/golden has rows by their published schemas, here is what they become."""

import json

import pytest

from prm.conversions import EXPORTERS, IMPORTERS, convert, export_row
from prm.conversions.refusals import REFUSED, limited
from prm.conversions.rlhflow import known_questions
from prm.conversions.trl import foreign_columns
from prm.storage.rows import row_to_labeled
from prm.storage.sources import read_rows


@pytest.fixture
def golden(root):
    """`golden(name, **options)` -> the rows that tests/golden/name.jsonl becomes."""

    def rows(name, **options):
        return list(convert(read_rows(str(root / "tests" / "golden" / f"{name}.jsonl")), name, **options))

    return rows


@pytest.fixture
def foreign(root):
    def rows(name):
        return [row for _, row in read_rows(str(root / "tests" / "golden" / f"{name}.jsonl"))]

    return rows


def brief(rows):
    return [(row["status"], row["completions"], row["labels"]) for row in rows]


def one(name, row, **options):
    return list(convert([("rows.jsonl:3", row)], name, **options))


def test_prm800k_whole_rows(golden):
    rows = golden("prm800k")
    seconds = [row for row in rows if row["prompt"] == "How many seconds are in 7.8 minutes?"]
    assert seconds[0] == {
        "prompt": "How many seconds are in 7.8 minutes?",
        "completions": [
            "7.8 minutes are 7 minutes and 0.8 minutes.",
            "7 minutes are 420 seconds.",
            "0.8 minutes are 48 seconds.",
            "So it is 420 + 48 = 468.\n\n# Answer\n\n468",
        ],
        "labels": [True, True, True, True],
        "values": None,
        "counts": None,
        "id": "prm800k/b3fc4e39c394#0",
        "problem_id": "prm800k/b3fc4e39c394",
        "gold": "468",
        "level": None,
        "answer": "468",
        "correct": True,
        "finished": True,
        "num_tokens": None,
        "seed": None,
        "index": 0,
        "generator": "unknown",
        "step_rule": None,
        "status": "ok",
        "method": "human",
        "semantics": "correctness",
        "labeler": None,
    }
    assert [row["index"] for row in seconds] == [0, 1, 2, 3, 4, 5]
    assert (seconds[5]["answer"], seconds[5]["correct"], seconds[5]["finished"]) == ("478", None, True)
    assert (seconds[1]["answer"], seconds[1]["correct"], seconds[1]["finished"]) == (None, None, False)


def test_prm800k_alternatives_end_traces_of_their_own_and_every_judgment_counts_once(golden):
    first, human, think, last = (
        "7.8 minutes are 7 minutes and 0.8 minutes.",
        "7 minutes are 420 seconds.",
        "0.8 minutes are 48 seconds.",
        "So it is 478.\n\n# Answer\n\n478",
    )
    assert brief(golden("prm800k"))[1:6] == [
        ("ok", [first, "0.8 minutes are 80 seconds."], [None, False]),
        ("ok", [first, "7 minutes are 42 seconds."], [None, False]),
        ("ok", [first, human, "Let me think."], [None, None, True]),
        ("no_labels", [first, human, "0.8 minutes are some seconds."], [None, None, None]),
        ("ok", [first, human, think, last], [None, None, None, False]),
    ]
    repeated = brief(golden("prm800k", branches="repeat"))[1:6]
    assert [labels for _, _, labels in repeated] == [
        [True, False],
        [True, False],
        [True, True, True],
        [True, True, None],
        [True, True, True, False],
    ]


def test_prm800k_finish_reasons(golden):
    assert brief(golden("prm800k"))[6:] == [
        # found_error: the model's own step ends the main trace, its replacement another
        ("ok", ["Multiplication comes first.", "$3\\cdot 4=7$."], [True, False]),
        ("ok", ["Multiplication comes first.", "$3\\cdot 4=12$."], [None, True]),
        ("give_up", ["The section is a square."], [True]),
        ("give_up", ["Half of a face."], [False]),
        ("bad_problem", ["There is no equation."], [True]),
        ("quality_control", ["It is 2.\n\n# Answer\n\n2"], [True]),
        ("screening", ["It is 3.\n\n# Answer\n\n3"], [True]),
        ("no_labels", ["It is four."], [None]),
        ("no_steps", [], []),
    ]
    assert [row["correct"] for row in golden("prm800k")[6:]] == [None] * 9


@pytest.mark.parametrize(("neutral", "label"), [("good", True), ("bad", False), ("unlabeled", None)])
def test_prm800k_neutral(golden, neutral, label):
    rows = golden("prm800k", neutral=neutral)
    assert rows[3]["labels"][-1] is label  # "Let me think."
    assert rows[6]["labels"] == [label, False]


def test_prm800k_what_follows_an_error_is_kept(golden):
    """The chosen neutral step is an error under this reading, and the alternative after it must show that."""
    rows = golden("prm800k", neutral="bad")
    assert rows[7]["labels"] == [False, True]


def prm800k(steps, reason="solution"):
    """A raw row whose step i has the candidates `steps[i]`, pairs of text and rating, the first of which was chosen."""
    made = [
        {"completions": [{"text": text, "rating": rating} for text, rating in candidates], "chosen_completion": 0}
        for candidates in steps
    ]
    return {"question": {"problem": "Q"}, "label": {"steps": made, "finish_reason": reason}}


def test_prm800k_the_main_trace_ends_where_nothing_was_chosen():
    """Steps may follow in the file all the same; they continue the only candidate, or a text that nobody knows."""
    row = prm800k([[("a", 1)], [("b", -1), ("c", 1)], [("d", 1)]], "found_error")
    row["label"]["steps"][1]["chosen_completion"] = None
    assert brief(one("prm800k", row)) == [
        ("ok", ["a", "b"], [True, False]),
        ("ok", ["a", "c"], [None, True]),
        ("nothing_chosen", ["a", "b", "d"], [None, False, True]),
    ]
    row = prm800k([[("a", 1)], [("b", 1)], [("c", -1)]], "found_error")
    row["label"]["steps"][0]["chosen_completion"] = None
    assert brief(one("prm800k", row)) == [("ok", ["a", "b", "c"], [True, True, False])]


def test_prm800k_blanks_around_the_answer_are_no_part_of_it():
    (made,) = one("prm800k", prm800k([[("So it is 468.\n\n# Answer\n\n468 \n", 1)]]))
    assert (made["answer"], made["finished"], made["correct"]) == ("468", True, True)


def test_math_shepherd(golden):
    rows = golden("math_shepherd")
    assert brief(rows) == [
        (
            "ok",
            ["Step 1: There are 20 x 40 = <<20*40=800>>800 seeds.", "Step 2: That is 8 hundred. The answer is: 800"],
            [True, False],
        ),
        ("ok", ["Step 1: 2 + 2 = 4", "Step 2: The answer"], [True, None]),
        ("ok", ["Step 1: x = 2"], [True]),
        ("ok", ["It is 6.", "The answer is: 6"], [True, True]),
        ("no_first_step", ["The answer is: 10"], [True]),
    ]
    assert [row["prompt"] for row in rows] == [
        "Val cuts a melon into 40 slices with 20 seeds each. How many seeds are there?",
        "What is 2 + 2?",
        "Determine x. It is given that 2x = 4.",
        "What is 3 + 3?",
        "Compute 5 + 5. It is 10.",
    ]
    assert [row["correct"] for row in rows] == [False, None, True, True, None]
    assert [row["answer"] for row in rows] == ["800", None, None, "6", "10"]
    assert {row["semantics"] for row in rows} == {"value"}


def test_math_shepherd_a_question_that_speaks_of_steps():
    row = {
        "input": "Step 1: add 1. What do we get from 2? Step 1: 2 + 1 = 3 ки",
        "label": "Step 1: add 1. What do we get from 2? Step 1: 2 + 1 = 3 +",
    }
    (made,) = one("math_shepherd", row)
    assert made["prompt"] == "Step 1: add 1. What do we get from 2?"
    assert brief([made]) == [("ok", ["Step 1: 2 + 1 = 3"], [True])]


def marked(text):
    """A raw row all of whose steps are good."""
    return {"input": text, "label": text.replace("ки", "+")}


@pytest.mark.parametrize(
    ("text", "prompt", "steps"),
    [
        (
            "Is it? Give x in degreesStep 1: x = 2 ки\nStep 2: 3 ки",
            "Is it? Give x in degrees",
            ["Step 1: x = 2", "Step 2: 3"],
        ),
        (
            "What is 3? It is 3. ки\nBy step 1: it is 3 ки\nSo 3 ки",
            "What is 3?",
            ["It is 3.", "By step 1: it is 3", "So 3"],
        ),
        ("What is 3? It is 3. ки\nBy step 1: it is 3 ки", "What is 3?", ["It is 3.", "By step 1: it is 3"]),
        ("What? Say it. ки\nStep 1: 3 ки", "What? Say it.", ["Step 1: 3"]),
        ("What? Say ки it. Step 1: 3 ки\nStep 2: 4 ки", "What? Say it.", ["Step 1: 3", "Step 2: 4"]),
    ],
)
def test_math_shepherd_where_the_question_ends(text, prompt, steps):
    (made,) = one("math_shepherd", marked(text))
    assert (made["prompt"], made["completions"], made["labels"]) == (prompt, steps, [True] * len(steps))


def test_rlhflow(golden):
    rows = golden("rlhflow")
    assert [row["prompt"] for row in rows] == ["What is 2 + 2 + 1?", "Compute $3 + 3$. To compute it, we add."]
    assert brief(rows) == [
        ("ok", ["Step 1: 2 + 2 = 4", "Step 2: 4 + 1 = 6\nThe answer is: 6"], [True, False]),
        ("no_first_step", ["It is $\\boxed{6}$."], [True]),
    ]
    assert [(row["correct"], row["semantics"]) for row in rows] == [(False, "value"), (None, "value")]


def test_rlhflow_unnumbered_steps_need_the_questions(golden):
    questions = known_questions(["Compute $3 + 3$.", "Compute $3 + 3$", "What is 2 + 2 + 1?"])
    row = golden("rlhflow", questions=questions)[1]
    assert row["prompt"] == "Compute $3 + 3$."
    assert brief([row]) == [("ok", ["To compute it, we add.", "It is $\\boxed{6}$."], [True, True])]


def test_rlhflow_of_two_questions_the_longer_one_is_meant():
    short = "How many apples are in the basket?"
    turns = [{"role": "user", "content": f"{short} Say why. There are 3."}, {"role": "assistant", "content": "+"}]
    for known in ([short, f"{short} Say why."], [f"{short} Say why.", short]):
        (made,) = convert([("r:1", {"conversations": turns})], "rlhflow", questions=known_questions(known))
        assert (made["prompt"], made["completions"]) == (f"{short} Say why.", ["There are 3."])


def test_rlhflow_a_question_of_one_character():
    turns = [{"role": "user", "content": "π It is 3.14."}, {"role": "assistant", "content": "+"}]
    (made,) = convert([("r:1", {"conversations": turns})], "rlhflow", questions=known_questions(["π"]))
    assert (made["prompt"], made["completions"]) == ("π", ["It is 3.14."])


@pytest.mark.parametrize("first", ["Step 1: 2 + 2 = 4", "It is 4."])
def test_rlhflow_without_a_question_is_no_trace_of_its_steps(first):
    """The first turn is all there is for a prompt, so its label belongs to no step."""
    turns = [("user", first), ("assistant", "+"), ("user", "Step 2: 4 + 1 = 6"), ("assistant", "-")]
    made = one("rlhflow", {"conversations": [{"role": role, "content": content} for role, content in turns]})
    assert brief(made) == [("no_first_step", ["Step 2: 4 + 1 = 6"], [False])]
    assert made[0]["prompt"] == first


def test_openr(golden):
    """OpenR's own converter writes the question into `process`: from a tree (row 2), or a list of prefixes (row 3)."""
    rows = golden("openr")
    assert brief(rows) == [
        ("ok", ["2 + 2 = 4", "4 + 1 = 6\n\nSo 6."], [True, False]),
        ("ok", ["2 + 2 = 4", "4 + 1 = 6"], [True, False]),
        ("ok", ["2 + 2 = 4\n\n4 + 1 = 6"], [False]),
        ("no_steps", [], []),
    ]
    assert {row["prompt"] for row in rows} == {"What is 2 + 2 + 1?"}
    assert {row["finished"] for row in rows} == {False}  # where a trace ends, it does not say


def test_omega_prm_tree_and_flat_form(golden):
    rows = golden("omega_prm")
    shared = [
        ("ok", ["2 + 2 = 4", "4 + 1 = 5", "So it is \\boxed{5}."], [True, None, True]),
        ("ok", ["2 + 2 = 4", "4 + 1 = 6"], [None, False]),
    ]
    assert brief(rows) == [
        *shared,
        ("no_labels", ["2 + 2 = 5"], [None]),
        *shared,
        ("ok", ["2 + 2 = 41"], [False]),  # begins like "2 + 2 = 4", continues it not
        ("no_steps", [], []),
    ]
    assert [row["values"] for row in rows] == [
        *([0.75, None, 1.0], [0.75, 0.0], [None]),
        *([0.75, None, 1.0], [0.75, 0.0], [0.0], []),
    ]
    assert golden("omega_prm", branches="repeat")[1]["labels"] == [True, False]
    assert {(row["semantics"], row["gold"], row["correct"]) for row in rows} == {("value", "5", None)}


def test_omega_prm_a_prefix_that_is_there_twice_stays_twice():
    steps = [{"solution_prefix": text, "mc_value": value} for text, value in [("Q\n\na", 0.5), ("Q\n\na", 0.0)]]
    rows = one("omega_prm", {"question": "Q", "final_answer": 0, "reasoning_steps": steps})
    assert [(row["completions"], row["values"], row["gold"]) for row in rows] == [
        (["a"], [0.5], "0"),
        (["a"], [0.0], "0"),
    ]


def test_processbench_steps_after_the_first_error_have_no_label(golden):
    rows = golden("processbench")
    assert [row["labels"] for row in rows] == [[True, False, None], [True, True], [False, None]]
    assert [row_to_labeled("", row).labeled.first_error for row in rows] == [1, -1, 0]
    assert [row["correct"] for row in rows] == [False, True, True]
    assert (rows[0]["generator"], rows[0]["semantics"]) == ("Qwen2-7B-Instruct", "correctness")


def test_trl(golden):
    rows = golden("trl", semantics="value")
    assert brief(rows) == [
        ("ok", ["2 + 2 = 5", "#### 5"], [False, False]),
        ("ok", ["2 + 2 = 4", "#### 4"], [True, True]),
    ]
    assert [row["id"].split("#")[1] for row in rows] == ["0", "1"]  # of one problem
    with pytest.raises(ValueError, match=r"trl\.jsonl:1: the row does not say what its labels mean"):
        golden("trl")


@pytest.mark.parametrize(
    ("steps", "left"), [(["a", " ", "c"], 1), (["", "b"], 0), (["a", "b", "\n"], 2), (["a", "", "", "d"], 1)]
)
def test_trl_a_blank_step_cuts_the_trace(steps, left):
    labels = [True, False, True, None][: len(steps)]
    values = [0.5, 0.0, 1.0, None][: len(steps)]
    row = {"prompt": "Q", "completions": steps, "labels": labels, "values": values, "correct": True}
    (made,) = one("trl", row, semantics="value")
    assert brief([made]) == [("empty_step", steps[:left], labels[:left])]
    assert (made["values"], made["counts"], made["correct"]) == (values[:left], None, None)
    # It is skipped and counted like every row with a status, but the row must be whole.
    with pytest.raises(ValueError, match="status empty_step"):
        export_row("trl", made)
    with pytest.raises(ValueError, match=r"^rows\.jsonl:3: .* steps but \d labels"):
        one("trl", row | {"labels": labels[1:]}, semantics="value")
    with pytest.raises(ValueError, match=r"^rows\.jsonl:3: step \d of `completions` is 7; it must be text"):
        one("trl", row | {"completions": [*steps[:-1], 7]}, semantics="value")


def test_rows_of_ours_pass_through_trl_unchanged(golden):
    rows = golden("prm800k")
    assert list(convert(zip("a" * len(rows), rows, strict=True), "trl")) == rows


@pytest.mark.parametrize("name", sorted(IMPORTERS.keys() - {"columns"}))  # a table has no schema: test_columns.py
def test_no_row_is_dropped_and_every_row_made_is_ours(golden, foreign, name):
    options = {"semantics": "value"} if name in ("trl", "axolotl") else {}
    for row in foreign(name):
        assert one(name, row, **options)
    for row in golden(name, **options):
        read = row_to_labeled("", row) if row["status"] == "ok" else None
        assert read is None or row["id"] == read.labeled.trace.id


def statuses_and_labels(rows):
    return [(row["status"], row["labels"]) for row in rows]


def test_first_errors_of_published_benchmarks(golden):
    assert brief(golden("bigbench_mistake")) == [
        ("ok", ["2 + 3 = 6.", "6 * 2 = 12. So the answer is 12"], [False, None]),
        ("ok", ["2 + 3 = 5.", "5 * 3 = 15. So the answer is 15"], [True, True]),
    ]
    assert statuses_and_labels(golden("reasoneval_mr")) == [("ok", [False, None]), ("ok", [True, False])]
    assert golden("reasoneval_mr")[0]["completions"] == ["1. 2 + 2 = 5.", "2. So 5."]
    assert statuses_and_labels(golden("mr_gsm8k")) == [("ok", [True, False]), ("ok", [True, True])]
    assert golden("mr_gsm8k")[1]["kept"]["model_output_answer_correctness"] == "correct"


def test_mr_ben_numbers_after_a_blank_step_and_texts_without_numbers_are_not_guessed_at(golden):
    rows = golden("mr_ben")
    assert brief(rows) == [
        ("ok", ["Step 1: 2 + 2 = 3.", "Solution: Choice_A"], [False, None]),
        ("ok", ["Step 1: 2 + 2 = 4.", "Solution: Choice_B"], [True, True]),  # no number counts the blank step
        ("empty_step", ["Step 1: Add."], [True]),
        ("ok", ["Step 1: Add.", "Step 2: 2 + 2 = 3.", "Step 3: So A."], [True, False, None]),
        ("unsplit_steps", ["def f():\n  return 3"], [None]),
        ("contradiction", ["Step 1: It is A."], [None]),
    ]
    assert rows[0]["prompt"] == "What is 2 + 2?\nA: 3 \nB: 4"
    assert (rows[0]["gold"], rows[0]["kept"]["Question_UUID"]) == ("B", "00-01")


def test_prmbench_all_errors_are_named_and_the_steps_between_are_right(golden):
    rows = golden("prmbench")
    assert statuses_and_labels(rows) == [
        ("ok", [True, False, False, True]),
        ("error_after_end", [False]),
        ("ok", [True]),
    ]
    assert rows[1]["kept"] == {"classification": "deception", "error_steps": "[1, 2]", "idx": "prm_test_p1_1"}


def test_fover_true_is_right(golden):
    assert statuses_and_labels(golden("fover")) == [("ok", [True, False, None])]


def test_med_prm_has_options_marks_and_soft_labels(golden):
    (row,) = golden("med_prm")
    assert row["prompt"] == "Which is a fruit?\nA. Stone\n  B. Apple"
    assert row["completions"] == ["Step 1: Apples grow on trees.", "Step 2: The answer is A."]
    assert (row["labels"], row["values"], row["semantics"]) == ([True, False], [0.75, 0.0], "value")


def test_openrlhf_signs_and_soft_labels(golden):
    rows = golden("openrlhf")
    assert [(row["prompt"], row["labels"], row["values"]) for row in rows] == [
        ("What is 1 + 1 + 1?", [True, False], None),
        ("What is 1 + 1 + 1?", [True, False], [0.9, 0.0]),
    ]
    assert rows[0]["completions"] == ["Step 1: 1 + 1 = 2", "Step 2: 2 + 1 = 4"]
    assert [row["correct"] for row in rows] == [False, None]
    soft = {"text": "What is 1 + 1? Step 1: 1 + 1 = 2 ки\nStep 2: and more", "value": [0.75]}
    (made,) = one("openrlhf", soft)
    assert (made["labels"], made["values"]) == ([True, None], [0.75, None])
    (made,) = one("openrlhf", soft | {"value": ["+"]})
    assert (made["labels"], made["values"], made["correct"]) == ([True, None], None, None)


def test_flat_prm800k_labels_are_those_of_the_ratings(golden, foreign):
    assert brief(golden("prm800k_flat")) == [
        ("ok", ["2 + 2 = 4.", "# Answer\n\n4"], [True, None]),
        ("ok", ["2 + 2 = 5.", "# Answer\n\n5"], [False, True]),
    ]
    assert golden("prm800k_flat", neutral="bad")[1]["labels"] == [False, False]
    assert golden("prm800k_flat")[1]["kept"] == {"phase": "phase2"}
    assert one("prm800k_flat", foreign("prm800k_flat")[0] | {"result": 12})[0]["gold"] == "12"
    with pytest.raises(ValueError, match="1 ratings but 2 steps that end in ки, then ''"):
        one("prm800k_flat", foreign("prm800k_flat")[1] | {"raw_labels": [1]})
    with pytest.raises(ValueError, match="1 ratings but 1 steps that end in ки, then ' b'"):
        one("prm800k_flat", foreign("prm800k_flat")[1] | {"answer": "a ки b", "raw_labels": [1]})


def test_a_row_per_step_with_its_rollouts(golden):
    rows = golden("step_per_row")
    assert brief(rows) == [
        ("ok", ["4 / 2 = 2.", "So it is odd."], [True, False]),
        ("ok", ["So it is odd."], [True]),
    ]
    assert (rows[0]["counts"], rows[0]["values"], rows[0]["method"]) == ([[4, 4], [0, 4]], [1.0, 0.0], "monte_carlo@4")


def test_a_step_that_continues_no_row_before_it_keeps_its_prefix_without_labels(foreign):
    (made,) = one("step_per_row", foreign("step_per_row")[1])
    assert brief([made]) == [("ok", ["4 / 2 = 2.", "So it is odd."], [None, False])]
    assert (made["counts"], made["values"]) == ([[0, 0], [0, 4]], [None, 0.0])


def test_a_chain_of_versaprm_may_have_no_other_candidates():
    chain = {"steps": ["a"], "labels": [1]}
    (made,) = one("versaprm", {"question": "Q", "answer": "a", "chain_of_thoughts": [chain]})
    assert (made["completions"], made["labels"]) == (["a"], [True])


def test_versaprm_chains_and_other_candidates(golden):
    assert brief(golden("versaprm")) == [
        ("ok", ["2 + 2 = 4", "Hm."], [True, True]),
        ("ok", ["2 + 2 = 4", "So 5."], [None, False]),
        ("ok", ["2 + 2 = 5"], [False]),
        ("ok", ["2 + 2 is 22"], [False]),
    ]
    rows = golden("versaprm", neutral="unlabeled", branches="repeat")
    assert [row["labels"] for row in rows] == [[True, None], [True, False], [False], [False]]
    assert {(row["gold"], row["kept"]["domain"]) for row in rows} == {("4", "math")}


def test_agent_process_bench_what_an_act_answers_to_stands_before_it(golden):
    (row,) = golden("agent_process_bench")
    assert row["prompt"] == "system: You book tables.\nuser: Book a table."
    assert row["completions"] == [
        'assistant: [{"function": {"name": "find", "arguments": "{}"}}]',
        "tool: one is free\nassistant: There is none.",
        "user: Sure?\nassistant: Yes.",
    ]
    assert (row["labels"], row["kept"]["final_label"]) == ([True, False, True], "-1")


def test_letters_of_a_call_stay_what_they_are(foreign):
    (row,) = foreign("agent_process_bench")
    row["messages"][2]["tool_calls"][0]["function"]["arguments"] = '{"city": "Köln"}'
    (made,) = one("agent_process_bench", row)
    assert "Köln" in made["completions"][0]


def test_copies_of_published_sets_may_lack_what_labels_do_not_need(foreign):
    rows = {"med_prm": ("prm_soft_label", "orm_label", "options"), "mr_ben": ("Subject", "Model_Solution_Correctness")}
    for name, columns in rows.items():
        whole, (made,) = foreign(name)[0], one(name, {k: v for k, v in foreign(name)[0].items() if k not in columns})
        assert (made["status"], made["labels"]) == ("ok", one(name, whole)[0]["labels"])
    assert one("prm800k_flat", foreign("prm800k_flat")[0] | {"is_quality_control_question": True})[0]["status"] == (
        "quality_control"
    )


def test_critiques_label_steps_and_become_examples_for_a_generative_verifier(golden):
    (think,) = golden("thinkprm")
    assert brief([think]) == [("ok", ["Step 1: 2 + 2 = 4", "Step 2: 4 + 1 = 6"], [True, False])]
    gen, undivided = golden("genprm")
    assert (gen["prompt"], gen["completions"]) == ("Add up:\n\n2 + 2 + 1", ["First 2 + 2 = 4.", "So it is 6."])
    assert (gen["status"], gen["labels"], gen["semantics"]) == ("ok", [True, False], "correctness")
    assert (undivided["status"], undivided["labels"]) == ("no_first_step", [None, True])
    made = export_row("critiques", think)
    assert (
        "[Math Problem]\n\nWhat is 2 + 2 + 1?\n\n[Solution]\n\nStep 1: 2 + 2 = 4\nStep 2: 4 + 1 = 6\n\n"
        in made["prompt"]
    )
    assert made["completion"] == think["kept"]["critique"]
    made = export_row("critiques", gen)
    assert "Step 1: First 2 + 2 = 4.\nStep 2: So it is 6." in made["prompt"]
    assert made["completion"].count("**Judgement**") == 2
    with pytest.raises(ValueError, match="it has no critique"):
        export_row("critiques", golden("math_shepherd")[0])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("thinkprm", {"gt_step_labels": ["+"]}, "2 steps but 1 labels"),
        ("thinkprm", {"gt_step_labels": ["+", "0"]}, "label 2 is '0'; it must be + or -"),
        ("openrlhf", {"value": ["+"]}, "2 markers ки but 1 in `value`"),
        ("openrlhf", {"value": [0.5, 1.5]}, "label 1 is 0.5; it must be + or -"),
        ("step_per_row", {"rollout_success": True}, "True of 4 rollouts succeeded"),
        ("step_per_row", {"rollout_success": 5}, "5 of 4 rollouts succeeded"),
        ("prm800k_flat", {"steps": [{"step": "a", "rating": True}]}, "rating is True"),
        (
            "agent_process_bench",
            {"step_labels": {"3": 1}},
            "`step_labels` names 3, which is no message of the assistant",
        ),
        ("versaprm", {"chain_of_thoughts": [{"steps": ["a"], "labels": []}]}, "chain 0: 1 steps but 0 labels"),
        (
            "versaprm",
            {"chain_of_thoughts": [{"steps": ["a"], "labels": [1], "augs": [{"aug_idx": 1, "aug_step": "b"}]}]},
            "aug_idx is 1, and there are 1 steps",
        ),
        (
            "versaprm",
            {
                "chain_of_thoughts": [
                    {"steps": ["a", "b"], "labels": [1, 1], "augs": [{"aug_idx": True, "aug_step": "c"}]}
                ]
            },
            "aug_idx",
        ),
        ("prmbench", {"error_steps": 2}, "column 'error_steps' is 2, not a list of numbers of steps from 1 on"),
        ("prmbench", {"error_steps": [0]}, "is [0], not a list of numbers"),
        ("bigbench_mistake", {"mistake_index": 2}, "neither a number from 0 to 1 (the row has 2 steps)"),
        ("med_prm", {"prm_soft_label": [0.5, True]}, "value 2 of column 'prm_soft_label' is True"),
        ("med_prm", {"prm_hard_label": [1]}, "2 steps but 1 labels"),
        ("med_prm", {"prm_soft_label": [1]}, "2 steps but 1 values"),
    ],
)
def test_what_other_formats_cannot_mean_is_refused(foreign, name, change, message):
    row = foreign(name)[0] | change
    with pytest.raises(ValueError, match=r"^rows\.jsonl:3: ") as error:
        one(name, row)
    assert message in str(error.value)
    (made,) = one(name, row, strict=False)
    assert (made["status"], made["completions"], made["kept"]) == ("bad_label", [], {"refused": str(error.value)})


@pytest.mark.parametrize("roles", [[], ["assistant"], ["user", "user"], ["user", "assistant", "user"]])
def test_turns_that_do_not_alternate_are_refused(roles):
    turns = [{"role": role, "content": "Question: 2 + 2?\n\nIt is 4."} for role in ["system", *roles]]
    with pytest.raises(ValueError, match=r"^rows\.jsonl:3: the turns must be the user's and the assistant's in turn"):
        one("genprm", {"conversations": turns})


def test_a_row_that_cannot_be_read_is_counted_where_it_is_not_an_error():
    rows = [
        marked("What is 2? 2 ки"),
        marked("Step 1: It is 2. ки"),
        marked("What is 3? 3 ки"),
        {"input": 3, "label": ""},
    ]
    made = list(convert([(f"r:{i}", row) for i, row in enumerate(rows)], "math_shepherd", strict=False, first=10))
    assert [row["status"] for row in made] == ["ok", "no_question", "ok", "broken_row"]
    assert [row["index"] for row in made] == [10, 10, 10, 11]
    assert "r:1: the question is empty" in made[1]["kept"]["refused"]
    assert len({row["id"] for row in made}) == 4


@pytest.mark.parametrize(
    ("bad", "rows", "most", "ends"),
    [
        (1, 1, 0.05, False),
        (1, 3, 0.0, False),
        (2, 3, 0.05, True),
        (2, 40, 0.05, False),
        (3, 40, 0.05, True),
        (3, 3, 1, False),
    ],
)
def test_a_share_of_refused_rows_ends_the_run_with_examples(bad, rows, most, ends):
    traces = [{"status": "bad_label", "prompt": "", "kept": {"refused": f"r:{i}: x"}} for i in range(bad)]
    traces += [{"status": "ok"}, {"status": "no_labels"}] * rows  # what a set does not say of a trace is no refusal
    read = limited(iter(traces), lambda: rows, most)
    if not ends:
        assert list(read) == traces
        return
    with pytest.raises(
        ValueError, match=rf"^{bad} of {rows} rows have the status bad_label, .* For example: r:0: x; r:1: x"
    ):
        list(read)


def test_a_few_examples_say_what_could_not_be_read():
    traces = [{"status": "bad_label", "prompt": "1 + 1?", "kept": None}] * 9
    with pytest.raises(ValueError, match="9 of 9 rows") as error:
        list(limited(iter(traces), lambda: 9, 0.1))
    assert str(error.value).count("nothing shows where the question ends in '1 + 1?'") == 3


def test_refused_rows_end_a_long_run_before_its_end(monkeypatch):
    monkeypatch.setattr("prm.conversions.refusals.CHECKED_EVERY", 3)
    traces = [{"status": "bad_label", "prompt": "", "kept": {"refused": "x"}}] * 9
    read = limited(iter(traces), lambda: 9, 0.1)
    assert [next(read) for _ in range(3)] == traces[:3]
    with pytest.raises(ValueError, match="3 of 9 rows have the status bad_label"):
        next(read)


@pytest.mark.parametrize("strict", [True, False])
def test_a_missing_column_is_an_error_that_names_the_format_which_has_the_others(foreign, strict):
    for name in ("processbench", "fover", "prmbench", "omega_prm"):
        with pytest.raises(ValueError, match=rf"^rows\.jsonl:3: no column .*\. --source {name} has them$"):
            one("math_shepherd", foreign(name)[0], strict=strict)
    with pytest.raises(ValueError, match=r"the row has a, b\. --source columns reads any table"):
        one("math_shepherd", {"a": 1, "b": 2}, strict=strict)


def test_math_aps_a_trace_ends_with_the_line_of_its_first_box():
    text = "Q\n\nSo\n\\[ x = \\boxed{4}. \\]\n star mę\n\n*/)ebx"
    steps = [{"solution_prefix": "Q\n\na", "mc_value": 0.5}, {"solution_prefix": text, "mc_value": 1.0}]
    rows = one("omega_prm", {"question": "Q", "final_answer": "4", "reasoning_steps": steps})
    assert [(row["completions"], row["values"], row["finished"], row.get("kept")) for row in rows] == [
        (["So\n\\[ x = \\boxed{4}. \\]"], [1.0], True, {"note": "text after its answer left out"}),
        (["a"], [0.5], False, None),
    ]


@pytest.mark.parametrize("branches", ["once", "repeat"])
def test_math_aps_leaves_that_differ_after_the_answer_are_one_trace(branches):
    nodes = {"Q\n\nIt is \\boxed{4}.": 0.0, "Q\n\nIt is \\boxed{4}.\n\nab": 0.0, "Q\n\nIt is \\boxed{4}.\n\ncd": 1.0}
    steps = [{"solution_prefix": text, "mc_value": value} for text, value in nodes.items()]
    assert brief(one("omega_prm", {"question": "Q", "reasoning_steps": steps}, branches=branches)) == [
        ("ok", ["It is \\boxed{4}."], [False])
    ]


def test_openr_with_marks_and_text_after_the_answer():
    row = {"question": "Q?", "process": "2 + 2 = 4 ки\nIt is \\boxed{4}.\n*/) ки\nstar ки", "label": ["+", "+", "-"]}
    (made,) = one("openr", row)
    assert brief([made]) == [("ok", ["2 + 2 = 4", "It is \\boxed{4}."], [True, True])]
    assert made["kept"] == {"note": "text after its answer left out"}


def turns(*contents):
    made = [{"role": "user", "content": content} for content in contents]
    return {"conversations": [turn for one in made for turn in (one, {"role": "assistant", "content": "+"})]}


@pytest.mark.parametrize(
    ("contents", "prompt"),
    [
        (("Find x if x + 1 = 3. Let us take it slowly: ### Step 1: Subtract 1.", "So x is 2."), None),
        (("Find x if x + 1 = 3. Let us take it slowly: ### Step 1: Subtract 1.", "Step 2: So x is 2."), None),
        (("Find x. We do it in steps. Step 1: Subtract 1.", "So x is 2."), None),
        (("Find x. **Step 1: Subtract 1.",), None),
        (("Find x. We take it slowly. Step 1: Subtract 1.",), None),
        (("Find x if x + 1 = 3. To find x, subtract 1: Step 1: x = 2.",), None),
        (
            ("We have 3 nuts. Let x be 4. How many are they? Step 1: 7.",),
            "We have 3 nuts. Let x be 4. How many are they?",
        ),
        (("Find x. Step 1: Subtract 1.", "Step 2: So x is 2."), "Find x."),
    ],
)
def test_rlhflow_words_before_the_first_step_are_not_taken_for_the_question(contents, prompt):
    (made,) = one("rlhflow", turns(*contents))
    assert made["status"] == ("no_first_step" if prompt is None else "ok")
    assert prompt is None or made["prompt"] == prompt


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("What is 3? Step 1: Add. As in step 1: it is 3 ки\nStep 2: 3 ки", "What is 3?"),
        ("What is 3? Step 1: Add. As in Step 1: it is 3 ки\nStep 2: 3 ки", "What is 3?"),
        ("Find x. step 1: 3 ки\nstep 2: 3 ки", "Find x."),
    ],
)
def test_math_shepherd_a_step_that_speaks_of_step_one(text, prompt):
    (made,) = one("math_shepherd", marked(text))
    assert (made["prompt"], made["status"]) == (prompt, "ok")


def test_prm800k_a_corrected_rating_counts_and_true_is_none():
    row = prm800k([[("a", 1)], [("b", 1)]])
    row["label"]["steps"][1]["completions"][0]["corrected_rating"] = -1
    assert one("prm800k", row)[0]["labels"] == [True, False]
    for change in ({"chosen_completion": False}, {"completions": [{"text": "a", "rating": True}]}):
        broken = prm800k([[("a", 1)]])
        broken["label"]["steps"][0] |= change
        with pytest.raises(ValueError, match=r"step 0: (chosen_completion is False|rating is True)"):
            one("prm800k", broken)


def test_foreign_columns_with_our_names_mean_something_else():
    row = {"prompt": "Q", "completions": ["a"], "labels": [True]}
    foreign = row | {
        "index": 3,
        "level": "hard",
        "answer": 7,
        "status": "labeled",
        "id": 5,
        "seed": "x",
        "generator": 1,
    }
    made = list(convert([("r:1", foreign), ("r:2", foreign)], "trl", semantics="value", keep=("level", "answer")))
    assert [(row["status"], row["index"], row["level"], row["answer"], row["kept"]) for row in made] == [
        ("ok", 0, None, None, {"level": "hard", "answer": "7"}),
        ("ok", 1, None, None, {"level": "hard", "answer": "7"}),
    ]
    assert foreign_columns(foreign) == ["index", "level", "answer", "status", "id", "seed", "generator"]
    ours = row | {"semantics": "value", "status": "give_up"}
    assert foreign_columns(ours | {"level": 3}) == []
    assert one("trl", ours)[0]["status"] == "give_up"


def test_processbench_keeps_the_id_of_a_row():
    row = {"problem": "Q", "steps": ["a"], "label": -1, "final_answer_correct": True, "id": "gsm8k-7"}
    assert one("processbench", row)[0]["kept"] == {"id": "gsm8k-7"}
    (made,) = one("processbench", {name: value for name, value in row.items() if name != "id"})
    assert (made["kept"], made["generator"]) == ({"id": None}, "unknown")


def test_every_format_is_in_the_table_of_the_readme(root):
    table = (root / "data" / "README.md").read_text(encoding="utf-8")
    assert [name for name in IMPORTERS if f"| `{name}`: " not in table] == ["axolotl", "trl"]
    assert "| `trl`, `axolotl`: " in table
    assert [status for status in REFUSED if f"`{status}`*" not in table] == []


BROKEN = [
    (
        "processbench",
        {"problem": "Q", "steps": ["a", "b"], "label": -2, "final_answer_correct": True},
        "label -2 is neither an index of 2 steps nor -1",
    ),
    (
        "processbench",
        {"problem": "Q", "steps": ["a", "b"], "label": True, "final_answer_correct": True},
        "label True is neither an index of 2 steps nor -1",
    ),
    ("math_shepherd", {"input": "Q? Step 1: a ки", "label": "Q? Step 1: a  "}, "at marker 0 of the input"),
    ("math_shepherd", {"input": "Q? Step 1: a", "label": "Q? Step 1: a"}, "no marker ки"),
    ("math_shepherd", {"input": " Step 1: a ки", "label": " Step 1: a +"}, "the question is empty"),
    ("rlhflow", {"conversations": [{"role": "user", "content": "Q? Step 1: a"}]}, "1 turns; every step needs"),
    ("rlhflow", {"conversations": [{"role": "system", "content": "x"}] * 2}, "turn 0 must be text of the user"),
    (
        "rlhflow",
        {"conversations": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "0.5"}]},
        "label 1 is '0.5'; it must be + or -",
    ),
    ("openr", {"question": "Q", "process": "a \n\n\n\n\n", "label": ["+", "-"]}, "2 labels but 1 steps"),
    ("openr", {"question": "Q", "process": "a \n\n\n\n\nb", "label": ["+"]}, "then 'b'"),
    ("omega_prm", {"question": "Q", "reasoning_steps": None}, "must be a tree or a list of prefixes"),
    (
        "omega_prm",
        {"question": "Q", "reasoning_steps": [{"solution_prefix": "Q\n\na", "mc_value": 1.5}]},
        "mc_value is 1.5",
    ),
    (
        "omega_prm",
        {"question": "Q", "reasoning_steps": [{"solution_prefix": "R\n\na", "mc_value": 1}]},
        "does not begin with the question",
    ),
    (
        "processbench",
        {"problem": "Q", "steps": ["a"], "label": 1, "final_answer_correct": True},
        "label 1 is neither an index of 1 steps nor -1",
    ),
    (
        "prm800k",
        {"question": {"problem": "Q"}, "label": {"steps": [], "finish_reason": "done"}},
        "finish_reason is 'done'",
    ),
    ("prm800k", {"label": {}}, "no column 'question'"),
    ("trl", {"prompt": "Q", "completions": ["a"], "labels": [1], "semantics": "value"}, "label 1 is 1"),
    ("rlhflow", {"conversations": ["Q", "+"]}, "'Q' must be an object"),
    ("omega_prm", {"question": "Q", "reasoning_steps": ["Q"]}, "'Q' must be an object"),
    ("omega_prm", {"question": "Q", "reasoning_steps": {"children": ["a"]}}, "'a' must be an object"),
    (
        "processbench",
        {"problem": "Q", "steps": ["a", None], "label": -1, "final_answer_correct": True},
        "step 2 is None, not text",
    ),
    (
        "prm800k",
        {"question": {"problem": "Q"}, "label": {"steps": ["a"], "finish_reason": "solution"}},
        "step 0: 'a' must be an object",
    ),
    (
        "prm800k",
        {
            "question": {"problem": "Q"},
            "label": {"steps": [{"completions": [{"text": "a", "rating": [1]}]}], "finish_reason": "solution"},
        },
        "step 0: rating is [1]",
    ),
]


@pytest.mark.parametrize(("name", "row", "message"), BROKEN)
def test_a_broken_row_is_named(name, row, message):
    with pytest.raises(ValueError, match=r"^rows\.jsonl:3: ") as error:
        one(name, row)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"), [({"rating": 2}, "rating is 2"), ({"text": None}, "'text' must be a str")]
)
def test_prm800k_a_broken_candidate_is_named_with_its_step(foreign, change, message):
    row = foreign("prm800k")[0]
    row["label"]["steps"][3]["completions"][1] |= change
    with pytest.raises(ValueError, match=r"^rows\.jsonl:3: step 3: ") as error:
        one("prm800k", row)
    assert message in str(error.value)


def test_prm800k_a_blank_step_cuts_the_trace(foreign):
    row = foreign("prm800k")[0]
    row["label"]["steps"][2]["completions"][1]["text"] = " "
    made = one("prm800k", row)
    assert brief(made)[0] == (
        "empty_step",
        ["7.8 minutes are 7 minutes and 0.8 minutes.", "7 minutes are 420 seconds."],
        [True, True],
    )
    assert made[0]["correct"] is None


def test_export_literal_rows(golden):
    row = golden("math_shepherd")[3]
    assert export_row("trl", row) == {
        "prompt": "What is 3 + 3?",
        "completions": ["It is 6.", "The answer is: 6"],
        "labels": [True, True],
    }
    assert export_row("math_shepherd", row) == {
        "input": "What is 3 + 3? Step 1: It is 6. ки\nStep 2: The answer is: 6 ки",
        "label": "What is 3 + 3? Step 1: It is 6. +\nStep 2: The answer is: 6 +",
        "task": "unknown",
    }
    assert export_row("rlhflow", row) == {
        "conversations": [
            {"role": "user", "content": "What is 3 + 3? It is 6."},
            {"role": "assistant", "content": "+"},
            {"role": "user", "content": "The answer is: 6"},
            {"role": "assistant", "content": "+"},
        ]
    }


def test_raw_rows_survive_import_and_export(golden, foreign):
    assert export_row("math_shepherd", golden("math_shepherd")[0]) == foreign("math_shepherd")[0] | {"task": "unknown"}
    assert export_row("rlhflow", golden("rlhflow")[0]) == foreign("rlhflow")[0]
    assert export_row("trl", golden("trl", semantics="value")[0]) == foreign("trl")[0]


@pytest.mark.parametrize("target", sorted(EXPORTERS))
def test_exported_and_read_again_the_labels_are_the_same(golden, target):
    rows = [row for row in golden("prm800k", branches="repeat") + golden("processbench") if row["status"] == "ok"]
    options = {
        "trl": {"semantics": "correctness"},
        "axolotl": {"semantics": "correctness"},
        "rlhflow": {"questions": known_questions(row["prompt"] for row in rows)},
    }.get(target, {})
    assert len(rows) == 11
    for row in rows:
        (again,) = one(target, json.loads(json.dumps(export_row(target, row))), **options)
        labels = [label for label in row["labels"] if label is not None]  # after ProcessBench's error: cut off
        steps = [step.removeprefix(f"Step {i}: ") for i, step in enumerate(again["completions"], 1)]
        assert (again["prompt"], steps, again["labels"], again["status"]) == (
            row["prompt"],
            row["completions"][: len(labels)],
            labels,
            "ok",
        )


@pytest.mark.parametrize(
    ("target", "row", "reason"),
    [
        (
            "trl",
            {"labels": [None, True], "semantics": "correctness"},
            "a step before the last labeled one has no label",
        ),
        ("trl", {"labels": [None, None]}, "a step before the last labeled one has no label"),
        ("trl", {"status": "give_up"}, "status give_up"),
        ("math_shepherd", {"completions": ["a ки", "b"]}, "a text holds the marker ки"),
        ("math_shepherd", {"completions": ["Step 1: as Step 1: says", "b"]}, "the first step says 'Step 1:' twice"),
    ],
)
def test_what_a_format_cannot_say_is_refused(target, row, reason):
    whole = {"prompt": "Q", "completions": ["a", "b"], "labels": [True, False], "semantics": "value"} | row
    with pytest.raises(ValueError, match=f"^{reason}$"):
        export_row(target, whole)


def test_values_hold_for_all_the_text_before_them_so_unlabeled_steps_join_the_next(golden):
    rows = [row for row in golden("omega_prm", branches="repeat") if row["status"] == "ok"]
    exported = [export_row("openrlhf", row) for row in rows]
    assert exported[0] == {
        "input": "What is 2 + 2 + 1? Step 1: 2 + 2 = 4 ки\nStep 2: 4 + 1 = 5\n\nSo it is \\boxed{5}. ки",
        "value": ["+", "+"],
    }
    assert len(exported) == 5


def test_a_deep_tree_needs_no_deep_stack():
    node = {"text": "last", "mc_value": 1.0, "children": []}
    for _ in range(3000):
        node = {"text": "a", "mc_value": 0.5, "children": [node]}
    (row,) = one("omega_prm", {"question": "Q", "reasoning_steps": {"text": "Q", "mc_value": 1, "children": [node]}})
    assert len(row["completions"]) == 3001
