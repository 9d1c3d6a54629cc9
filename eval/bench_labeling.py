r"""What step labels cost: planners against exhaustive Monte Carlo, the hf engine against plain `generate`, one process or
more.

Labels are compared with a reference of 256 rollouts per step of the same traces, sampled with another seed than every
method. A first error is found if it is the first step after which none of the 256 succeeds; values are compared by
root mean square error over all steps but the last, whose outcome is known. Tokens are those of all rollouts a method
asks for, as if it were alone. The tolerances and rollouts of the planners are their defaults, chosen on validation
problems.

- `first_error_token_ratio`: tokens of exhaustive k = 8 over those of bisection, with the accuracy of both.
- `first_error_wall_ratio`: seconds of exhaustive k = 8 over those of bisection, each with an empty store and without what
  the same command takes where the store is full already.
- `adaptive_token_ratio`: tokens of uniform k = 16 over those of `adaptive` at the tolerance where its error is the same
  (between two tolerances, interpolated on a log-log scale).
- `generate_speedup`: rollouts per second, ours over `model.generate`, of `eval/bench_generators.py`.
- `process_speedup`: labels per second of one writer per core, all on one store, over those of one writer alone
  (Monte Carlo, k = 32), start-up included; `process_speedup_sampling`: without what one writer needs where the store is
  full already.

Everything sampled is kept in <output_dir>, so that a second run takes the rest only. Needs the machine for itself.

Reads   nothing
Writes  <output_dir>/*.jsonl, their stores, labeling.png; JSON as the last line of its output

    python eval/bench_labeling.py --output_dir outputs/bench_labeling
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from prm.command_line import run_script
from prm.storage.rows import LabeledRow, read_labeled, read_traces
from prm.types import LabeledTrace

UNIFORM = (1, 2, 4, 8, 16, 32)
LONG = 32
"""Rollouts per step where processes are timed."""
TOLERANCES = (0.2, 0.15, 0.12, 0.1, 0.08, 0.07, 0.06)
GENERATORS = "eval/bench_generators.py"
SETTINGS = "--generator arithmetic --max_new_tokens 80"


@dataclass
class Arguments:
    output_dir: Path = field(default=Path("outputs/bench_labeling"), metadata={"help": "folder to write"})
    num_problems: int = field(default=135, metadata={"help": "problems, 4 traces each", "least": 1})
    reference: int = field(default=256, metadata={"help": "rollouts per step of the reference", "least": 1})


def main(args: Arguments) -> None:
    folder = args.output_dir
    folder.mkdir(parents=True, exist_ok=True)

    run(
        f"data/sample_traces.py {SETTINGS} --problems arithmetic --split train --limit {args.num_problems} --samples 4"
        f" --output {folder}/traces.jsonl"
    )
    rows = label(folder, "reference", f"--rollouts {args.reference} --seed 1000 --chunk 8 --output", writers=2)
    reference = [row.labeled for row in rows]
    methods = {
        **{f"monte_carlo@{k}": f"--method monte_carlo --rollouts {k}" for k in UNIFORM},
        **{f"adaptive@{t}": f"--method adaptive --tolerance {t}" for t in TOLERANCES},
        "first_error": "--method first_error",
    }
    results = {}
    for name, options in methods.items():
        labeled = [row.labeled for row in label(folder, name, f"{options} --store {folder}/rollouts --output")]
        tokens = json.loads((folder / f"{name}.meta.json").read_text())["generated_tokens"]
        results[name] = compare(labeled, reference) | {"tokens": tokens, "method": labeled[0].method}
    print_table(results, len(reference))

    exhaustive, bisection = results["monte_carlo@8"], results["first_error"]
    summary = {
        "traces": len(reference),
        "first_error_token_ratio": round(exhaustive["tokens"] / bisection["tokens"], 2),
        "first_error_accuracy": round(bisection["first_error"], 4),
        "exhaustive_accuracy": round(exhaustive["first_error"], 4),
        "adaptive_token_ratio": round(adaptive_ratio(results), 2),
    }
    plot(results, folder / "labeling.png")
    summary["generate_speedup"] = last_json(GENERATORS)["generate_speedup"]
    summary["first_error_wall_ratio"] = wall_ratio(folder)
    summary |= time_processes(folder)
    print(json.dumps(summary))


def label(folder: Path, name: str, options: str, writers: int = 1) -> list[LabeledRow]:
    """Label the traces by `data/label_steps.py`, with several writers of one store at once."""
    output = folder / f"{name}.jsonl"
    run(*[f"data/label_steps.py {SETTINGS} --traces {folder}/traces.jsonl {options} {output}"] * writers)
    return read_labeled(output)


def run(*commands: str) -> float:
    """Run scripts at the same time, one thread each; the seconds until all have ended."""
    started = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, *shlex.split(command)], env=environment, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    for command, process in zip(commands, running, strict=True):
        _, errors = process.communicate()
        if process.returncode:
            sys.exit(f"{errors[-3000:]}\nerror: exit code {process.returncode}: {command}")
    return time.monotonic() - started


def last_json(command: str) -> dict:
    """What a benchmark says in the last line of its output, at one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run([sys.executable, *shlex.split(command)], capture_output=True, text=True, env=environment)
    if result.returncode:
        sys.exit(f"{result.stderr[-3000:]}\nerror: exit code {result.returncode}: {command}")
    print(result.stdout, end="")
    return json.loads(result.stdout.splitlines()[-1])


