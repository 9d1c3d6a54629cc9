"""Write the report of a search run: what the verifier gains over voting, and for how many tokens.

Which methods there are is read from the run. The page says nothing that is not in summary.json: tables, sentences and
pictures are made from its numbers, and no gain is claimed whose 95% interval includes 0, or on fewer than 10 problems.
Several runs of one setup on different problems become one report. Left out: running any model (eval/run_search.py did) and
comparing runs of different setups.

Reads   <run>/meta.json, results.jsonl   as prm.evaluation.search_runs describes them
Writes  <output_dir>/summary.json   every number (the units are in it)
        <output_dir>/gains.png, by_level.png
        <output_dir>/report.md      the page for a repository
        <output_dir>/report.html    the page in one file, with a browser of traces and their step scores
        a W&B run                   with --report_to wandb: the same, linked to the verifiers that were used

    python eval/write_report.py --run outputs/quickstart/search --output_dir outputs/quickstart
"""

from __future__ import annotations

import base64
import html
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from prm.command_line import run_script
from prm.costs import inference_multiple
from prm.evaluation.reading import percent, reading, title, traces_to_show
from prm.evaluation.search_metrics import FEWEST
from prm.evaluation.search_runs import Run, read_runs
from prm.evaluation.summary import leading, summarize, verifier_title
from prm.evaluation.tables import (
    Table,
    as_html,
    as_markdown,
    as_text,
    budget_table,
    cost_table,
    equal_cost_table,
    group_table,
    level_table,
    method_table,
    verifier_table,
)
from prm.verifiers import LIKELIHOOD

TEMPLATE = Path(__file__).with_name("report_template.html")
ESTIMATES = (
    "Accuracy with n candidates is the mean over all subsets of n of the N stored candidates: exact for best-of-N, "
    "majority and pass@N (ties share the credit), over 256 drawn subsets for the weighted vote where there are more.",
    "A method that adapts to what it sees (beam search) is not subsampled: it is one point at what it spent.",
    "Intervals are 95% percentile bootstraps over problems (10,000 resamples); differences are paired by problem.",
    f"Fewer than {FEWEST} problems have no interval (–), and methods are not compared on them: a bootstrap of so few values"
    " is much too narrow, and of one it has no width.",
    "A candidate without an answer, or cut at the token limit, is wrong, has no vote and is never preferred.",
    "pass@N counts a problem as solved if any candidate is right: the ceiling of every way to choose.",
    "Verifier figures set the score of a whole trace against its outcome, over candidates with an answer.",
    "FLOPs count forward passes only, and each prompt once per request; with n < N the tokens are n/N of those spent.",
)
LARGER, RATIOS = 14, (0.16, 0.79, 22)
"""The model 14 times as large, and the tokens of inference per token of pretraining, of Snell et al. 2024 sec. 7."""


@dataclass
class Arguments:
    run: list[Path] = field(metadata={"help": "folders of eval/run_search.py: runs of one setup on different problems"})
    output_dir: Path = field(metadata={"help": "folder to write"})
    seconds: float | None = field(
        default=None,
        metadata={"help": "duration of the whole pipeline, to be shown instead of the search's", "least": 0},
    )
    group_by: str | None = field(
        default=None, metadata={"help": "a column of the problems, such as topic: adds accuracy by its values"}
    )
    report_to: Literal["wandb"] | None = field(
        default=None, metadata={"help": "also log the report as a W&B run that uses the verifiers"}
    )


def main(args: Arguments) -> None:
    run = read_runs(args.run)
    # Not at the top: help and an error must not wait for matplotlib.
    import matplotlib.pyplot as plt

    from prm.evaluation.plots import draw_by_level, draw_gains

    plt.switch_backend("Agg")  # needs no display
    paths = [verifier["path"] for verifier in run.meta["verifiers"].values()]
    checkpoints = [Path(path) for path in paths if ".py:" not in path and path != LIKELIHOOD]
    if args.report_to and (gone := [str(path) for path in checkpoints if not path.is_dir()]):
        raise ValueError(
            f"no folder {', '.join(gone)} here, the W&B run is to use it; start where the search was started"
        )
    summary = summarize(run, args.group_by)
    if args.seconds is not None:
        summary["seconds"] = args.seconds

    args.output_dir.mkdir(parents=True, exist_ok=True)
    (args.output_dir / "summary.json").write_text(
        json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )
    draw_gains(summary, args.output_dir / "gains.png")
    if summary["by_level"]:
        draw_by_level(summary, args.output_dir / "by_level.png")
    (args.output_dir / "report.md").write_text(markdown_page(summary, run.meta), encoding="utf-8")
    (args.output_dir / "report.html").write_text(html_page(summary, run, args.output_dir), encoding="utf-8")

    if args.report_to:
        from prm.storage.wandb_artifacts import log_report

        log_report(args.output_dir, summary, checkpoints, run.meta)
    for warning in summary["warnings"]:
        print(f"warning: {warning}")
    print(f"{title(summary)}; pictures and traces: {args.output_dir / 'report.html'}\n")
    print(as_text(method_table(summary)))


