"""Compare the labels of several methods for the same traces: what each costs, and how well each pair agrees.

Reads   labeled files    LabeledTrace rows of one traces file (data/label_steps.py)
Writes  nothing          prints two tables, and a last line of JSON

    python data/compare_labels.py --labels outputs/monte_carlo.jsonl outputs/first_error.jsonl outputs/adaptive.jsonl
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from prm.command_line import run_script
from prm.labelers.reports import agreement, is_non_monotone
from prm.storage.rows import read_labeled


@dataclass
class Arguments:
    labels: list[Path] = field(metadata={"help": "labeled files, two or more"})


def main(args: Arguments) -> None:
    labeled = {path.stem: [row.labeled for row in read_labeled(path)] for path in args.labels}
    if len(labeled) < 2:
        raise ValueError("--labels needs two or more files with different names")

    costs = Table(title="methods")
    for name in ("file", "method", "traces", "labels", "good", "good after bad", "tokens", "tokens per label"):
        costs.add_column(name, justify="left" if name in ("file", "method") else "right")
    for path in args.labels:
        traces = labeled[path.stem]
        labels = [label for trace in traces for label in trace.labels if label is not None]
        meta = path.with_suffix(".meta.json")
        tokens = json.loads(meta.read_text())["generated_tokens"] if meta.exists() else None
        costs.add_row(
            path.stem,
            ", ".join(sorted({trace.method for trace in traces})),
            f"{len(traces):,}",
            f"{len(labels):,}",
            f"{sum(labels) / len(labels):.1%}",
            f"{sum(map(is_non_monotone, traces)) / len(traces):.1%}",
            f"{tokens:,}" if tokens is not None else "?",
            f"{tokens / len(labels):.1f}" if tokens is not None else "?",
        )

    results = {f"{a}/{b}": agreement(labeled[a], labeled[b]) for a, b in itertools.combinations(labeled, 2)}
    agreements = Table(title="agreement")
    for name in ("pair", "traces", "steps", "labels", "first error", "value RMSE"):
        agreements.add_column(name, justify="left" if name == "pair" else "right")
    for pair, facts in results.items():
        rmse = facts["value_rmse"]
        agreements.add_row(
            pair,
            f"{facts['traces']:,}",
            f"{facts['steps']:,}",
            f"{facts['labels']:.1%}",
            f"{facts['first_error']:.1%}",
            "-" if rmse is None else f"{rmse:.3f}",
        )
    console = Console(width=120)
    console.print(costs)
    console.print(agreements)
    print(json.dumps(results))


if __name__ == "__main__":
    run_script(main, Arguments)
