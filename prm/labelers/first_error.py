"""First wrong step by bisection: hard labels for a fraction of the rollouts (the idea of OmegaPRM, 2406.06592 sec. 3.2).

Error model. A prefix is *good* if the generator can still reach the answer from it, with probability p > 0 per rollout,
and *bad* if it cannot. So one success proves that a prefix and everything before it are good, and ends a probe at once.
Failures prove nothing: from a good prefix, k failures in a row have probability (1 - p)^k. So the only possible error is
to call a good step bad, and a larger k makes it rarer. A right trace is itself a success of all its prefixes and costs
nothing. In a wrong one, bisection keeps `good`, the longest prefix with a success, and probes the middle between it and
the nearest longer prefix with k failures. When none is left between the two, the next step is the first error, but only
after `confirm` failures from the prefix that ends with it.

    wrong trace of 8 steps   probe 4: success at the 2nd rollout   probe 6: k failures   probe 5: success   -> 6 is wrong

Rollouts that pass through a prefix, and other traces of the problem, also count as evidence (`prm.labelers.evidence`).
Left out: generators that often return to the right answer after a mistake (p > 0 after a wrong step). "Good" then means
"not lost", as with all Monte Carlo labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from prm.labelers.evidence import Evidence
from prm.labelers.plans import Plan, Planning, together
from prm.sampling.rollouts import Request
from prm.types import LabeledTrace, Problem, Trace


@dataclass(frozen=True)
class FirstError:
    """See `prm.labelers.Planner`."""

    rollouts: int = 4
    """Number of failures after which a probed prefix counts as bad."""
    confirm: int = 8
    """Number of failures after the first error before it is called so."""
    round: int = 2
    """Number of rollouts drawn at a time; a success ends the probe."""
    together: ClassVar[int] = 8
    """Its rounds ask for few rollouts of a problem: with so many times as many problems they fill a batch."""

    @property
    def method(self) -> str:
        return f"first_error@{self.rollouts}+{self.confirm}"

    def plan(self, problem: Problem, traces: Sequence[Trace], evidence: Evidence) -> Plan:
        evidence.watch(problem, traces)
        return together([self._plan_trace(problem, trace, evidence) for trace in traces])

    def _plan_trace(self, problem: Problem, trace: Trace, evidence: Evidence) -> Planning[LabeledTrace]:
        def counts(end: int) -> tuple[int, int]:
            return evidence.counts(problem, trace.steps[:end])

        def own(end: int) -> int:
            return len(evidence.own(problem, trace.steps[:end]))

        def seen(end: int) -> int:
            return max(counts(end)[1], own(end))  # an answer that could not be checked was not a success, either

        length = len(trace.steps)
        good = length if trace.correct else 0  # steps of the longest prefix that is known to be good
        while good < length:
            # The bracket: the longest prefix with a success, and the shortest longer one with enough failures.
            good = max([good, *(end for end in range(good + 1, length) if counts(end)[0])])
            bad = next((end for end in range(good + 1, length) if seen(end) >= self.rollouts), length)
            # Halve it, or confirm its upper end when nothing is left inside. An upper end at the whole trace needs no
            # rollouts, because the trace's own outcome is known.
            if bad > good + 1:
                probe, needed = (good + bad) // 2, self.rollouts
            elif bad < length and seen(bad) < self.confirm:
                probe, needed = bad, self.confirm
            else:
                break
            yield [Request(problem, trace.steps[:probe], own(probe) + min(self.round, needed - seen(probe)))]
        labels: list[bool | None] = [end <= good for end in range(1, length + 1)]
        outcome = (0, 0) if trace.correct is None else (int(trace.correct), 1)
        if trace.correct is None and good == length - 1:
            labels[-1] = None  # a trace from elsewhere, whose outcome nobody knows
        return LabeledTrace(
            trace=trace,
            labels=tuple(labels),
            values=None,
            counts=(*(counts(end) for end in range(1, length)), outcome),
            method=self.method,
            semantics="value",
        )
