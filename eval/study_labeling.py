r"""Which labels are worth their tokens? PRMs trained on labels of several methods, all of which may generate as many tokens.

A method labels as many traces (4 per problem of the embedded set) as the budget pays for; sampling the traces counts too. On
each set a PRM is trained by `recipes/train_prm.py`, and chooses among 16 candidates of each of some test problems, which no
setting was chosen on. Values (`soft`) or labels (`hard`) are what it learns from. Everything computes in one thread: the
order of sums, and with it the last digits, would depend on the number of cores otherwise.

    {"method": "first_error", "targets": "hard", "seed": 0, "traces": 4104, "tokens": 398112, "best_of_16": 0.71, ...}

Left out: equal training time (a method with more traces takes more steps, as it would in practice).

Reads   nothing
Writes  <output_dir>/runs.jsonl, table.md, labeling_study.png; JSON as the last line of its output

    python eval/study_labeling.py --output_dir outputs/study_labeling
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from prm.command_line import run_script
from prm.evaluation.search_metrics import FEWEST, best_of_n, bootstrap, paired_difference
from prm.stages import run_quietly
from prm.storage.rows import read_traces
from prm.verifiers import load_verifier

METHODS = {
    "monte_carlo@8": "--method monte_carlo --rollouts 8",
    "first_error": "--method first_error",
    "adaptive@0.1": "--method adaptive --tolerance 0.1",
    "omega_prm": "--method omega_prm --searches 10",
}
VARIANTS = [
    ("monte_carlo@8", "hard"),
    ("monte_carlo@8", "soft"),
    ("first_error", "hard"),
    ("adaptive@0.1", "hard"),
    ("adaptive@0.1", "soft"),
    ("omega_prm", "hard"),
    ("omega_prm", "soft"),
]
SETTINGS = "--generator arithmetic --max_new_tokens 80"
CANDIDATES = 16
PROBE = 50
"""Problems on which the cost of a method is measured, to know how many the budget pays for."""


@dataclass
class Arguments:
    output_dir: Path = field(default=Path("outputs/study_labeling"), metadata={"help": "folder to write"})
    tokens: int = field(default=400_000, metadata={"help": "generated tokens of each method", "least": 1})
    num_problems: int = field(default=150, metadata={"help": "test problems, 16 candidates each", "least": FEWEST})
    seeds: int = field(default=3, metadata={"help": "trainings on each set of labels", "least": 1})


def main(args: Arguments) -> None:
    import torch  # not at the top: help and a typo must not wait for it

    folder = args.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the commands below
    torch.set_num_threads(1)

    sets = {method: label(folder, method, args.tokens) for method in METHODS}
    candidates = folder / "candidates.jsonl"
    run_quietly(
        f"data/sample_traces.py {SETTINGS} --problems arithmetic --split test --limit {args.num_problems}"
        f" --samples {CANDIDATES} --output {candidates}"
    )
    journal = folder / "runs.jsonl"
    runs = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    setting = f"{args.tokens} tokens, {args.num_problems} problems"
    if any(record["setting"] != setting for record in runs):
        raise ValueError(f"{journal} holds runs with {runs[0]['setting']}, now {setting}; give another --output_dir")
    done = {(record["method"], record["targets"], record["seed"]) for record in runs}
    for seed in range(args.seeds):
        for method, targets in VARIANTS:
            if (method, targets, seed) in done:
                continue
            data, tokens, traces = sets[method]
            checkpoint = folder / "checkpoint"
            run_quietly(
                f"recipes/train_prm.py --overwrite_output_dir --config recipes/configs/prm_arithmetic.yaml --data {data}"
                f" --targets {targets} --seed {seed} --output_dir {checkpoint} --disable_tqdm true"
            )
            chosen = best_of_16(checkpoint, candidates)
            shutil.rmtree(checkpoint)
            record = {"method": method, "targets": targets, "seed": seed, "setting": setting}
            record |= {"traces": traces, "tokens": tokens, "best_of_16": statistics.fmean(chosen), "chosen": chosen}
            with journal.open("a") as lines:
                lines.write(json.dumps(record) + "\n")
            runs.append(record)
            print(
                f"{method} {targets}, seed {seed}: {traces} traces, best of 16 {record['best_of_16']:.3f}", flush=True
            )
    results = {f"{method} {targets}": summarize(runs, method, targets) for method, targets in VARIANTS}
    (folder / "table.md").write_text(make_table(results))
    print(make_table(results))
    plot(results, folder / "labeling_study.png")
    print(json.dumps(results))


def label(folder: Path, method: str, budget: int) -> tuple[Path, int, int]:
    """Label as many traces as the budget pays for: the file, the tokens spent, the number of traces."""
    tokens, _ = spend(folder, method, PROBE, "probe")
    problems = max(1, int(budget / (tokens / PROBE)))
    tokens, traces = spend(folder, method, problems, "set")
    return folder / f"{method}.set.jsonl", tokens, traces


def spend(folder: Path, method: str, problems: int, name: str) -> tuple[int, int]:
    """Label 4 traces of some problems, all rollouts in one store: the tokens that this method alone would cost, traces."""
    traces, output = folder / f"traces.{problems}.jsonl", folder / f"{method}.{name}.jsonl"
    run_quietly(
        f"data/sample_traces.py {SETTINGS} --problems arithmetic --split train --limit {problems} --samples 4"
        f" --store {folder}/rollouts --output {traces}"
    )
    run_quietly(
        f"data/label_steps.py {SETTINGS} --traces {traces} {METHODS[method]} --store {folder}/rollouts --output {output}"
    )
    sampled, labeled = (json.loads(path.with_suffix(".meta.json").read_text()) for path in (traces, output))
    # OmegaPRM makes its own traces; all others label those that were sampled for them.
    own = 0 if method == "omega_prm" else sampled["generated_tokens"]
    return labeled["generated_tokens"] + own, labeled["traces"]


def best_of_16(checkpoint: Path, candidates: Path) -> list[float]:
    """For each problem, whether the trace of the highest score is right (ties: the share of those that are)."""
    verifier = load_verifier(str(checkpoint))
    rows = read_traces(candidates)
    usable = [row for row in rows if row.trace.status == "ok"]
    scores_N = verifier.score_batch([row.problem.prompt for row in usable], [row.trace.steps for row in usable])
    scores = {row.trace.id: scores.trace for row, scores in zip(usable, scores_N, strict=True)}
    pools: dict[str, list[tuple[float, bool]]] = {}
    for row in rows:  # a candidate that was cut or has no answer is never chosen
        pools.setdefault(row.problem.id, []).append((scores.get(row.trace.id, -1.0), bool(row.trace.correct)))
    return [best_of_n([s for s, _ in pool], [c for _, c in pool], CANDIDATES) for pool in pools.values()]


def summarize(runs: list[dict], method: str, targets: str) -> dict:
    """Means over seeds; intervals by a bootstrap over problems, the difference paired with `monte_carlo@8 hard`."""

    def by_problem(method: str, targets: str) -> list[float]:
        mine = [record["chosen"] for record in runs if (record["method"], record["targets"]) == (method, targets)]
        return [statistics.fmean(column) for column in zip(*mine, strict=True)]

    values = by_problem(method, targets)
    accuracy = bootstrap(values)
    gain = paired_difference(values, by_problem("monte_carlo@8", "hard"))
    record = next(r for r in runs if (r["method"], r["targets"]) == (method, targets))
    return {
        "traces": record["traces"],
        "tokens": record["tokens"],
        "best_of_16": [round(accuracy.mean, 4), round(accuracy.low, 4), round(accuracy.high, 4)],
        "gain": [round(gain.mean, 4), round(gain.low, 4), round(gain.high, 4)],
    }


def make_table(results: dict[str, dict]) -> str:
    lines = ["| labels | traces | tokens | best of 16 | minus monte_carlo@8 hard |", "|---|---|---|---|---|"]
    for name, r in results.items():
        value, low, high = (f"{100 * x:.1f}" for x in r["best_of_16"])
        gain, gain_low, gain_high = (f"{100 * x:+.1f}" for x in r["gain"])
        lines.append(
            f"| {name} | {r['traces']:,} | {r['tokens']:,} | {value}% [{low}, {high}] | {gain} [{gain_low}, {gain_high}] |"
        )
    return "\n".join(lines) + "\n"


def plot(results: dict[str, dict], path: Path) -> None:
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    figure, axis = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
    for i, r in enumerate(reversed(results.values())):
        value, low, high = r["best_of_16"]
        axis.errorbar(value, i, xerr=[[value - low], [high - value]], fmt="o", capsize=4, color=f"C{i}")
        axis.annotate(f"{r['traces']:,} traces", (high, i), xytext=(6, -3), textcoords="offset points", fontsize=8)
    axis.set_yticks(range(len(results)), list(reversed(results)))
    axis.set_xlabel("accuracy of the best of 16 (95% interval over problems)")
    axis.margins(x=0.3)
    axis.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    run_script(main, Arguments)
