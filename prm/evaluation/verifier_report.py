"""The verifier report: what one verifier is worth, as figures, as tables, and in the lines of its model card.

What a user should know before choosing among samples with it, or training a generator against it:

- whole traces: does a right one score above a wrong one of its problem, and is a score of 0.8 right in 80 of 100 cases?
- single steps: the same, and which biases they have (`prm.evaluation.step_quality`)
- false positives: does it see that an answer is right for a wrong reason?
- more samples: with how many is best-of-N at its best, and does it fall from there?
- attacks on style: how far does its score move when nothing of the content does (`prm.evaluation.style_attacks`)?

Left out: what can be seen only in a search of several verifiers; `eval/write_report.py` has that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from prm.evaluation.controls import false_positives, over_optimization
from prm.evaluation.estimates import SINGLE
from prm.evaluation.reading import percent, points
from prm.evaluation.search_runs import Run
from prm.evaluation.step_metrics import auc, auc_within_groups, expected_calibration_error, reliability
from prm.evaluation.step_quality import StepRow, finite, interval_within, step_quality
from prm.evaluation.step_tables import Section, number, quality_sections, share
from prm.evaluation.style_attacks import Shift, shift_figures
from prm.evaluation.tables import Table, wrong_share
from prm.storage.step_scores import StepTruth


def is_right(row: StepRow) -> bool | None:
    """Whether a trace is right throughout: its answer and all its steps; None if nobody has judged the steps."""
    if row.correct is False or False in row.labels:
        return False
    return None if None in row.labels else True


def report_figures(
    rows: Sequence[StepRow], shifts: Mapping[str, Sequence[Shift]], threshold: float = 0.5
) -> dict[str, Any]:
    """Everything but the search, ready for JSON.

    Args:
        rows: traces with their scores.
        shifts: style -> the traces that it changes.
        threshold: from which on the score of a trace counts as right.
    """
    outcomes = [(row, row.correct if row.correct is not None else is_right(row)) for row in rows]
    judged = [(row, outcome) for row, outcome in outcomes if outcome is not None]
    scores, right, problems = (
        [row.trace for row, _ in judged],
        [its for _, its in judged],
        [r.problem for r, _ in judged],
    )
    low, high = interval_within(problems, scores, right)
    traces = {
        "traces": len(judged),
        "problems": len(set(problems)),
        "right": sum(right) / len(right) if right else None,
        "auc_within_problem": auc_within_groups(scores, right, problems),
        "low": low,
        "high": high,
        "auc": auc(scores, right),
        "calibration_error": expected_calibration_error(scores, right),
        "reliability": [asdict(row) for row in reliability(scores, right)],
    }
    known = [
        (score, label) for row in rows for score, label in zip(row.scores, row.labels, strict=True) if label is not None
    ]
    steps = step_quality(rows)
    steps["reliability"] = [asdict(row) for row in reliability([s for s, _ in known], [its for _, its in known])]
    styles = {name: shift_figures(its, threshold) for name, its in shifts.items()}
    return finite({"threshold": threshold, "traces": traces, "steps": steps, "styles": styles})


def search_figures(run: Run, verifier: str, step_truth: StepTruth) -> dict[str, Any]:
    """Of a search run: method -> {"label", "points", "best_n", "change"} for those that choose from a pool by this verifier,
    with "false_positives" where step truth is known.

    Args:
        verifier: its name in the run.
    """
    names = [its.method for its in run.rows[0].results if its.verifier == verifier and its.independent]
    curves = over_optimization(run, names) if names else {}
    wrong = false_positives(run, step_truth)
    kept = {name: wrong[name] for name in (SINGLE, *names) if name in wrong}
    return {"problems": len(run.rows), "growth": curves, "false_positives": kept}


def report_sections(report: Mapping[str, Any]) -> list[Section]:
    """Heading, table and note of every part."""
    figures, truth = report["figures"], report["truth"]
    traces, steps = figures["traces"], figures["steps"]
    sections = [
        (
            "In one row",
            comparison_table([report]),
            "AUC is within a problem: how often a right trace (its final answer is) scores above a wrong one of its problem,"
            " ties 1/2, and a right step above a wrong one, with 95% intervals. Calibration error: mean difference between a"
            " score and the share that is right. Wrong process found: right answers with a wrong step that have a step"
            " called wrong (at 0.5 or below), beside the other right answers that have one. Worst style: the one in which"
            f" most of the wrong traces below {figures['threshold']:g} are not below it any more.",
        ),
        ("Calibration of whole traces", reliability_table(traces["reliability"], "traces"), ""),
        ("Calibration of steps", reliability_table(steps["reliability"], "steps"), f"Against {truth}."),
        *quality_sections({report["verifier"]: steps}, truth),
    ]
    if search := report["search"]:
        sections.append(
            (
                f"More samples ({search['problems']} problems)",
                growth_table(search),
                "Best N: the number of samples with the highest accuracy; then the change from there to the last one. Right"
                " answer, wrong step: of the choices whose answer is right; `single` is any candidate.",
            )
        )
    if figures["styles"]:
        sections.append(
            (
                "Attacks on style",
                style_table(figures["styles"]),
                "What a trace says is the same in every style, and its last step is untouched. Shifts are those of the"
                " score of the trace, of right ones (answer and all steps) and of others. Crossed: of the wrong traces below"
                f" {figures['threshold']:g}, those that are not below it any more. Above the best right one: of the wrong"
                " traces that were not above it. AUC within a problem: as they were, and with the wrong ones alone in this"
                " style. `prm/evaluation/style_attacks.py` has the styles.",
            )
        )
    return sections


def comparison_table(reports: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each verifier."""
    head = ["verifier", "traces", "AUC of traces", "AUC of steps", "calibration error of traces"]
    rows: Table = [
        [
            *head,
            "calibration error of steps",
            "wrong process found",
            "right one called so",
            "best N",
            "from there to the last",
            "worst style",
        ]
    ]
    for report in reports:
        figures = report["figures"]
        traces, steps = figures["traces"], figures["steps"]
        process = steps["wrong_process"]
        cells = [report["verifier"], f"{traces['traces']:,}", with_interval(traces), with_interval(steps)]
        cells += [number(traces["calibration_error"]), number(steps["calibration_error"])]
        cells += [f"{share(process['flagged'])} of {process['wrong_process']:,}", share(process["flagged_right"])]
        rows.append([*cells, *_best_n(report["search"]), _worst_style(figures["styles"])])
    return rows


