r"""Audit the answer check: list every pair about which our checker and two others disagree.

The other two are plain math-verify (reading both answers inside `\boxed{}`) and equality of the normalized texts. A
disagreement need not be our error: math-verify accepts 1/2^99 for 1/2^98, and equal text misses 0.5 for 1/2. But wrong
labels made by our checker are very likely in this list, so read it before you train on a new source.

Reads   traces.jsonl     rows with `answer` and `gold` (data/sample_traces.py), or with `pred` and `gold`
Writes  audit.jsonl      the disagreements, most frequent first: gold, pred, count, ours, math_verify, same_text

    python data/audit_answers.py --pairs outputs/traces.jsonl --output outputs/audit.jsonl
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from prm.answers import check_many, normalize, workers
from prm.command_line import run_script
from prm.storage.jsonl import write_jsonl
from prm.storage.sources import read_file


@dataclass
class Arguments:
    pairs: str = field(metadata={"help": "JSON Lines with `gold` and `answer` or `pred`"})
    output: str = field(metadata={"help": "JSON Lines file for the disagreements"})
    deadline: float = field(
        default=20.0, metadata={"help": "seconds per check; the first ones import math-verify", "above": 0}
    )
    show: int = field(default=20, metadata={"help": "number of disagreements to print", "least": 0})


def main(args: Arguments) -> None:
    pairs = Counter(read_pair(where, row) for where, row in read_file(args.pairs))
    golds, preds = [gold for gold, _ in pairs], [pred for _, pred in pairs]

    ours = check_many(golds=golds, preds=preds, deadline=args.deadline)
    with ThreadPoolExecutor(workers.WORKERS) as threads:
        theirs = list(threads.map(lambda gold, pred: math_verify(gold, pred, args.deadline), golds, preds))
    rows = [
        {"gold": gold, "pred": pred, "count": pairs[gold, pred], "ours": mine, "math_verify": other, "same_text": same}
        for (gold, pred), mine, other, same in zip(pairs, ours, theirs, map(same_text, golds, preds), strict=True)
    ]

    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    disagreements = [row for row in rows if not row["ours"] == row["math_verify"] == row["same_text"]]
    disagreements.sort(key=lambda row: -row["count"])
    write_jsonl(args.output, disagreements)
    print(f"{args.pairs}: {pairs.total()} pairs, {len(rows)} different ones")
    for name in ("ours", "math_verify", "same_text"):
        print(f"{name:12} {dict(Counter(row[name] for row in rows).most_common())}")
    for name in ("math_verify", "same_text"):
        kinds = Counter((row["ours"], row[name]) for row in rows if row["ours"] != row[name])
        print(f"ours against {name}: {kinds.total()} disagreements")
        for (mine, other), count in kinds.most_common():
            print(f"  {count:6}  ours {mine}, {name} {other}")
    print(f"{args.output}: {len(disagreements)} rows; the first {min(args.show, len(disagreements))}:")
    for row in disagreements[: args.show]:
        print(f"  {row['ours']:9} {row['math_verify']:9} {row['same_text']:9} {row['gold']!r}  |  {row['pred']!r}")


def read_pair(where: str, row: dict) -> tuple[str, str | None]:
    gold = row.get("gold")
    if not isinstance(gold, str) or not gold.strip():
        raise ValueError(f"{where}: `gold` is {gold!r}; every row needs its gold answer as text")
    if not {"pred", "answer"} & set(row):
        raise ValueError(f"{where}: neither `pred` nor `answer` among {sorted(row)}; one must hold the answer to check")
    pred = row.get("pred", row.get("answer"))
    if pred is not None and not isinstance(pred, str):
        raise ValueError(f"{where}: the answer is {pred!r}; it must be text, or null where none was found")
    return gold, pred


def math_verify(gold: str, pred: str | None, deadline: float) -> str:
    return workers.POOL.ask(gold, pred, deadline, "math_verify") if pred and pred.strip() else "no_answer"


def same_text(gold: str, pred: str | None) -> str:
    if not pred or not pred.strip() or not normalize(pred):
        return "no_answer"
    return "correct" if normalize(gold) == normalize(pred) else "wrong"


if __name__ == "__main__":
    run_script(main, Arguments)