def sections(summary: dict[str, Any]) -> list[tuple[str, Table, str]]:
    """(heading, table, note) of each table, for both pages."""
    found = [
        (
            "Accuracy and cost",
            method_table(summary),
            f"N = {summary['N']}. Costs are means per problem; FLOPs are 2 x parameters x tokens of both models.",
        ),
        (
            "Verifiers",
            verifier_table(summary),
            "AUC within a problem is the chance that a right candidate scores above a wrong one of the same problem "
            "(0.5 = no use for choosing). The length correlation should be near 0: else the score counts steps.",
        ),
    ]
    if summary["budgets"]:
        note = (
            "Two names are given where the paired difference between the best two methods may be chance: more problems "
            "would be needed to tell them apart. Costs differ: with a verifier, the same samples take more FLOPs."
        )
        found.insert(1, ("Which method with how many samples", budget_table(summary), note))
    if summary["equal_cost"]:
        note = (
            "n: how many independent samples cost as much as the search; between two numbers, a mixture of both. A dash: the"
            " search costs more than the whole pool or less than one sample; give the pool's method more samples, as in"
            " `weighted_vote prm samples=64`. Where the interval includes 0, the difference may be chance."
        )
        found.insert(2, ("Search against independent samples at equal cost", equal_cost_table(summary), note))
    exchange = [f"{inference_multiple(LARGER, ratio):.0f} (R = {ratio})" for ratio in RATIOS]
    note = (
        "Means per problem. Cached tokens were shared, so that neither model computed them again. The last column sets FLOPs"
        f" against those of one sample. A generator {LARGER} times as large that answers once costs as much, with its"
        f" pretraining, as this one at {', '.join(exchange[:-1])} or {exchange[-1]} times one sample, where R is the tokens"
        " of inference per token of pretraining."
    )
    found.insert(-1, ("What was spent", cost_table(summary), note))
    if summary["by_level"]:
        note = (
            "A level has few problems: the picture shows how wide its intervals are, and none for a level of fewer than"
            f" {FEWEST} problems."
        )
        found.insert(-1, ("Accuracy by difficulty level", level_table(summary), note))
    if "groups" in summary:
        note = (
            "Each value with its 95% interval; where intervals are wide, the differences between values may be chance. A"
            f" value of fewer than {FEWEST} problems has no interval (–): its accuracy says little."
        )
        found.insert(-1, (f"Accuracy by {summary['group_by']}", group_table(summary), note))
    return found


def facts(summary: dict[str, Any], meta: dict[str, Any]) -> list[str]:
    models = {"generator": meta["generator"] | {"path": meta["generator"]["name"]}} | meta["verifiers"]
    sizes = ", ".join(f"{name} {m['path']} with {m['num_parameters']:,} parameters" for name, m in models.items())
    return [
        f"{sizes}; temperature {meta['generator']['temperature']}, seed {meta['seed']}, {summary['seconds']:.0f} s.",
        f"{percent(summary['truncated_share'])} of the candidates were cut at the token limit, "
        f"{percent(summary['no_answer_share'])} ended without an answer, {percent(summary['undecided_share'])} could "
        f"not be checked; they count as wrong. {percent(summary['vote_tie_rate'])} of the majority votes were ties.",
    ]


def markdown_page(summary: dict[str, Any], meta: dict[str, Any]) -> str:
    parts = [
        f"# Search report: {title(summary)}",
        *(f"> **Warning:** {w}" for w in summary["warnings"]),
        reading(summary),
    ]
    pictures = {
        "Accuracy and cost": "![Accuracy against generated tokens](gains.png)",
        "Accuracy by difficulty level": "![Accuracy by difficulty level](by_level.png)",
    }
    for heading, table, note in sections(summary):
        parts += [f"## {heading}", as_markdown(table), note]
        parts += [pictures[heading]] if heading in pictures else []
    parts += ["## The run", *facts(summary, meta), "Traces with their step scores are in [report.html](report.html)."]
    parts += ["## How the figures are estimated", "\n".join(f"- {line}" for line in ESTIMATES)]
    return "\n\n".join(parts) + "\n"


def html_page(summary: dict[str, Any], run: Run, folder: Path) -> str:
    """Fill the template. Everything is embedded, so that the page can be mailed or opened from a file."""

    def picture(name: str, alt: str) -> str:
        data = base64.b64encode((folder / name).read_bytes()).decode()
        return f'<div class="scroll"><img class="picture" alt="{alt}" src="data:image/png;base64,{data}"></div>'

    pictures = {"Accuracy and cost": picture("gains.png", "Accuracy against generated tokens per problem")}
    if summary["by_level"]:
        pictures["Accuracy by difficulty level"] = picture("by_level.png", "Accuracy by difficulty level")
    tables = "\n".join(
        f"<h2>{html.escape(heading)}</h2>\n{as_html(table)}\n<p class=note>{html.escape(note)}</p>\n"
        + pictures.get(heading, "")
        for heading, table, note in sections(summary)
    )
    fields = {
        "title": html.escape(title(summary)),
        "warnings": "".join(f"<p class=warning>Warning: {html.escape(w)}</p>" for w in summary["warnings"]),
        "reading": html.escape(reading(summary)),
        "tables": tables,
        "facts": "".join(f"<p>{html.escape(fact)}</p>" for fact in facts(summary, run.meta)),
        "estimates": "".join(f"<li>{html.escape(line)}</li>" for line in ESTIMATES),
        "total": str(len(run.rows)),
        "traces": as_json(traces_to_show(run)),
        "names": as_json(
            {
                "methods": {name: summary["methods"][name]["label"] for name in run.meta["methods"]},
                "verifiers": {name: verifier_title(name) for name in run.meta["verifiers"]},
                "leading": leading(summary),
            }
        ),
    }
    head, *pieces = TEMPLATE.read_text(encoding="utf-8").split("{{")
    return head + "".join(fields[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces))


def as_json(value: Any) -> str:
    """For a script element: no text in it can end the element."""
    return json.dumps(value, ensure_ascii=False).replace("<", r"\u003c")


if __name__ == "__main__":
    run_script(main, Arguments)
