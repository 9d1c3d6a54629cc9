"""Write the report of a search run: what the verifier gains over voting, and for how many tokens.

Which methods there are is read from the run. The page says nothing that is not in summary.json: tables, sentences and
pictures are made from its numbers, and no gain is claimed whose 95% interval includes 0, or on fewer than 10 problems. Small
numbers of samples come first, and beside every gain stands what may take it away: majority voting at equal FLOPs, the same
choice with shuffled scores, the number of samples from which on more of them hurt, and, for the embedded sets, right answers
with a wrong step.
Several runs of one setup on different problems become one report. What scores of single steps are worth is there, too: for
the embedded sets, by exact step truth, and for what eval/score_steps.py has scored, with `--steps`. Left out: running any
model (eval/run_search.py did) and comparing runs of different setups.

Reads   <run>/meta.json, results.jsonl   as prm.evaluation.search_runs describes them
        <steps>/summary.json             of eval/score_steps.py
Writes  <output_dir>/summary.json   every number (the units are in it)
        <output_dir>/gains.png, by_level.png, flops.png
        <output_dir>/report.md      the page for a repository
        <output_dir>/report.html    the page in one file, with an inspector of traces, their step scores and search trees
        a W&B run                   with --report_to wandb: the same, linked to the verifiers that were used

    python eval/write_report.py --run outputs/quickstart/search --output_dir outputs/quickstart
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from prm.command_line import run_script
from prm.datasets.step_truth import step_truth
from prm.evaluation.labels import leading, verifier_title
from prm.evaluation.page import page
from prm.evaluation.reading import reading, title
from prm.evaluation.search_runs import Run, read_runs
from prm.evaluation.sections import ACCURACY, ESTIMATES, FLOPS, LEVELS, facts, sections
from prm.evaluation.summary import summarize
from prm.evaluation.tables import as_markdown, as_text, method_table
from prm.evaluation.trace_browser import traces_to_show
from prm.evaluation.tracked import curves_over_samples, numbers_to_sort_by, trace_table
from prm.files import read_object, write_whole
from prm.storage.paths import need_folder
from prm.verifiers import LIKELIHOOD
from prm.verifiers.scoring import SERVED


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
    steps: list[Path] = field(
        default_factory=list, metadata={"help": "folders of eval/score_steps.py, whose tables the page is to have, too"}
    )
    report_to: Literal["wandb"] | None = field(
        default=None, metadata={"help": "also log the report as a W&B run that uses the verifiers"}
    )


def main(args: Arguments) -> None:
    run = read_runs(args.run)
    # Not at the top: help and an error must not wait for matplotlib.
    import matplotlib.pyplot as plt

    from prm.evaluation.plots import draw_by_level, draw_flops, draw_gains

    plt.switch_backend("Agg")  # needs no display
    paths = {name: verifier["path"] for name, verifier in run.meta["verifiers"].items()}
    folders = {name: checkpoint_folder(path) for name, path in paths.items()}
    checkpoints = {name: folder for name, folder in folders.items() if folder is not None}
    if args.report_to and (gone := [str(path) for path in checkpoints.values() if not path.is_dir()]):
        raise ValueError(
            f"no folder {', '.join(gone)} here, the W&B run is to use it; start where the search was started"
        )
    summary = summarize(run, args.group_by, step_truth)
    if args.steps:
        summary["step_runs"] = [read_step_run(folder) for folder in args.steps]
    if args.seconds is not None:
        summary["seconds"] = args.seconds

    args.output_dir.mkdir(parents=True, exist_ok=True)
    draw_gains(summary, args.output_dir / "gains.png")
    draw_flops(summary, args.output_dir / "flops.png")
    if summary["by_level"]:
        draw_by_level(summary, args.output_dir / "by_level.png")
    write_whole(args.output_dir / "report.md", markdown_page(summary, run.meta))
    inspector = inspected(summary, run)
    write_whole(args.output_dir / "report.html", html_page(summary, run.meta, inspector, args.output_dir))
    write_whole(args.output_dir / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")

    if args.report_to:
        from prm.storage.wandb_artifacts import log_report

        tables = {"methods": method_columns(summary), "traces": trace_table(**inspector)}
        numbers, curves = numbers_to_sort_by(summary), curves_over_samples(summary)
        log_report(args.output_dir, numbers, curves, tables, checkpoints, run.meta)
    for warning in summary["warnings"]:
        print(f"warning: {warning}")
    print(f"{title(summary)}; pictures and traces: {args.output_dir / 'report.html'}\n")
    print(as_text(method_table(summary)))


def read_step_run(folder: Path) -> dict[str, Any]:
    path = need_folder(folder) / "summary.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; give a folder that eval/score_steps.py finished")
    found = read_object(path, "run eval/score_steps.py again")
    if not {"benchmark", "verifier", "truth", "official", "steps"} <= found.keys():
        raise ValueError(f"{path} is no summary of eval/score_steps.py; --steps wants its output_dir")
    return found


def checkpoint_folder(verifier: str) -> Path | None:
    """Where the checkpoint of a verifier is; None of one that was not trained here: the generator's likelihood,
    `file.py:name`, or `family:hub name`."""
    served = SERVED.fullmatch(verifier)
    folder = served["folder"] if served else verifier
    if folder == LIKELIHOOD or (":" in folder and not Path(folder).is_dir()):
        return None
    return Path(folder)


def markdown_page(summary: dict[str, Any], meta: dict[str, Any]) -> str:
    parts = [
        f"# Search report: {title(summary)}",
        *(f"> **Warning:** {w}" for w in summary["warnings"]),
        reading(summary),
    ]
    pictures = {
        ACCURACY: "![Accuracy against generated tokens](gains.png)",
        LEVELS: "![Accuracy by difficulty level](by_level.png)",
        FLOPS: "![Where the FLOPs went](flops.png)",
    }
    for heading, table, note in sections(summary):
        parts += [f"## {heading}", as_markdown(table), note]
        parts += [pictures[heading]] if heading in pictures else []
    parts += ["## The run", *facts(summary, meta), "Traces with their step scores are in [report.html](report.html)."]
    parts += ["## How the figures are estimated", "\n".join(f"- {line}" for line in ESTIMATES)]
    return "\n\n".join(parts) + "\n"


def method_columns(summary: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Everything that is known of the methods, as a table; the two that did not run have some of it."""
    methods = summary["methods"]
    columns = list(dict.fromkeys(key for its in methods.values() for key in its))
    return ["method", *columns], [[name, *(its.get(key) for key in columns)] for name, its in methods.items()]


