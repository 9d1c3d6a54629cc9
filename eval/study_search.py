r"""Why does a tree search win or lose against independent samples? Tables on an embedded set, whose step truth is known.

    1  what a prefix score says, by depth: AUC within a problem against the outcome and against step truth
    2  beam search by depth: duplicates, and problems in which a right beginning is still alive
    3  methods at equal generated tokens: each against independent samples that choose in the same way
    4  over-optimization: the highest score and the share of right answers as N grows
    5  the first mistake of what is chosen: a forgotten carry, or a slip

Equal tokens: a method that has spent t tokens on a problem is compared with n independent samples of that problem, where n
of them cost t tokens or a little more (rounded up, in favor of the samples); their accuracy is the exact expectation over
all subsets of the pool. `truth` is a verifier that knows which steps are right: a tree with it is the ceiling.

Reads   a PRM (recipes/train_prm.py); the problems are embedded
Writes  <output_dir>/tables.md, study.json; requests.journal: what was sampled and scored, so that a killed study goes on

    python eval/study_search.py --verifier outputs/quickstart/prm --output_dir outputs/study_search
"""

from __future__ import annotations

import inspect
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Literal

from tqdm import tqdm

from prm import answers
from prm.command_line import run_script
from prm.datasets import arithmetic
from prm.evaluation.reading import percent
from prm.evaluation.search_metrics import FEWEST, best_of_n, paired_difference, weighted_vote_at_n
from prm.evaluation.step_metrics import auc_within_groups
from prm.evaluation.tables import as_markdown, as_text
from prm.generators import Generator, load_generator
from prm.search.driver import search
from prm.search.methods import parse_method
from prm.search.requests import Expand, Search, best
from prm.storage.answered_requests import AnsweredRequests
from prm.types import Budget, Problem, Scores, SearchResult, Trace
from prm.verifiers import Verifier, load_verifier

PLAIN, SHARES = "vote=false weigh=false", "vote=true weigh=true"
METHODS = [
    *(f"beam_search prm width={m} {PLAIN}" for m in (1, 2, 4, 8)),
    *(f"beam_search prm width={m} vote=true weigh=false" for m in (1, 2, 4, 8)),
    *(f"beam_search prm width={m} {SHARES}" for m in (1, 2, 4, 8)),
    f"beam_search prm refill=true {PLAIN}",
    f"beam_search prm refill=true {SHARES}",
    *(f"{name} prm vote=true weigh={weigh}" for name in ("dvts", "rebase", "mcts") for weigh in ("false", "true")),
    "particle_filtering prm vote=false",
    "particle_filtering prm vote=true",
    f"beam_search truth {PLAIN}",
    f"beam_search truth {SHARES}",
]

Table = list[list[str]]


@dataclass
class Arguments:
    verifier: str = field(metadata={"help": "checkpoint folder of a PRM"})
    problems: str = field(default="arithmetic", metadata={"help": "embedded set", "choices": list(arithmetic.SETS)})
    generator: str = field(default="", metadata={"help": "folder; default: the embedded one of the set"})
    output_dir: Path = field(default=Path("outputs/study_search"), metadata={"help": "folder to write"})
    split: str = field(default="validation", metadata={"help": "settings are chosen on validation problems"})
    limit: int = field(default=210, metadata={"help": "problems", "least": FEWEST})
    samples: int = field(default=16, metadata={"help": "N of the methods", "least": 4})
    pool: int = field(default=64, metadata={"help": "independent samples per problem, at least 2 N", "least": 8})
    methods: list[str] = field(
        default_factory=lambda: list(METHODS),
        metadata={"help": "`strategy verifier key=value`; verifiers are prm and truth"},
    )
    seed: int = field(default=0, metadata={"help": "seed of the run", "least": 0})

    def __post_init__(self) -> None:
        self.generator = self.generator or self.problems
        if self.pool < 2 * self.samples:
            raise ValueError(f"--pool {self.pool} must be at least twice --samples {self.samples}")


