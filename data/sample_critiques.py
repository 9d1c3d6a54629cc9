r"""Sample critiques of labeled traces, keep those whose verdicts agree with the labels: what a generative verifier learns.

Rejection sampling: the critic writes `--samples` critiques of every trace, and one is kept if it calls good every step that
is labeled good, and bad every step that is labeled bad (steps without a label do not matter). Labels are Monte Carlo or
human ones; `--labels relative` takes what a step keeps of the value before it (prm/labelers/relative_progress.py). A model
that learns from what is kept (recipes/train_generator.py) is a better critic, which can sample the next round.

Reads   labeled.jsonl    LabeledTrace rows (data/label_steps.py, data/convert_dataset.py); `--labels relative` needs values
Writes  <output>         rows {"prompt": the question about a trace, "completion": a critique, "split": of the problem, ...}

    python data/sample_critiques.py --labeled outputs/quickstart/labeled.jsonl \
        --critic arithmetic_critic:outputs/critic/start --samples 2 --output outputs/critic/kept.jsonl
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

from prm.command_line import run_script
from prm.datasets.splits import split_of
from prm.files import sole_writer
from prm.labelers.relative_progress import progress_labels
from prm.storage.journal import Journal
from prm.storage.jsonl import file_hash, write_jsonl
from prm.storage.provenance import is_complete, write_provenance
from prm.storage.rows import LabeledRow, read_labeled
from prm.types import Dtype
from prm.verifiers.families import split_name

if TYPE_CHECKING:
    from prm.verifiers.generative import GenerativeVerifier, Votes


@dataclass
class Arguments:
    labeled: str = field(metadata={"help": "labeled file"})
    critic: str = field(
        metadata={"help": "generative verifier: family:folder, or generative:MODEL@http://127.0.0.1:8000/v1"}
    )
    output: str = field(metadata={"help": "file to write"})
    samples: int = field(default=4, metadata={"help": "critiques of each trace", "least": 1})
    temperature: float = field(default=1.0, metadata={"help": "sampling temperature of the critic", "above": 0})
    keep: int = field(
        default=1, metadata={"help": "most critiques of a trace that are kept, each text once", "least": 1}
    )
    labels: Literal["absolute", "relative"] = field(
        default="absolute", metadata={"help": "the labels of the rows, or the progress that their values show"}
    )
    threshold: float = field(
        default=0.8, metadata={"help": "relative: least ratio of a good step's value to the one before", "above": 0}
    )
    limit: int | None = field(default=None, metadata={"help": "first traces only", "least": 1})
    chunk: int = field(default=200, metadata={"help": "traces that are on disk together", "least": 1})
    seed: int = field(default=0, metadata={"help": "seed of the run", "least": 0})
    dtype: Dtype | None = field(
        default=None, metadata={"help": "numbers of a critic in this process, such as bfloat16"}
    )


def main(args: Arguments) -> None:
    from prm.verifiers.generative import GenerativeVerifier  # not at the top: help and a typo must not wait for torch

    started = time.monotonic()
    rows = read_labeled(args.labeled)[: args.limit]
    targets = [labels_of(row, args) for row in rows]
    if is_complete(args.output, args, [args.labeled]):
        print(f"{args.output} is complete already")
        return
    if (found := split_name(args.critic)) is None or found[0].critic is None:
        raise ValueError(
            f"--critic {args.critic} writes no critiques; name a generative verifier, as in generative:FOLDER"
        )
    family, place = found
    critic = replace(found[0].critic, votes=args.samples, retries=0, temperature=args.temperature, seed=args.seed)
    verifier = GenerativeVerifier.from_pretrained(place, replace(family, critic=critic), dtype=args.dtype)

    header = {"critic": verifier.name, "labels": [args.labels, args.threshold], "keep": args.keep, "chunk": args.chunk}
    header |= {"labeled": file_hash(args.labeled), "limit": args.limit}
    with sole_writer(args.output + ".lock", args.output, "wait for it, or give another --output"):
        journal = Journal(args.output + ".journal", header, "Give another --output")
        chunks = range(0, len(rows), args.chunk)
        done = sum(len(rows[start : start + args.chunk]) for start in chunks if start in journal.done)
        with tqdm(total=len(rows), initial=done, unit="trace", desc="critiques") as bar:
            for start in chunks:
                if start in journal.done:
                    continue
                some = rows[start : start + args.chunk]
                found = verifier.critiques(
                    [row.problem.prompt for row in some], [row.labeled.trace.steps for row in some]
                )
                made = zip(some, targets[start:], found, strict=False)
                read, written = tokens_of(found)
                counted = [judged(verifier, row, labels, its, args.keep) for row, labels, its in made]
                counted[0]["counts"] |= {"read_tokens": read, "written_tokens": written}
                journal.append(start, counted)
                bar.update(len(some))
        write(args, list(journal.rows()), started)


def labels_of(row: LabeledRow, args: Arguments) -> tuple[bool | None, ...]:
    if args.labels == "absolute":
        return row.labeled.labels
    if row.labeled.values is None:
        raise ValueError(
            f"{row.where}: --labels relative needs `values`, which only Monte Carlo labels have; leave it out"
        )
    return progress_labels(row.labeled.values, args.threshold)


def judged(
    verifier: GenerativeVerifier, row: LabeledRow, labels: Sequence[bool | None], votes: Votes, keep: int
) -> dict[str, Any]:
    """What is kept of the critiques of a trace, and what is counted of them."""
    form, steps = verifier.critic.form, row.labeled.trace.steps
    readable = [
        [its.critique for its in turns if its.critique] for turns in votes if all(its.critique for its in turns)
    ]
    agreeing = []
    for critiques in readable:
        verdicts = [good for text in critiques for _, good in form.read(text, 1 if form.per_step else len(steps)) or ()]
        if all(label in (None, good) for label, good in zip(labels, verdicts, strict=True)):
            agreeing.append(tuple(critiques))
    about = {"split": split_of(row.problem.prompt), "problem_id": row.problem.id, "trace": row.labeled.trace.id}
    kept = []
    for critiques in list(dict.fromkeys(agreeing))[:keep]:
        if form.per_step:
            prompt, turns = form.turns(row.problem.prompt, steps, critiques)
            kept.append({"prompt": prompt, "turns": turns, **about})
        else:
            kept.append({"prompt": form.question(row.problem.prompt, steps), "completion": critiques[0], **about})
    return {
        "kept": kept,
        "wrong": False in labels,
        "counts": {"critiques": len(votes), "readable": len(readable), "agreeing": len(agreeing)},
    }


def tokens_of(votes_N: Sequence[Votes]) -> tuple[int, int]:
    """Read and written for these traces, which share turns."""
    turns = {id(its): its for votes in votes_N for turns in votes for its in turns}.values()
    return sum(its.read for its in turns), sum(sum(its.written) for its in turns)


def write(args: Arguments, traces: Sequence[dict[str, Any]], started: float) -> None:
    counts: Counter[str] = Counter()
    for trace in traces:
        counts.update(trace["counts"])
    kept = [row for trace in traces for row in trace["kept"]]
    with_mistake = sum(len(trace["kept"]) for trace in traces if trace["wrong"])
    if not kept:
        raise ValueError(
            f"none of {counts['critiques']} critiques agrees with the labels; train the critic better first"
        )
    facts = {**counts, "traces": len(traces), "kept": len(kept), "kept_of_wrong_traces": with_mistake}
    seconds = time.monotonic() - started
    write_provenance(args.output, "data/sample_critiques.py", args, [args.labeled], seconds=seconds, **facts)
    write_jsonl(args.output, kept)  # comes last: it counts as complete once this file exists
    spent = f"{counts['read_tokens']:,} tokens read, {counts['written_tokens']:,} written, {seconds:.0f} s"
    print(
        f"{args.output}: {len(kept)} critiques kept, {with_mistake} of them of traces with a bad step; of"
        f" {counts['critiques']} about {len(traces)} traces {counts['readable']} can be read and {counts['agreeing']} agree;"
        f" {spent}"
    )


if __name__ == "__main__":
    run_script(main, Arguments)
