r"""Which way of training gives the best verifier on the embedded set: objective x head x full / LoRA / frozen, three seeds.

Every variant is trained by `recipes/train_prm.py` on the labeled traces of the quickstart and then scores the same
candidates of unseen *validation* problems, whose steps are labeled by separate rollouts. The test split is not used,
because the table serves to choose a variant. A finished run is a line of `runs.jsonl` and is not repeated. Everything
runs in one thread: otherwise the order of sums, and with it the last digits, would depend on the number of cores.

    {"variant": "soft linear full", "seed": 0, "setting": "<hashes of the data>", "auc": 0.91,
     "auc_within_problem": 0.87, "calibration_error": 0.03,
     "first_error_accuracy": 0.71, "best_of_16": 0.68, "seconds": 41.2}

Left out: tuning of learning rates (those of `VARIANTS` were set before the first run) and `lm_tokens` heads (the embedded
vocabulary has no token for "+").

Reads   outputs/quickstart/labeled.jsonl    recipes/quickstart.py makes it
Writes  <output_dir>/runs.jsonl, table.md; JSON as the last line of its output

    python eval/study_training.py --output_dir outputs/study_training
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from prm.command_line import run_script
from prm.evaluation.search_metrics import best_of_n
from prm.evaluation.step_metrics import step_report
from prm.stages import run_quietly
from prm.storage.jsonl import file_hash
from prm.storage.rows import read_labeled, read_traces
from prm.verifiers import load_verifier

OBJECTIVES = {
    "soft": "--targets soft",
    "counts": "--objective beta_binomial --targets counts",
    "hard": "--targets hard",
    "squared error": "--targets soft --objective squared_error",
    "ranking": "--targets hard --objective ranking",
    "hard until first error": "--targets hard --until_first_error",
}
HEADS = {"linear": "--head linear", "mlp": "--head mlp"}
WAYS = {
    "full": "--learning_rate 1e-3",
    "LoRA": "--lora_r 16 --learning_rate 2e-3",
    "frozen": "--freeze_backbone --learning_rate 3e-3",
}
VARIANTS = {
    f"{objective} {head} {way}": f"{OBJECTIVES[objective]} {HEADS[head]} {WAYS[way]}"
    for objective in OBJECTIVES
    for head in HEADS
    for way in WAYS
}
METRICS = (
    "auc",
    "auc_within_problem",
    "trace_auc_within_problem",
    "calibration_error",
    "first_error_accuracy",
    "best_of_16",
)
CANDIDATES = 16


@dataclass
class Arguments:
    output_dir: Path = field(default=Path("outputs/study_training"), metadata={"help": "folder to write"})
    labels: Path = field(
        default=Path("outputs/quickstart/labeled.jsonl"), metadata={"help": "labeled file (data/label_steps.py)"}
    )
    num_problems: int = field(default=100, metadata={"help": "validation problems, 16 candidates each", "least": 1})
    seeds: int = field(default=3, metadata={"help": "trainings of each variant", "least": 1})
    variants: list[str] = field(
        default_factory=lambda: list(VARIANTS),
        metadata={"help": "`objective head way` of each variant; default: all", "choices": list(VARIANTS)},
    )


def main(args: Arguments) -> None:
    import torch  # not at the top: help and a typo must not wait for it

    if not args.labels.is_file():
        raise ValueError(f"{args.labels} is missing; run `python recipes/quickstart.py` first, or give --labels")
    args.output_dir.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the commands below
    torch.set_num_threads(1)

    validation = label_validation(args.output_dir, args.num_problems)
    journal = args.output_dir / "runs.jsonl"
    runs = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    setting = f"{file_hash(args.labels)} {file_hash(validation)}"
    if any(run["setting"] != setting for run in runs):
        raise ValueError(f"{journal} holds runs on other data; give another --output_dir")
    done = {(run["variant"], run["seed"]) for run in runs}
    todo = [(variant, seed) for seed in range(args.seeds) for variant in args.variants if (variant, seed) not in done]
    for number, (variant, seed) in enumerate(todo, 1):
        started = time.monotonic()
        folder = args.output_dir / "checkpoint"
        run_quietly(
            f"recipes/train_prm.py --overwrite_output_dir --config recipes/configs/prm_arithmetic.yaml --data {args.labels}"
            f" --output_dir {folder} {VARIANTS[variant]} --seed {seed} --disable_tqdm true"
        )
        record = {"variant": variant, "seed": seed, "setting": setting, **measure(folder, validation)}
        record["seconds"] = round(time.monotonic() - started, 1)
        shutil.rmtree(folder)
        with journal.open("a") as lines:
            lines.write(json.dumps(record) + "\n")
        runs.append(record)
        left = (len(todo) - number) * record["seconds"]
        print(f"{number}/{len(todo)} {variant}, seed {seed}: {record}, {left / 60:.0f} min left", flush=True)

    table = make_table(runs, args.variants)
    (args.output_dir / "table.md").write_text(table)
    print(table)
    print(json.dumps({variant: summarize([r for r in runs if r["variant"] == variant]) for variant in args.variants}))


def label_validation(folder: Path, problems: int) -> Path:
    """Candidates of validation problems with Monte Carlo labels; both scripts skip finished work."""
    traces, labeled = folder / "candidates.jsonl", folder / "candidates_labeled.jsonl"
    run_quietly(
        "data/sample_traces.py --generator arithmetic --problems arithmetic --split validation"
        f" --limit {problems} --samples {CANDIDATES} --max_new_tokens 80 --output {traces}"
    )
    run_quietly(
        f"data/label_steps.py --generator arithmetic --traces {traces} --rollouts 8 --max_new_tokens 80 --seed 1"
        f" --output {labeled}"
    )
    return labeled


def measure(checkpoint: Path, validation: Path) -> dict[str, float]:
    """Step metrics on the labeled candidates, and the accuracy of best-of-16 among all candidates."""
    verifier = load_verifier(str(checkpoint))
    rows = read_labeled(validation)
    prompts, steps_N = [row.problem.prompt for row in rows], [row.labeled.trace.steps for row in rows]
    scores_N = verifier.score_batch(prompts, steps_N)
    decided_N = [[i for i, label in enumerate(row.labeled.labels) if label is not None] for row in rows]
    some = [(row, scores, decided) for row, scores, decided in zip(rows, scores_N, decided_N, strict=True) if decided]
    report = step_report(
        [[scores.steps[i] for i in decided] for _, scores, decided in some],
        [[bool(row.labeled.labels[i]) for i in decided] for row, _, decided in some],
        [row.problem.id for row, _, _ in some],
        targets_N=[[(row.labeled.values or ())[i] for i in decided] for row, _, decided in some],
        aggregation=verifier.aggregation,
    )
    scores = {row.labeled.trace.id: scores.trace for row, scores in zip(rows, scores_N, strict=True)}
    by_problem: dict[str, list[tuple[float, bool]]] = {}
    for row in read_traces(validation):  # a candidate without labels (cut, no answer) is never chosen
        score = scores.get(row.trace.id, -1.0)
        by_problem.setdefault(row.problem.id, []).append((score, score >= 0 and bool(row.trace.correct)))
    chosen = [best_of_n([s for s, _ in pool], [c for _, c in pool], CANDIDATES) for pool in by_problem.values()]
    report["best_of_16"] = statistics.fmean(chosen)
    return {name: round(report[name], 4) for name in METRICS}


def summarize(runs: list[dict]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "mean": round(statistics.fmean(run[name] for run in runs), 4),
            "sd": round(statistics.stdev(run[name] for run in runs), 4) if len(runs) > 1 else 0.0,
        }
        for name in (*METRICS, "seconds")
    }


def make_table(runs: list[dict], variants: list[str]) -> str:
    """Markdown: mean ± standard deviation over seeds."""
    heads = [
        "AUC",
        "within problem",
        "traces within problem",
        "calibration error",
        "first error",
        "best of 16",
    ]
    lines = ["| objective, head, way | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for variant in variants:
        numbers = summarize([run for run in runs if run["variant"] == variant])
        cells = [f"{numbers[name]['mean']:.3f} ± {numbers[name]['sd']:.3f}" for name in METRICS]
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_script(main, Arguments)
