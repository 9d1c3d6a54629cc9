r"""Labeled sets of other projects, or your own table -> our rows, and our rows -> the formats of other projects.

Rows are read one at a time. Every row read gives at least one row written; those that cannot be used have a
`status`. If more than --max_refused of the rows cannot be read for the same reason, the run ends with examples, since then
the format is another one; with --strict it ends at the first of them. With --target, rows that the other format cannot
express go to `<output>.left_out.jsonl`, each with its reason.
`--source columns` reads any table; the flags say which column holds what (data/own_data.md), and the first three rows and
the next one with a bad step are printed as they are read.

Reads   a CSV, JSON, JSON Lines (all also .gz) or Parquet file, or a hub data set, in one of the formats of prm/conversions/
Writes  labeled.jsonl    LabeledTrace rows (data/build_dataset.py and recipes/train_prm.py read them), or the --target format

    python data/convert_dataset.py --source math_shepherd --input peiyi9979/Math-Shepherd \
        --output outputs/math_shepherd.jsonl
    python data/convert_dataset.py --source prm800k --input prm800k/data/phase2_train.jsonl --output outputs/prm800k_2.jsonl
    python data/convert_dataset.py --source columns --input labels.csv --semantics correctness --prompt_column question \
        --steps_column solution --separator "|" --labels_column marks --good right --bad wrong --output outputs/own.jsonl
    python data/convert_dataset.py --source trl --input outputs/labeled.jsonl --target rlhflow --output outputs/rlhflow.jsonl
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from prm.command_line import run_script
from prm.conversions import IMPORTERS, OPTIONS, TARGETS, UNLABELED, convert, export_row
from prm.conversions.cells import group_steps
from prm.conversions.columns import Columns, describe, read
from prm.conversions.omega_prm import Branches
from prm.conversions.prm800k import Neutral
from prm.conversions.refusals import limited
from prm.conversions.rlhflow import known_questions
from prm.conversions.rows import Row
from prm.conversions.trl import foreign_columns
from prm.datasets.problems import prompt_of
from prm.files import json_line, whole_file
from prm.storage.jsonl import write_jsonl
from prm.storage.paths import DATA_FILES
from prm.storage.provenance import write_provenance
from prm.storage.sources import read_rows

SHOWN = 3
LOOKED_AT = 1000
"""Traces of a table that are shown as they are read, and those among which one with a bad step is looked for."""

ONE_SIDED = 0.95
"""Share of good labels from which on a warning says that little can be learned."""

TRACES_PER_FILE = 1_000_000
"""Distance between the numbers of the first traces of two files."""


@dataclass
class Arguments:
    source: str = field(metadata={"help": "format of the input", "choices": list(IMPORTERS)})
    input: str = field(metadata={"help": "CSV, JSON, JSON Lines (also .gz) or Parquet file, or a hub name"})
    output: str = field(metadata={"help": "JSON Lines file to write"})
    target: str = field(
        default="labeled",
        metadata={"help": "format of the output", "choices": ["labeled", *TARGETS]},
    )
    split: str = field(default="train", metadata={"help": "split of a hub data set"})
    config_name: str | None = field(
        default=None, metadata={"help": "configuration of a hub data set that has several, such as phase1"}
    )
    strict: bool = field(default=False, metadata={"help": "end at the first row that cannot be read"})
    max_refused: float = field(
        default=0.05,
        metadata={"help": "end if more than this share of the rows is refused for one reason", "least": 0, "most": 1},
    )
    semantics: Literal["value", "correctness"] | None = field(
        default=None, metadata={"help": "trl, axolotl, columns: what the labels mean (our own rows say it)"}
    )
    neutral: Neutral | None = field(
        default=None, metadata={"help": "sets with ratings 1, 0, -1: label for 0; default good"}
    )
    branches: Branches | None = field(
        default=None,
        metadata={
            "help": "prm800k, omega_prm, versaprm: label shared steps once (default), or in every trace (with --target)"
        },
    )
    questions: str | None = field(
        default=None,
        metadata={"help": "rlhflow: problems (file or hub name), to separate the question from the first step"},
    )
    prompt_column: str | None = field(default=None, metadata={"help": "columns: the problem"})
    steps_column: str | None = field(default=None, metadata={"help": "columns: all steps, a list or one text"})
    options_column: str | None = field(default=None, metadata={"help": "columns: answers to choose from"})
    numbered_steps: bool = field(
        default=False, metadata={"help": "columns: a text of steps is divided at 'Step 1', 'Step 2', ..."}
    )
    end_marker: str | None = field(default=None, metadata={"help": "columns: what each step ends with, such as ки"})
    separator: str | None = field(
        default=None, metadata={"help": "columns: between the steps of a text, such as '\\n'"}
    )
    step_column: str | None = field(
        default=None, metadata={"help": "columns: one step, in a table with a row per step; needs --id_column"}
    )
    labels_column: str | None = field(default=None, metadata={"help": "columns: a label per step"})
    values_column: str | None = field(
        default=None, metadata={"help": "columns: a soft label in 0..1 per step, beside or instead of labels"}
    )
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
    errors_column: str | None = field(
        default=None, metadata={"help": "columns: numbers of all wrong steps, a list; the others are right"}
    )
    solution_column: str | None = field(
        default=None,
        metadata={"help": "columns: whether the solution is right, to find contradictions; needs --good, --bad"},
    )
    first_error_base: Literal[0, 1] | None = field(
        default=None, metadata={"help": "columns: number of the first step, 0 or 1"}
    )
    no_error: list[str] = field(
        default_factory=list, metadata={"help": "columns: values where no step is wrong, such as -1 or null"}
    )
    gold_column: str | None = field(
        default=None,
        metadata={"help": "columns: the gold final answer; with no labels, answers are checked against it"},
    )
    id_column: str | None = field(default=None, metadata={"help": "columns: the id of a trace; it is kept"})
    keep: list[str] = field(
        default_factory=list, metadata={"help": "columns, trl: others to keep with each trace, such as topics"}
    )


def main(args: Arguments) -> None:
    started = time.monotonic()
    if args.config_name and args.input.endswith(DATA_FILES):
        raise ValueError(
            f"--config_name {args.config_name} is for hub data sets, and {args.input} is a file; leave it out"
        )
    options = _options(args)
    counts: dict[str, Counter[str]] = {
        name: Counter() for name in ("read", "statuses", "labels", "left_out", "notes", "columns")
    }

    if args.source == "columns":
        _show(_traces(_rows(args), options["columns"]), options["columns"])
    first = 0 if args.source == "columns" else file_number(args)  # the name of a table is in the ids of its problems
    with tqdm(_rows(args), unit=" rows", desc=args.source) as rows:
        table = _watched(_traces(rows, options["columns"]) if args.source == "columns" else rows, args, counts)
        traces = convert(table, args.source, strict=args.strict, first=first, **options)
        traces = _tallied(limited(traces, lambda: counts["read"]["rows"], args.max_refused), counts)
        if args.target != "labeled":
            traces = _exported(traces, args.target, args.output + ".left_out.jsonl", counts["left_out"])
        write_jsonl(args.output, traces)

    facts: dict[str, Any] = {"rows": rows.n, "seconds": time.monotonic() - started, **counts}
    write_provenance(args.output, "data/convert_dataset.py", args, [args.input], **facts)
    _report(args, rows.n, counts, options.get("branches") == "repeat")


def _report(args: Arguments, rows: int, counts: dict[str, Counter[str]], repeats: bool) -> None:
    written = sum(counts["statuses"].values()) - sum(counts["left_out"].values())
    labels = counts["labels"]["good"] + counts["labels"]["bad"]
    print(f"{args.output}: {rows} rows read, {written} traces written")
    print(f"status: {_listed(counts['statuses'])}")
    labeled = "outcomes" if counts["labels"] and args.source == "columns" and not args.semantics else "steps"
    good = counts["labels"]["good"] / max(1, labels)
    print(f"{labeled} of ok traces: {_listed(counts['labels'])}; {good:.1%} of labels good")
    if labels and good >= ONE_SIDED:
        print(
            f"warning: {good:.1%} of the labels are good: from such a set a verifier learns how an answer looks (it ends in"
            " a box) and not what is right; add traces that go wrong, or balance (data/build_dataset.py --balance)"
        )
    if counts["notes"]:
        print(f"notes, in `kept`: {_listed(counts['notes'])}")
    if counts["columns"]:
        print(
            f"columns of another meaning than ours, left out: {', '.join(counts['columns'])}; --keep keeps them as texts"
        )
    if args.target != "labeled" and repeats:
        print("shared steps have their labels in every trace (--branches repeat), because the format has no others")
    if counts["left_out"]:
        print(f"left out, in {args.output}.left_out.jsonl: {_listed(counts['left_out'])}")
        if counts["left_out"][UNLABELED] and not repeats:
            print("a step may have its label in another trace of its tree; --branches repeat labels it in each")


def _rows(args: Arguments) -> Iterator[tuple[str, Row]]:
    return read_rows(args.input, args.split, args.config_name)


def file_number(args: Arguments) -> int:
    """Number of the first trace of each problem: another one for every input (a file is known by its beginning and size), so
    that the ids of two files of a set differ, and the same whenever this one is converted."""
    path = Path(args.input)
    content = f"{args.input} {args.config_name} {args.split}".encode()
    if path.is_file():
        with path.open("rb") as file:
            content = f"{path.stat().st_size} ".encode() + file.read(1 << 20)
    return int(hashlib.sha256(content).hexdigest()[:12], 16) % 1_000_000 * TRACES_PER_FILE


def _options(args: Arguments) -> dict[str, Any]:
    of_columns = [f.name for f in fields(Columns) if f.name in vars(args)]
    names = ("neutral", "branches", "questions", *of_columns)
    options: dict[str, Any] = {name: value for name in names if (value := vars(args)[name]) not in (None, [], False)}
    if args.target != "labeled" and "branches" in OPTIONS.get(args.source, ()):
        # With "once" the shared steps have no label in most traces, which other formats cannot say.
        options.setdefault("branches", "repeat")
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
    for where, row in islice(traces, SHOWN):
        print(describe(where, row, columns))
    bad = next((pair for pair in islice(traces, LOOKED_AT) if False in read(*pair, columns)[2]), None)
    print(describe(*bad, columns) if bad else f"no bad step in the traces after these (of {LOOKED_AT:,} at most)")


def _watched(
    rows: Iterable[tuple[str, Row]], args: Arguments, counts: dict[str, Counter[str]]
) -> Iterator[tuple[str, Row]]:
    """The rows, counted; of stepwise ones, the columns that are not read are noted."""
    for where, row in rows:
        counts["read"]["rows"] += 1
        if args.source in ("trl", "axolotl"):
            counts["columns"].update(set(foreign_columns(row)) - set(args.keep))
        yield where, row


def _tallied(traces: Iterable[dict[str, Any]], counts: dict[str, Counter[str]]) -> Iterator[dict[str, Any]]:
    names = {True: "good", False: "bad", None: "unlabeled"}
    for row in traces:
        counts["statuses"][row["status"]] += 1
        if row["status"] == "ok":
            labels = row["labels"][:1] if row["semantics"] == "outcome" else row["labels"]
            counts["labels"].update([names[label] for label in labels])
        if "note" in (row.get("kept") or ()):
            counts["notes"][row["kept"]["note"]] += 1
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
