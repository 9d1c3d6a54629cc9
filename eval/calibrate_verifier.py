r"""Calibrate the choices of a verifier: how likely what best-of-N and the weighted vote choose is right, by their evidence.

The method `adaptive_best_of_n` of eval/run_search.py samples until this chance reaches a target. It must be learned on
problems that are not searched later (a validation split), with the same generator, sampling settings and verifier. The
table says what stopping at each target does: on the problems of `--check`, or else on those of `--run`, each half of them
by what was learned from the other half. Choose a target by the latter, and report the former.

Reads   --run, --check   folders of eval/run_search.py with a method that scores the whole pool, such as `best_of_n prm`
Writes  --output         the calibration (prm/search/calibration.py)

    python eval/calibrate_verifier.py --run outputs/quickstart/validation --verifier prm \
        --output outputs/quickstart/calibration.json
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prm.command_line import run_script
from prm.evaluation.reading import interval, percent
from prm.evaluation.search_runs import Run, read_runs
from prm.evaluation.tables import as_text
from prm.search.calibration import Coverage, calibrate, check_fits, coverage, pools_of

TARGETS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


@dataclass
class Arguments:
    run: list[Path] = field(metadata={"help": "folders of eval/run_search.py on validation problems"})
    verifier: str = field(metadata={"help": "name of the verifier in the run"})
    output: Path = field(metadata={"help": "JSON file to write"})
    check: list[Path] = field(
        default_factory=list, metadata={"help": "folders of a run on other problems, such as test problems"}
    )


def main(args: Arguments) -> None:
    run = read_runs(args.run)
    pools = pools_of(run.rows, args.verifier)
    names = fingerprints(run, args.verifier)
    learned = calibrate(pools, *names)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    learned.save(args.output)
    print(f"{args.output}: learned from {len(pools)} problems with {learned.samples} samples each\n")

    if args.check:
        other = read_runs(args.check)
        there = pools_of(other.rows, args.verifier)
        check_fits(str(args.output), *fingerprints(other, args.verifier), [pool.problem_id for pool in there])
        shown, calibrations = there, [learned] * len(there)
    else:
        halves = [calibrate(pools[start::2], *names) for start in (0, 1)] if len(pools) > 1 else [learned] * 2
        shown, calibrations = pools, [halves[1 - i % 2] for i in range(len(pools))]
    for vote in (False, True):
        rows = [coverage(shown, calibrations, target, vote) for target in TARGETS]
        print(f"{'weighted vote (vote=true)' if vote else 'highest score'}, {len(shown)} problems")
        print(as_text(table(rows)) + "\n")


def fingerprints(run: Run, verifier: str) -> tuple[str, str]:
    return run.meta["verifiers"][verifier]["fingerprint"], run.meta["generator"]["name"]


def table(rows: Sequence[Coverage]) -> list[list[str]]:
    lines = [
        [
            "target",
            "reached it",
            "accuracy of these",
            "95% interval",
            "accuracy of all",
            "95% interval",
            "samples",
            "tokens",
        ]
    ]
    for row in rows:
        mine = row.accuracy_reached
        lines.append(
            [
                f"{row.target:.2f}",
                percent(row.reached),
                percent(mine.mean) if mine else "–",
                interval(vars(mine)) if mine else "–",
                percent(row.accuracy.mean),
                interval(vars(row.accuracy)),
                f"{row.samples:.1f}",
                f"{row.tokens:,.0f}",
            ]
        )
    return lines


if __name__ == "__main__":
    run_script(main, Arguments)
