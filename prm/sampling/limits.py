"""Limits: how much one run may sample, and what the whole work would cost.

    limits = Limits(max_tokens=1_000_000)
    RolloutSource(generator, seed, known, commit, limits)    # takes what is known as before; else raises LimitReached
    search(method, problems, ..., answered, limits=limits)   # the same with requests that were answered before

A limit is checked before a batch is sampled, so every batch is committed whole, and the run that goes on forms the same
batches as one that was never stopped. It counts what this run samples; what is on disk already costs nothing.

An estimate samples the chunks of `pilot` and multiplies what their problems cost:

    pilot: 128 problems, 61,440 tokens
    all 5,000 problems: 2,400,000 tokens (95%: 2,210,000 to 2,590,000), ...

Left out: prompts (hundreds of samples share one prefill), and that problems of one chunk may be alike.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, variance
from typing import TypeVar

from prm.files import read_object
from prm.storage.provenance import is_complete
from prm.types import Cost, Rollout

Settings = TypeVar("Settings", bound="LimitArguments")
Unit = TypeVar("Unit")


class LimitReached(Exception):
    """More would have to be sampled than this run may."""


class Limits:
    """What a run may sample and has sampled."""

    def __init__(self, max_tokens: int | None = None, max_hours: float | None = None) -> None:
        """The hours begin now."""
        if any(limit is not None and limit <= 0 for limit in (max_tokens, max_hours)):
            raise ValueError(f"max_tokens is {max_tokens}, max_hours is {max_hours}; a limit must be more than 0")
        self.max_tokens = max_tokens
        self.max_hours = max_hours
        self.sampled = 0
        """Tokens."""
        self._started = time.monotonic()

    def add(self, tokens: int) -> None:
        self.sampled += tokens

    @property
    def reached(self) -> str | None:
        """The flag that forbids to sample more; None if there is none."""
        if self.max_tokens is not None and self.sampled >= self.max_tokens:
            return "max_tokens"
        if self.max_hours is not None and time.monotonic() - self._started >= 3600 * self.max_hours:
            return "max_hours"
        return None


@dataclass(kw_only=True)
class LimitArguments:
    """The flags of a script that stops at a limit or estimates its cost. They do not change what is written at the end."""

    max_tokens: int | None = field(
        default=None,
        metadata={"help": "stop when this run has sampled so many tokens; start it again to go on", "least": 1},
    )
    max_hours: float | None = field(
        default=None,
        metadata={"help": "stop when this run has taken so many hours; start it again to go on", "above": 0},
    )
    estimate: bool = field(
        default=False, metadata={"help": "sample one or two chunks, and print what all of them would take"}
    )
    price_per_million_tokens: float | None = field(
        default=None, metadata={"help": "estimate: price of a million generated tokens, in any currency", "least": 0}
    )

    def limits(self) -> Limits:
        return Limits(self.max_tokens, self.max_hours)


def unlimited(args: Settings) -> Settings:
    """The settings without limits: those that decide what the finished file contains."""
    return replace(args, max_tokens=None, max_hours=None, estimate=False, price_per_million_tokens=None)


def is_finished(output: str, args: LimitArguments, inputs: Sequence[str]) -> bool:
    """Whether this file was written with these settings and inputs, and not by a run that a limit stopped.

    Raises:
        ValueError: as `is_complete`.
    """
    if not is_complete(output, unlimited(args), inputs):
        return False
    meta = read_object(Path(output).with_suffix(".meta.json"), f"delete {output} to make it again")
    return not meta.get("unfinished_problems")


def stopped(limits: Limits, unfinished: int, problems: int) -> str:
    """What a run says that a limit has stopped."""
    limit = limits.reached
    return (
        f"--{limit} is reached with {limits.sampled:,} tokens: {unfinished:,} of {problems:,} problems are not finished and"
        f" have no rows. Start the same command again, without --{limit} or with a larger one, to go on"
    )


def pilot(units: Sequence[Unit]) -> list[Unit]:
    """The units that are sampled for an estimate: the first, and one from the middle if there are more than three.

    Whole units, so that the later run finds the batches that it would have formed.
    """
    return [units[0], units[len(units) // 2]] if len(units) > 3 else list(units[:1])


class Pilot:
    """What some problems of a run cost, to estimate what all of them cost."""

    def __init__(self) -> None:
        self._tokens: Counter[str] = Counter()

    def add(self, problem_ids: Sequence[str], rollouts: Sequence[Rollout]) -> None:
        """Add all rollouts of some problems, sampled now or earlier. A problem without any costs nothing."""
        self._tokens.update(dict.fromkeys(problem_ids, 0))
        for rollout in rollouts:
            self._tokens[rollout.problem_id] += rollout.num_tokens

    def report(self, problems: int, sampled: int, seconds: float, price: float | None) -> str:
        """
        Args:
            sampled: tokens that had to be sampled for the pilot.
            seconds: that this took.
            price: of a million tokens.
        """
        if not self._tokens:
            return "no problem of the pilot was finished, so nothing can be estimated; raise the limit"
        total = of_all(self._tokens.values(), problems)
        lines = [
            f"pilot: {len(self._tokens):,} problems, {self._tokens.total():,} tokens; {sampled:,} of them sampled now, in"
            f" {seconds:.0f} s",
            f"all {problems:,} problems: {_interval(total, ',.0f')} tokens",
        ]
        if sampled:
            rate = sampled / seconds
            duration = _duration([tokens / rate for tokens in total])
            lines.append(f"{duration} for one process like this one, at {rate:,.0f} tokens/s")
        else:
            lines.append("hours: unknown, because the pilot was in the store already")
        if price is not None:
            cost = _cost(total, price)
            lines.append(f"cost: {cost} at {price:g} per million generated tokens; prompts are not counted")
        return "\n".join(lines)


def search_report(pilot_costs: Mapping[str, Cost], problems: int, price: float | None) -> str:
    """What the search of all problems would take.

    Args:
        pilot_costs: of the requests of some problems, each answered once, whatever the number of methods that share it.
        price: of a million generated tokens.
    """
    if not pilot_costs:
        return "no problem of the pilot was finished, so nothing can be estimated; raise the limit"
    generated, read, seconds = (
        [getattr(cost, name) for cost in pilot_costs.values()]
        for name in ("generated_tokens", "verifier_tokens", "seconds")
    )
    all_generated = of_all(generated, problems)
    lines = [
        f"pilot: {len(pilot_costs):,} problems, {sum(generated):,} generated tokens and {sum(read):,} read by verifiers,"
        f" in {sum(seconds):.0f} s",
        f"all {problems:,} problems: {_interval(all_generated, ',.0f')} generated tokens",
        f"{_interval(of_all(read, problems), ',.0f')} tokens read by verifiers",
        f"{_duration(of_all(seconds, problems))} for one process like this one",
    ]
    if price is not None:
        cost = _cost(all_generated, price)
        lines.append(f"cost: {cost} at {price:g} per million generated tokens; prompts and verifiers are not counted")
    return "\n".join(lines)


def of_all(pilot: Iterable[float], problems: int) -> tuple[float, float, float]:
    """What so many problems take, of what some of them took: expected value, and the limits of its 95% interval.

    The pilot's problems are known. The sum of the m others has the standard deviation sqrt(m s² + m² s² / n), where s² is
    the variance among the n problems of the pilot: that of the sum itself, and that of the mean it is computed from.
    """
    known = list(pilot)
    n, m = len(known), problems - len(known)
    expected = sum(known) + m * fmean(known)
    if m and n < 2:
        return expected, sum(known), math.inf
    margin = 1.96 * math.sqrt((m + m * m / n) * variance(known)) if m else 0.0
    return expected, max(sum(known), expected - margin), expected + margin


def _duration(seconds: Sequence[float]) -> str:
    """In the largest unit of which it is at least one."""
    units = {"hours": 3600, "minutes": 60, "seconds": 1}
    unit = next((unit for unit, size in units.items() if seconds[0] >= size), "seconds")
    return f"{_interval([each / units[unit] for each in seconds], '.2f')} {unit}"


def _cost(tokens: Sequence[float], price: float) -> str:
    costs = [each / 1e6 * price for each in tokens]
    return _interval(costs, ",.2f" if costs[0] >= 1 else ".2g")


def _interval(numbers: Sequence[float], form: str) -> str:
    expected, low, high = (format(number, form) for number in numbers)
    return f"{expected} (95%: {low} to {high})"
