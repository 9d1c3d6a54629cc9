"""A search run that is scripted: what comes of it, and what it cost, can be worked out by hand."""

from __future__ import annotations

import random
from dataclasses import replace

from prm.evaluation.search_runs import Run
from prm.storage.search_rows import ProblemResults
from prm.types import Cost, Problem, Scores, SearchResult, Trace

POOL = 8
G, V = 5, 3
"""Parameters of generator and verifier."""


def scripted_run(count: int = 30, verifier: str = "v", source: str = "made up") -> Run:
    """Easy, middling and hard problems. Samples of 10 tokens after a prompt of 4; the verifier reads 6 tokens of each. The
    tree solves what is not hard, at the tokens of its samples, and reads 40 tokens of prompts."""
    rows = []
    for i in range(count):
        rng = random.Random(f"problem {i}")
        problem, ability = Problem(f"p/{i}", "?", "1", source), (0.95, 0.5, 0.1)[i % 3]
        traces = [trace(problem, rng.random() < ability, rng.choice("23"), k) for k in range(POOL)]
        values = [rng.uniform(0.3, 1.0) if t.correct else rng.uniform(0.0, 0.8) for t in traces]
        scores = tuple(Scores((value,), value) for value in values)
        found = []
        for n in (1, 2, 4, 8):
            drawn = Cost(generated_tokens=10 * n, prompt_tokens=4, flops=2.0 * G * (10 * n + 4))
            scored = replace(drawn, verifier_tokens=6 * n, flops=drawn.flops + 2.0 * V * 6 * n)
            found.append(result(problem, "majority", None, n, traces[:n], (None,) * n, drawn, True))
            found += [
                result(problem, s, verifier, n, traces[:n], scores[:n], scored, True)
                for s in ("best_of_n", "weighted_vote")
            ]
        for n in (2, 8):
            leaf = trace(problem, rng.random() < ability + n / 20, "2", 9)
            flops = 2.0 * G * (10 * n + 40) + 2.0 * V * 8 * n
            cost = Cost(generated_tokens=10 * n, prompt_tokens=40, verifier_tokens=8 * n, flops=flops)
            found.append(result(problem, "rebase", verifier, n, [leaf], (Scores((0.5,), 0.5),), cost, False))
        candidates = tuple(dict.fromkeys(t for its in found for t in its.candidates))
        rows.append(ProblemResults(problem, candidates, tuple(int(t.answer) for t in candidates), tuple(found)))
    names = {its.method: int(its.method.partition("samples=")[2].rstrip("]")) for its in rows[0].results}
    meta = {
        "methods": names,
        "generator": {"name": "g", "num_parameters": G},
        "split": "validation",
        "problems": source,
    }
    return Run(meta | {"verifiers": {verifier: {"fingerprint": "v-1", "num_parameters": V}}}, tuple(rows))


def trace(problem, right, wrong, index):
    answer = "1" if right else wrong
    return Trace(problem.id, (f"a{index}",), answer, right, generator="g", num_tokens=10, index=index)


def result(problem, strategy, verifier, n, traces, scores, cost, independent):
    name = f"{f'{verifier}_' if verifier else ''}{strategy}[samples={n}]"
    return SearchResult(problem.id, name, strategy, verifier, tuple(traces), scores, 0, independent, cost)
