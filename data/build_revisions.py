r"""Checked traces -> revision data: right traces after wrong ones for a reviser, or whole chains for its verifier.

With `--traces`, every right trace of a problem becomes the target of one row, whose prompt shows 0 to 4 wrong ones
(prm/datasets/revisions.py). With `--chains`, a row is an attempt of a search by `revisions`, right or wrong, and its prompt
shows what the reviser saw; search problems of the train split for this. It takes seconds and keeps no journal.

Reads   traces.jsonl     several checked traces per problem (data/sample_traces.py), or
        a search run     eval/run_search.py with the method `revisions`
Writes  <output>         trace rows, and their columns `attempts` and `split`: recipes/train_generator.py and
                         recipes/train_orm.py read them

    python data/build_revisions.py --traces outputs/revisions/traces.jsonl --output outputs/revisions/examples.jsonl
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prm.command_line import run_script
from prm.datasets.revisions import chain_examples, revision_examples, revision_row
from prm.evaluation.search_runs import read_runs
from prm.search.methods import settings_of
from prm.storage.jsonl import write_jsonl
from prm.storage.provenance import is_complete, write_provenance
from prm.storage.rows import group_by_problem, read_traces


@dataclass
class Arguments:
    output: str = field(metadata={"help": "file to write"})
    traces: str | None = field(default=None, metadata={"help": "traces file: makes examples for a reviser"})
    chains: str | None = field(
        default=None, metadata={"help": "folder of a search by `revisions`: makes traces for the verifier of a reviser"}
    )
    seed: int = field(default=0, metadata={"help": "of what is drawn from --traces", "least": 0})

    def __post_init__(self) -> None:
        if (self.traces is None) == (self.chains is None):
            raise ValueError("give either --traces, to train a reviser, or --chains, to train its verifier")


def main(args: Arguments) -> None:
    started = time.monotonic()
    source = args.traces or f"{args.chains}/results.jsonl"
    if is_complete(args.output, args, [source]):
        print(f"{args.output} is complete already")
        return
    problems: Counter[str] = Counter()
    rows = list(from_chains(Path(args.chains), problems) if args.chains else from_traces(source, args.seed, problems))
    if not rows:
        raise ValueError(f"{source}: nothing to learn from, problems: {listed(problems)}; sample more traces of each")
    attempts = Counter(row["attempts"] for row in rows)
    correct = sum(row["correct"] for row in rows)
    facts = {"problems": problems, "attempts": attempts, "rows": len(rows), "correct": correct}
    write_provenance(
        args.output, "data/build_revisions.py", args, [source], seconds=time.monotonic() - started, **facts
    )
    write_jsonl(args.output, rows)  # comes last: it counts as complete once this file exists
    print(f"{args.output}: {len(rows)} traces, {correct} right; problems: {listed(problems)}")
    print(f"attempts shown: {', '.join(f'{n} in {attempts[n]}' for n in sorted(attempts))}")


def from_traces(traces: str, seed: int, problems: Counter[str]) -> Iterator[dict[str, Any]]:
    """The reviser's rows; counts the problems, those that give none by the reason."""
    for problem, its in tqdm(list(group_by_problem(read_traces(traces))), desc="build", unit="problem"):
        outcomes = {trace.correct for trace in its if trace.usable} - {None}
        kind = {(False, True): "used", (True,): "only right", (False,): "only wrong"}
        problems[kind.get(tuple(sorted(outcomes)), "nothing checked")] += 1
        for attempts, target in revision_examples(problem, its, seed):
            yield revision_row(problem, attempts, target)


def from_chains(folder: Path, problems: Counter[str]) -> Iterator[dict[str, Any]]:
    """The verifier's rows, of the first method of the run that revises."""
    run = read_runs([folder])
    number = next((i for i, result in enumerate(run.rows[0].results) if result.strategy == "revisions"), None)
    if number is None:
        raise ValueError(f"{folder}: none of its methods is `revisions`; they are {', '.join(run.meta['methods'])}")
    settings = settings_of(run.rows[0].results[number].method, "revisions")
    for row in run.rows:
        problems["used"] += 1
        candidates = row.results[number].candidates
        for attempts, trace in chain_examples(candidates, settings["chains"], settings["memory"]):
            yield revision_row(row.problem, attempts, trace)


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"


if __name__ == "__main__":
    run_script(main, Arguments)
