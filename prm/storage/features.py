"""The types of the columns of our files, for Hugging Face `datasets`.

`datasets` guesses types from the first 10 MB of a JSON Lines file, and fails at the first row that has a value in a column
that was null or missing until then: labels after thousands of traces without any. So the types are stated:

    path = "outputs/labeled.jsonl"
    datasets.load_dataset("json", data_files=path, features=features_of(path), split="train")

A data set folder (`data/build_dataset.py`) states them in its card and needs nothing else. Left out: the formats of other
projects, whose columns are never null.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from datasets import Features, List, Value

from prm.storage.jsonl import read_jsonl
from prm.types import Cost

FEATURES = Features(
    {
        "prompt": Value("string"),
        "completions": List(Value("string")),
        "labels": List(Value("bool")),
        "values": List(Value("float64")),
        "counts": List(List(Value("int64"))),
        "semantics": Value("string"),
        "method": Value("string"),
        "labeler": Value("string"),
        "id": Value("string"),
        "problem_id": Value("string"),
        "gold": Value("string"),
        "level": Value("int64"),
        "answer": Value("string"),
        "correct": Value("bool"),
        "finished": Value("bool"),
        "num_tokens": Value("int64"),
        "seed": Value("int64"),
        "index": Value("int64"),
        "generator": Value("string"),
        "step_rule": Value("string"),
        "status": Value("string"),
    }
)
"""Columns of a labeled row (`prm.storage.rows.labeled_to_row`)."""

SEARCH_FEATURES = Features(
    {
        "problem_id": Value("string"),
        "prompt": Value("string"),
        "gold": Value("string"),
        "source": Value("string"),
        "level": Value("int64"),
        "candidates": List(
            {
                "completions": List(Value("string")),
                "answer": Value("string"),
                "class": Value("int64"),
                "correct": Value("bool"),
                "status": Value("string"),
                "num_tokens": Value("int64"),
                "finished": Value("bool"),
                "seed": Value("int64"),
                "index": Value("int64"),
                "generator": Value("string"),
                "step_rule": Value("string"),
            }
        ),
        "results": List(
            {
                "method": Value("string"),
                "strategy": Value("string"),
                "verifier": Value("string"),
                "candidates": List(Value("int64")),
                "scores": List(List(Value("float64"))),
                "trace_scores": List(Value("float64")),
                "chosen": Value("int64"),
                "independent": Value("bool"),
                "cost": {f.name: Value("int64" if isinstance(f.default, int) else "float64") for f in fields(Cost)},
                "duplicates": Value("int64"),
                "tree": {
                    "parents": List(Value("int64")),
                    "steps": List(Value("string")),
                    "scores": List(Value("float64")),
                    "tokens": List(Value("int64")),
                },
            }
        ),
    }
)
"""Columns of a row of search results (`prm.storage.search_rows.results_to_row`)."""


def features_of(path: str | Path) -> Features:
    """The types of the columns that a file of traces, labeled traces or search results has, whichever rows have them.

    Raises:
        ValueError: a column is none of ours; names it.
    """
    names: dict[str, None] = {}
    kept: dict[str, None] = {}
    for _, row in read_jsonl(path):
        names |= dict.fromkeys(row)
        kept |= dict.fromkeys(row.get("kept") or ())
    known = {**(SEARCH_FEATURES if "results" in names else FEATURES), "kept": {name: Value("string") for name in kept}}
    if unknown := names.keys() - known.keys():
        raise ValueError(f"{path}: the types of {', '.join(sorted(unknown))} are not known; state `features` yourself")
    return Features({name: kind for name, kind in known.items() if name in names})
