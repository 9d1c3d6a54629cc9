"""Methods: a strategy, its verifier and its parameters, by name.

    majority                       the strategy alone
    best_of_n prm                  with the verifier called `prm`
    beam_search prm width=8        with a parameter
    lookahead_search prm samples=4 with a budget of its own: N is 4, whatever --samples says
    cascade prm cheap=orm          with a second verifier, if the strategy has a parameter for it
    my_search.py:first_wins prm    a strategy of one's own

The name of a method in rows and reports is made of its parts: `prm_beam_search[width=8]`.
"""

from __future__ import annotations

import difflib
import inspect
import types
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from prm.command_line import convert, expected
from prm.search import STRATEGIES
from prm.search.requests import Expand, Revise, Sample, Score, Search, VerifierName
from prm.storage.user_code import load_object
from prm.types import Budget, Problem, Scores, Trace

SAMPLES = "samples"
"""The parameter that every method has."""


@dataclass(frozen=True)
class Method:
    """See the module's docstring."""

    strategy: str
    run: Callable[..., Search]
    verifier: str | None = None
    """Name of the verifier in the run."""
    parameters: dict[str, Any] = field(default_factory=dict)
    samples: int | None = None
    """N of its own, instead of the run's."""

    @property
    def name(self) -> str:
        base = f"{self.verifier}_{self.strategy}" if self.verifier else self.strategy
        return f"{base}[{','.join(self._settings)}]" if self._settings else base

    @property
    def words(self) -> str:
        """As it is written on a command line, for messages: `beam_search prm width=8`."""
        return " ".join([self.strategy, *([self.verifier] if self.verifier else []), *self._settings])

    @property
    def _settings(self) -> list[str]:
        own = {} if self.samples is None else {SAMPLES: self.samples}
        # Booleans as they are typed: vote=true.
        values = {k: str(v).lower() if isinstance(v, bool) else v for k, v in (self.parameters | own).items()}
        return [f"{key}={value}" for key, value in values.items()]

    def budget(self, budget: Budget) -> Budget:
        """That of the run, with N of its own."""
        return budget if self.samples is None else replace(budget, samples=self.samples)

    def start(self, problem: Problem, budget: Budget, seed: int) -> Search:
        """The strategy on one problem; nothing runs before its first request is asked for.

        Raises:
            ValueError: it is no generator function.
        """
        search: Any = self.run(problem, budget, seed, **self.parameters)
        if not inspect.isgenerator(search):
            raise ValueError(
                f"{self.words} returned {search!r}; a strategy is a generator function: it yields Sample, Expand, Revise or"
                " Score, and returns Found(candidates, scores, chosen)"
            )
        return search  # type: ignore[return-value]


def parse_method(text: str, verifiers: Sequence[str]) -> Method:
    """A method from its words.

    Args:
        verifiers: names of the verifiers of the run.

    Raises:
        ValueError: an unknown strategy, verifier or parameter; says which there are. A parameter of another type, or twice.
    """
    name, *words = text.split()
    settings = [
        (key, yaml.safe_load(value)) for key, is_setting, value in (w.partition("=") for w in words) if is_setting
    ]
    named = [word for word in words if "=" not in word]
    if ".py:" in name:
        run = load_object(name)
        name = name.rpartition(":")[2]
    elif name in STRATEGIES:
        run = STRATEGIES[name]
    else:
        raise ValueError(f"method {text!r}: no strategy {name!r}{_instead(name, STRATEGIES)}, or file.py:name")
    if len(named) > 1 or (named and named[0] not in verifiers):
        unknown = named[1] if len(named) > 1 else named[0]
        raise ValueError(
            f"method {text!r}: no verifier {unknown!r}{_instead(unknown, verifiers)}; write `strategy verifier`"
        )
    if not inspect.isfunction(run) or len(signature := inspect.signature(run).parameters) < 3:
        raise ValueError(
            f"method {text!r}: {name} is no strategy; write def {name}(problem, budget, seed), which yields"
        )
    known = list(signature)[3:]  # after problem, budget, seed
    parameters: dict[str, Any] = {}
    for key, value in settings:
        if key not in (*known, SAMPLES):
            raise ValueError(f"method {text!r}: {name} has no parameter {key!r}{_instead(key, [*known, SAMPLES])}")
        if key in parameters:
            raise ValueError(f"method {text!r}: {key} twice; leave one out")
        kind = int if key == SAMPLES else _kind(run, signature[key])
        if kind is VerifierName and value not in verifiers:
            raise ValueError(f"method {text!r}: {key} names no verifier{_instead(str(value), verifiers)}")
        try:
            parameters[key] = convert(str if kind is VerifierName else kind, value)
        except ValueError as error:
            wrong, needed = error.args
            raise ValueError(f"method {text!r}: {key} is {wrong!r}; expected {expected(needed, wrong)}") from error
    required = [key for key in known if signature[key].default is inspect.Parameter.empty]
    if missing := [key for key in required if key not in parameters]:
        raise ValueError(f"method {text!r}: {name} needs {', '.join(f'{key}=...' for key in missing)}")
    samples = parameters.pop(SAMPLES, None)
    if samples is not None and samples < 1:
        raise ValueError(f"method {text!r}: samples is {samples}; it must be at least 1")
    return Method(name, run, named[0] if named else None, parameters, samples)