class StepTruth:
    """A verifier that knows which steps are right: 1 as long as all of them are, else 0."""

    name = "truth"
    kind: Literal["prm", "orm"] = "prm"
    num_parameters = 0

    def __init__(self, variant: arithmetic.Variant) -> None:
        self._variant = variant

    def score_batch(self, prompts: Sequence[str], steps_N: Sequence[Sequence[str]]) -> list[Scores | None]:
        good_N = [arithmetic.check_steps(p, steps, self._variant) for p, steps in zip(prompts, steps_N, strict=True)]
        return [Scores(tuple(map(float, good)), float(good[-1])) for good in good_N]


@dataclass(frozen=True)
class Level:
    """One depth of one search: what was sampled there."""

    problem: Problem
    depth: int
    children: Sequence[Trace]


@dataclass(frozen=True)
class Bench:
    """What all methods share."""

    problems: list[Problem]
    generator: Generator
    verifiers: dict[str, Verifier]
    answered: AnsweredRequests
    seed: int

    def run(self, text: str, n: int) -> tuple[list[SearchResult], list[Level]]:
        """What a method finds with N = n, and what it sampled at every depth."""
        method, levels = parse_method(text, list(self.verifiers)), []

        def watched(problem: Problem, budget: Budget, seed: int, **parameters) -> Search:
            inner, reply = method.run(problem, budget, seed, **parameters), None
            try:
                while True:
                    request = inner.send(reply)
                    reply = yield request
                    if isinstance(request, Expand) and not request.greedy and reply:
                        levels.append(Level(problem, len(request.parents[0].steps) + 1, reply))
            except StopIteration as end:
                return end.value

        verifier = self.verifiers[method.verifier] if method.verifier else None
        with tqdm(total=len(self.problems), unit="problem", desc=f"{text} N={n}") as bar:
            found = search(
                replace(method, run=watched),
                self.problems,
                self.generator,
                verifier,
                Budget(n),
                self.seed,
                self.answered,
                bar.update,
                verifiers=self.verifiers,
            )
        return found, levels


def main(args: Arguments) -> None:
    import torch  # not at the top: help and a typo must not wait for it

    torch.set_num_threads(1)  # the last digits would depend on the number of cores otherwise
    votes = {text: chooses_by_vote(text) for text in args.methods}  # what cannot be compared is refused first
    variant = arithmetic.SETS[args.problems]
    problems = arithmetic.load(args.split, args.limit, variant=variant)
    generator = load_generator(args.generator, max_new_tokens=80)
    verifiers: dict[str, Verifier] = {"prm": load_verifier(args.verifier), "truth": StepTruth(variant)}
    args.output_dir.mkdir(parents=True, exist_ok=True)
    header = {"generator": generator.name, "problems": [args.problems, args.split, args.limit], "seed": args.seed}
    answered = AnsweredRequests(args.output_dir / "requests.journal", header)
    bench = Bench(problems, generator, verifiers, answered, args.seed)

    pool, _ = bench.run("best_of_n prm", args.pool)
    found = {text: bench.run(text, args.samples) for text in args.methods}
    sizes = [n for n in (4, 8, 16, 32, 64) if n <= args.pool]
    grown = {n: bench.run(f"beam_search prm {PLAIN}", n) for n in sizes}

    study = {
        "1 prefix scores by depth, independent samples": prefix_table(problems, pool, variant),
        f"2 beam search (M = 4, N = {args.samples}) by depth": beam_table(
            problems, pool, bench.run(f"beam_search prm {PLAIN}", args.samples)[1], args.samples, variant
        ),
        f"3 methods at equal generated tokens (N = {args.samples})": method_table(
            problems, pool, {text: its for text, (its, _) in found.items()}, votes
        ),
        "4 highest score as N grows": growth_table(pool, {n: its for n, (its, _) in grown.items()}),
        "5 first mistake of what is chosen": mistake_table(
            problems, pool, {text: its for text, (its, _) in found.items()}, args.samples, variant
        ),
    }
    (args.output_dir / "tables.md").write_text(
        "\n\n".join(f"{title}\n\n{as_markdown(table)}" for title, table in study.items()) + "\n", encoding="utf-8"
    )
    (args.output_dir / "study.json").write_text(json.dumps(study, indent=1), encoding="utf-8")
    for title, table in study.items():
        print(f"\n{title}\n\n{as_text(table)}")


