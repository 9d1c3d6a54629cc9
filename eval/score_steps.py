r"""Score the steps of judged traces: what a verifier, or published predictions, are worth step by step.

On ProcessBench, PRMBench and MR-GSM8K the figures are the official ones, other figures in print beside them under names of
their own. On any labeled rows, and on all of these: AUC within a problem, calibration by depth, biases, right answers with
a wrong step. The embedded sets come with exact truth and need no data. Every batch of problems is on disk at once; a run
that was killed goes on where it stopped.

Reads   --benchmark      processbench, prmbench, mr_gsm8k, rows (ours or TRL's), or an embedded set with attempts at it
        --data           its files, or its name on the hub
        --verifier       a checkpoint folder, or my_verifier.py:Name; or --predictions, rows with the benchmark's ids
                         (prm.conversions.judged_traces says in which forms)
Writes  <output_dir>/    predictions.jsonl (prm.storage.step_scores): scores of every step, by the benchmark's own ids
                         summary.json, meta.json, config.yaml; eval/write_report.py --steps shows the tables on its page
                         steps.html: the tables, and every trace with its labels and scores, in one file

    python eval/score_steps.py --benchmark arithmetic --verifier outputs/quickstart/prm --output_dir outputs/quickstart/steps
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from prm.command_line import run_script
from prm.conversions.judged_traces import READERS, read_judged, read_predictions
from prm.datasets.arithmetic import SETS
from prm.datasets.step_truth import judged_students, step_truth
from prm.evaluation.mr_gsm8k import mr_gsm8k_summary
from prm.evaluation.page import page
from prm.evaluation.prmbench import prmbench_summary
from prm.evaluation.processbench import called_wrong, processbench_summary
from prm.evaluation.step_quality import finite, step_quality, step_rows
from prm.evaluation.step_tables import step_run_sections
from prm.evaluation.tables import as_text
from prm.evaluation.trace_browser import judged_to_show
from prm.files import json_line, sole_writer, write_whole
from prm.storage.journal import Journal
from prm.storage.jsonl import write_jsonl
from prm.storage.provenance import write_provenance
from prm.storage.step_scores import (
    NOT_SCORED,
    JudgedTrace,
    Prediction,
    join,
    prediction_of,
    prediction_to_row,
    problem_batches,
    row_to_prediction,
)
from prm.types import Dtype
from prm.verifiers import Verifier, find_verifier, short_name

FORMAT = 1
"""Of predictions.jsonl."""
SPLITS = {"processbench": ("gsm8k", "math", "olympiadbench", "omnimath")}
"""Benchmark -> its splits on the hub, where it has others than `test`."""


@dataclass
class Arguments:
    benchmark: Literal["processbench", "prmbench", "mr_gsm8k", "rows", "arithmetic", "arithmetic_hard"] = field(
        metadata={"help": "whose form the data has and whose figures are computed, or an embedded set"}
    )
    output_dir: str = field(metadata={"help": "folder to write"})
    data: list[str] = field(default_factory=list, metadata={"help": "files or hub names of the judged traces"})
    verifier: str | None = field(default=None, metadata={"help": "checkpoint folder, folder@URL, or file.py:Name"})
    predictions: list[str] = field(
        default_factory=list, metadata={"help": "files of published predictions, in place of a verifier"}
    )
    splits: list[str] = field(
        default_factory=list, metadata={"help": "of a hub name; default: test, and all four of ProcessBench"}
    )
    config_name: str | None = field(default=None, metadata={"help": "configuration of a hub name that has several"})
    truth: Literal["labels", "exact"] = field(
        default="labels",
        metadata={
            "help": "of rows: their labels, or `exact`, which is known for the embedded sets whatever the labels"
        },
    )
    threshold_from: str | None = field(
        default=None, metadata={"help": "subset of ProcessBench on which a threshold is chosen, as one more figure"}
    )
    limit: int | None = field(default=None, metadata={"help": "first traces of each subset only", "least": 1})
    batch: int = field(default=32, metadata={"help": "problems that are scored together", "least": 1})
    dtype: Dtype | None = field(default=None, metadata={"help": "numbers of the verifier's body, such as bfloat16"})


def main(args: Arguments) -> None:
    started = time.monotonic()
    check(args)
    traces, doubled = read_traces(args)
    output_dir = Path(args.output_dir)
    held = sole_writer(output_dir / ".lock", output_dir, "wait for it, or give another --output_dir")
    facts: dict[str, Any] = {}
    if args.predictions:
        published, repeated = read_predictions("rows" if args.benchmark in SETS else args.benchmark, args.predictions)
        predictions = join(traces, published)
        if all(prediction.status == "missing" for prediction in predictions):
            raise ValueError(
                f"{args.predictions[0]}: no prediction has an id of --data, such as {traces[0].id!r}; it has"
                f" {next(iter(published))!r}"
            )
        strangers = len(published.keys() - {trace.id for trace in traces})
        facts |= {"doubled_predictions": repeated, "predictions_of_other_traces": strangers}
    else:
        # Not at the top: help and a typo must not wait for torch.
        from prm.verifiers.generative import GenerativeVerifier

        assert args.verifier is not None  # `check` has seen to it
        verifier = find_verifier(args.verifier, args.dtype)
        predictions = score(args, verifier, traces)
        facts |= {"fingerprint": verifier.name, "kind": verifier.kind, "num_parameters": verifier.num_parameters}
        if isinstance(verifier, GenerativeVerifier):
            facts["critiques"] = dict(verifier.ledger)

    named = [called_wrong(said, len(trace.steps)) for trace, said in zip(traces, predictions, strict=True)]
    write_jsonl(output_dir / "predictions.jsonl", map(prediction_to_row, traces, predictions, named))
    statuses = Counter(prediction.status for prediction in predictions)
    rows = step_rows(traces, predictions)
    summary = {
        "benchmark": args.benchmark,
        "verifier": short_name(args.verifier) if args.verifier else Path(args.predictions[0]).stem,
        "truth": truth_of(args),
        "traces": len(traces),
        "not_scored": {status: count for status, count in statuses.items() if status != "ok"},
        "doubled_ids": doubled,
        "official": finite(official(args, traces, predictions)),
        "steps": finite(step_quality(rows)) if rows else None,
    }
    write_whole(output_dir / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    write_whole(output_dir / "steps.html", html_page(summary, traces, predictions))
    seconds = time.monotonic() - started
    inputs = [*args.data, *args.predictions]
    write_provenance(output_dir, "eval/score_steps.py", args, inputs, seconds=seconds, **facts)
    report(args, summary, facts)
    held.close()


def check(args: Arguments) -> None:
    """Refuse what cannot be meant, before anything is read."""
    if (args.verifier is None) == (not args.predictions):
        raise ValueError("give either --verifier, to score the steps, or --predictions, which others have scored")
    if args.benchmark in SETS and args.data:
        raise ValueError(
            f"--benchmark {args.benchmark} makes its own traces; leave --data out, or give --benchmark rows"
        )
    if args.benchmark not in SETS and not args.data:
        raise ValueError(f"--benchmark {args.benchmark} needs --data, its files or its name on the hub")
    if args.truth == "exact" and args.benchmark != "rows":
        raise ValueError(f"--truth exact is for --benchmark rows; {args.benchmark} has the truth of its own")
    if args.threshold_from is not None and args.benchmark != "processbench":
        raise ValueError(f"--threshold_from is for ProcessBench, not for {args.benchmark}; leave it out")


def read_traces(args: Arguments) -> tuple[list[JudgedTrace], int]:
    """The traces of the run, and how many rows were left out because their id was there already."""
    if args.benchmark in SETS:
        traces, doubled = list(judged_students(args.benchmark)), 0
    else:
        splits = args.splits or SPLITS.get(args.benchmark, ("test",))
        truth = step_truth if args.truth == "exact" else None
        traces, doubled = read_judged(args.benchmark, args.data, splits, truth, args.config_name)
    seen: Counter[str] = Counter()
    kept = []
    for trace in traces:
        seen[trace.subset] += 1
        if args.limit is None or seen[trace.subset] <= args.limit:
            kept.append(trace)
    return kept, doubled


def score(args: Arguments, verifier: Verifier, traces: Sequence[JudgedTrace]) -> list[Prediction]:
    """One prediction per trace, in their order. A batch that is on disk is not scored again."""
    digest = hashlib.sha256(b"".join(json_line([its.id, its.prompt, its.steps]) for its in traces)).hexdigest()[:16]
    header = {"format": FORMAT, "verifier": verifier.name, "traces": digest, "batch": args.batch}
    journal = Journal(Path(args.output_dir) / "scores.journal", header, "Give another --output_dir")
    done = sum(len(rows) for _, rows in journal.chunks())
    with tqdm(total=len(traces), initial=done, unit="trace", desc="score") as bar:
        for number, batch in enumerate(problem_batches(traces, args.batch)):
            if number in journal.done:
                continue
            readable = [trace for trace in batch if all(map(str.strip, trace.steps))]
            scores = verifier.score_batch([its.prompt for its in readable], [its.steps for its in readable])
            said = {its.id: prediction_of(its, found) for its, found in zip(readable, scores, strict=True)}
            blank = {its.id: Prediction(its.id, None, status="empty_step") for its in batch if its.id not in said}
            journal.append(number, [prediction_to_row(its, (said | blank)[its.id], None) for its in batch])
            bar.update(len(batch))
    return join(traces, {row["id"]: row_to_prediction(row) for row in journal.rows()})


def official(
    args: Arguments, traces: Sequence[JudgedTrace], predictions: Sequence[Prediction]
) -> dict[str, Any] | None:
    """The benchmark's own figures; None where it has none."""
    match args.benchmark:
        case "processbench":
            return processbench_summary(traces, predictions, args.threshold_from)
        case "prmbench":
            return prmbench_summary(traces, predictions)
        case "mr_gsm8k":
            return mr_gsm8k_summary(traces, predictions)
    return None