def settings_of(name: str, strategy: str) -> dict[str, Any]:
    """The parameters of a stored method, those that its name does not state with their defaults.

    >>> settings_of("prm_beam_search[width=sqrt]", "beam_search")
    {'width': 'sqrt', 'max_steps': 40, 'refill': False, 'vote': True, 'weigh': True}
    """
    known = list(inspect.signature(STRATEGIES[strategy]).parameters.values())[3:]
    stated = [words.split("=", 1) for words in name.partition("[")[2].rstrip("]").split(",") if words]
    return {parameter.name: parameter.default for parameter in known} | {k: yaml.safe_load(v) for k, v in stated}


def _kind(run: types.FunctionType, parameter: inspect.Parameter) -> Any:
    """The type that a parameter is declared with."""
    kind = parameter.annotation
    if isinstance(kind, str):  # as in every file with `from __future__ import annotations`
        kind = eval(kind, run.__globals__)
    return Any if kind is inspect.Parameter.empty else kind


def check_method(method: Method, kind: str | None, problem: Problem, budget: Budget, seed: int) -> str | None:
    """What to warn of before a method runs, and before any model is loaded: its first traces are made up.

    Args:
        kind: of its verifier, prm or orm; None if it names none.

    Raises:
        ValueError: its strategy is none, or refuses the budget, or asks for scores without a verifier.
    """
    search = method.start(problem, method.budget(budget), seed)
    request = next(search, None)
    if isinstance(request, Expand) and kind == "orm":
        return (
            f"{method.words} ranks unfinished traces by an ORM, which learned to score whole ones; give a PRM, or an ORM"
            " trained with --tokens all"
        )
    trace = Trace(problem.id, ("made up",), "made up", None)
    with suppress(StopIteration):
        if isinstance(request, Sample | Expand):
            request = search.send([trace] * (request.n if isinstance(request, Sample) else len(request.parents)))
        while isinstance(request, Revise):
            request = search.send([trace] * len(request.attempts))
        while isinstance(request, Score) and request.by is not None:
            request = search.send([Scores((1.0,), 1.0)] * len(request.traces))
    if isinstance(request, Score) and kind is None:
        raise ValueError(f"{method.words} asks for scores; name a verifier after it: {method.strategy} prm")
    return None


BEAM_WIDTH: int = inspect.signature(STRATEGIES["beam_search"]).parameters["width"].default


def default_methods(kinds: dict[str, str], samples: int) -> list[str]:
    """Majority voting, and for each verifier what it can do with so many samples.

    Args:
        kinds: name of a verifier -> prm or orm.
    """
    methods = ["majority"]
    for name, kind in kinds.items():
        methods += [f"best_of_n {name}", f"weighted_vote {name}"]
        methods += [f"beam_search {name}"] if kind == "prm" and samples >= BEAM_WIDTH else []
    return methods


def _instead(word: str, known: Sequence[str] | dict[str, Any]) -> str:
    close = difflib.get_close_matches(word, list(known))
    hint = f", did you mean {close[0]!r}?" if close else ";"
    return f"{hint} there {'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}"
