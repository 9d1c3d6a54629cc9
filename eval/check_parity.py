r"""What another precision or another engine moves in the scores of a verifier, and in what a search would choose by them.

Reads   --data           traces with several per problem: labeled or not (data/sample_traces.py, data/label_steps.py)
        --verifier       checkpoint folder; its scores in fp32 are what is compared with
        --against        another form of it: a folder, folder@http://... or folder@vllm (prm.verifiers.served)
Prints  a table; writes nothing

    python eval/check_parity.py --verifier outputs/quickstart/prm --data outputs/quickstart/labeled.jsonl --limit 40
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from itertools import combinations, islice

from prm.command_line import run_script
from prm.evaluation.tables import as_text
from prm.storage.rows import group_by_problem, read_traces
from prm.types import Dtype
from prm.verifiers import find_verifier


@dataclass
class Arguments:
    verifier: str = field(metadata={"help": "checkpoint folder"})
    data: str = field(metadata={"help": "file of traces"})
    against: str | None = field(default=None, metadata={"help": "what its scores are compared with; default: itself"})
    dtype: Dtype = field(default="bfloat16", metadata={"help": "numbers in which that is scored or served"})
    limit: int = field(default=200, metadata={"help": "first problems only", "least": 1})


def main(args: Arguments) -> None:
    problems = list(group_by_problem(read_traces(args.data)))[: args.limit]
    prompts = [problem.prompt for problem, traces in problems for _ in traces]
    steps_N = [trace.steps for _, traces in problems for trace in traces]
    name = args.against or args.verifier
    one = find_verifier(args.verifier, "float32").score_batch(prompts, steps_N)
    other = find_verifier(name, args.dtype).score_batch(prompts, steps_N)
    both = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    if not both:
        raise ValueError(f"{args.data}: all traces are longer than the verifier reads; give others")

    # Of steps: how far scores move. Of the traces of a problem: which pairs change places, and what best-of-N chooses.
    moved = sorted(abs(x - y) for a, b in both for x, y in zip(a.steps, b.steps, strict=True))
    pairs = swapped = chosen = 0
    pool = zip(one, other, strict=True)
    for _, traces in problems:
        found = [(a.trace, b.trace) for a, b in islice(pool, len(traces)) if a is not None and b is not None]
        for (a, b), (c, d) in combinations(found, 2):
            pairs += a != c
            swapped += (a - c) * (b - d) < 0
        chosen += found.index(max(found)) != found.index(max(found, key=lambda pair: pair[1])) if found else 0
    print(f"{len(moved)} steps of {len(both)} traces: {name} in {args.dtype} against {args.verifier} in float32\n")
    table = [
        ["of", "moved"],
        ["steps: the largest difference of a score", f"{moved[-1]:.2g}"],
        ["steps: 99 of 100 differ by at most", f"{moved[int(0.99 * (len(moved) - 1))]:.2g}"],
        ["steps: mean difference", f"{sum(moved) / len(moved):.2g}"],
        ["pairs of traces of a problem: change places", f"{swapped} of {pairs}"],
        ["problems: best-of-N chooses another trace", f"{chosen} of {len(problems)}"],
    ]
    print(as_text(table))
    if unread := len(one) - len(both):
        print(f"note: {unread} traces are longer than the verifier reads and have no scores", file=sys.stderr)


if __name__ == "__main__":
    run_script(main, Arguments)
