r"""Label every step of every trace by rollouts; a planner decides which rollouts to sample.

Every rollout is kept in a store (`--store`), so that a killed run continues where it stopped and ends with the same file,
and any planner can use the rollouts again. If the command is started several times, on one machine or on several that
share the folder, the writers divide the problems among themselves. A trace that cannot be labeled stays a row with its
`status`.

Reads   traces.jsonl     Trace rows (data/sample_traces.py)
Writes  labeled.jsonl    LabeledTrace rows (recipes/train_prm.py reads them)

    python data/label_steps.py --traces outputs/traces.jsonl --generator arithmetic --method monte_carlo --rollouts 8 \
        --output outputs/labeled.jsonl
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import partial

from tqdm import tqdm

from prm.command_line import run_script
from prm.generators.arguments import GeneratorArguments
from prm.labelers import PLANNERS, Group, run
from prm.labelers.reports import Spent, label_report
from prm.sampling.rollouts import RolloutSource, commit_to
from prm.storage.jsonl import write_jsonl
from prm.storage.provenance import is_complete, write_provenance
from prm.storage.rollout_store import RolloutStore
from prm.storage.rows import TraceRow, group_by_problem, labeled_to_row, read_traces, trace_to_row
from prm.types import LabeledTrace


@dataclass(kw_only=True)
class Arguments(GeneratorArguments):
    traces: str = field(metadata={"help": "traces file (data/sample_traces.py)"})
    output: str = field(metadata={"help": "labeled file to write"})
    method: str = field(default="monte_carlo", metadata={"help": "planner", "choices": list(PLANNERS)})
    rollouts: int | None = field(
        default=None,
        metadata={"help": "rollouts from each prefix (at most, if they are probes); default: the method's"},
    )
    tolerance: float | None = field(
        default=None, metadata={"help": "adaptive: deviation at which a value is clear enough"}
    )
    searches: int | None = field(default=None, metadata={"help": "omega_prm: rollouts searched per problem"})
    store: str | None = field(default=None, metadata={"help": "folder of rollouts; default <output>.rollouts"})
    chunk: int = field(default=16, metadata={"help": "problems labeled together"})
    seed: int = field(default=0, metadata={"help": "seed of the run"})
    backend: str = field(default="local", metadata={"help": "local, or ray (a cluster)", "choices": ["local", "ray"]})
    actors: int = field(default=2, metadata={"help": "ray: number of processes, each with its own generator"})
    gpus_per_actor: float = field(default=0, metadata={"help": "ray: GPUs for each of these processes"})


def main(args: Arguments) -> None:
    started = time.monotonic()
    if is_complete(args.output, args, [args.traces]):
        print(f"{args.output} is complete already")
        return
    # Traces with another status than `ok` are not labeled; they go to the output as they are.
    rows = read_traces(args.traces)
    groups = list(group_by_problem([row for row in rows if row.trace.status == "ok"]))
    units = [groups[i : i + args.chunk] for i in range(0, len(groups), args.chunk)]
    options = {name: getattr(args, name) for name in ("rollouts", "tolerance", "searches")}
    options = {name: value for name, value in options.items() if value is not None}
    kind = PLANNERS[args.method]
    for name in options.keys() - {f.name for f in fields(kind)}:
        sys.exit(f"--{name} is not an option of {args.method}; it has {', '.join(f.name for f in fields(kind))}")
    planner = kind(**options)
    generator = args.load()
    store = RolloutStore(args.store or args.output + ".rollouts", {"generator": generator.name, "seed": args.seed})

    # On a cluster, actors sample into the store first; the loop below then finds all rollouts there.
    if args.backend == "ray":
        from prm.sampling.cluster import fill_store

        fill_store(
            store, units, problem_ids, partial(run, planner), args.load, args.seed, args.actors, args.gpus_per_actor
        )

    # The labels of every problem are made here, even if another writer has sampled its rollouts.
    labeled: dict[str, list[LabeledTrace]] = {}
    spent = Spent()
    with tqdm(total=len(groups), unit="problem", desc="label") as progress:
        commit = commit_to(store, progress)
        for unit in store.claim_each(units, problem_ids):
            source = RolloutSource(generator, args.seed, store.read(problem_ids(unit)), commit)
            for (problem, _), traces in zip(unit, run(planner, unit, source), strict=True):
                labeled[problem.id] = traces
            spent.add(source.all_taken())
            progress.update(len(unit))

    with store.claim([args.output], wait=True):  # several writers may finish at the same time, but only one may write
        if not is_complete(args.output, args, [args.traces]):
            write(args, rows, [trace for problem, _ in groups for trace in labeled[problem.id]], spent, started)
    if generator.ledger:
        print(f"the engine reports {dict(generator.ledger)}")


def problem_ids(unit: Sequence[Group]) -> list[str]:
    return [problem.id for problem, _ in unit]


def write(args: Arguments, rows: list[TraceRow], labeled: list[LabeledTrace], spent: Spent, started: float) -> None:
    """Write the traces of each problem in their order, including those that could not be labeled."""
    facts = label_report(labeled, spent)
    seconds = time.monotonic() - started
    statuses = Counter(row.trace.status for row in rows)
    write_provenance(
        args.output, "data/label_steps.py", args, [args.traces], seconds=seconds, statuses=statuses, **facts
    )
    problems = {row.problem.id: row.problem for row in rows}
    results = [(trace.trace, labeled_to_row(problems[trace.trace.problem_id], trace)) for trace in labeled]
    results += [(row.trace, trace_to_row(row.problem, row.trace)) for row in rows if row.trace.status != "ok"]
    order = {problem_id: i for i, problem_id in enumerate(problems)}
    results.sort(key=lambda result: (order[result[0].problem_id], result[0].index))
    write_jsonl(args.output, [row for _, row in results])  # comes last: a run counts as complete once this file exists
    print(f"{args.output}: {facts['labeled_steps']:,} labeled steps, {facts['good']:.1%} good,", end=" ")
    print(f"{facts['non_monotone']:.1%} of the traces with a good step after a bad one, statuses {dict(statuses)},")
    print(f"{facts['rollouts']:,} rollouts ({facts['duplicate_rate']:.1%} duplicates, {facts['outcomes']}),", end=" ")
    print(f"{facts['generated_tokens']:,} tokens ({facts['tokens_per_labeled_step']:.1f} per label), {seconds:.0f} s")


if __name__ == "__main__":
    run_script(main, Arguments)
