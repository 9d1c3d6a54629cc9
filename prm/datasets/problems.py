r"""load_problems: a name or a path -> problems.

    load_problems("arithmetic", "test", limit=300)          an embedded set
    load_problems("gsm8k", "test")                          openai/gsm8k from the hub
    load_problems("openai/gsm8k", ...)                      any hub data set with the columns below
    load_problems("problems.jsonl", "validation")           any JSON Lines, JSON, CSV or Parquet file

A row needs a prompt column (`prompt`, `problem` or `question`) and an `answer` column, unless the caller names others; `id`
and `level` are optional. All other columns, such as a topic, are kept with the problem as texts, and so is a level that is
not a whole number. In GSM8K's form the answer column holds the whole rationale, with the gold answer after `####`:

    {"question": "Natalia sold clips to 48 of her friends ...", "answer": "... 48/2 = <<48/2=24>>24 ...\n#### 72"}

A row whose gold answer is empty cannot be sampled for or searched: it is left out, and a warning names it. Another warning
says where one question has two gold answers. If the rows of a file have a `split` column (train, validation, test, val,
valid or dev), it decides. A file without it, or a hub data set without a split of that name, is split by a hash of the
problem's text (`prm.datasets.splits`), so train rows can never be among the test rows. `split="all"` takes every row.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prm.answers import check
from prm.datasets import arithmetic
from prm.datasets.splits import SPLITS, split_of
from prm.encoding.steps import separator_of
from prm.storage.paths import DATA_FILES, check_name, need_file
from prm.storage.rows import row_to_trace
from prm.storage.sources import HUB_NAMES, cell_text, read_rows
from prm.types import Problem

PROMPT_COLUMNS = ("prompt", "problem", "question")

SPLIT_NAMES = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
}
"""Value of a `split` column, in any case -> our name of the split."""

NAMED = 5
"""A warning names so many rows at most."""

_CALCULATOR = re.compile(r"<<.*?>>")


def load_problems(
    source: str,
    split: str = "test",
    limit: int | None = None,
    prompt_column: str | None = None,
    gold_column: str | None = None,
) -> list[Problem]:
    """Problems of one split that have a gold answer, in file order (embedded sets: levels in rotation).

    Args:
        source: an embedded set (`arithmetic`, `arithmetic_hard`), a hub name, or the path of a JSON Lines, JSON, CSV or
            Parquet file.
        split: `train`, `validation`, `test` or `all`.
        limit: how many of the first problems; an embedded set needs a limit, since it is endless.
        prompt_column: name of the column with the problem; None = one of `PROMPT_COLUMNS`.
        gold_column: name of the column with the gold answer; None = `answer`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a broken line, a missing column, no row with an answer, a repeated id, a `split` column that only some
            rows have or whose value is no split; names file, line and value.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; it says how many of the first problems, so it is at least 1")
    if variant := arithmetic.SETS.get(source):
        if limit is None:
            raise ValueError(f"{source} is endless: say how many problems with limit (--limit on the command line)")
        return arithmetic.load(split, limit, variant=variant)
    prompts, gold = (prompt_column,) if prompt_column else PROMPT_COLUMNS, gold_column or "answer"
    problems: dict[str, Problem] = {}
    golds: dict[str, tuple[str, str]] = {}  # question -> the first row that has it, and its gold answer
    contradictions: list[str] = []
    without_gold: list[str] = []
    for i, (where, row) in enumerate(_rows(source, split, {"--prompt_column": prompts, "--gold_column": (gold,)})):
        problem = _problem(where, row, prompts, gold, source, f"{split}/{i}")
        if not problem.answer:
            without_gold.append(where)
            continue
        if problem.id in problems:
            raise ValueError(
                f"{where}: an earlier row has the id {problem.id!r}, too; make ids unique or leave them out"
            )
        problems[problem.id] = problem
        first, its_gold = golds.setdefault(" ".join(problem.prompt.split()), (where, problem.answer))
        if problem.answer != its_gold and check(gold=its_gold, pred=problem.answer) == "wrong":
            contradictions.append(f"{where} says {problem.answer!r}, {first} says {its_gold!r}")
    if contradictions:
        count = f"{len(contradictions)} rows have" if len(contradictions) > 1 else "1 row has"
        warnings.warn(
            f"{source}: {count} the question of an earlier row with another gold answer ({contradictions[0]}): one is wrong;"
            " correct or remove it",
            stacklevel=2,
        )
    if without_gold:
        named = ", ".join(without_gold[:NAMED]) + (", ..." if len(without_gold) > NAMED else "")
        rows = len(without_gold) + len(problems)
        without = f"{source}: {len(without_gold)} of {rows} rows have an empty gold answer ({named})"
        if not problems:
            raise ValueError(f"{without}; fill the column `{gold}`")
        warnings.warn(f"{without} and are left out", stacklevel=2)
    return list(problems.values())[:limit]


def load_examples(source: str, split: str = "train") -> tuple[list[dict[str, Any]], int]:
    """Solved problems for fine-tuning: rows {"prompt", "completion"} of one split, without GSM8K's calculator marks.

    Rows with `completions` are traces. Those that are known to end right are examples. Rows with `turns`, pairs of a text
    that is given and one that is to be learned, stay as they are (data/sample_critiques.py).

    Returns:
        The examples, and the number of traces that are none.
    """
    examples: list[dict[str, Any]] = []
    left_out = 0
    for where, row in _rows(source, split):
        prompt = _column(where, row, PROMPT_COLUMNS)
        if "turns" in row:
            examples.append({"prompt": prompt, "turns": _turns(where, row["turns"])})
            continue
        if "completions" not in row:
            completion = _CALCULATOR.sub("", _column(where, row, ("completion", "solution", "answer")))
        else:
            trace = row_to_trace(where, row | {"prompt": prompt}).trace
            if not trace.correct:
                left_out += 1
                continue
            completion = separator_of(trace.step_rule or "line").join(trace.steps)
        examples.append({"prompt": prompt, "completion": completion})
    return examples, left_out


