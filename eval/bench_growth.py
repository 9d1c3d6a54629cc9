r"""How the toolkit's own work grows: every part at three sizes, without a language model's time in it.

A part is linear if its exponent is 1: the logarithm of the ratio of its last two times over that of their sizes. Caches are
empty at the start of every measurement. Times are those of the clock, the least of some rounds: nothing else should run.

    part                     size              seconds        exponent  microseconds each
    answers_different        16     64    256  0.1  0.3  2.4       1.5               9375

- `answers_different`: answers to one problem that all differ, with roots, put into classes (`prm.answers.group`).
- `answers_mix`: candidates that give 50 answers of all kinds.
- `verdicts`: rollouts of 20 problems with roots in their answers, checked (`check_many`).
- `majority`: the exact vote of half of so many samples with ten answers.
- `beam`: steps of a beam search with 16 beams and a tiny verifier, in which a step attends to all before it.
- `beam_own`: the same with a verifier that computes nothing.
- `prefixes`: the token ids of all prefixes of a trace of so many steps.
- `passing`: a rollout of a trace of so many steps that passes all its prefixes.
- `training_input`: labeled traces of 100 tokens made examples, written and mapped; `bytes_per_token` of a process that maps
  them.
- `store_write`, `store_open`, `store_read`: rollouts of 200 tokens.
- `resume`, `resume_traces`: rollouts of problems that are labeled already, and traces of problems that are sampled already,
  four each, when a run goes on.
- `labeling`: problems of 64 traces of 1,000 tokens in one chunk, divided; `gigabytes` of rollouts are held at a time.
- `ray`: rollouts in a store; `bytes_sent` by the driver of a cluster for a unit, `bytes_known` of the unit's rollouts.
- `browser`: candidates of each of three problems in the report's browser of traces; `shown` problems of the largest number.
- `load_verifier`, `transformers`, `help`: a new process that imports what loading a verifier needs, one that imports what
  every model of Transformers needs, and `--help` of the slowest of the scripts that load models. They have one size.

Reads   nothing
Writes  the last line of its output, JSON

    python eval/bench_growth.py
"""

from __future__ import annotations

import itertools
import json
import math
import pickle
import random
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from prm import answers, labelers
from prm.command_line import run_script
from prm.datasets import arithmetic
from prm.encoding.codec import StepCodec
from prm.encoding.prompts import PromptTemplate
from prm.evaluation import votes
from prm.evaluation.trace_browser import traces_to_show
from prm.evaluation.workloads import sums
from prm.generators.scripted import ScriptedGenerator
from prm.generators.token_text import TokenText
from prm.labelers import Group, divide
from prm.labelers.monte_carlo import MonteCarlo
from prm.labelers.reports import Spent
from prm.labelers.workloads import PROBLEM_ROLLOUTS, full_store, new_store, rollouts, to_label
from prm.sampling.limits import Limits
from prm.search.workloads import deep_beam_search
from prm.types import Cost, LabeledTrace, Problem, Rollout, Scores, SearchResult, Trace

Work = Callable[[], Any]
_new = itertools.count(1)
"""Numbers that were in no answer before, so that nothing is known of these."""


@dataclass
class Arguments:
    only: list[str] | None = field(default=None, metadata={"help": "parts to measure; default: all"})
    sizes: list[int] = field(
        default_factory=lambda: [1, 4, 16],
        metadata={"help": "multiples of the smallest size of a part, rising", "least": 1},
    )
    rounds: int = field(default=2, metadata={"help": "measurements, of which the fastest counts", "least": 1})

    def __post_init__(self) -> None:
        if unknown := set(self.only or ()) - {*LINES, *STARTS}:
            raise ValueError(f"--only {' '.join(sorted(unknown))}: the parts are {', '.join([*LINES, *STARTS])}")
        if len(self.sizes) < 2 or self.sizes != sorted(set(self.sizes)) or self.sizes[0] < 1:
            raise ValueError(f"--sizes {self.sizes}: at least two numbers that rise are needed")


