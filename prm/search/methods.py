"""Methods: a strategy, its verifier and its parameters, by name.

    majority                       the strategy alone
    best_of_n prm                  with the verifier called `prm`
    beam_search prm width=8        with a parameter
    my_search.py:first_wins prm    a strategy of one's own

The name of a method in rows and reports is made of its parts: `prm_beam_search[width=8]`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from prm.search import STRATEGIES
from prm.search.requests import Search
from prm.storage.user_code import load_object
from prm.types import Budget, Problem


@dataclass(frozen=True)
class Method:
    """See the module's docstring."""

    strategy: str
    run: Callable[..., Search]
    verifier: str | None = None
    """Name of the verifier in the run."""
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        base = f"{self.verifier}_{self.strategy}" if self.verifier else self.strategy
        settings = ",".join(f"{key}={value}" for key, value in self.parameters.items())
        return f"{base}[{settings}]" if settings else base

    def start(self, problem: Problem, budget: Budget, seed: int) -> Search:
        """The strategy on one problem; nothing runs before its first request is asked for."""
        return self.run(problem, budget, seed, **self.parameters)


def parse_method(text: str, verifiers: Sequence[str]) -> Method:
    """A method from its words.

    Args:
        verifiers: names of the verifiers of the run.

    Raises:
        ValueError: an unknown strategy, verifier or parameter; says which there are.
    """
    name, *words = text.split()
    parameters = {
        key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in words if "=" in word)
    }
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
    known = list(inspect.signature(run).parameters)[3:]  # after problem, budget, seed
    for key in parameters:
        if key not in known:
            raise ValueError(f"method {text!r}: {name} has no parameter {key!r}{_instead(key, known)}")
    return Method(name, run, named[0] if named else None, parameters)


def default_methods(kinds: dict[str, str]) -> list[str]:
    """Majority voting, and for each verifier what it can do. `kinds`: name of a verifier -> prm or orm."""
    methods = ["majority"]
    for name, kind in kinds.items():
        methods += [f"best_of_n {name}", f"weighted_vote {name}"]
        methods += [f"beam_search {name}"] if kind == "prm" else []
    return methods


def _instead(word: str, known: Sequence[str] | dict[str, Any]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    hint = f", did you mean {close[0]!r}?" if close else ";"
    return f"{hint} there {'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}"
