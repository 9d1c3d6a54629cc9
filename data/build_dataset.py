r"""Labeled files -> a data set to train on and to publish: no duplicates, no benchmark problems, split by problem, a card.

Rows of a benchmark end the run (prm/datasets/benchmarks.py), unless --allow_benchmark is given: a set to train on has none.
The files are read twice, one row at a time. The first pass decides about every trace: by its status, whether the same
trace came before, whether its problem is in a benchmark (prm/datasets/decontamination.py), and the balance
(prm/datasets/balance.py), in this order. The second pass writes. Splits are those of prm/datasets/splits.py, so no
problem is in two splits, whichever file it comes from. Traces that are left out are listed in removed.jsonl with the
reason. Columns under `kept` (`--keep` of data/convert_dataset.py) stay with the traces.

Reads   labeled.jsonl ...   LabeledTrace rows (data/label_steps.py, data/convert_dataset.py), or TRL rows with --semantics
Writes  <output_dir>/       train.jsonl, validation.jsonl, test.jsonl (if they have rows), README.md (the card),
                            removed.jsonl, meta.json, config.yaml; `datasets.load_dataset("<output_dir>")` loads the splits

    python data/build_dataset.py --labels outputs/math_shepherd.jsonl --against openai/gsm8k HuggingFaceH4/MATH-500 \
        --output_dir outputs/math_shepherd
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tqdm import tqdm

from prm.command_line import run_script
from prm.datasets.balance import Balance, balanced
from prm.datasets.benchmarks import check_training
from prm.datasets.decontamination import NGRAM, BenchmarkIndex, index_problems
from prm.datasets.problems import prompt_of
from prm.datasets.splits import split_of
from prm.files import json_line, whole_file, write_whole
from prm.storage.paths import need_file
from prm.storage.provenance import write_provenance
from prm.storage.rows import LabeledRow, labeled_to_row, row_to_labeled, status_of
from prm.storage.sources import read_rows
from prm.types import Semantics

if TYPE_CHECKING:
    from prm.datasets.card import Split

SPLITS = ("train", "validation", "test")


@dataclass
class Arguments:
    labels: list[str] = field(metadata={"help": "labeled files; of a folder, name each of its files"})
    output_dir: str = field(metadata={"help": "folder to write"})
    semantics: Literal["value", "correctness"] | None = field(
        default=None, metadata={"help": "what labels mean in rows that do not say it"}
    )
    against: list[str] = field(
        default_factory=list,
        metadata={"help": "benchmarks whose problems are removed: files, or hub names as NAME or NAME:SPLIT (test)"},
    )
    ngram: int = field(
        default=NGRAM, metadata={"help": "words in a row by which a problem is a benchmark's", "least": 1}
    )
    balance: Balance | None = field(
        default=None,
        metadata={
            "help": "leave out traces until equally many have a bad step and have none, within each `problem` or in total"
            " (`label`), or until every `level` has equally many",
        },
    )
    allow_benchmark: bool = field(default=False, metadata={"help": "keep rows of a benchmark, to evaluate on them"})
    license: str | None = field(default=None, metadata={"help": "license of the data set, for its card (e.g. mit)"})
    push_to_hub: str | None = field(default=None, metadata={"help": "hub name of a private data set to upload to"})


def main(args: Arguments) -> None:
    for path in args.labels:  # of a folder or a hub data set, only one split would be read
        need_file(path, "check the path; data/convert_dataset.py makes a file of a hub data set")
    from prm.datasets.card import Facts, dataset_card  # imports `datasets`, which takes seconds

    started = time.monotonic()
    output = Path(args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    benchmarks = index_problems(tqdm(_benchmark_problems(args.against), desc="index", unit=" problems"), args.ngram)
    removed, kept, meanings = _decide(args, benchmarks)
    splits, sources = _write(args, output, removed, kept)
    (semantics,) = meanings  # `_write` has ended a run that nothing is left of

    counts = Counter(reason["why"] for reason in removed.values())
    contaminated = Counter(reason["benchmark"] for reason in removed.values() if "benchmark" in reason)
    by_benchmark = {name: contaminated[name] for name in args.against}
    decided = counts, by_benchmark, args.ngram, args.balance
    facts = Facts(output.name, args.labels, sources, *decided, args.license, semantics, kept)
    write_whole(output / "README.md", dataset_card(splits, facts))
    write_provenance(
        output,
        "data/build_dataset.py",
        args,
        [*args.labels, *args.against],
        seconds=time.monotonic() - started,
        removed=counts,
        contaminated=by_benchmark,
        splits={name: {"traces": split.traces, "problems": len(split.problems)} for name, split in splits.items()},
    )

    print(f"{output}: {sum(split.traces for split in splits.values())} traces; left out: {_listed(counts)}")
    for name, count in by_benchmark.items():
        print(f"of problems in {name}: {count} traces")
    if not args.against:
        print("not compared with any benchmark; name those that you evaluate on with --against")
    for name, split in splits.items():
        print(f"{name}: {split.traces} traces of {len(split.problems)} problems, steps: {_listed(split.labels)}")
    for name, split in splits.items():
        if not (split.labels["good"] and split.labels["bad"]):
            print(
                f"warning: {name} has {split.labels['good']} good and {split.labels['bad']} bad steps; nothing can be"
                " learned or measured on labels of one kind"
            )
    if args.push_to_hub:
        _push(args.push_to_hub, output, splits)


def _benchmark_problems(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        source, _, split = name.partition(":")
        for where, row in read_rows(source, split or "test"):
            yield name, prompt_of(where, row)


def _rows(args: Arguments, stage: str) -> tqdm:
    """(where, row) of all files, with a progress bar that the caller closes."""
    return tqdm((row for path in args.labels for row in read_rows(path)), desc=stage, unit=" rows")


def _decide(
    args: Arguments, benchmarks: BenchmarkIndex
) -> tuple[dict[int, dict[str, str]], list[str], list[Semantics]]:
    """First pass. Returns why traces are left out, by their numbers, the names of the columns under `kept`, and what the
    labels mean (nothing if no trace has any)."""
    # No texts, only hashes: the files may be larger than memory.
    removed: dict[int, dict[str, str]] = {}
    seen: set[bytes] = set()  # traces
    matches: dict[bytes, dict[str, str] | None] = {}  # problem -> its benchmark, since a problem has many traces
    duplicate, unbalanced = {"why": "duplicate"}, {"why": "balance"}
    candidates: list[tuple[int, bytes, bytes, object]] = []  # for balancing, as `balanced` takes them
    meanings: dict[Semantics, str] = {}
    kept: dict[str, None] = {}
    with _rows(args, "decide") as rows:
        for number, (where, row) in enumerate(rows):
            if (status := status_of(row)) != "ok":
                removed[number] = {"why": f"status {status}"}
                continue
            read = row_to_labeled(where, row, args.semantics)
            _check_semantics(meanings, read)
            kept |= dict.fromkeys(read.labeled.trace.kept)
            key, problem = _trace_key(read), _hash(_unspaced(read.problem.prompt))
            # The search for common words is slow, so it runs once for each problem.
            if problem not in matches:
                found = benchmarks.find(read.problem.prompt)
                matches[problem] = {"why": "contaminated", **asdict(found)} if found else None
                if not (found or args.allow_benchmark):
                    check_training([(where, read.problem)])
            match = matches[problem]
            if key in seen:
                removed[number] = duplicate
            elif match:
                removed[number] = match
            elif args.balance == "level" and read.problem.level is None:
                raise ValueError(
                    f"{where}: no `level`, so --balance level is not possible; balance by problem or label"
                )
            elif args.balance:
                kind = read.problem.level if args.balance == "level" else read.labeled.first_error >= 0
                candidates.append((number, key, problem if args.balance == "problem" else b"", kind))
            seen.add(key)
    # Balance comes last: it must count only traces that all other tests have kept.
    if args.balance:
        keep = balanced(candidates, kinds=None if args.balance == "level" else 2)
        removed |= {number: unbalanced for number, *_ in candidates if number not in keep}
    return removed, list(kept), list(meanings)


def _write(
    args: Arguments, output: Path, removed: dict[int, dict[str, str]], kept: list[str]
) -> tuple[dict[str, Split], Counter[tuple[str, str]]]:
    """Second pass: write the splits and removed.jsonl. Returns the splits with rows, and traces by (source, method)."""
    from prm.datasets.card import FEATURES, Split

    splits = {name: Split() for name in SPLITS}
    sources: Counter[tuple[str, str]] = Counter()
    taken: dict[str, set[int]] = defaultdict(set)
    renumbered = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context(whole_file(output / f"{name}.jsonl")) for name in (*SPLITS, "removed")}
        for number, (where, row) in enumerate(stack.enter_context(_rows(args, "write"))):
            if number in removed:
                name, out = "removed", removed[number] | {"where": where, "id": row.get("id"), "prompt": row["prompt"]}
            else:
                read = _with_own_id(row_to_labeled(where, row, args.semantics), taken)
                renumbered += "index" in row and read.labeled.trace.index != row["index"]
                name, written = split_of(read.problem.prompt), labeled_to_row(read.problem, read.labeled)
                # Every column of the card's header, in its order, even if it is null in all rows.
                out = {column: written[column] for column in FEATURES}
                if kept:
                    out["kept"] = {column: read.labeled.trace.kept.get(column) for column in kept}
                splits[name].add(read)
                sources[read.problem.source, read.labeled.method] += 1
            files[name].write(json_line(out))
    if renumbered:
        print(f"{renumbered} traces had the id of another one; they have new numbers")
    if not sources:
        raise ValueError(f"nothing is left of {len(removed)} traces; {output / 'removed.jsonl'} says why")
    for name in SPLITS:
        if not splits[name].traces:  # `datasets` cannot load an empty file
            (output / f"{name}.jsonl").unlink()
    return {name: split for name, split in splits.items() if split.traces}, sources


def _with_own_id(row: LabeledRow, taken: dict[str, set[int]]) -> LabeledRow:
    """The row, with a new number if another trace of its problem has the same: files that were made apart number alike.

    Args:
        taken: problem -> the numbers of its traces so far; that of the row is added.
    """
    trace, numbers = row.labeled.trace, taken[row.problem.id]
    index = trace.index if trace.index not in numbers else max(numbers) + 1
    numbers.add(index)
    if index == trace.index:
        return row
    return replace(row, labeled=replace(row.labeled, trace=replace(trace, index=index)))


def _check_semantics(meanings: dict[Semantics, str], row: LabeledRow) -> None:
    meanings.setdefault(row.labeled.semantics, row.where)
    if len(meanings) > 1:
        (first, where), (second, other) = meanings.items()
        raise ValueError(
            f"labels mean {first!r} in {where} but {second!r} in {other}; a verifier can learn only one: build two sets"
        )


def _trace_key(row: LabeledRow) -> bytes:
    """Equal for traces with the same problem, the same steps, and labels at the same steps, whatever the labels are."""
    labeled = "".join("-" if label is None else "+" for label in row.labeled.labels)
    return _hash("\0".join((_unspaced(row.problem.prompt), labeled, *row.labeled.trace.steps)))


def _unspaced(text: str) -> str:
    return " ".join(text.split())


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _push(name: str, folder: Path, splits: Iterable[str]) -> None:
    from huggingface_hub import HfApi

    files = [*(f"{split}.jsonl" for split in splits), "README.md", "removed.jsonl", "meta.json", "config.yaml"]
    api = HfApi()
    api.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
    api.upload_folder(repo_id=name, folder_path=folder, repo_type="dataset", allow_patterns=files)
    print(f"uploaded to {name}")


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common()) or "nothing"


if __name__ == "__main__":
    run_script(main, Arguments)
