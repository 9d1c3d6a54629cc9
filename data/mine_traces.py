r"""Take from a search run the traces that fool its verifier, to label them and train the next round on them.

With more samples, best-of-N finds what its verifier likes wrongly, so its accuracy falls. The remedy is to label these very
traces: of each problem the wrong ones with the highest scores, and as many right ones, so that the verifier does not
learn that what scores high is wrong. Search on train problems, never on those that a result is reported on.

Reads   a run folder     of eval/run_search.py, with a method that chooses from independent samples by the verifier
Writes  traces.jsonl     Trace rows (data/label_steps.py reads them)

    python eval/run_search.py --config eval/configs/arithmetic_search.yaml --split train --limit 800 --samples 64 \
        --methods "best_of_n prm" --output_dir outputs/round2/train_search

    python data/mine_traces.py --run outputs/round2/train_search --verifier prm --output outputs/round2/traces.jsonl
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from prm.command_line import run_script
from prm.evaluation.search_runs import Run, read_runs
from prm.storage.jsonl import write_jsonl
from prm.storage.provenance import write_provenance
from prm.storage.rows import trace_to_row
from prm.types import Problem, SearchResult, Trace


@dataclass
class Arguments:
    run: str = field(metadata={"help": "folder of eval/run_search.py"})
    verifier: str = field(metadata={"help": "name of the verifier in that run"})
    output: str = field(metadata={"help": "traces file to write"})
    per_problem: int = field(
        default=2, metadata={"help": "most wrong traces of a problem, and most right ones", "least": 1}
    )


def main(args: Arguments) -> None:
    run = read_runs([Path(args.run)])
    if run.meta["split"] != "train":
        raise ValueError(
            f"{args.run} searched the {run.meta['split']} split; what is learned of must not be reported on: search"
            " --split train"
        )
    number = pool_of(run, args.verifier)
    mined = [(row.problem, trace) for row in run.rows for trace in most_liked(row.results[number], args.per_problem)]
    if not mined:
        raise ValueError(f"{args.run}: no problem has a wrong candidate that {args.verifier} scored; nothing to mine")
    write_provenance(args.output, "data/mine_traces.py", args, [str(Path(args.run) / "results.jsonl")])
    write_jsonl(args.output, [trace_to_row(problem, trace) for problem, trace in mined])
    report(args.output, run, mined)


def pool_of(run: Run, verifier: str) -> int:
    """The method whose candidates are mined: the first that chooses from independent samples by this verifier."""
    for number, result in enumerate(run.rows[0].results):
        if result.independent and result.verifier == verifier:
            return number
    names = sorted({result.verifier for result in run.rows[0].results if result.independent and result.verifier})
    raise ValueError(
        f"no method of the run chooses from independent samples by {verifier!r}; --verifier may be"
        f" {', '.join(names) or 'none of them'}: search with `best_of_n {verifier}`"
    )


def most_liked(result: SearchResult, per_problem: int) -> list[Trace]:
    """The wrong candidates with the highest scores, and as many right ones; each text once; none without a wrong one."""
    scored = {
        trace.steps: (its.trace, trace)
        for trace, its in zip(result.candidates, result.scores, strict=True)
        if trace.status == "ok" and its is not None
    }
    ranked = [trace for _, trace in sorted(scored.values(), key=lambda pair: -pair[0])]
    wrong = [trace for trace in ranked if trace.correct is False][:per_problem]
    return wrong + [trace for trace in ranked if trace.correct][: len(wrong)]


def report(output: str, run: Run, mined: list[tuple[Problem, Trace]]) -> None:
    wrong = sum(trace.correct is False for _, trace in mined)
    problems = len({problem.id for problem, _ in mined})
    print(f"{output}: {wrong} wrong and {len(mined) - wrong} right traces of {problems} of {len(run.rows)} problems")


if __name__ == "__main__":
    run_script(main, Arguments)