def main(args: Arguments) -> None:
    rows: dict[str, dict[str, Any]] = {}
    print(f"{'part':20} {'sizes':>22} {'seconds':>26} {'exponent':>9} {'us each':>10}")
    for name in args.only or [*LINES, *STARTS]:
        if name in STARTS:
            rows[name] = {"seconds": min(STARTS[name]() for _ in range(args.rounds))}
            print(f"{name:20} {'':22} {rows[name]['seconds']:26.2f}")
            continue
        smallest, prepare = LINES[name]
        sizes = [smallest * multiple for multiple in args.sizes]
        seconds = [min(timed(prepare, size) for _ in range(args.rounds)) for size in sizes]
        exponent = math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])
        each = seconds[-1] / sizes[-1] * 1e6
        more = MORE[name](sizes[-1]) if name in MORE else {}
        rows[name] = {
            "sizes": sizes,
            "seconds": seconds,
            "exponent": round(exponent, 2),
            "us_each": round(each, 2),
        } | more
        times = " ".join(f"{its:.4f}" for its in seconds)
        print(f"{name:20} {' '.join(map(str, sizes)):>22} {times:>26} {exponent:9.2f} {each:10.1f}", *more.items())
    print(json.dumps({"rows": rows}))


def timed(prepare: Callable[[int], Work], size: int) -> float:
    work = prepare(size)
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# Answers


def prepare_different(size: int) -> Work:
    answers.check(gold=r"\sqrt{8}", pred=r"2\sqrt{2}")  # starts a worker
    texts = [rf"\frac{{{next(_new)}+\sqrt{{{2 * i + 3}}}}}{{7}}" for i in range(size)]
    return lambda: answers.group(texts)


def prepare_mix(size: int) -> Work:
    answers.check(gold=r"\sqrt{8}", pred=r"2\sqrt{2}")
    kinds = (
        "{}",
        r"\frac{{{}}}{{7}}",
        "x^2+{}x",
        r"{}\sqrt{{2}}",
        "({}, 1)",
        "x={}",
        "[0, {})",
        r"{}\pi",
        "|x-{}|",
        "{} cm",
    )
    different = [kind.format(next(_new)) for kind in kinds for _ in range(5)]
    texts = random.Random(0).choices(different, k=size)
    return lambda: answers.group(texts)


def prepare_verdicts(size: int) -> Work:
    answers.check(gold=r"\sqrt{8}", pred=r"2\sqrt{2}")
    numbers = [next(_new) for _ in range(20)]
    golds = [rf"\frac{{{numbers[i % 20]}\sqrt{{3}}}}{{5}}" for i in range(size)]
    preds = [gold.replace("3", "27") if i % 3 else gold.replace("5", "7") for i, gold in enumerate(golds)]
    return lambda: answers.check_many(golds=golds, preds=preds)


