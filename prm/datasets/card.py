"""The card (README.md) of a data set folder: a YAML header that tells `datasets` how to load it, and a description.

    ---
    tags: [process-reward-model, ...]
    configs:
    - config_name: default
      data_files:
      - {split: train, path: train.jsonl}
    dataset_info:
      features:
      - {name: prompt, dtype: string}
      ...
    ---
    # math_shepherd
    | split | problems | traces | good steps | ...

The header names the type of every column. Otherwise `datasets` guesses types from the first rows, where a column may
be empty, and fails at the first row where it is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import yaml
from datasets import DatasetInfo, Features, Value
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCardData

from prm.storage.features import FEATURES
from prm.storage.jsonl import file_hash
from prm.storage.rows import LabeledRow
from prm.types import Semantics

MEANINGS: dict[Semantics, str] = {
    "value": "a label says whether the trace can still end right after the step, by rollouts: good if one of them does, and"
    " `values` has the share that do, where it is known",
    "correctness": "a label says whether the step itself is right, as people or a judge see it",
    "outcome": "a label says whether the whole trace ends right, so all steps of a trace have the same one",
}


@dataclass
class Split:
    """The contents of a split, counted row by row."""

    traces: int = 0
    problems: set[str] = field(default_factory=set)
    labels: Counter[str] = field(default_factory=Counter)
    steps: dict[bool, Counter[int]] = field(default_factory=lambda: {True: Counter(), False: Counter()})
    """Whether a trace has a bad step -> how many traces have how many steps."""

    def add(self, row: LabeledRow) -> None:
        labels = row.labeled.labels
        self.traces += 1
        self.problems.add(" ".join(row.problem.prompt.split()))
        self.labels.update("unlabeled" if label is None else "good" if label else "bad" for label in labels)
        self.steps[False in labels][len(labels)] += 1


@dataclass(frozen=True)
class Facts:
    """What the card says apart from the splits."""

    name: str
    inputs: Sequence[str]
    sources: Counter[tuple[str, str]]
    """Traces by (source, method of labeling)."""
    removed: Counter[str]
    """Number of traces that were left out, by reason."""
    benchmarks: dict[str, int]
    """Number of traces removed because of each benchmark; empty = the set was not compared with any."""
    ngram: int
    balance: str | None
    license: str | None
    semantics: Semantics
    kept: Sequence[str] = ()
    """Columns of the source under `kept`, all of them texts."""


def dataset_card(splits: dict[str, Split], facts: Facts) -> str:
    lengths = "steps per trace without / with a bad one"
    sections = [
        f"# {facts.name}",
        "Step-by-step solutions with one label per step, to train process reward models. Made with `data/build_dataset.py`"
        " of prm-toolkit: `meta.json` has versions and hashes of the inputs, `removed.jsonl` lists the traces left out.",
        "## Sizes",
        f"| split | problems | traces | good steps | bad steps | without label | {lengths} |\n{'|---' * 7}|\n"
        + "\n".join(_row(name, split) for name, split in splits.items()),
        "A hash of the problem's text decides its split, so no problem is in two splits. If traces with a bad step are"
        " longer than those without, a verifier can learn the length instead.",
        "## Labels",
        f"They mean `{facts.semantics}`: {MEANINGS[facts.semantics]}. A null is a step without a label.",
        "## Sources",
        "| source | labels by | traces |\n|---|---|---|\n"
        + "\n".join(f"| {source} | {method} | {count} |" for (source, method), count in sorted(facts.sources.items())),
        "\n".join(f"- `{path}`" + (f" ({file_hash(path)})" if Path(path).is_file() else "") for path in facts.inputs),
        *([f"Columns of the source, under `kept`: {', '.join(facts.kept)}."] if facts.kept else []),
        f"License: {facts.license or 'unknown; those of the sources apply'}.",
        "## Left out",
        "\n".join(f"- {why}: {count} traces" for why, count in facts.removed.most_common()) or "Nothing.",
        f"Balanced by {facts.balance}." if facts.balance else "Not balanced.",
        "## Benchmarks",
        _benchmarks(facts),
    ]
    return f"---\n{_header(list(splits), facts)}---\n\n" + "\n\n".join(sections) + "\n"


def _header(splits: Sequence[str], facts: Facts) -> str:
    files = [{"split": name, "path": f"{name}.jsonl"} for name in splits]
    data = DatasetCardData(
        license=facts.license,
        tags=["process-reward-model", "stepwise-supervision"],
        configs=[{"config_name": "default", "data_files": files}],
    )
    kept = {"kept": {name: Value("string") for name in facts.kept}} if facts.kept else {}
    DatasetInfosDict(default=DatasetInfo(features=Features(FEATURES | kept))).to_dataset_card_data(data)
    return yaml.safe_dump(data.to_dict(), sort_keys=False, allow_unicode=True)


def _row(name: str, split: Split) -> str:
    good, bad = split.labels["good"], split.labels["bad"]
    lengths = [
        f"{fmean(steps.elements()):.1f}" if steps else "none" for steps in (split.steps[False], split.steps[True])
    ]
    return (
        f"| {name} | {len(split.problems)} | {split.traces} | {good} ({good / max(1, good + bad):.1%}) | {bad}"
        f" | {split.labels['unlabeled']} | {' / '.join(lengths)} |"
    )


def _benchmarks(facts: Facts) -> str:
    if not facts.benchmarks:
        return "Not compared with any benchmark."
    return (
        "\n".join(f"- {name}: {count} traces of its problems are left out" for name, count in facts.benchmarks.items())
        + "\n\nA problem counts as a benchmark's if their texts differ only in case and white space, or if they have"
        f" {facts.ngram} words in a row in common."
    )