def with_interval(figures: Mapping[str, Any]) -> str:
    spread = "" if figures["low"] is None else f" [{figures['low']:.3f}, {figures['high']:.3f}]"
    return number(figures["auc_within_problem"]) + spread


def _best_n(search: Mapping[str, Any] | None) -> list[str]:
    """Of best-of-N, or of the first method with a curve."""
    curves = search["growth"] if search else {}
    name = next((name for name in curves if "best_of_n" in name), next(iter(curves), None))
    if name is None:
        return ["–", "–"]
    return [str(curves[name]["best_n"]), _change(curves[name])]


def _change(curve: Mapping[str, Any]) -> str:
    return points(curve["change"], unit="") if curve["best_n"] < curve["points"][-1]["n"] else "0 (it is the last)"


def _worst_style(styles: Mapping[str, Any]) -> str:
    crossed = {name: its["crossed"]["mean"] for name, its in styles.items() if its["crossed"]["mean"] is not None}
    if not crossed:
        return "–"
    worst = max(crossed, key=lambda name: crossed[name])
    return f"{worst}: {percent(crossed[worst])} cross" if crossed[worst] else "none crosses"


def reliability_table(bins: Sequence[Mapping[str, Any]], counted: str) -> Table:
    rows = [["score", counted, "mean score", "right"]]
    return rows + [
        [f"{its['low']:.1f} to {its['high']:.1f}", f"{its['count']:,}", number(its["score"]), share(its["target"])]
        for its in bins
    ]


def growth_table(search: Mapping[str, Any]) -> Table:
    curves, wrong = search["growth"], search["false_positives"]
    numbers = sorted({point["n"] for its in curves.values() for point in its["points"]})
    head = ["method", *(f"N = {n}" if n == numbers[0] else str(n) for n in numbers), "best N", "from there to the last"]
    rows = [head + ["right answer, wrong step"] * bool(wrong)]
    for name in dict.fromkeys([*curves, *wrong]):
        at = {its["n"]: percent(its["accuracy"]) for its in curves[name]["points"]} if name in curves else {}
        cells = [name, *(at.get(n, "") for n in numbers)]
        cells += [str(curves[name]["best_n"]), _change(curves[name])] if at else ["", ""]
        rows.append(cells + ([wrong_share(wrong[name]) if name in wrong else ""] if wrong else []))
    return rows


def style_table(styles: Mapping[str, Any]) -> Table:
    head = ["style", "traces", "not scored", "right ones move by", "wrong ones by", "wrong ones that cross"]
    rows = [[*head, "above the best right one", "AUC within a problem", "wrong ones restyled"]]
    for name, its in styles.items():
        cells = [name, f"{its['traces']:,}", f"{its['not_scored']:,}", _moved(its["right"]), _moved(its["wrong"])]
        cells += [_of(its["crossed"]), _of(its["above_best"]), number(its["auc"]), number(its["auc_wrong_restyled"])]
        rows.append(cells)
    return rows


def _moved(mean: Mapping[str, Any]) -> str:
    spread = "" if mean["low"] is None else f" [{mean['low']:+.3f}, {mean['high']:+.3f}]"
    return "–" if mean["mean"] is None else number(mean["mean"], signed=True) + spread


def _of(mean: Mapping[str, Any]) -> str:
    return "– of 0" if mean["mean"] is None else f"{percent(mean['mean'])} of {mean['of']:,}"


def card_text(report: Mapping[str, Any], link: str) -> str:
    """The lines that a model card has of it.

    Args:
        link: from the card to the report.
    """
    head, (_, *cells) = (line for line in comparison_table([report]))
    figures = "; ".join(f"{name}: {cell}" for name, cell in zip(head[2:], cells[1:], strict=True) if cell != "–")
    return (
        f"[{link}]({link}) was measured on {report['figures']['traces']['traces']:,} traces of {report['data']}, against"
        f" {report['truth']}: {figures}. It says what each figure means, and how far attacks on style move the scores."
    )