def compare(labeled: Sequence[LabeledTrace], reference: Sequence[LabeledTrace]) -> dict[str, float]:
    pairs = list(zip(labeled, reference, strict=True))
    squares = [
        (value - true) ** 2
        for mine, other in pairs
        for value, true in zip((mine.values or ())[:-1], (other.values or ())[:-1], strict=False)
        if value is not None and true is not None
    ]
    return {
        "first_error": sum(mine.first_error == other.first_error for mine, other in pairs) / len(pairs),
        "too_early": sum(is_before(mine.first_error, other.first_error) for mine, other in pairs) / len(pairs),
        "rmse": math.sqrt(sum(squares) / len(squares)) if squares else math.nan,
    }


def is_before(a: int, b: int) -> bool:
    """Whether first error `a` is before `b`; -1 (no error) comes after all steps."""
    return a != -1 and (b == -1 or a < b)


def adaptive_ratio(results: dict[str, dict]) -> float:
    """Tokens of uniform k = 16 over those that `adaptive` needs for the same error."""
    uniform = results["monte_carlo@16"]
    points = sorted((results[f"adaptive@{t}"]["rmse"], results[f"adaptive@{t}"]["tokens"]) for t in TOLERANCES)
    for (error, tokens), (next_error, next_tokens) in itertools.pairwise(points):
        if error <= uniform["rmse"] <= next_error:
            share = math.log(uniform["rmse"] / error) / math.log(next_error / error)
            return uniform["tokens"] / (tokens * (next_tokens / tokens) ** share)
    raise ValueError(
        f"no tolerance of {TOLERANCES} is on either side of the error of uniform k = 16, {uniform['rmse']:.4f}"
    )


def print_table(results: dict[str, dict], traces: int) -> None:
    table = Table(title=f"{traces} traces against the reference")
    for name in ("method", "tokens", "first error found", "called too early", "RMSE of values"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for result in results.values():
        table.add_row(
            result["method"],
            f"{result['tokens']:,}",
            f"{result['first_error']:.1%}",
            f"{result['too_early']:.1%}",
            f"{result['rmse']:.4f}" if not math.isnan(result["rmse"]) else "-",
        )
    Console(width=100).print(table)


def plot(results: dict[str, dict], path: Path) -> None:
    import matplotlib.pyplot as plt  # not at the top: help and a typo must not wait for it

    plt.switch_backend("Agg")
    figure, (values, errors) = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    for prefix, title in (("monte_carlo", "uniform k = 1 ... 32"), ("adaptive", "adaptive, by tolerance")):
        points = sorted((r["tokens"], r["rmse"], r["first_error"]) for n, r in results.items() if n.startswith(prefix))
        values.plot([p[0] for p in points], [p[1] for p in points], "o-", label=title)
        errors.plot([p[0] for p in points], [p[2] for p in points], "o-", label=title)
    bisection = results["first_error"]
    errors.plot(bisection["tokens"], bisection["first_error"], "*", markersize=14, label="first error by bisection")
    values.set(xscale="log", yscale="log", xlabel="generated tokens", ylabel="RMSE of values")
    errors.set(xscale="log", xlabel="generated tokens", ylabel="first errors found")
    values.set_yticks([0.05, 0.1, 0.2, 0.3], ["0.05", "0.1", "0.2", "0.3"])
    for axis in (values, errors):
        axis.minorticks_off()
        axis.set_xticks([10_000, 100_000, 1_000_000], ["10,000", "100,000", "1,000,000"])
        axis.legend()
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def wall_ratio(folder: Path) -> float:
    """Seconds of sampling of exhaustive labels over those of bisection, one writer each, as their records say."""
    seconds = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, options in (("exhaustive", "--rollouts 8"), ("bisection", "--method first_error")):
            command = (
                f"data/label_steps.py {SETTINGS} --traces {folder}/traces.jsonl {options} --store {scratch}/{name}"
            )
            run(f"{command} --output {scratch}/{name}.jsonl")
            shutil.rmtree(Path(scratch, name, "labels"))  # they are made again, of the rollouts
            run(f"{command} --output {scratch}/{name}-again.jsonl")
            first, again = (
                json.loads(Path(scratch, f"{name}{which}.meta.json").read_text())["seconds"] for which in ("", "-again")
            )
            seconds.append(first - again)
    print(f"sampling: exhaustive k = 8 {seconds[0]:.1f} s, bisection {seconds[1]:.1f} s")
    return round(seconds[0] / seconds[1], 2)


def time_processes(folder: Path) -> dict[str, float]:
    """Labels per second of one writer, and of as many as there are cores, all on one store, by the clock on the wall; and
    how long the same command takes where the store has everything: imports and reading, which no second writer makes
    shorter, and which the longer the work the less they matter."""
    seconds = {}
    cores = len(os.sched_getaffinity(0))
    steps = sum(len(row.trace.steps) for row in read_traces(folder / "traces.jsonl"))
    with tempfile.TemporaryDirectory() as scratch:
        command = f"data/label_steps.py {SETTINGS} --traces {folder}/traces.jsonl --rollouts {LONG} --chunk 1"
        for writers in (1, cores):
            seconds[writers] = run(*[f"{command} --output {scratch}/{writers}.jsonl"] * writers)
            per_label = 1000 * writers * seconds[writers] / steps
            print(
                f"writers: {writers}, {steps / seconds[writers]:.1f} labels/s, {per_label:.0f} ms of a core per label"
            )
        shutil.rmtree(Path(scratch, "1.jsonl.rollouts", "labels"))  # they are made again, of the rollouts
        fixed = run(f"{command} --store {scratch}/1.jsonl.rollouts --output {scratch}/again.jsonl")
    print(f"imports, and labels from a full store: {fixed:.1f} s of {seconds[1]:.1f} s and {seconds[cores]:.1f} s")
    return {
        "processes": cores,
        "process_speedup": round(seconds[1] / seconds[cores], 2),
        "process_speedup_sampling": round((seconds[1] - fixed) / (seconds[cores] - fixed), 2),
    }


if __name__ == "__main__":
    run_script(main, Arguments)
