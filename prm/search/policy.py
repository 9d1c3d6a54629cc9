"""Policy: which strategy, with how many samples, for which difficulty; learned on other problems and kept as a file.

It predicts the difficulty of a problem from its first samples (`prm.evaluation.difficulty`) and names what to do in each
bin, the easiest first. `eval/fit_policy.py` learns one from a stored run (`prm.evaluation.compute_optimal`), and the
strategy `compute_optimal` follows it. One file, shortened:

    {"statistic": "lead", "samples": 2, "edges": [0.11, 0.48],
     "choices": [{"strategy": "weighted_vote", "parameters": {}, "samples": 2},
                 {"strategy": "rebase", "parameters": {}, "samples": 4},
                 {"strategy": "rebase", "parameters": {"temperature": 0.1}, "samples": 16}],
     "verifier": "prm-91ab03fe", "generator": "arithmetic-generator-0c1d2e3f",
     "card": {"learned_from": "300 validation problems of arithmetic", "bins": [{"share": 0.4, ...}, ...],
              "promise": {"accuracy": {"mean": 0.95, "low": 0.92, "high": 0.97}, "generated_tokens": {"mean": 180.2, ...},
                          "flops": {...}}},
     "problems": ["arithmetic/validation/0", ...]}

What the card promises is the accuracy on problems that had no part in the choices for them, and what the choices of the file
cost on those that they were learned from, everything charged. It holds for problems of the same kind with the same generator
and verifier; of others it says nothing, so a policy of another generator or verifier, or of the problems themselves, is
refused.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

from prm.evaluation.compute_optimal import Bins, Point, bins_PR, fit
from prm.evaluation.difficulty import STATISTICS, WITHOUT_VERIFIER, bin_of, difficulty
from prm.evaluation.menus import Arm, Menu
from prm.evaluation.search_metrics import bootstrap
from prm.files import read_object, write_whole
from prm.search.learned import check_learned
from prm.search.requests import Search
from prm.types import Scores


@dataclass(frozen=True)
class Choice:
    """What to do in one bin."""

    strategy: str
    parameters: dict[str, Any]
    samples: int


@dataclass(frozen=True)
class Policy:
    """See the module's docstring."""

    statistic: str
    samples: int
    """Of the probe: as many are drawn before the difficulty is predicted."""
    edges: tuple[float, ...]
    choices: tuple[Choice, ...]
    """One more than edges."""
    verifier: str | None
    """Fingerprint; None if the policy asks none."""
    generator: str
    """Fingerprint."""
    card: dict[str, Any]
    problems: tuple[str, ...]
    """Ids of those that it was learned from."""

    @property
    def scored(self) -> bool:
        """Whether the probe is shown to the verifier."""
        return self.statistic not in WITHOUT_VERIFIER

    @property
    def most(self) -> int:
        """Samples that a budget must hold."""
        return max(self.samples, *(choice.samples for choice in self.choices))

    def choose(self, classes: Sequence[int | None], scores: Sequence[Scores | None]) -> Choice:
        """What to do after these first samples.

        Args:
            classes: which of them give equal answers; None for those that may not be chosen.
        """
        if self.scored:
            classes = [c if its else None for c, its in zip(classes, scores, strict=True)]
        its = difficulty(self.statistic, classes, [its.trace if its else 0.0 for its in scores])
        return self.choices[bin_of(its, self.edges)]

    def save(self, path: Path) -> None:
        write_whole(path, json.dumps(asdict(self), indent=1) + "\n")


