r"""Sample traces: several attempts at every problem, with their answers extracted and checked.

Every sample is kept in a store of rollouts (`--store`), so that a killed run continues where it stopped and ends with the
same file, a run with more samples pays only for the new ones, and several writers divide the problems among themselves.
With the same store and generator settings, `data/label_steps.py` keeps its rollouts in the same folder. Nothing is
dropped: traces that were cut, have no answer or could not be checked are rows with a `status`. `--max_tokens` and
`--max_hours` stop a run early, `--estimate` says what it would take.

Reads   problems         arithmetic, gsm8k, or a JSON Lines, JSON, CSV or Parquet file (prm.datasets.problems)
Writes  traces.jsonl     Trace rows (data/label_steps.py and recipes/train_orm.py read them)

    python data/sample_traces.py --generator arithmetic --problems arithmetic --limit 800 --split train \
        --samples 4 --output outputs/traces.jsonl
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from prm.command_line import run_script
from prm.datasets.decontamination import check_exemplars
from prm.datasets.problems import load_problems
from prm.encoding.prompts import files_of, prompt_template
from prm.files import visible
from prm.generators.arguments import GeneratorArguments
from prm.sampling.finished import FinishedTraces
from prm.sampling.limits import LimitArguments, LimitReached, Pilot, is_finished, pilot, stopped, unlimited
from prm.sampling.rollouts import Request, RolloutSource, commit_to, watch
from prm.sampling.sampler import sampler_settings
from prm.sampling.symptoms import symptoms
from prm.sampling.traces import trace_from_rollout
from prm.storage.jsonl import write_jsonl
from prm.storage.provenance import write_provenance
from prm.storage.rollout_store import RolloutStore
from prm.storage.rows import trace_to_row
from prm.types import Problem, Rollout, Trace


@dataclass(kw_only=True)
class Arguments(GeneratorArguments, LimitArguments):
    problems: str = field(
        metadata={
            "help": "`arithmetic`, `arithmetic_hard`, `gsm8k`, hub name, or JSON Lines, JSON, CSV or Parquet file"
        }
    )
    output: str = field(metadata={"help": "traces file to write"})
    split: str = field(default="train", metadata={"help": "train, validation, test or all"})
    limit: int | None = field(default=None, metadata={"help": "use only the first problems of the split", "least": 1})
    prompt_column: str | None = field(
        default=None, metadata={"help": "column of the problem; default: prompt, problem or question"}
    )
    gold_column: str | None = field(default=None, metadata={"help": "column of the gold answer; default: answer"})
    samples: int = field(default=4, metadata={"help": "traces per problem", "least": 1})
    store: str | None = field(default=None, metadata={"help": "folder of rollouts; default <output>.rollouts"})
    chunk: int | None = field(
        default=None,
        metadata={
            "help": "problems sampled together; default: 64, on a GPU as many as fill --batch_size four times",
            "least": 1,
        },
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
    # First, so that a mistake in its name is called so.
    problems = load_problems(args.problems, args.split, args.limit, args.prompt_column, args.gold_column)
    if not problems:
        raise ValueError(
            f"nothing to sample: no problems in the {args.split} split of {args.problems}; give another --split"
        )
    template = prompt_template(args.prompt)
    check_exemplars(template, problems)
    inputs = [args.problems, *files_of(args.prompt)]
    if is_finished(args.output, args, inputs):
        print(f"{args.output} is complete already")
        return
    generator = args.load()
    store = RolloutStore(
        args.store or args.output + ".rollouts",
        {"generator": generator.name, "seed": args.seed},
        sampler_settings(args),
    )

    size = args.chunk or usual_chunk(args)
    chunks = [problems[i : i + size] for i in range(0, len(problems), size)]
    if args.estimate:
        chunks = pilot(chunks)
    spent = Pilot()
    finished = FinishedTraces(store, args.samples)

    # On a cluster, actors sample into the store first; the loop below then finds all samples there.
    work = partial(sample, args.samples)
    if args.backend == "ray" and not args.estimate:
        from prm.sampling.cluster import fill_store

        missing = [chunk for chunk in chunks if finished.find(chunk) is None]
        fill_store(store, missing, problem_ids, work, args.load, args.seed, args.actors, args.gpus_per_actor, limits)

    # The traces of every problem are made here, even if another writer has sampled them.
    traces: dict[str, list[Trace]] = {}
    began = time.monotonic()
    with tqdm(total=len(problems), unit="problem", desc="sample") as progress:
        commit, ended = commit_to(store, progress), watch(progress)
        for chunk in store.claim_each(chunks, problem_ids):
            if not args.estimate and (found := finished.find(chunk)) is not None:
                traces |= zip(problem_ids(chunk), found, strict=True)
                progress.update(len(chunk))
                continue
            known = list(store.read(problem_ids(chunk)))
            if limits.reached and not known:
                continue
            source = RolloutSource(generator, args.seed, known, commit, limits, ended)
            try:
                sampled = work(chunk, source)
            except LimitReached:  # later chunks may be in the store
                continue
            made = [[trace_from_rollout(rollout, (), generator) for rollout in rollouts] for rollouts in sampled]
            traces |= zip(problem_ids(chunk), made, strict=True)
            if not args.estimate:  # which samples the same chunks each time
                finished.add(chunk, made)
            spent.add(problem_ids(chunk), source.all_taken())
            progress.update(len(chunk))
    seconds = time.monotonic() - began

    every = [trace for its in traces.values() for trace in its]
    for symptom in symptoms(every, generator.max_new_tokens, template.reasoning):
        print(f"warning: {visible(symptom)}", file=sys.stderr)
    if args.estimate:
        print(spent.report(len(problems), limits.sampled, seconds, args.price_per_million_tokens))
        return
    unfinished = len(problems) - len(traces)
    with store.claim([args.output], wait=True):  # several writers may finish at the same time, but only one may write
        if traces and not is_finished(args.output, args, inputs):
            rows = [trace_to_row(problem, trace) for problem in problems for trace in traces.get(problem.id, ())]
            write(args, rows, inputs, unfinished, time.monotonic() - started)
    if unfinished:
        print(stopped(limits, unfinished, len(problems)))
    if generator.ledger:
        print(f"the engine reports {dict(generator.ledger)}")


def usual_chunk(args: Arguments) -> int:
    """A GPU's batch stays full while samples wait, and empties at the end of every chunk."""
    import torch  # help must not wait for it

    on_gpu = args.backend == "local" and args.engine != "openai" and torch.cuda.is_available()
    return max(64, 4 * args.batch_size // args.samples) if on_gpu else 64


def problem_ids(chunk: Sequence[Problem]) -> list[str]:
    return [problem.id for problem in chunk]


def sample(samples: int, chunk: Sequence[Problem], source: RolloutSource) -> list[list[Rollout]]:
    return source.take([Request(problem, (), samples) for problem in chunk])


def write(args: Arguments, rows: list[dict], inputs: list[str], unfinished: int, seconds: float) -> None:
    statuses = Counter(row["status"] for row in rows)
    correct = sum(bool(row["correct"]) for row in rows) / len(rows)
    generated = sum(row["num_tokens"] for row in rows)
    facts = {"seconds": seconds, "generated_tokens": generated, "statuses": statuses, "unfinished_problems": unfinished}
    facts["template"] = asdict(prompt_template(args.prompt))
    # The file that a stopped run left must not be there beside the record of the finished one.
    Path(args.output).unlink(missing_ok=True)
    write_provenance(args.output, "data/sample_traces.py", unlimited(args), inputs, **facts)
    write_jsonl(args.output, rows)  # comes last: a run counts as complete once this file exists
    problems = len({row["problem_id"] for row in rows})
    steps = sum(len(row["completions"]) for row in rows) / len(rows)
    print(f"{args.output}: {len(rows)} traces of {problems} problems, {correct:.1%} correct, {dict(statuses)},")
    print(f"{steps:.1f} steps a trace ({rows[0]['step_rule']}), {generated:,} tokens in {seconds:.0f} s")


if __name__ == "__main__":
    run_script(main, Arguments)
