r"""Labeled sets of other projects, or your own table -> our rows, and our rows -> the formats of other projects.

Rows are read one at a time. Every row read gives at least one row written; those that cannot be used have a
`status`. With --target, rows that the other format cannot express go to `<output>.left_out.jsonl`, each with its reason.
`--source columns` reads any table; the flags say which column holds what (data/own_data.md), and the first two rows and the
next one with a bad step are printed as they are read.

Reads   a CSV, JSON, JSON Lines or Parquet file, or a hub data set, in one of the formats of prm/conversions/
Writes  labeled.jsonl    LabeledTrace rows (data/build_dataset.py and recipes/train_prm.py read them), or the --target format

    python data/convert_dataset.py --source math_shepherd --input peiyi9979/Math-Shepherd \
        --output outputs/math_shepherd.jsonl
    python data/convert_dataset.py --source prm800k --input prm800k/data/phase2_train.jsonl --output outputs/prm800k_2.jsonl
    python data/convert_dataset.py --source columns --input labels.csv --semantics correctness --prompt_column question \
        --steps_column solution --separator "|" --labels_column marks --good right --bad wrong --output outputs/own.jsonl
    python data/convert_dataset.py --source trl --input outputs/labeled.jsonl --target rlhflow --output outputs/rlhflow.jsonl
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from prm.command_line import run_script
from prm.conversions import EXPORTERS, IMPORTERS, OPTIONS, convert, export_row
from prm.conversions.columns import Columns, describe, group_steps, read
from prm.conversions.omega_prm import Branches
from prm.conversions.prm800k import Neutral
from prm.conversions.rlhflow import known_questions
from prm.conversions.rows import Row
from prm.datasets.problems import prompt_of
from prm.files import json_line, whole_file
from prm.storage.jsonl import write_jsonl
from prm.storage.provenance import write_provenance
from prm.storage.sources import read_rows

LOOKED_AT = 1000
"""Traces of a table in which a bad step is looked for, to show it."""


@dataclass
class Arguments:
    source: str = field(metadata={"help": "format of the input", "choices": list(IMPORTERS)})
    input: str = field(metadata={"help": "CSV, JSON, JSON Lines or Parquet file, or a hub name"})
    output: str = field(metadata={"help": "JSON Lines file to write"})
    target: str = field(
        default="labeled",
        metadata={"help": "format of the output", "choices": ["labeled", *EXPORTERS]},
    )
    split: str = field(default="train", metadata={"help": "split of a hub data set"})
    semantics: Literal["value", "correctness"] | None = field(
        default=None, metadata={"help": "trl, columns: what the labels mean (our own rows say it)"}
    )
    neutral: Neutral | None = field(default=None, metadata={"help": "prm800k: label for rating 0; default good"})
    branches: Branches | None = field(
        default=None,
        metadata={"help": "prm800k, omega_prm: label shared steps once (default) or repeat the labels in every trace"},
    )
    questions: str | None = field(
        default=None,
        metadata={"help": "rlhflow: problems (file or hub name), to separate the question from the first step"},
    )
    prompt_column: str | None = field(default=None, metadata={"help": "columns: the problem"})
    steps_column: str | None = field(default=None, metadata={"help": "columns: all steps, a list or one text"})
    separator: str | None = field(
        default=None, metadata={"help": "columns: between the steps of a text, such as '\\n'"}
    )
    step_column: str | None = field(
        default=None, metadata={"help": "columns: one step, in a table with a row per step; needs --id_column"}
    )
    labels_column: str | None = field(default=None, metadata={"help": "columns: a label per step"})
    good: list[str] = field(default_factory=list, metadata={"help": "columns: values that mean good"})
    bad: list[str] = field(default_factory=list, metadata={"help": "columns: values that mean bad"})
    unlabeled: list[str] = field(
        default_factory=list, metadata={"help": "columns: values that mean no label; null and empty always do"}
    )
    outcome_column: str | None = field(
        default=None, metadata={"help": "columns: whether the whole trace is right, instead of labels; trains an ORM"}
    )
    first_error_column: str | None = field(
        default=None, metadata={"help": "columns: number of the first wrong step, instead of labels"}
    )
    first_error_base: Literal[0, 1] | None = field(
        default=None, metadata={"help": "columns: number of the first step, 0 or 1"}
    )
    no_error: list[str] = field(
        default_factory=list, metadata={"help": "columns: values where no step is wrong, such as -1 or null"}
    )
    gold_column: str | None = field(default=None, metadata={"help": "columns: the gold final answer"})
    id_column: str | None = field(default=None, metadata={"help": "columns: the id of a trace; it is kept"})
    keep: list[str] = field(
        default_factory=list, metadata={"help": "columns: others to keep with each trace, such as topics"}
    )


def main(args: Arguments) -> None:
    started = time.monotonic()
    options = _options(args)
    counts: dict[str, Counter[str]] = {"statuses": Counter(), "labels": Counter(), "left_out": Counter()}

    if args.source == "columns":
        _show(_traces(read_rows(args.input, args.split), options["columns"]), options["columns"])
    with tqdm(read_rows(args.input, args.split), unit=" rows", desc=args.source) as rows:
        table = _traces(rows, options["columns"]) if args.source == "columns" else rows
        traces = _tallied(convert(table, args.source, **options), counts)
        if args.target != "labeled":
            traces = _exported(traces, args.target, args.output + ".left_out.jsonl", counts["left_out"])
        write_jsonl(args.output, traces)

    facts: dict[str, Any] = {"rows": rows.n, "seconds": time.monotonic() - started, **counts}
    write_provenance(args.output, "data/convert_dataset.py", args, [args.input], **facts)
    written = sum(counts["statuses"].values()) - sum(counts["left_out"].values())
    labels = counts["labels"]["good"] + counts["labels"]["bad"]
    print(f"{args.output}: {rows.n} rows read, {written} traces written")
    print(f"status: {_listed(counts['statuses'])}")
    labeled = "outcomes" if args.outcome_column else "steps"
    good = counts["labels"]["good"] / max(1, labels)
    print(f"{labeled} of ok traces: {_listed(counts['labels'])}; {good:.1%} of labels good")
    if counts["left_out"]:
        print(f"left out, in {args.output}.left_out.jsonl: {_listed(counts['left_out'])}")


def _options(args: Arguments) -> dict[str, Any]:
    of_columns = [name.name for name in fields(Columns) if name.name != "name"]
    names = ("neutral", "branches", "questions", *of_columns)
    options = {name: value for name in names if (value := vars(args)[name]) not in (None, [])}
    known = set(of_columns) if args.source == "columns" else OPTIONS.get(args.source, set())
    if useless := sorted(options.keys() - known):
        raise ValueError(f"--{useless[0]} is not an option of --source {args.source}; leave it out")
    if args.source == "columns":
        table = {name: vars(args)[name] for name in of_columns}
        return {"columns": Columns(**table, name=Path(args.input).stem)}
    if "questions" in options:
        options["questions"] = known_questions(prompt_of(*row) for row in read_rows(options["questions"]))
    return options


def _traces(rows: Iterable[tuple[str, Row]], columns: Columns) -> Iterator[tuple[str, Row]]:
    """The rows of a table, one per trace."""
    return iter(group_steps(rows, columns) if columns.step_column else rows)


def _show(traces: Iterator[tuple[str, Row]], columns: Columns) -> None:
    """Print the first rows as they are read, and the next one with a bad step: labels that are upside down show there."""
    print("rows as they are read; are the labels what you mean by them?")
    for where, row in islice(traces, 2):
        print(describe(where, row, columns))
    bad = next((pair for pair in islice(traces, LOOKED_AT) if False in read(*pair, columns)[2]), None)
    print(describe(*bad, columns) if bad else f"no bad step in the traces after these (of {LOOKED_AT:,} at most)")


def _tallied(traces: Iterable[dict[str, Any]], counts: dict[str, Counter[str]]) -> Iterator[dict[str, Any]]:
    names = {True: "good", False: "bad", None: "unlabeled"}
    for row in traces:
        counts["statuses"][row["status"]] += 1
        if row["status"] == "ok":
            labels = row["labels"][:1] if row["semantics"] == "outcome" else row["labels"]
            counts["labels"].update(names[label] for label in labels)
        yield row


def _exported(
    traces: Iterable[dict[str, Any]], target: str, left_out: str, reasons: Counter[str]
) -> Iterator[dict[str, Any]]:
    path = Path(left_out)
    with whole_file(path) as file:
        for row in traces:
            try:
                exported = export_row(target, row)
            except ValueError as error:
                reasons[str(error)] += 1
                file.write(json_line({"left_out": str(error)} | row))
            else:
                yield exported
    if not reasons:
        path.unlink()


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common()) or "none"


if __name__ == "__main__":
    run_script(main, Arguments)
