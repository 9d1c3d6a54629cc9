r"""What a GPU makes of this project: exactness, training, scoring, rollouts and memory, each beside its baseline.

Every row of the table is a run of `bench_training.py`, `bench_scoring.py` or `bench_generators.py` in its own process,
so that one that runs out of memory or time ends alone. The weights are random, in the named shapes, and the data shaped like
GSM8K's: no network, no files. The rows come in the order in which they are wanted; what `--minutes` leaves no time for is
listed as left out, a row that is cut short as failed.

    row                                      ours             baseline  ratio  differs by
    training tiny                    278.0 traces/s       129.3 traces/s   2.15  1e-07
    scoring tiny                     509.2 cand./s        426.1 cand./s    1.20  3e-08

(of a CPU). Baselines: of training, scoring and rollouts those of the three scripts (padded batches; TRL's trainer where
`trl==1.13.0` is installed); of short rows, checkpointing, FSDP2 and compiled layers our usual way in the same shape, where
that is a row of the same run. Gradients differ from the baseline's by so much of their norm, scores by so much at most.
Rollouts add the tokens/s of our engine without one of its parts each (`bench_generators.py --parts true`).

On a CPU (`--device cpu --shapes tiny`) the rows that need a GPU are left out, and times say nothing: that is how the tests
keep this script from rotting.

Reads   nothing
Writes  <output_dir>/rows.jsonl  a line per row, as soon as it is measured
        <output_dir>/log.txt     what the scripts printed
        the last line of its output, JSON

    python eval/bench_gpu.py --minutes 10
    python eval/bench_gpu.py --minutes 10 --rows training scoring
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prm.command_line import run_script
from prm.evaluation.workloads import SHAPES

ROOT = Path(__file__).parents[1]
USUAL = ("135m", "1.5b", "7b")
FSDP2 = ("-m", "accelerate.commands.launch", "--config_file", "recipes/accelerate/fsdp2.yaml", "--num_processes", "1")


@dataclass(frozen=True)
class Row:
    """One run of a script, for one or more shapes."""

    name: str
    shapes: tuple[str, ...]
    script: str
    words: str
    gpu_only: bool = False
    launcher: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    beside: str = ""
    """The row of the same shape that is the baseline of this one; none: the script measures its own."""


# 24 problems, 384 traces a step, are rows of more than 32,000 tokens where the memory holds them.
TRAINING = "--num_problems 24 --rounds 2 --stock_batches 8 32 --data"
OURS = "--num_problems 24 --rounds 2 --sides ours --data gsm8k"
ADAPTER = "--num_problems 8 --rounds 2 --stock_batches 8 --data gsm8k --lora_r 16 --gradient_checkpointing true"
ROWS = (
    Row("training", ("135m", "1.5b"), "bench_training", f"{TRAINING} gsm8k"),
    Row("scoring", USUAL, "bench_scoring", "--candidates 64 --rounds 3 --padded_rows 32"),
    Row(
        "rollouts",
        ("135m",),
        "bench_generators",
        "--limit 384 --rollouts 8 --batch_size 768 --max_new_tokens 343 --rounds 1 --parts true",
    ),
    Row("short rows", ("135m", "1.5b"), "bench_training", f"{OURS} --tokens_per_row 3000", beside="training"),
    Row("training on trees", ("135m",), "bench_training", f"{TRAINING} tree"),
    Row("LoRA", ("7b",), "bench_training", ADAPTER),
    Row("QLoRA", ("7b",), "bench_training", f"{ADAPTER} --load_in_4bit true", gpu_only=True),
    Row("checkpointing", ("1.5b",), "bench_training", f"{OURS} --gradient_checkpointing true", beside="training"),
    Row("FSDP2", ("1.5b",), "bench_training", OURS, gpu_only=True, launcher=FSDP2, beside="training"),
    Row(
        "compiled layers",
        ("135m", "1.5b"),
        "bench_training",
        f"{OURS} --torch_compile true",
        gpu_only=True,
        env={"ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": "true"},
        beside="training",
    ),
    Row(
        "compiled scoring",
        ("135m", "1.5b"),
        "bench_scoring",
        "--candidates 64 --rounds 3 --padded_rows 32 --compile true",
        gpu_only=True,
        beside="scoring",
    ),
)
"""In the order in which they are wanted."""

SMALL = {
    "bench_training": "--num_problems 1 --rounds 1 --stock_batches 8",
    "bench_scoring": "--candidates 4 --rounds 1",
    "bench_generators": "--limit 2 --rollouts 2 --rounds 1",
}
"""Flags for the shape `tiny`, which override those of the row."""


@dataclass
class Arguments:
    minutes: float = field(default=10.0, metadata={"help": "no row starts or goes on after that", "above": 0})
    device: str = field(default="cuda", metadata={"help": "where", "choices": ["cpu", "cuda"]})
    shapes: list[str] = field(
        default_factory=lambda: list(USUAL), metadata={"help": "shapes of the models", "choices": list(SHAPES)}
    )
    rows: list[str] = field(
        default_factory=lambda: [row.name for row in ROWS],
        metadata={"help": "which rows", "choices": [row.name for row in ROWS]},
    )
    output_dir: Path = field(default=Path("outputs/bench_gpu"), metadata={"help": "folder for rows and log"})


def main(args: Arguments) -> None:
    ends = time.monotonic() + 60 * args.minutes
    args.output_dir.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, Any]] = {}
    print(f"{'row':24} {'ours':>20} {'baseline':>20} {'ratio':>6}  differs by")
    with (
        tempfile.TemporaryDirectory() as weights,
        (args.output_dir / "rows.jsonl").open("w", encoding="utf-8") as lines,
        (args.output_dir / "log.txt").open("w", encoding="utf-8") as log,
    ):
        for row in ROWS:
            for shape in args.shapes:
                if row.name not in args.rows or (shape in USUAL and shape not in row.shapes):
                    continue
                name = f"{row.name} {shape}"
                results[name] = measure(row, shape, args, Path(weights), ends - time.monotonic(), log)
                lines.write(json.dumps({"row": name, **results[name]}) + "\n")
                lines.flush()
                print(table_line(name, results[name], results.get(f"{row.beside} {shape}", {})), flush=True)
    print(json.dumps({"device": args.device, "minutes": args.minutes, "rows": results}))


def measure(row: Row, shape: str, args: Arguments, weights: Path, seconds: float, log) -> dict[str, Any]:
    """What the script's last line says, or why there is none, with the seconds it took."""
    if row.gpu_only and args.device == "cpu":
        return {"left_out": "needs a GPU"}
    if seconds <= 0:
        return {"left_out": f"no time was left of {args.minutes:g} minutes"}
    flag = "--shape" if row.script == "bench_generators" else "--model"
    words = shlex.split(f"{row.words} {SMALL[row.script] if shape == 'tiny' else ''}")
    # The weights of a shape are made by the first row that needs them.
    words += [flag, shape, "--device", args.device, "--base", str(weights / shape)]
    command = [*row.launcher, str(ROOT / "eval" / f"{row.script}.py"), *words]
    log.write(f"\n$ python {shlex.join(command)}\n")
    started = time.monotonic()
    code, printed = run_for(seconds, command, row.env)
    log.write(printed)
    log.flush()
    took = {"seconds": round(time.monotonic() - started, 1)}
    last = printed.strip().splitlines()[-1:]
    if code == 0 and last and last[0].startswith("{"):
        return json.loads(last[0]) | took
    reason = f"ran into the end of {args.minutes:g} minutes" if code is None else " ".join(last)[:300]
    return {"failed": reason, **took}