def _turns(where: str, turns: Any) -> list[list[str]]:
    pairs = turns if isinstance(turns, list) else []
    if not pairs or not all(isinstance(pair, list) and [*map(type, pair)] == [str, str] for pair in pairs):
        raise ValueError(f"{where}: `turns` is {turns!r:.80}; it must be a list of [text that is given, text to learn]")
    return pairs


def prompt_of(where: str, row: dict[str, Any]) -> str:
    """The text of a problem, from the first of `PROMPT_COLUMNS` that the row has. Raises ValueError if it has none."""
    return _column(where, row, PROMPT_COLUMNS)


def _rows(source: str, split: str, needed: Mapping[str, tuple[str, ...]] = {}) -> Iterator[tuple[str, dict[str, Any]]]:
    """
    Args:
        needed: a flag that names a column -> the names it may have.
    """
    if split not in (*SPLITS, "all"):
        raise ValueError(f"split {split!r} is not one of {', '.join((*SPLITS, 'all'))}")
    check_name(source, (*arithmetic.SETS, *HUB_NAMES))
    if Path(source).is_file():
        rows, wanted = read_rows(source), None if split == "all" else split
    else:
        rows, wanted = _hub_rows(source, split)
    prompts = needed.get("--prompt_column", PROMPT_COLUMNS)
    stated: bool | None = None  # whether the rows say their split
    for where, row in rows:
        _check_columns(where, row, needed)
        if wanted is None:
            yield where, row
            continue
        value = row.get("split")
        if stated not in (None, value is not None):
            here, earlier = ("no `split`", "one") if stated else (f"`split` is {value!r}", "none")
            raise ValueError(f"{where}: {here}, but earlier rows have {earlier}; give every row a split, or none")
        stated = value is not None
        if (_stated_split(where, value) if stated else split_of(_column(where, row, prompts))) == wanted:
            yield where, row


def _stated_split(where: str, value: Any) -> str:
    name = SPLIT_NAMES.get(str(value).lower())
    if name is None:
        raise ValueError(
            f"{where}: `split` is {value!r}, which is not one of {', '.join(SPLIT_NAMES)}; fix it, or remove the column from"
            " all rows"
        )
    return name


def _hub_rows(source: str, split: str) -> tuple[Iterator[tuple[str, dict[str, Any]]], str | None]:
    """Rows of a hub data set, and the split that has to be selected from them by hash (None = all of them)."""
    import datasets

    if Path(source).is_dir():  # `datasets` would read whatever lies in it
        need_file(source)
    name, config = HUB_NAMES.get(source, (source, None))
    try:
        splits = datasets.load_dataset(name, config)
    except Exception as error:
        raise ValueError(
            f"{source!r} is not a file, not {' or '.join(arithmetic.SETS)}, and could not be loaded from the hub: {error}"
        ) from error
    if split == "all":
        chosen, wanted = list(splits), None
    elif split in splits:
        # A split that the data set lacks is taken out of train; then train must not contain it, either.
        chosen, wanted = [split], "train" if split == "train" and not set(SPLITS) <= set(splits) else None
    elif "train" in splits:
        chosen, wanted = ["train"], split
    else:
        raise ValueError(f"{name} has no {split} split and no train split to take it from; it has {', '.join(splits)}")
    rows = ((f"{name}/{part}:{i}", row) for part in chosen for i, row in enumerate(splits[part]))
    return rows, wanted


def _problem(where: str, row: dict[str, Any], prompts: tuple[str, ...], gold: str, source: str, place: str) -> Problem:
    """Its answer is empty if the row has none; in GSM8K's form it is what follows `####`."""
    name = Path(source).stem if source.endswith(DATA_FILES) else source
    identifier = f"{name}/{place}" if row.get("id") is None else row["id"]
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        raise ValueError(f"{where}: `id` is {identifier!r:.80}; it must be text or a whole number, or be left out")
    identifier = str(identifier)
    prompt, level = _column(where, row, prompts), cell_text(row.get("level"))
    answer = _column(where, row, (gold,)).split("####")[-1].strip() if cell_text(row[gold]) else ""
    read = {"id", gold, "split", next(column for column in prompts if column in row)}
    is_number = level.isdecimal() and len(level) < 10
    if is_number:
        read.add("level")
    kept = {column: cell_text(value) or None for column, value in row.items() if column not in read}
    return Problem(identifier, prompt, answer, name, int(level) if is_number else None, kept)


def _check_columns(where: str, row: dict[str, Any], needed: Mapping[str, tuple[str, ...]]) -> None:
    """Names all columns that are missing at once, each with the flag that says which one it is."""
    missing = {flag: names for flag, names in needed.items() if not any(name in row for name in names)}
    if missing:
        columns = " and no column ".join(" or ".join(names) for names in missing.values())
        raise ValueError(
            f"{where}: no column {columns}; say which of {', '.join(row) or 'none'} it is with {' and '.join(missing)}"
        )


def _column(where: str, row: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        if name in row:
            value = row[name]
            is_text = isinstance(value, str) or (type(value) in (int, float) and math.isfinite(value))
            if not is_text or not str(value).strip():
                raise ValueError(f"{where}: column {name!r} is empty or not text: {value!r:.80}; fix or remove the row")
            return str(value)
    raise ValueError(f"{where}: no column {' or '.join(names)}; rename one of {', '.join(sorted(row)) or 'none'}")