def truth_of(args: Arguments) -> str:
    if args.benchmark in SETS or args.truth == "exact":
        return "exact step truth"
    return f"the labels of {args.benchmark}" if args.benchmark in READERS else "the labels of the rows"


def html_page(summary: dict[str, Any], traces: Sequence[JudgedTrace], predictions: Sequence[Prediction]) -> str:
    """Tables, and traces to look into: where verifier and label disagree most."""
    verifier = summary["verifier"]
    names = {
        "methods": {},
        "verifiers": {verifier: verifier},
        "leading": None,
        "total": len({its.problem for its in traces}),
    }
    inspector = {"problems": judged_to_show(traces, predictions, verifier), "names": names}
    title = f"Step scores: {verifier} on {summary['benchmark']}, {summary['traces']} traces"
    return page(title, [f"Labels: {summary['truth']}."], step_run_sections(summary), {}, [], inspector)


def report(args: Arguments, summary: dict[str, Any], facts: dict[str, Any]) -> None:
    for heading, table, _ in step_run_sections(summary):
        print(f"{heading}\n\n{as_text(table)}\n")
    for status, count in summary["not_scored"].items():
        print(f"warning: {count} of {summary['traces']} traces are {NOT_SCORED[status]} ({status})")
    counted = {"doubled_ids": summary["doubled_ids"], **facts}
    for name, text in (
        ("doubled_ids", "rows repeat an id of --data and were left out"),
        ("doubled_predictions", "predictions repeat an id; the first one counts"),
        ("predictions_of_other_traces", "predictions are of no trace of --data"),
    ):
        if counted.get(name):
            print(f"warning: {counted[name]} {text}")
    if facts.get("kind") == "orm":
        print("note: this is an ORM; only the score of the last step was trained, unless with --tokens all")
    print(f"{args.output_dir}: {summary['traces']} traces")


if __name__ == "__main__":
    run_script(main, Arguments)
