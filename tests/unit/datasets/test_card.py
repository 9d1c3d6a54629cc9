"""The card of a data set: every fact that it was given is in it, and the header is one that `datasets` reads."""

from collections import Counter
from dataclasses import replace

import pytest
import yaml

from prm.datasets.card import Facts, Split, dataset_card
from prm.storage.rows import LabeledRow
from prm.types import LabeledTrace, Problem, Trace


def row(prompt, *labels):
    problem = Problem("p", prompt, "2", "p")
    trace = Trace("p", tuple(f"step {i}" for i in range(len(labels))), "2", True)
    return LabeledRow(problem, LabeledTrace(trace, labels, None, None, "human", "correctness"))


@pytest.fixture
def facts(tmp_path):
    (tmp_path / "labels.jsonl").write_text("abc")
    return Facts(
        name="sums",
        inputs=[str(tmp_path / "labels.jsonl"), "someone/labels"],
        sources=Counter({("prm800k", "human"): 5, ("math", "monte_carlo@8"): 7}),
        removed=Counter({"duplicate": 1, "status give_up": 3}),
        benchmarks={"gsm8k": 4},
        ngram=13,
        balance="label",
        license="mit",
        semantics="correctness",
        kept=["topic"],
    )


def test_sizes_are_counted_row_by_row():
    split = Split()
    for one in (
        row("What is 1 + 1?", True, False, False),
        row("What  is\n1 + 1?", True, None, True),
        row("Else?", True),
        row("And?", True, True, True),
    ):
        split.add(one)
    card = dataset_card({"train": split}, Facts("x", [], Counter(), Counter(), {}, 13, None, None, "value"))
    assert "| train | 3 | 4 | 7 (77.8%) | 2 | 1 | 2.3 / 3.0 |" in card


def test_every_fact_is_in_the_card(facts):
    card = dataset_card({"train": Split()}, facts)
    for line in (
        "# sums",
        "| math | monte_carlo@8 | 7 |\n| prm800k | human | 5 |",
        # The hash is that of the three bytes in the file: `printf abc | sha256sum`.
        f"- `{facts.inputs[0]}` (ba7816bf8f01cfea)\n- `someone/labels`\n",
        "Columns of the source, under `kept`: topic.",
        "License: mit.",
        "- status give_up: 3 traces\n- duplicate: 1 traces",
        "Balanced by label.",
        "- gsm8k: 4 traces of its problems are left out",
        "if they have 13 words in a row in common",
    ):
        assert line in card


def test_the_header_names_files_and_types(facts):
    _, header, _ = dataset_card({"train": Split(), "validation": Split()}, facts).split("---\n", 2)
    header = yaml.safe_load(header)
    assert header["license"] == "mit"
    assert header["configs"] == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train", "path": "train.jsonl"},
                {"split": "validation", "path": "validation.jsonl"},
            ],
        }
    ]
    types = {feature["name"]: feature for feature in header["dataset_info"]["features"]}
    assert types["prompt"]["dtype"] == "string"
    assert types["kept"]["struct"] == [{"name": "topic", "dtype": "string"}]
    assert "  - name: größe\n" in dataset_card({"train": Split()}, replace(facts, kept=["größe"]))  # as it is written


def test_what_is_not_known_or_did_not_happen_is_said():
    card = dataset_card({"train": Split()}, Facts("x", [], Counter(), Counter(), {}, 13, None, None, "value"))
    for line in ("## Left out\n\nNothing.\n\nNot balanced.", "License: unknown; those of the sources apply."):
        assert line in card
    assert "Columns of the source" not in card