def prefix_table(problems: list[Problem], pool: list[SearchResult], variant: arithmetic.Variant) -> Table:
    """The score after d steps of whole independent samples; the last row has their last steps, whatever their depth."""
    table = [["depth", "prefixes", "right so far", "AUC: outcome", "AUC: step truth", "truth's AUC: outcome"]]
    by_depth: dict[str, list[tuple[float, bool, bool, int]]] = {}
    for i, (problem, result) in enumerate(zip(problems, pool, strict=True)):
        for trace, scores in zip(result.candidates, result.scores, strict=True):
            if scores is None:
                continue
            truth = arithmetic.check_steps(problem.prompt, trace.steps, variant)
            for depth, (score, right) in enumerate(zip(scores.steps, truth, strict=True), 1):
                name = "last" if depth == len(truth) else str(depth)
                by_depth.setdefault(name, []).append((score, right, bool(trace.correct), i))
    for name in sorted(by_depth, key=lambda name: math.inf if name == "last" else int(name)):
        scores, truths, outcomes, groups = zip(*by_depth[name], strict=True)
        aucs = [auc_within_groups(scores, outcomes, groups), auc_within_groups(scores, truths, groups)]
        aucs.append(auc_within_groups([float(right) for right in truths], outcomes, groups))
        table.append([name, f"{len(scores):,}", percent(fmean(truths)), *(f"{x:.3f}" for x in aucs)])
    return table


def beam_table(
    problems: list[Problem], pool: list[SearchResult], levels: list[Level], n: int, variant: arithmetic.Variant
) -> Table:
    """Steps sampled at each depth. "Alive": some beginning of this depth is right, among the problems that are so deep."""
    table = [["depth", "problems", "duplicates", "right so far", "alive: beams", f"alive: {n} samples"]]
    samples = {problem.id: result.candidates[:n] for problem, result in zip(problems, pool, strict=True)}
    for depth in range(1, max(level.depth for level in levels) + 1):
        here = [level for level in levels if level.depth == depth]
        seen: Counter[bool] = Counter()
        right_P, beams_P, samples_P = [], [], []
        for level in here:
            distinct = {child.steps for child in level.children}
            seen[True] += len(level.children) - len(distinct)
            seen[False] += len(distinct)
            right = [is_right(level.problem, child.steps, depth, variant) for child in level.children]
            right_P.append(fmean(right))
            beams_P.append(any(right))
            samples_P.append(any(is_right(level.problem, t.steps, depth, variant) for t in samples[level.problem.id]))
        duplicates = seen[True] / seen.total()
        cells = [duplicates, fmean(right_P), fmean(beams_P), fmean(samples_P)]
        table.append([str(depth), str(len(here)), *map(percent, cells)])
    return table


def is_right(problem: Problem, steps: Sequence[str], depth: int, variant: arithmetic.Variant) -> bool:
    return len(steps) >= depth and all(arithmetic.check_steps(problem.prompt, steps[:depth], variant))


def method_table(
    problems: list[Problem], pool: list[SearchResult], found: dict[str, list[SearchResult]], votes: dict[str, bool]
) -> Table:
    """Accuracy, and minus independent samples at the same tokens: of all problems, and of thirds of their levels."""
    levels = sorted({problem.level or 0 for problem in problems})
    third = len(levels) // 3
    parts = {"all": levels, "easy": levels[:third], "middle": levels[third:-third], "hard": levels[-third:]}
    names = [f"{name} ({its[0]}–{its[-1]})" for name, its in parts.items()]
    head = ["method", "tokens", "verifier tokens", "duplicates", "accuracy", "right one found", "same tokens", *names]
    table = [head]
    for text, results in found.items():
        right = [float(result.correct) for result in results]
        equal = [
            independent(i, samples, result.cost.generated_tokens, votes[text])
            for i, (samples, result) in enumerate(zip(pool, results, strict=True))
        ]
        cells = [f"{fmean([r.cost.generated_tokens for r in results]):,.0f}"]
        cells.append(f"{fmean([r.cost.verifier_tokens for r in results]):,.0f}")
        cells.append(percent(sum(r.duplicates for r in results) / sum(r.cost.generator_calls for r in results)))
        cells += [percent(fmean(right)), percent(fmean(any(t.correct for t in r.candidates) for r in results))]
        cells.append(percent(fmean(equal)))
        for its in parts.values():
            here = [i for i, problem in enumerate(problems) if problem.level in its]
            gain = paired_difference([right[i] for i in here], [equal[i] for i in here])
            interval = "" if gain.low is None else f" [{100 * gain.low:+.1f}, {100 * (gain.high or 0):+.1f}]"
            cells.append(f"{100 * gain.mean:+.1f}{interval}")
        table.append([text, *cells])
    return table