@lru_cache(maxsize=8)
def read_policy(path: str) -> Policy:
    """
    Raises:
        FileNotFoundError, ValueError: there is none, or it names what does not exist.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"policy {path} does not exist; eval/fit_policy.py writes one")
    try:
        values = read_object(path, "eval/fit_policy.py writes one")
        choices = tuple(Choice(**choice) for choice in values["choices"])
        edges = tuple(float(edge) for edge in values["edges"])
        policy = Policy(**{**values, "choices": choices, "edges": edges, "problems": tuple(values["problems"])})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no policy ({error!r:.80}); eval/fit_policy.py writes one") from error
    if policy.statistic not in STATISTICS:
        raise ValueError(f"{path}: no statistic {policy.statistic!r}; there are {', '.join(STATISTICS)}")
    if len(policy.choices) != len(policy.edges) + 1 or list(policy.edges) != sorted(set(policy.edges)):
        raise ValueError(
            f"{path}: {len(policy.choices)} choices for the edges {list(policy.edges)}; edges rise, and choices are one more"
        )
    if policy.samples < 1 or any(choice.samples < 1 for choice in policy.choices):
        raise ValueError(f"{path}: a probe and a choice take at least one sample")
    for choice in policy.choices:
        known = parameters_of(choice.strategy)
        if known is None:
            raise ValueError(f"{path}: no strategy {choice.strategy!r} that runs without parameters of its own")
        if unknown := sorted(choice.parameters.keys() - known):
            raise ValueError(
                f"{path}: {choice.strategy} has no parameter {unknown[0]!r}; there are {', '.join(sorted(known))}"
            )
    return policy


def strategy_of(name: str) -> Callable[..., Search]:
    """The strategy in the module of its name. `prm.search.STRATEGIES`, which lists all, has the one that asks here.

    Raises:
        ImportError, AttributeError, ValueError: there is none.
    """
    return resolve_name(f"prm.search.{name}:{name}")


def parameters_of(strategy: str) -> set[str] | None:
    """Names of its parameters; None if it is no strategy of this project, or needs a file or a second verifier: what comes
    of it then depends on more than the policy knows."""
    try:
        known = list(inspect.signature(strategy_of(strategy)).parameters.values())[3:]  # after problem, budget, seed
    except (ImportError, AttributeError, ValueError):
        return None
    return None if any(its.default is inspect.Parameter.empty for its in known) else {its.name for its in known}


def offered(arm: Arm) -> bool:
    """Whether a policy may choose this method."""
    return parameters_of(arm.strategy) is not None


def fit_policy(menu: Menu, bins: Bins, price: float, promise: Point) -> Policy:
    """The policy that a price makes, learned from all problems of a menu.

    Args:
        menu: with a probe.
        price: of the cost of a sample, in FLOPs, as in `prm.evaluation.compute_optimal.PRICES`.
        promise: what comes of this price on problems that had no part in the choices for them.
    """
    assert menu.probe is not None, "a menu without a probe"
    edges, arms = fit(menu, bins, "flops", "on average", price)
    run, judge = menu.run, menu.verifier
    its_bin_PR = bins_PR(menu, edges)
    # Halves may choose otherwise than all problems do, which changes what is spent more than how often it is right. So the
    # accuracy is that of problems that had no part in a choice, and the cost that of the choices in the file.
    arms_PR, those_P1 = np.array(arms)[its_bin_PR], np.arange(len(run.rows))[:, None]
    costs_P = {name: menu.cost_PA(name)[those_P1, arms_PR].mean(axis=1) for name in promise.cost_P}
    values = {"accuracy": promise.right_P, **costs_P}
    return Policy(
        statistic=menu.probe.statistic,
        samples=menu.probe.samples,
        edges=edges,
        choices=tuple(Choice(menu.arms[a].strategy, dict(menu.arms[a].parameters), menu.arms[a].samples) for a in arms),
        verifier=None if judge is None else run.meta["verifiers"][judge]["fingerprint"],
        generator=run.meta["generator"]["name"],
        card={
            "learned_from": f"{len(run.rows)} {run.meta['split']} problems of {run.meta['problems']}",
            "promise": {name: vars(bootstrap(its_P.tolist())) for name, its_P in values.items()},
            "bins": [
                {"method": menu.arms[a].words, "share": float((its_bin_PR == b).mean())} for b, a in enumerate(arms)
            ],
        },
        problems=tuple(menu.problems),
    )


def check_fits(path: str, verifier: str | None, generator: str, problems: Collection[str]) -> None:
    """Refuse a policy whose promise says nothing of a search, or too much.

    Args:
        verifier, generator: fingerprints of those of the search.
        problems: ids of those that are to be searched.

    Raises:
        ValueError: it was learned of another verifier or generator, or of one of these problems.
    """
    its = read_policy(path)
    models: dict[str, tuple[str | None, str | None]] = {"generator": (its.generator, generator)}
    if its.verifier is not None:
        models = {"verifier": (its.verifier, verifier), **models}
    check_learned(
        path,
        models,
        its.problems,
        problems,
        "learn another one, with eval/fit_policy.py",
        "what it promises is no forecast of them: search other ones, or learn from those of another --split",
    )
