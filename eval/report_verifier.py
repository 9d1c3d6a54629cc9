r"""The report that goes with a verifier: what its scores are worth, where they fail, and what attacks on style do to them.

Of whole traces and of single steps: AUC within a problem and calibration. Right answers by a wrong process. The number of
samples at which best-of-N is best, from a search. And every trace once more in styles that change nothing of its content
(`prm.evaluation.style_attacks`): how far its score moves. It takes what `--verifiers` of a search takes. Every batch of
problems is on disk at once; a run that was killed goes on.

Reads   --verifier    checkpoint folders, family:folder, folder@URL, my_verifier.py:Name
        --data        labeled rows, ours or TRL's, that the verifier was not trained on; or `arithmetic`, `arithmetic_hard`,
                      whose attempts are judged exactly
        --run         folders of eval/run_search.py with these verifiers, for the number of samples
Writes  verifier_report.md, .json, .config.yaml, .meta.json    into the checkpoint's folder, whose model card gets a link;
                                                               or into <output_dir>/<name of the verifier>/

    python eval/report_verifier.py --verifier outputs/quickstart/prm --data arithmetic --run outputs/quickstart/search
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from prm.command_line import run_script
from prm.conversions.judged_traces import read_judged
from prm.datasets.arithmetic import SETS
from prm.datasets.step_truth import judged_students, step_truth
from prm.evaluation.search_runs import Run, read_runs
from prm.evaluation.step_quality import step_rows
from prm.evaluation.style_attacks import STYLES, Shift, restyled
from prm.evaluation.tables import as_markdown, as_text
from prm.evaluation.verifier_report import (
    card_text,
    comparison_table,
    is_right,
    report_figures,
    report_sections,
    search_figures,
)
from prm.files import json_line, sole_writer, write_whole
from prm.storage.journal import Journal
from prm.storage.provenance import write_provenance
from prm.storage.step_scores import (
    NOT_SCORED,
    JudgedTrace,
    Prediction,
    prediction_of,
    prediction_to_row,
    problem_batches,
    row_to_prediction,
)
from prm.types import Dtype
from prm.verifiers import Verifier, find_verifier, folder_of, short_name
from prm.verifiers.model_card import link_report

FORMAT = 1
"""Of the journal."""
NAME = "verifier_report"
AS_IT_WAS = ""
"""In the place of a style."""


@dataclass
class Arguments:
    verifier: list[str] = field(metadata={"help": "checkpoint folders, family:folder, folder@URL, or file.py:Name"})
    data: list[str] = field(
        metadata={"help": "files or hub names of labeled rows, or an embedded set: arithmetic, arithmetic_hard"}
    )
    run: list[str] = field(
        default_factory=list, metadata={"help": "folders of eval/run_search.py in which the verifiers choose"}
    )
    output_dir: str | None = field(
        default=None, metadata={"help": "folder of the reports; default: each in the folder of its checkpoint"}
    )
    truth: Literal["labels", "exact"] = field(
        default="labels",
        metadata={
            "help": "of rows: their labels, or `exact`, which is known for the embedded sets whatever the labels"
        },
    )
    split: str = field(default="test", metadata={"help": "of a hub name"})
    threshold: float = field(
        default=0.5, metadata={"help": "score of a trace from which on it counts as right", "above": 0}
    )
    limit: int | None = field(default=None, metadata={"help": "first traces only", "least": 1})
    batch: int = field(default=16, metadata={"help": "problems that are scored together", "least": 1})
    dtype: Dtype | None = field(default=None, metadata={"help": "numbers of the verifiers' bodies, such as bfloat16"})


def main(args: Arguments) -> None:
    folders = output_folders(args)
    traces, truth = read_traces(args)
    run = read_runs([Path(folder) for folder in args.run]) if args.run else None
    reports = []
    for name, folder in zip(args.verifier, folders, strict=True):
        started = time.monotonic()
        held = sole_writer(folder / f".{NAME}.lock", folder / f"{NAME}.md", "wait for it, or give another --output_dir")
        verifier = find_verifier(name, args.dtype)
        search = search_figures(run, name_in(run, verifier.name, args), step_truth) if run else None
        journal = score(args, name, folder, verifier, traces)
        said: dict[str, dict[str, Prediction]] = {style: {} for style in (AS_IT_WAS, *STYLES)}
        for row in journal.rows():
            said[row["style"]][row["id"]] = row_to_prediction(row)
        predictions = [said[AS_IT_WAS][its.id] for its in traces]
        rows = step_rows(traces, predictions)
        report = {
            "verifier": short_name(name),
            "fingerprint": verifier.name,
            "kind": verifier.kind,
            "num_parameters": verifier.num_parameters,
            "data": ", ".join(args.data),
            "truth": truth,
            "not_scored": {
                status: count for status in NOT_SCORED if (count := sum(its.status == status for its in predictions))
            },
            "figures": report_figures(rows, shifts(traces, said), args.threshold),
            "search": search,
        }
        write(args, report, folder, time.monotonic() - started)
        journal.path.unlink()
        if card := card_of(name):
            link_report(card, card_text(report, os.path.relpath(folder / f"{NAME}.md", card.parent)))
        reports.append(report)
        held.close()
    print(as_text(comparison_table(reports)))
    for name, folder, report in zip(args.verifier, folders, reports, strict=True):
        for status, count in report["not_scored"].items():
            print(f"warning: {name}: {count} of {len(traces)} traces are {NOT_SCORED[status]} ({status})")
        linked = "linked from its model card" if card_of(name) else "there is no model card to link it from"
        print(f"{folder / NAME}.md: {linked}")


def output_folders(args: Arguments) -> list[Path]:
    """Where the report of each verifier is written."""
    found = []
    for name in args.verifier:
        folder = Path(args.output_dir, short_name(name)) if args.output_dir else folder_of(name)
        if folder is None:
            raise ValueError(f"{name} is no folder in which its report could be; give --output_dir")
        if folder in found:
            raise ValueError(f"{folder}: two verifiers would have their report there; report on them one by one")
        found.append(folder)
    return found


def card_of(name: str) -> Path | None:
    """The model card in the folder of its checkpoint, if it has one."""
    folder = folder_of(name)
    card = folder / "README.md" if folder else None
    return card if card and card.is_file() else None


def read_traces(args: Arguments) -> tuple[list[JudgedTrace], str]:
    """The traces, and what their steps are judged by, in words."""
    sets = [name for name in args.data if name in SETS]
    if sets and len(args.data) > 1:
        raise ValueError(f"--data {sets[0]} makes its own traces; leave the others out, or report on them separately")
    if sets:
        traces, exact = list(judged_students(sets[0])), True
    else:
        exact = args.truth == "exact"
        traces, _ = read_judged("rows", args.data, (args.split,), step_truth if exact else None)
    return traces[: args.limit], "exact step truth" if exact else "the labels of the rows"


def name_in(run: Run, fingerprint: str, args: Arguments) -> str:
    """What the run calls the verifier."""
    known = {its.get("fingerprint"): name for name, its in run.meta["verifiers"].items()}
    if fingerprint not in known:
        raise ValueError(
            f"{args.run[0]} searched with {', '.join(map(str, known))}, not with {fingerprint}; give a run of this"
            " verifier, or leave --run out"
        )
    return known[fingerprint]


def score(args: Arguments, name: str, folder: Path, verifier: Verifier, traces: Sequence[JudgedTrace]) -> Journal:
    """A journal with a prediction for each trace and style. A batch that is on disk is not scored again."""
    digest = hashlib.sha256(b"".join(json_line([its.id, its.prompt, its.steps]) for its in traces)).hexdigest()[:16]
    header = {"format": FORMAT, "verifier": verifier.name, "traces": digest, "batch": args.batch, "styles": [*STYLES]}
    journal = Journal(folder / f".{NAME}.journal", header, "Give another --output_dir")
    with tqdm(total=len(traces), unit="trace", desc=f"score with {short_name(name)}") as bar:
        for number, batch in enumerate(problem_batches(traces, args.batch)):
            if number not in journal.done:
                journal.append(number, score_batch(verifier, batch))
            bar.update(len(batch))
    return journal


def score_batch(verifier: Verifier, batch: Sequence[JudgedTrace]) -> list[dict[str, Any]]:
    """A row for each trace and style; those of one prompt are neighbors when they are scored."""
    variants = [its for trace in batch for its in in_all_styles(trace)]
    readable = [(style, its) for style, its in variants if all(map(str.strip, its.steps))]
    scores = verifier.score_batch([its.prompt for _, its in readable], [its.steps for _, its in readable])
    said = {(style, its.id): prediction_of(its, found) for (style, its), found in zip(readable, scores, strict=True)}
    return [
        prediction_to_row(its, said.get((style, its.id), Prediction(its.id, None, status="empty_step")), None)
        | {"style": style}
        for style, its in variants
    ]


def in_all_styles(trace: JudgedTrace) -> Iterator[tuple[str, JudgedTrace]]:
    yield AS_IT_WAS, trace
    for style, steps in restyled(trace.steps).items():
        yield style, replace(trace, steps=steps)


def shifts(traces: Sequence[JudgedTrace], said: dict[str, dict[str, Prediction]]) -> dict[str, list[Shift]]:
    """Of each style, the traces that it changes and whose truth is known."""
    found: dict[str, list[Shift]] = {}
    for style in STYLES:
        changed = [its for its in traces if its.id in said[style]]
        rows = step_rows(changed, [said[AS_IT_WAS][its.id] for its in changed])
        ids = [its.id for its in changed if said[AS_IT_WAS][its.id].scores is not None]
        found[style] = [
            Shift(row.problem, right, row.trace, said[style][name].trace)
            for name, row in zip(ids, rows, strict=True)
            if (right := is_right(row)) is not None
        ]
    return {style: its for style, its in found.items() if its}


def write(args: Arguments, report: dict[str, Any], folder: Path, seconds: float) -> None:
    """The pages, then what says where they come from."""
    size = f", {report['num_parameters']:,} parameters" if report["num_parameters"] else ""
    text = [
        f"# Verifier report: {report['verifier']}",
        f"`{report['fingerprint']}` ({report['kind']}{size}) on {report['data']}: {report['figures']['traces']['traces']:,}"
        f" traces of {report['figures']['traces']['problems']:,} problems, judged by {report['truth']}.",
        *(f"{count} traces were not scored: {NOT_SCORED[name]}." for name, count in report["not_scored"].items()),
    ]
    for heading, table, note in report_sections(report):
        text += [f"## {heading}", as_markdown(table), *[note] * bool(note)]
    page = folder / f"{NAME}.md"
    write_whole(page, "\n\n".join(text) + "\n")
    write_whole(folder / f"{NAME}.json", json.dumps(report, indent=2, allow_nan=False) + "\n")
    inputs = [*args.data, *(str(Path(path, "results.jsonl")) for path in args.run)]
    write_provenance(page, "eval/report_verifier.py", args, inputs, seconds=seconds)


if __name__ == "__main__":
    run_script(main, Arguments)
