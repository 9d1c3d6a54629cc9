r"""Search on test problems with trained verifiers, and keep everything: candidates, scores, costs.

Two searches per problem. A *pool* of N independent candidates, scored by every verifier: single sample, majority, best-of-N,
weighted vote and pass@N for every n <= N are all computed from it (eval/write_report.py, exact estimators). And *beam
search* with the PRM and N beams. Both are written in chunks of problems and resume after a kill.

Reads   problems         arithmetic, gsm8k, or a JSON Lines file (prm.datasets.problems)
        verifiers        checkpoint folders (recipes/train_prm.py, recipes/train_orm.py)
Writes  <output_dir>/    pool.jsonl, beam.jsonl, meta.json (eval/write_report.py reads them)

    python eval/run_search.py --generator arithmetic --problems arithmetic --limit 300 --samples 16 \
        --prm outputs/quickstart/prm --orm outputs/quickstart/orm --output_dir outputs/quickstart/search
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm
from trl import TrlParser

from prm import answers
from prm.datasets.problems import load_problems
from prm.generators.arguments import GeneratorArguments
from prm.models.loading import fingerprint
from prm.search import BeamSearch
from prm.search.candidates import Pool, draw_pools, score_pools
from prm.storage.journal import Journal
from prm.storage.jsonl import file_hash, write_jsonl
from prm.storage.provenance import write_provenance
from prm.types import Budget, Problem, SearchResult, Trace
from prm.verifiers import load_verifier


@dataclass(kw_only=True)
class Arguments(GeneratorArguments):
    problems: str = field(metadata={"help": "`arithmetic`, `gsm8k`, a hub name or a JSON Lines file"})
    output_dir: str = field(metadata={"help": "folder to write"})
    prm: str = field(metadata={"help": "checkpoint of the process reward model"})
    orm: str | None = field(default=None, metadata={"help": "checkpoint of the outcome reward model"})
    split: str = field(default="test", metadata={"help": "train, validation, test or all"})
    limit: int | None = field(default=None, metadata={"help": "first problems of the split only"})
    samples: int = field(default=16, metadata={"help": "N: candidates of the pool, beams of beam search"})
    beam_width: int = field(default=4, metadata={"help": "M of beam search; 0 = no beam search"})
    chunk: int = field(default=50, metadata={"help": "problems between two commits"})
    seed: int = field(default=0, metadata={"help": "seed of the run"})


def main() -> None:
    (args,) = TrlParser(Arguments).parse_args_and_config()
    started = time.monotonic()
    output_dir = Path(args.output_dir)
    problems = load_problems(args.problems, args.split, args.limit)
    if not problems:
        sys.exit(f"no problems in the {args.split} split of {args.problems}; give another --split")
    if args.beam_width > args.samples:
        sys.exit(f"--beam_width {args.beam_width} needs at least as many --samples, not {args.samples}")
    chunks = [problems[i : i + args.chunk] for i in range(0, len(problems), args.chunk)]
    generator = args.load()
    paths = {"prm": args.prm} | ({"orm": args.orm} if args.orm else {})
    verifiers = {name: load_verifier(path) for name, path in paths.items()}
    budget = Budget(args.samples)
    header = {key: value for key, value in asdict(args).items() if key not in ("output_dir", "batch_size")}
    header |= {
        "generator": generator.name,
        "verifiers": {name: fingerprint(verifier.model, (verifier.config,)) for name, verifier in verifiers.items()},
        "input": file_hash(args.problems) if Path(args.problems).is_file() else None,
    }

    def pool_rows(chunk: list[Problem]) -> list[dict[str, Any]]:
        pools = draw_pools(chunk, generator, None, budget, args.seed)
        scored = {name: score_pools(pools, verifier) for name, verifier in verifiers.items()}
        return [
            pool_row(pool, {name: scored_P[i] for name, scored_P in scored.items()}) for i, pool in enumerate(pools)
        ]

    def beam_rows(chunk: list[Problem]) -> list[dict[str, Any]]:
        results = BeamSearch(args.beam_width).search(chunk, generator, verifiers["prm"], budget, args.seed)
        return [beam_row(problem, result) for problem, result in zip(chunk, results, strict=True)]

    searches = {"pool": pool_rows} | ({"beam": beam_rows} if args.beam_width else {})
    journals = {name: Journal(output_dir / f"{name}.journal", header) for name in searches}
    files = [output_dir / "meta.json", *(output_dir / f"{name}.jsonl" for name in searches)]
    if all(len(journal.done) == len(chunks) for journal in journals.values()) and all(f.exists() for f in files):
        print(f"{output_dir} is complete already")
        return
    for name, search in searches.items():
        journal = journals[name]
        for number, chunk in tqdm(enumerate(chunks), total=len(chunks), unit="chunk", desc=name):
            if number not in journal.done:
                journal.append(number, search(chunk))
        write_jsonl(output_dir / f"{name}.jsonl", journal.rows())

    facts = {
        "problems": args.problems,
        "split": args.split,
        "n": args.samples,
        "seed": args.seed,
        "generator": {
            "name": generator.name,
            "num_parameters": generator.num_parameters,
            "temperature": args.temperature,
        },
        "verifiers": {
            name: {
                "path": paths[name],
                "num_parameters": verifier.num_parameters,
                "kind": verifier.config.kind,
                "aggregation": verifier.aggregation,
            }
            for name, verifier in verifiers.items()
        },
        "seconds": time.monotonic() - started,
    }
    write_provenance(output_dir, "eval/run_search.py", args, [args.problems], **facts)
    print(f"{output_dir}: {len(problems)} problems x {args.samples} candidates, {facts['seconds']:.0f} s")


def pool_row(pool: Pool, scored: dict[str, Pool]) -> dict[str, Any]:
    """One problem with its candidates, their answer classes and the scores of every verifier."""
    classes = answers.group([candidate.answer for candidate in pool.candidates])
    right = [c for c, candidate in zip(classes, pool.candidates, strict=True) if candidate.correct and c is not None]
    candidates = []
    for i, (candidate, answer_class) in enumerate(zip(pool.candidates, classes, strict=True)):
        scores = {name: list(scored_pool.scores[i]) for name, scored_pool in scored.items()}
        candidates.append(candidate_row(candidate, scores) | {"class": answer_class})
    return problem_row(pool.problem) | {
        "gold_class": right[0] if right else None,
        "candidates": candidates,
        "cost": asdict(pool.cost),
        "verifier_tokens": {name: scored_pool.cost.verifier_tokens for name, scored_pool in scored.items()},
    }


def beam_row(problem: Problem, result: SearchResult) -> dict[str, Any]:
    candidates = [
        candidate_row(candidate, {"prm": list(scores)})
        for candidate, scores in zip(result.candidates, result.scores, strict=True)
    ]
    return problem_row(problem) | {
        "strategy": result.strategy,
        "candidates": candidates,
        "chosen": result.chosen,
        "answer": result.answer,
        "correct": result.correct,
        "cost": asdict(result.cost),
    }


def problem_row(problem: Problem) -> dict[str, Any]:
    return {"problem_id": problem.id, "prompt": problem.prompt, "gold": problem.answer, "level": problem.level}


def candidate_row(candidate: Trace, scores: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "completions": list(candidate.steps),
        "answer": candidate.answer,
        "correct": bool(candidate.correct),
        "status": candidate.status,
        "num_tokens": candidate.num_tokens,
        "finished": candidate.finished,
        "scores": scores,
    }


if __name__ == "__main__":
    main()
