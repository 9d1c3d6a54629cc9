r"""Search on test problems: any set of methods, each a strategy with its verifier and parameters, and keep everything.

    majority    best_of_n prm    weighted_vote prm    beam_search prm width=4    my_search.py:first_wins prm

Methods that choose among independent samples share one pool, so they are compared on the same candidates and nothing is
sampled twice. Problems are searched in chunks. What generator and verifiers answered is on disk at once: a run that was
killed goes on where it stopped, and a later run with other methods or verifiers takes it with `--reuse` instead of sampling.
`--max_tokens` and `--max_hours` stop a run early, `--estimate` says what it would take.

Reads   problems         arithmetic, gsm8k, or a JSON Lines, JSON, CSV or Parquet file (prm.datasets.problems); other columns
                         are kept in the rows
        verifiers        name=checkpoint folder (recipes/train_prm.py, recipes/train_orm.py), name=my_verifier.py:Name,
                         name=likelihood (the generator's own, prm.verifiers.likelihood), or name=FOLDER@URL and
                         name=FOLDER@vllm (an exported verifier that vLLM runs, prm.verifiers.served), or
                         name=generative:MODEL@URL (one that writes critiques, prm.verifiers.generative)
Writes  <output_dir>/    results.jsonl (prm.storage.search_rows), meta.json, config.yaml; eval/write_report.py reads them.
                         requests/, what generator and verifiers answered; may be deleted when the run is complete

    python eval/run_search.py --generator arithmetic --problems arithmetic --limit 300 --samples 16 \
        --verifiers prm=outputs/quickstart/prm orm=outputs/quickstart/orm --output_dir outputs/quickstart/search
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prm import answers
from prm.command_line import run_script
from prm.costs import ModelShape
from prm.datasets.decontamination import check_exemplars
from prm.datasets.problems import load_problems
from prm.encoding.prompts import files_of, prompt_template
from prm.evaluation.search_runs import FORMAT
from prm.files import read_object, sole_writer, visible
from prm.generators import Generator
from prm.generators.arguments import GeneratorArguments
from prm.sampling.limits import LimitArguments, LimitReached, pilot, search_report, stopped, unlimited
from prm.search import calibration, policy
from prm.search.driver import search
from prm.search.methods import BEAM_WIDTH, Method, check_method, default_methods, parse_method
from prm.storage.answered_requests import AnsweredRequests
from prm.storage.journal import Journal
from prm.storage.jsonl import file_hash, write_jsonl
from prm.storage.provenance import write_provenance
from prm.storage.search_rows import results_to_row
from prm.types import Budget, Cost, Problem
from prm.verifiers import LIKELIHOOD, Verifier, find_verifier, kind_of


@dataclass(kw_only=True)
class Arguments(GeneratorArguments, LimitArguments):
    problems: str = field(
        metadata={
            "help": "`arithmetic`, `arithmetic_hard`, `gsm8k`, hub name, or JSON Lines, JSON, CSV or Parquet file"
        }
    )
    output_dir: str = field(metadata={"help": "folder to write"})
    verifiers: list[str] = field(
        default_factory=list,
        metadata={
            "help": "name=checkpoint folder, name=family:checkpoint, name=folder@URL, name=file.py:Name, or name=likelihood"
        },
    )
    methods: list[str] = field(
        default_factory=list,
        metadata={"help": "`strategy verifier key=value` of each method; default: all that the verifiers can do"},
    )
    split: str = field(default="test", metadata={"help": "train, validation, test or all"})
    limit: int | None = field(default=None, metadata={"help": "first problems of the split only", "least": 1})
    prompt_column: str | None = field(
        default=None, metadata={"help": "column of the problem; default: prompt, problem or question"}
    )
    gold_column: str | None = field(default=None, metadata={"help": "column of the gold answer; default: answer"})
    samples: int = field(
        default=16,
        metadata={"help": "N: candidates of the pool, beams of beam search; a method may have its own", "least": 1},
    )
    reuse: str | None = field(
        default=None, metadata={"help": "output_dir of an earlier run: what it sampled and scored is taken from there"}
    )
    chunk: int = field(default=50, metadata={"help": "problems that are searched together", "least": 1})
    seed: int = field(default=0, metadata={"help": "seed of the run", "least": 0})


LEARNED: dict[str, tuple[str, Callable[[str, str | None, str, Collection[str]], None]]] = {
    "adaptive_best_of_n": ("calibration", calibration.check_fits),
    "compute_optimal": ("policy", policy.check_fits),
}
"""Strategy -> its parameter that names a file, and what refuses a file that was learned of something else."""


def main(args: Arguments) -> None:
    started = time.monotonic()
    limits = args.limits()
    output_dir = Path(args.output_dir)
    problems = load_problems(args.problems, args.split, args.limit, args.prompt_column, args.gold_column)
    if not problems:
        raise ValueError(f"no problems in the {args.split} split of {args.problems}; give another --split")
    template = prompt_template(args.prompt)
    check_exemplars(template, problems)
    chunks = [problems[i : i + args.chunk] for i in range(0, len(problems), args.chunk)]
    budget = Budget(args.samples)

    # What can be wrong comes first; then models are loaded, which takes long.
    paths = named_paths(args.verifiers)
    own = {name: find_verifier(path) for name, path in paths.items() if ".py:" in path}
    kinds = {
        name: own[name].kind if name in own else "prm" if path == LIKELIHOOD else kind_of(path)
        for name, path in paths.items()
    }
    for name, kind in kinds.items():
        if name in ("prm", "orm") and kind != name:
            raise ValueError(
                f"--verifiers {name}={paths[name]}: its kind is {kind}; swap the two, or give it another name"
            )
    if LIKELIHOOD in paths.values() and args.engine != "hf":
        raise ValueError(
            f"--verifiers {LIKELIHOOD} needs --engine hf: engine {args.engine} does not say how likely a text is"
        )
    methods = find_methods(args, kinds, problems[0])
    generator = args.load()
    verifiers = {
        name: own[name]
        if name in own
        else likelihood(generator)
        if path == LIKELIHOOD
        else find_verifier(path, args.dtype)
        for name, path in paths.items()
    }
    check_verifiers(verifiers, [problem.prompt for problem in problems], generator)
    learned: dict[str, str] = {}  # file that a method learned from other problems -> hash
    for method in methods:
        if method.strategy in LEARNED:
            parameter, check_fits = LEARNED[method.strategy]
            path, verifier = method.parameters[parameter], verifiers[method.verifier].name if method.verifier else None
            check_fits(path, verifier, generator.name, [problem.id for problem in problems])
            learned[path] = file_hash(path)

    # What changes the answers to a request (a verifier's own name is part of its requests), and what changes the results.
    asked = {"generator": generator.name, "problems": args.problems, "split": args.split, "chunk": args.chunk}
    asked |= {"seed": args.seed, "input": file_hash(args.problems) if Path(args.problems).is_file() else None}
    settings = asdict(unlimited(args))
    header = {k: v for k, v in settings.items() if k not in ("output_dir", "batch_size", "reuse", "dtype")} | asked
    header |= {
        "format": FORMAT,
        "verifiers": {name: verifier.name for name, verifier in verifiers.items()},
        "methods": [method.name for method in methods],
        "learned": learned,
    }
    open_journal = partial(Journal, output_dir / "results.journal", header, "Give another --output_dir")
    if is_written(output_dir) and len(open_journal().done) == len(chunks):
        print(f"{output_dir} is complete already")
        return
    held = sole_writer(output_dir / ".lock", output_dir, "wait for it, or give another --output_dir")
    journal = open_journal()

    work = list(enumerate(chunks))
    if args.estimate:
        work = pilot(work)
    shapes = known_shapes([generator, *verifiers.values()])
    searches = [(method, verifiers[method.verifier] if method.verifier else None) for method in methods]
    costs: dict[str, Cost] = {}
    done = sum(len(chunks[number]) for number in journal.done)
    with tqdm(total=len(problems) * len(methods), initial=done * len(methods), unit="search", desc="search") as bar:
        for number, chunk in work:
            if number in journal.done and not args.estimate:
                continue
            answered = AnsweredRequests(output_dir / "requests" / f"{number}.journal", asked)
            if args.reuse:
                answered.take(Path(args.reuse) / "requests" / f"{number}.journal", asked)
            if number not in journal.done:
                try:
                    found = [
                        search(
                            method,
                            chunk,
                            generator,
                            verifier,
                            budget,
                            args.seed,
                            answered,
                            bar.update,
                            limits,
                            shapes,
                            verifiers,
                        )
                        for method, verifier in searches
                    ]
                except LimitReached:
                    break
                rows = [
                    results_to_row(problem, its, answers.group) for problem, *its in zip(chunk, *found, strict=True)
                ]
                journal.append(number, rows)
            costs |= {problem.id: answered.costs[problem.id] for problem in chunk}

    if args.estimate:
        print(search_report(costs, len(problems), args.price_per_million_tokens))
        return
    unfinished = sum(len(chunk) for number, chunk in enumerate(chunks) if number not in journal.done)
    if unfinished:
        print(stopped(limits, unfinished, len(problems)))
    if not journal.done:
        return
    write_jsonl(output_dir / "results.jsonl", journal.rows())

    facts: dict[str, Any] = {
        "format": FORMAT,
        "problems": args.problems,
        "split": args.split,
        "n": args.samples,
        "seed": args.seed,
        "methods": {method.name: method.budget(budget).samples for method in methods},
        "generator": {
            "name": generator.name,
            "num_parameters": generator.num_parameters,
            "temperature": args.temperature,
            "template": asdict(template),
        },
        "verifiers": {
            name: {
                "path": paths[name],
                "fingerprint": verifier.name,
                "num_parameters": verifier.num_parameters,
                "kind": verifier.kind,
            }
            | critiques(verifier)
            for name, verifier in verifiers.items()
        },
        "seconds": time.monotonic() - started,
        "unfinished_problems": unfinished,
    }
    write_provenance(
        output_dir,
        "eval/run_search.py",
        unlimited(args),
        [args.problems, *files_of(args.prompt), *learned],
        **facts,
    )
    print(f"{output_dir}: {len(problems) - unfinished} problems, {len(methods)} methods, {facts['seconds']:.0f} s")
    held.close()


def is_written(output_dir: Path) -> bool:
    """Whether the files of the finished run are there. Those of one that a limit stopped may be, too: meta.json, which is
    written last, says that problems are missing. A damaged one says nothing, and is written again."""
    if not all((output_dir / name).is_file() for name in ("results.jsonl", "config.yaml", "meta.json")):
        return False
    try:
        return read_object(output_dir / "meta.json", "it is written again").get("unfinished_problems") == 0
    except ValueError as error:
        print(f"warning: {error}", file=sys.stderr)
        return False


def check_verifiers(verifiers: dict[str, Verifier], prompts: list[str], generator: Generator) -> None:
    """Refuse a verifier of other steps, and say where a trace may be too long, before anything is sampled."""
    from prm.verifiers.served import ServedVerifier
    from prm.verifiers.step_verifier import StepVerifier

    for name, verifier in verifiers.items():
        if not isinstance(verifier, StepVerifier | ServedVerifier):  # one of the user's own says nothing of its steps
            continue
        try:
            warning = verifier.check_generator(prompts, generator.step_rule, generator.max_new_tokens)
        except ValueError as error:
            raise ValueError(f"--verifiers {name}: {error}") from error
        if warning:
            print(f"warning: {name} {visible(warning)}", file=sys.stderr)


def likelihood(generator: Generator) -> Verifier:
    from prm.generators.hf import HfGenerator
    from prm.verifiers.likelihood import LikelihoodVerifier

    assert isinstance(generator, HfGenerator)  # `main` has seen to it
    return LikelihoodVerifier(generator)


def critiques(verifier: Verifier) -> dict[str, Any]:
    """What a generative verifier wrote in this run, and how much of it could not be read."""
    from prm.verifiers.generative import GenerativeVerifier

    return {"critiques": dict(verifier.ledger)} if isinstance(verifier, GenerativeVerifier) else {}


def known_shapes(models: list[Any]) -> dict[str, ModelShape]:
    """By the name of the generator or verifier; that of a served model, or of a verifier of the user's own, is not known."""
    from prm.generators.hf import HfGenerator
    from prm.models.shape import model_shape
    from prm.verifiers.generative import GenerativeVerifier
    from prm.verifiers.likelihood import LikelihoodVerifier
    from prm.verifiers.step_verifier import StepVerifier

    kinds = HfGenerator | StepVerifier | LikelihoodVerifier | GenerativeVerifier
    ours = [model for model in models if isinstance(model, kinds) and model.model is not None]
    return {model.name: model_shape(model.model) for model in ours}