def inspected(summary: dict[str, Any], run: Run) -> dict[str, Any]:
    """What the page shows of the traces."""
    verifiers = run.meta["verifiers"]
    of_outcomes = [name for name, its in verifiers.items() if its["kind"] == "orm"]
    names = {
        "methods": {name: summary["methods"][name]["label"] for name in run.meta["methods"]},
        "verifiers": {name: verifier_title(name) for name in verifiers},
        "leading": leading(summary),
        "total": len(run.rows),
    }
    return {"problems": traces_to_show(run, step_truth, of_outcomes), "names": names}


def html_page(summary: dict[str, Any], meta: dict[str, Any], inspector: dict[str, Any], folder: Path) -> str:
    """The page in one file."""
    pictures = {
        ACCURACY: [(folder / "gains.png", "Accuracy against generated tokens per problem")],
        FLOPS: [(folder / "flops.png", "FLOPs of each method: prefill, decode and verifiers")],
    }
    if summary["by_level"]:
        pictures[LEVELS] = [(folder / "by_level.png", "Accuracy by difficulty level")]
    return page(
        f"Search report: {title(summary)}",
        [reading(summary)],
        sections(summary),
        pictures,
        [("The run", facts(summary, meta)), ("How the figures are estimated", ESTIMATES)],
        inspector,
        summary["warnings"],
    )


if __name__ == "__main__":
    run_script(main, Arguments)