def prepare_majority(size: int) -> Work:
    votes.win_chance.cache_clear()
    share = (0.22, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05, 0.04, 0.02, 0.02)
    correct, *rivals = (max(1, round(part * size)) for part in share)
    return lambda: votes.win_chance(correct, tuple(sorted(rivals)), 2, size // 2)


# Steps


def prepare_prefixes(size: int) -> Work:
    text = TokenText(arithmetic.build_tokenizer(), template=PromptTemplate(), step_rule="line", end_ids=None)
    steps = [sums(random.Random(i), 20) for i in range(size)]
    return lambda: [text.encode("Start with 47, add 38.", steps[:end]) for end in range(1, size + 1)]


def prepare_passing(size: int) -> Work:
    from prm.labelers.evidence import Evidence
    from prm.sampling.rollouts import RolloutSource

    evidence = Evidence(RolloutSource(ScriptedGenerator(lambda prefix, seed: "#### 1\n"), 0))
    problem = Problem("p", "Start with 47, add 38.", "1", "bench")
    steps = tuple(sums(random.Random(i), 20) for i in range(size))
    evidence.watch(problem, [Trace("p", steps, None, None, finished=False)])
    ids = [*evidence.source.locate(problem, steps)[1], 1]
    return lambda: evidence._pass_through(problem, ids, 0, True)


# Rows


def prepare_training(size: int) -> Work:
    from prm.training.columns import Columns
    from prm.training.examples import NUMBERS, TraceExample, prm_examples
    from prm.training.workloads import labeled_rows

    rows, tokenizer = labeled_rows(size), arithmetic.build_tokenizer()

    def work():
        with tempfile.TemporaryDirectory() as folder:
            made = prm_examples(rows, StepCodec(), tokenizer, "soft").examples
            made.save(Path(folder) / "train")
            return Columns.mapped(Path(folder) / "train", TraceExample, NUMBERS)

    return work


def training_memory(size: int) -> dict[str, float]:
    """What a process has for itself of the examples, whose numbers are mapped from files."""
    from prm.training.columns import Columns
    from prm.training.examples import NUMBERS, TraceExample

    with tempfile.TemporaryDirectory() as folder:
        made = prepare_training(size)()
        made.save(Path(folder) / "train")
        tokens = sum(len(example.input_ids) for example in made)
        tracemalloc.start()
        mapped = Columns.mapped(Path(folder) / "train", TraceExample, NUMBERS)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return {"bytes_per_token": round(held / tokens, 2), "traces": len(mapped)}


def prepare_write(size: int) -> Work:
    folder, sampled = tempfile.TemporaryDirectory(), rollouts(size)
    return lambda: (new_store(folder).append(sampled), folder.cleanup())


def prepare_open(size: int) -> Work:
    folder = full_store(size)
    return lambda: (new_store(folder), folder.cleanup())


def prepare_read(size: int) -> Work:
    folder = full_store(size)
    store = new_store(folder)
    return lambda: ([list(store.read([problem])) for problem in sorted(store.problems())], folder.cleanup())


def names(unit: list[Group]) -> list[str]:
    return [problem.id for problem, _ in unit]


def prepare_resume(size: int) -> Work:
    from prm.labelers.finished import FinishedLabels

    folder, planner, units = full_store(size), MonteCarlo(8), to_label(size)
    store = new_store(folder)
    before = FinishedLabels(store, planner)
    for unit in units:
        labeled_P = [
            [LabeledTrace(t, (True,) * 5, (0.5,) * 5, ((4, 8),) * 5, "m", "value") for t in g[1]] for g in unit
        ]
        before.add(unit, labeled_P, ())
    store.close()

    def work():
        going_on, spent = new_store(folder), Spent()
        finished = FinishedLabels(going_on, planner)
        assert all(finished.find(unit, spent) for unit in going_on.claim_each(units, names))
        folder.cleanup()

    return work


def prepare_resume_traces(size: int) -> Work:
    from prm.sampling.finished import FinishedTraces

    folder = tempfile.TemporaryDirectory()
    problems = [Problem(f"p/{i}", "How many?", "7", "bench") for i in range(size // 4)]
    chunks = [problems[i : i + 64] for i in range(0, len(problems), 64)]
    steps = (*(f"{k} + {k} = {2 * k}, as one sees at once" for k in range(9)), "#### 7")
    store = new_store(folder)
    before = FinishedTraces(store, 4)
    for chunk in chunks:
        before.add(chunk, [[Trace(p.id, steps, "7", True, "bench", index=i) for i in range(4)] for p in chunk])
    store.close()

    def work():
        going_on = new_store(folder)
        finished = FinishedTraces(going_on, 4)
        claimed = going_on.claim_each(chunks, lambda chunk: [problem.id for problem in chunk])
        assert all(finished.find(chunk) for chunk in claimed)
        folder.cleanup()

    return work


def prepare_division(size: int) -> Work:
    """Problems with 64 traces of 1,000 tokens in 20 steps, 32 rollouts after each of them, all of them in one chunk."""
    trace = Trace("p", ("a step",) * 20, "7", True, num_tokens=1000)
    groups = [(Problem(f"p/{i}", "How many?", "7", "bench"), [trace] * 64) for i in range(size)]
    return lambda: divide(MonteCarlo(32), groups, chunk=size)


def labeling_memory(size: int) -> dict[str, float]:
    """Rollouts that are held at a time, by the guess of `divide`, and what they take."""
    held = max(
        sum(32 * 20 * (its.num_tokens or 0) for _, traces in unit for its in traces) // 2
        for unit in prepare_division(size)()
    )
    tracemalloc.start()
    rng = random.Random(0)
    some = [
        Rollout(
            "p",
            "prefix",
            i,
            i,
            tuple(rng.randrange(300, 50_000) for _ in range(500)),
            sums(rng, 500),
            "eos",
            "7",
            "wrong",
        )
        for i in range(100)
    ]
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"tokens": held, "gigabytes": round(taken / sum(its.num_tokens for its in some) * held / 1e9, 2)}


def prepare_ray(size: int) -> Work:
    """What the driver of a cluster sends for one unit, with so many rollouts in its store; no cluster is started."""
    from prm.sampling import cluster

    folder, unit = full_store(size), to_label(16 * PROBLEM_ROLLOUTS)[0]
    store = new_store(folder)

    def work():
        with mock.patch.object(cluster, "ray") as ray, mock.patch.object(cluster, "NodeAffinitySchedulingStrategy"):
            sets = ray.data.from_items
            sets.return_value.map_batches.return_value.iter_batches.return_value = []
            work = partial(labelers.run, MonteCarlo(8))
            cluster.fill_store(store, [unit], names, work, ScriptedGenerator, 0, 1, 0, Limits())
            make, seed, its, known = sets.return_value.map_batches.call_args.kwargs["fn_constructor_args"]
            reader = ray.remote.return_value.options.return_value.remote.call_args.args
            answer = cluster._Reader(*reader).read(names(unit))
        folder.cleanup()
        return len(pickle.dumps((sets.call_args.args, make, seed, its, known.func, reader))), len(pickle.dumps(answer))

    return work


def run_of(size: int) -> Any:
    """Three problems with so many candidates, as `traces_to_show` reads them."""
    rows = []
    for p in range(3):
        steps = tuple(f"{i} + {i} = {2 * i}, as one sees at once" for i in range(60))
        traces = tuple(Trace(f"p/{p}", (*steps, f"#### {i % 9}"), str(i % 9), i % 9 == 0, index=i) for i in range(size))
        scores = tuple(Scores((0.5,) * 61, 0.5) for _ in traces)
        result = SearchResult(f"p/{p}", "best_of_n prm", "best_of_n", "prm", traces, scores, 0, True, Cost())
        problem = Problem(f"p/{p}", "How many?", "0", "bench")
        rows.append(
            SimpleNamespace(results=[result], candidates=traces, classes=[i % 9 for i in range(size)], problem=problem)
        )
    return SimpleNamespace(rows=rows)


def prepare_browser(size: int) -> Work:
    run = run_of(size)
    return lambda: traces_to_show(run)


# Starts


def seconds_of(*words: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def help_seconds() -> float:
    folder = Path(__file__).parents[1]
    loading = [*folder.glob("recipes/train_*.py"), *folder.glob("data/*_[st]*s.py"), folder / "eval/run_search.py"]
    return max(seconds_of(str(path), "--help") for path in loading)


LINES: dict[str, tuple[int, Callable[[int], Work]]] = {
    "answers_different": (16, prepare_different),
    "answers_mix": (16, prepare_mix),
    "verdicts": (80, prepare_verdicts),
    "majority": (64, prepare_majority),
    "beam": (4, deep_beam_search),
    "beam_own": (4, lambda size: deep_beam_search(size, computes=False)),
    "prefixes": (4, prepare_prefixes),
    "passing": (4, prepare_passing),
    "training_input": (500, prepare_training),
    "store_write": (500, prepare_write),
    "store_open": (500, prepare_open),
    "store_read": (500, prepare_read),
    "resume": (2048, prepare_resume),
    "resume_traces": (512, prepare_resume_traces),
    "labeling": (4, prepare_division),
    **({"ray": (1024, prepare_ray)} if find_spec("ray") else {}),
    "browser": (64, prepare_browser),
}
"""Part -> its smallest size, and what makes the work of a size."""
MORE: dict[str, Callable[[int], dict[str, Any]]] = {
    "training_input": training_memory,
    "labeling": labeling_memory,
    "ray": lambda size: dict(zip(("bytes_sent", "bytes_known"), prepare_ray(size)(), strict=True)),
    "browser": lambda size: {"shown": len(prepare_browser(size)())},
}
"""Part -> what else is measured at its largest size."""
STARTS: dict[str, Callable[[], float]] = {
    "load_verifier": lambda: seconds_of("-c", "from prm.verifiers.step_verifier import StepVerifier"),
    "transformers": lambda: seconds_of("-c", "from transformers.modeling_utils import PreTrainedModel"),
    "help": help_seconds,
}

if __name__ == "__main__":
    run_script(main, Arguments)
