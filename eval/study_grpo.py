r"""What reinforcement learning makes of the embedded generator, rewarded by the PRM, the answer check, or both.

Each run is `recipes/train_grpo.py` with the flags of a variant. Test problems are measured before and after it, validation
problems along the way. Settings were chosen on validation problems. A finished run is not repeated, and one that was killed
goes on from its checkpoint. Everything runs in one thread.

Reads   outputs/quickstart/prm     recipes/quickstart.py makes it
Writes  <output_dir>/<variant>-<seed>/    the runs; table.md, which is written again after each of them

    python eval/study_grpo.py --output_dir outputs/study_grpo
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prm.command_line import run_script
from prm.stages import run_quietly

VARIANTS = {
    "PRM": ("--reward prm", 3),
    "answer check": ("--reward answer", 3),
    "both": ("--reward both", 3),
    "PRM, learning rate 1e-4": ("--reward prm --learning_rate 1e-4", 3),
    "answer check, learning rate 1e-4": ("--reward answer --learning_rate 1e-4", 3),
    "both, learning rate 1e-4": ("--reward both --learning_rate 1e-4", 3),
    "PRM, learning rate 1e-4, beta 0.1": ("--reward prm --learning_rate 1e-4 --beta 0.1", 1),
    "PRM, min-form": ("--reward prm --credit min_form --per_step true", 1),
    "PRM, progress": ("--reward prm --credit progress --per_step true", 1),
}
"""Name -> flags, and how many trainings, each with a seed of its own."""

Row = Mapping[str, Any]
"""A line of `held_out.jsonl` (`prm/training/held_out.py`)."""


@dataclass
class Arguments:
    output_dir: Path = field(default=Path("outputs/study_grpo"), metadata={"help": "folder to write"})
    verifier: str = field(
        default="outputs/quickstart/prm", metadata={"help": "the PRM (recipes/quickstart.py makes it)"}
    )
    variants: list[str] = field(
        default_factory=lambda: list(VARIANTS), metadata={"help": "default: all", "choices": list(VARIANTS)}
    )
    more: str = field(default="", metadata={"help": "flags for every run, such as '--max_steps 20'"})


def main(args: Arguments) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # of the commands below
    runs: dict[str, list[list[Row]]] = {variant: [] for variant in args.variants}
    todo = [(variant, seed) for variant in args.variants for seed in range(VARIANTS[variant][1])]
    todo.sort(key=lambda run: run[1])  # stable: every variant once, then again
    for number, (variant, seed) in enumerate(todo, 1):
        started = time.monotonic()
        folder = args.output_dir / f"{variant.replace(',', '').replace(' ', '_')}-{seed}"
        if not (folder / "config.yaml").is_file():  # it is written after the model
            run_quietly(
                "recipes/train_grpo.py --config recipes/configs/grpo_arithmetic.yaml --resume_from_checkpoint auto"
                f" --verifier {args.verifier} --output_dir {folder} --seed {seed} {VARIANTS[variant][0]} {args.more}"
            )
        lines = (folder / "held_out.jsonl").read_text(encoding="utf-8").splitlines()
        runs[variant].append([json.loads(line) for line in lines])
        table = make_tables(runs)
        (args.output_dir / "table.md").write_text(table, encoding="utf-8")
        print(f"{number}/{len(todo)} {variant}, seed {seed}: {time.monotonic() - started:.0f} s", flush=True)
    print(table)


def make_tables(runs: Mapping[str, Sequence[Sequence[Row]]]) -> str:
    """Markdown: test problems before and after, mean ± standard deviation over seeds; validation problems along the way.

    Args:
        runs: variant -> the rows of each of its seeds.
    """
    heads = ["rewarded by", "seeds", "pass@1 before", "after", "PRM reward before", "after", "steps after"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    along = ["| rewarded by | step | pass@1 | PRM reward |", "|---|---|---|---|"]
    for variant, rows_R in runs.items():
        if not rows_R:
            continue
        test_R = [[row for row in rows if row["split"] == "test"] for rows in rows_R]
        first, last = [rows[0] for rows in test_R], [rows[-1] for rows in test_R]
        cells = [
            *(spread([row["pass@1"] for row in part], "{:.1%}") for part in (first, last)),
            *(spread([row["reward"] for row in part], "{:.3f}") for part in (first, last)),
            spread([row["steps"] for row in last], "{:.1f}"),
        ]
        lines.append(f"| {variant} | {len(rows_R)} | " + " | ".join(cells) + " |")
        validation_R = [[row for row in rows if row["split"] == "validation"] for rows in rows_R]
        for rows in zip(*validation_R, strict=True):
            numbers = (
                spread([row["pass@1"] for row in rows], "{:.1%}"),
                spread([row["reward"] for row in rows], "{:.3f}"),
            )
            along.append(f"| {variant} | {rows[0]['step']} | {numbers[0]} | {numbers[1]} |")
    return "\n".join([*lines, "", *along]) + "\n"


def spread(values: Sequence[float], form: str) -> str:
    """Mean ± standard deviation, which one value does not have.

    >>> spread([0.25, 0.75], "{:.1%}"), spread([0.5], "{:.3f}")
    ('50.0% ± 35.4%', '0.500')
    """
    mean = form.format(statistics.fmean(values))
    return mean if len(values) < 2 else f"{mean} ± {form.format(statistics.stdev(values))}"


if __name__ == "__main__":
    run_script(main, Arguments)