def chooses_by_vote(text: str) -> bool:
    """
    Raises:
        ValueError: the strategy does not say so by a parameter `vote`.
    """
    method = parse_method(text, ["prm", "truth"])
    parameters = inspect.signature(method.run).parameters
    if "vote" not in parameters:
        raise ValueError(
            f"--methods {text!r}: {method.strategy} has no parameter `vote`, so it is unknown how the samples that it is"
            " compared with should choose; leave it out"
        )
    return method.parameters.get("vote", parameters["vote"].default)


def independent(number: int, samples: SearchResult, tokens: int, vote: bool) -> float:
    """Expected accuracy of so many independent samples of a problem as cost these tokens, rounded up.

    Raises:
        ValueError: the pool has fewer.
    """
    correct = [trace.usable and bool(trace.correct) for trace in samples.candidates]
    n = max(1, math.ceil(tokens / fmean(trace.num_tokens or 0 for trace in samples.candidates) - 1e-9))
    if n > len(correct):
        raise ValueError(f"{tokens} tokens pay for {n} samples of {samples.problem_id}; raise --pool")
    usable = [t.usable and s is not None for t, s in zip(samples.candidates, samples.scores, strict=True)]
    scores = [s.trace if u and s else -math.inf for u, s in zip(usable, samples.scores, strict=True)]
    if not vote:
        return best_of_n(scores, correct, n)
    classes = answers.group([t.answer if u else None for t, u in zip(samples.candidates, usable, strict=True)])
    gold = next((c for c, right in zip(classes, correct, strict=True) if right), None)
    return weighted_vote_at_n(classes, scores, gold, n, seed=number)


def growth_table(pool: list[SearchResult], grown: dict[int, list[SearchResult]]) -> Table:
    table = [["N", "best-of-N: score", "right", "beam search: score", "right", "of the wrong: score above 0.9"]]
    for n, results in grown.items():
        samples = [chosen_of(result, n) for result in pool]
        beams = [chosen_of(result, n) for result in results]
        cells = [f"{fmean(score for score, _ in samples):.3f}", percent(fmean(right for _, right in samples))]
        cells += [f"{fmean(score for score, _ in beams):.3f}", percent(fmean(right for _, right in beams))]
        wrong = [score > 0.9 for score, right in beams if not right]
        table.append([str(n), *cells, percent(fmean(wrong)) if wrong else "–"])
    return table


def chosen_of(result: SearchResult, n: int) -> tuple[float, bool]:
    """Score and rightness of the highest of the first n candidates; 0 and wrong where none may be chosen."""
    chosen = best(result.candidates[:n], result.scores[:n])
    scores = None if chosen is None else result.scores[chosen]
    return (0.0, False) if chosen is None or scores is None else (scores.trace, bool(result.candidates[chosen].correct))


def mistake_table(
    problems: list[Problem],
    pool: list[SearchResult],
    found: dict[str, list[SearchResult]],
    n: int,
    variant: arithmetic.Variant,
) -> Table:
    table = [["what", "no mistake", "forgotten", "slip", "other"]]

    def row(name: str, chosen: Callable[[int], Sequence[Trace]]) -> list[str]:
        kinds = Counter(
            arithmetic.first_mistake(problem.prompt, trace.steps, variant)
            for i, problem in enumerate(problems)
            for trace in chosen(i)
        )
        return [name, *(percent(kinds[kind] / max(1, kinds.total())) for kind in (None, "forgotten", "slip", "other"))]

    table.append(row("every sample", lambda i: pool[i].candidates))

    def only(candidates: Sequence[Trace], chosen: int | None) -> Sequence[Trace]:
        return [] if chosen is None else [candidates[chosen]]

    table.append(
        row(f"best of {n}", lambda i: only(pool[i].candidates, best(pool[i].candidates[:n], pool[i].scores[:n])))
    )
    for text, results in found.items():
        table.append(row(text, lambda i, its=results: only(its[i].candidates, its[i].chosen)))
    return table


if __name__ == "__main__":
    run_script(main, Arguments)
