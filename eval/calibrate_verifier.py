r"""Calibrate the choices of a verifier: how likely what best-of-N and the weighted vote choose is right, by their evidence.

The method `adaptive_best_of_n` of eval/run_search.py samples until this chance reaches a target, or until at most a share
`risk` of the stopped problems is lost (`prm.search.risk`). It must be learned on problems that are not searched later (a
validation split), with the same generator, sampling settings and verifier. The tables say what stopping does: on the
problems of `--check`, or else on those of `--run`, each half of them by what was learned from the other half. Choose a
target or a risk by the latter, and report the former. The last tables and the picture say how often a risk is kept, on
random halves of all these problems.

Reads   --run, --check   folders of eval/run_search.py with a method that scores the whole pool, such as `best_of_n prm`
Writes  --output         the calibration (prm/search/calibration.py), and beside it a picture, NAME.png

    python eval/calibrate_verifier.py --run outputs/quickstart/validation --verifier prm \
        --output outputs/quickstart/calibration.json
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prm.command_line import run_script
from prm.evaluation.reading import interval, percent, points
from prm.evaluation.search_runs import Run, read_runs
from prm.evaluation.tables import as_text
from prm.search.calibration import Calibration, calibrate, check_fits, pools_of
from prm.search.coverage import Coverage, Promise, coverage, promise
from prm.search.risk import CONFIDENCE, safe_evidence

TARGETS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
RISKS = (0.01, 0.02, 0.05, 0.1)


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
        shown, calibrations, known = there, [learned] * len(there), [*pools, *there]
    else:
        halves = [calibrate(pools[start::2], *names) for start in (0, 1)] if len(pools) > 1 else [learned] * 2
        shown, calibrations, known = pools, [halves[1 - i % 2] for i in range(len(pools))], pools
    promises: dict[str, list[Promise]] = {}
    for vote, name in ((False, "highest score"), (True, "weighted vote (vote=true)")):
        print(f"{name}, {len(shown)} problems")
        rows = [coverage(shown, [each.likely(target, vote) for each in calibrations], vote) for target in TARGETS]
        print(as_text(target_table(rows)) + "\n")
        safe = [[safe_evidence(stops_of(each, vote), risk) for each in calibrations] for risk in RISKS]
        rows = [coverage(shown, enough, vote) for enough in safe]
        print(as_text(risk_table(rows, [enough[0] for enough in safe])) + "\n")
        promises[name] = [promise(known, risk, vote) for risk in RISKS]
        print(
            f"the same on random halves of all {len(known)} problems; a risk is to be kept in {CONFIDENCE:.0%} of them"
        )
        print(as_text(promise_table(promises[name])) + "\n")
    picture = args.output.with_suffix(".png")
    from prm.evaluation.plots import draw_promises  # not at the top: help must not wait for matplotlib

    draw_promises(promises, len(known), picture)
    print(f"{picture}: promised and realized risk")


def stops_of(calibration: Calibration, vote: bool) -> Sequence[tuple[float, float]]:
    return calibration.stops_vote if vote else calibration.stops_best


def fingerprints(run: Run, verifier: str) -> tuple[str, str]:
    return run.meta["verifiers"][verifier]["fingerprint"], run.meta["generator"]["name"]


def target_table(rows: Sequence[Coverage]) -> list[list[str]]:
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
    for target, row in zip(TARGETS, rows, strict=True):
        mine = row.accuracy_stopped
        lines.append(
            [
                f"{target:.2f}",
                percent(row.stopped),
                percent(mine.mean) if mine else "–",
                interval(vars(mine)) if mine else "–",
                percent(row.accuracy.mean),
                interval(vars(row.accuracy)),
                f"{row.samples:.1f}",
                f"{row.tokens:,.0f}",
            ]
        )
    return lines


def risk_table(rows: Sequence[Coverage], enough: Sequence[float]) -> list[list[str]]:
    lines = [
        ["risk", "evidence", "stopped", "lost of these", "95% interval", "accuracy minus all samples", "tokens saved"]
    ]
    for risk, least, row in zip(RISKS, enough, rows, strict=True):
        lines.append(
            [
                f"{risk:.2f}",
                f"{least:.3g}",
                percent(row.early),
                percent(row.lost.mean) if row.lost else "–",
                interval(vars(row.lost)) if row.lost else "–",
                points(vars(row.difference)),
                percent(row.saved),
            ]
        )
    return lines


def promise_table(rows: Sequence[Promise]) -> list[list[str]]:
    lines = [
        [
            "risk",
            "refused",
            "kept",
            "stopped",
            "lost of these",
            "5% to 95%",
            "accuracy minus all samples",
            "tokens saved",
        ]
    ]
    for row in rows:
        lines.append(
            [
                f"{row.risk:.2f}",
                percent(row.refused),
                percent(row.kept),
                percent(row.early),
                percent(row.lost),
                f"{percent(row.low)} to {percent(row.high)}",
                f"{100 * row.difference:+.1f} points",
                percent(row.saved),
            ]
        )
    return lines


if __name__ == "__main__":
    run_script(main, Arguments)