def run_for(seconds: float, command: list[str], env: Mapping[str, str]) -> tuple[int | None, str]:
    """Exit code (None: it was ended after so many seconds) and all that was printed, errors first."""
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a launcher has children
    ) as child:
        try:
            printed, errors = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, 9)
            printed, errors = child.communicate()
            return None, errors + printed
    # The reason of a failure is the end of the errors.
    return child.returncode, errors + printed if child.returncode == 0 else printed + errors


def table_line(name: str, result: Mapping[str, Any], beside: Mapping[str, Any]) -> str:
    if reason := result.get("left_out") or result.get("failed"):
        return f"{name:24} {'left out' if 'left_out' in result else 'failed'}: {reason}"
    rates, unit = rates_of(result)
    differs = result.get("difference_bf16", result.get("difference_fp32", {})).get("gradients")
    baseline = rates_of(beside)[0]["ours"] if beside.get("device") else rates.get("stock", rates.get("padded"))
    baseline = rates.get("plain", baseline)
    shown, ratio = ("", "") if baseline is None else (f"{baseline:,.1f} {unit}", f"{rates['ours'] / baseline:.2f}")
    gradients = differs if differs is not None else result.get("largest_difference")
    apart = "" if gradients is None else f"{gradients:.1g}"
    peaks = result.get("peak_gb_gsm8k", result.get("peak_gb_tree", {}))
    more = [f"{side} {peak:.1f} GB" for side, peak in peaks.items()]
    more += [f"{way} {rate:,.0f}" for way, rate in rates.items() if unit == "tokens/s" and way not in ("ours", "plain")]
    return f"{name:24} {rates['ours']:13,.1f} {unit:6} {shown:>20} {ratio:>6}  {apart}  {'  '.join(more)}".rstrip()


def rates_of(result: Mapping[str, Any]) -> tuple[Mapping[str, float], str]:
    for key, unit in (
        ("traces_per_second_gsm8k", "traces/s"),
        ("traces_per_second_tree", "traces/s"),
        ("candidates_per_second", "cand./s"),
        ("tokens_per_second", "tokens/s"),
    ):
        if key in result:
            return result[key], unit
    raise ValueError(f"no rate in {sorted(result)}")


if __name__ == "__main__":
    run_script(main, Arguments)