def named_paths(texts: list[str]) -> dict[str, str]:
    """Name -> path of each verifier."""
    paths: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name.isidentifier() or not path:
            raise ValueError(
                f"--verifiers {text!r} must be name=path, such as prm=outputs/prm; the name is one word of letters"
            )
        if name in paths:
            raise ValueError(f"--verifiers: {name} twice, {paths[name]} and {path}; give one of them another name")
        paths[name] = path
    return paths


def find_methods(args: Arguments, kinds: dict[str, str], problem: Problem) -> list[Method]:
    """The methods in the order given; those that the verifiers can do where none are given.

    Each begins to search one problem: what cannot work is refused before anything is loaded.

    Args:
        kinds: name of a verifier -> prm or orm.
    """
    texts = args.methods
    if not texts:
        texts = default_methods(kinds, args.samples)
        if "prm" in kinds.values() and args.samples < BEAM_WIDTH:
            print(f"note: without beam search, which needs --samples {BEAM_WIDTH}, or --methods that give its width")
    methods = [parse_method(text, list(kinds)) for text in texts]
    for method in methods:
        kind = kinds[method.verifier] if method.verifier else None
        if warning := check_method(method, kind, problem, Budget(args.samples), args.seed):
            print(f"warning: {visible(warning)}", file=sys.stderr)
    names = [method.name for method in methods]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"--methods: {', '.join(twice)} twice; leave one out")
    return methods


if __name__ == "__main__":
    run_script(main, Arguments)
