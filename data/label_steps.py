r"""Label every step of every trace by rollouts; a planner (`--method`) decides which rollouts to sample.

Every rollout is kept in a store (`--store`), so that a killed run continues where it stopped and ends with the same file,
and any planner can use the rollouts again. If the command is started several times, on one machine or on several that
share the folder, the writers divide the problems among themselves. A trace that cannot be labeled stays a row with its
`status`. `--max_tokens` and `--max_hours` stop a run early, `--estimate` says what it would take.

The generator and its sampling settings are those with which the traces were sampled (`traces.config.yaml`), unless flags
say otherwise: labels from another sampler are about another generator (`prm.sampling.sampler`).

Reads   traces.jsonl     Trace rows (data/sample_traces.py)
Writes  labeled.jsonl    LabeledTrace rows (recipes/train_prm.py reads them)

    python data/label_steps.py --traces outputs/traces.jsonl --method monte_carlo --rollouts 8 --output outputs/labeled.jsonl
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from prm.command_line import run_script
from prm.datasets.decontamination import check_exemplars
from prm.encoding.prompts import HELP, files_of, prompt_template
from prm.files import visible
from prm.generators import ENGINES
from prm.generators.arguments import GeneratorArguments
from prm.labelers import PLANNERS, Group, divide, run
from prm.labelers.finished import FinishedLabels
from prm.labelers.reports import Spent, label_report
from prm.sampling.limits import LimitArguments, LimitReached, Pilot, is_finished, pilot, stopped, unlimited
from prm.sampling.rollouts import RolloutSource, commit_to, watch
from prm.sampling.sampler import sampler_record, sampler_settings, settle
from prm.storage.jsonl import write_jsonl
from prm.storage.provenance import write_provenance
from prm.storage.rollout_store import RolloutStore
from prm.storage.rows import TraceRow, group_by_problem, labeled_to_row, read_traces, trace_to_row
from prm.types import LabeledTrace, StepRule


@dataclass(kw_only=True)
class Arguments(GeneratorArguments, LimitArguments):
    # What is None is taken from the record of the traces.
    generator: str | None = field(default=None, metadata={"help": "default: that of the traces"})
    engine: str | None = field(
        default=None, metadata={"help": "hf, vllm, or openai; default: that of the traces", "choices": list(ENGINES)}
    )
    temperature: float | None = field(
        default=None, metadata={"help": "0 = greedy; default: that of the traces", "least": 0}
    )
    top_p: float | None = field(
        default=None, metadata={"help": "nucleus sampling; default: that of the traces", "above": 0, "most": 1}
    )
    max_new_tokens: int | None = field(
        default=None, metadata={"help": "longest rollout in tokens; default: that of the traces", "least": 1}
    )
    prompt: str | None = field(default=None, metadata={"help": f"prompt template: {HELP}; default: that of the traces"})
    step_rule: StepRule | None = field(
        default=None, metadata={"help": "where a step ends (prm/encoding/steps.py); default: that of the traces"}
    )
    traces: str = field(metadata={"help": "traces file (data/sample_traces.py)"})
    output: str = field(metadata={"help": "labeled file to write"})
    method: str = field(
        default="monte_carlo",
        metadata={"help": "after which steps rollouts are drawn, and how many", "choices": list(PLANNERS)},
    )
    rollouts: int | None = field(
        default=None,
        metadata={"help": "rollouts after each step that is looked at (at most); default: the method's", "least": 1},
    )
    tolerance: float | None = field(
        default=None, metadata={"help": "adaptive: deviation at which a value is clear enough", "above": 0}
    )
    searches: int | None = field(
        default=None, metadata={"help": "omega_prm: rollouts searched per problem", "least": 1}
    )
    store: str | None = field(default=None, metadata={"help": "folder of rollouts; default <output>.rollouts"})
    chunk: int = field(
        default=16, metadata={"help": "problems labeled together, fewer where memory is short", "least": 1}
    )
    seed: int = field(default=0, metadata={"help": "seed of the run", "least": 0})
    backend: str = field(default="local", metadata={"help": "local, or ray (a cluster)", "choices": ["local", "ray"]})
    actors: int = field(
        default=2, metadata={"help": "ray: number of processes, each with its own generator", "least": 1}
    )
    gpus_per_actor: float = field(default=0, metadata={"help": "ray: GPUs for each of these processes", "least": 0})


def main(args: Arguments) -> None:
    started = time.monotonic()
    limits = args.limits()
    record = sampler_record(args.traces)
    settings, notes = settle(args, record)
    args = replace(args, **settings)
    inputs = [args.traces, *files_of(args.prompt)]
    if is_finished(args.output, args, inputs):
        print(f"{args.output} is complete already")
        return
    # Traces with another status than `ok` are not labeled; they go to the output as they are.
    rows = read_traces(args.traces)
    usable = [row for row in rows if row.trace.status == "ok"]
    if without := [row.where for row in usable if not row.problem.answer]:
        raise ValueError(
            f"{without[0]}: no `gold`, against which rollouts are checked; add the gold answer, or remove the row"
        )
    groups = list(group_by_problem(usable))
    check_exemplars(prompt_template(args.prompt), [problem for problem, _ in groups])
    options = {name: getattr(args, name) for name in ("rollouts", "tolerance", "searches")}
    options = {name: value for name, value in options.items() if value is not None}
    kind = PLANNERS[args.method]
    for name in options.keys() - {f.name for f in fields(kind)}:
        raise ValueError(
            f"--{name} is not an option of {args.method}; it has {', '.join(f.name for f in fields(kind))}"
        )
    planner = kind(**options)
    units = divide(planner, groups, args.chunk)
    generator = args.load()
    writers = {row.trace.generator for row in rows if row.trace.status == "ok"}
    if record and not notes and writers and generator.name not in writers:
        notes = [
            f"the traces are by {', '.join(sorted(writers))}, and their settings now give {generator.name}: is the"
            " model in the same place another one, or has the file of the prompt changed?"
        ]
    rules = {row.trace.step_rule for row in rows if row.trace.step_rule}
    if rules - {generator.step_rule}:
        raise ValueError(
            f"{args.traces}: its traces are divided into steps by the rule {', '.join(sorted(rules))}, rollouts would be"
            f" by {generator.step_rule}; give --step_rule {min(rules)}"
        )
    for note in notes:
        print(f"{args.traces}: {visible(note)}", file=sys.stderr)
    store = RolloutStore(
        args.store or args.output + ".rollouts",
        {"generator": generator.name, "seed": args.seed},
        sampler_settings(args),
    )

    if args.estimate:
        units = pilot(units)
    estimate = Pilot()
    finished = FinishedLabels(store, planner)

    # On a cluster, actors sample into the store first; the loop below then finds all rollouts there.
    if args.backend == "ray" and not args.estimate:
        from prm.sampling.cluster import fill_store

        work = partial(run, planner)
        open_units = [unit for unit in units if finished.find(unit, Spent()) is None]
        fill_store(store, open_units, problem_ids, work, args.load, args.seed, args.actors, args.gpus_per_actor, limits)

    # The labels of every problem are made here, even if another writer has sampled its rollouts.
    labeled: dict[str, list[LabeledTrace]] = {}
    spent = Spent()
    began = time.monotonic()
    with tqdm(total=len(groups), unit="problem", desc="label") as progress:
        commit, ended = commit_to(store, progress), watch(progress)
        for unit in store.claim_each(units, problem_ids):
            if not args.estimate and (found := finished.find(unit, spent)) is not None:
                labeled |= zip(problem_ids(unit), found, strict=True)
                progress.update(len(unit))
                continue
            known = list(store.read(problem_ids(unit)))
            if limits.reached and not known:
                continue
            source = RolloutSource(generator, args.seed, known, commit, limits, ended)
            try:
                labeled_P = run(planner, unit, source)
            except LimitReached:  # later units may be in the store
                continue
            labeled |= zip(problem_ids(unit), labeled_P, strict=True)
            finished.add(unit, labeled_P, source.all_taken())
            spent.add(source.all_taken())
            estimate.add(problem_ids(unit), source.all_taken())
            progress.update(len(unit))
    seconds = time.monotonic() - began

    if args.estimate:
        print(estimate.report(len(groups), limits.sampled, seconds, args.price_per_million_tokens))
        return
    unfinished = {problem.id for problem, _ in groups} - labeled.keys()
    with store.claim([args.output], wait=True):  # several writers may finish at the same time, but only one may write
        if (labeled or not groups) and not is_finished(args.output, args, inputs):
            done = [row for row in rows if row.problem.id not in unfinished]
            traces = [trace for problem, _ in groups for trace in labeled.get(problem.id, ())]
            write(args, inputs, done, traces, len(unfinished), spent, started)
    if unfinished:
        print(stopped(limits, len(unfinished), len(groups)))
    if generator.ledger:
        print(f"the engine reports {dict(generator.ledger)}")


def problem_ids(unit: Sequence[Group]) -> list[str]:
    return [problem.id for problem, _ in unit]


def write(
    args: Arguments,
    inputs: list[str],
    rows: list[TraceRow],
    labeled: list[LabeledTrace],
    unfinished: int,
    spent: Spent,
    started: float,
) -> None:
    """Write the traces of each problem in their order, including those that could not be labeled."""
    facts = label_report(labeled, spent)
    seconds = time.monotonic() - started
    statuses = Counter(row.trace.status for row in rows)
    facts |= {"seconds": seconds, "statuses": statuses, "unfinished_problems": unfinished}
    facts["template"] = asdict(prompt_template(args.prompt))
    # The file that a stopped run left must not be there beside the record of the finished one.
    Path(args.output).unlink(missing_ok=True)
    write_provenance(args.output, "data/label_steps.py", unlimited(args), inputs, **facts)
    problems = {problem.id: problem for problem, _ in group_by_problem(rows)}
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
