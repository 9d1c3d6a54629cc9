"""First wrong step by bisection: hard labels for a fraction of the rollouts (the idea of OmegaPRM, 2406.06592 sec. 3.2).

Error model. A prefix is *good* if the generator can still reach the answer from it, with chance p > 0 per rollout, and
*bad* if it cannot. So one success proves a prefix and everything before it good, for certain; that ends a probe at
once. Failures prove nothing: k of them in a row happen to a good prefix with chance (1 - p)^k, so the only possible
error is to call a good step bad, and k is what buys safety. A right trace is itself a success of all its prefixes and
costs nothing. In a wrong one, bisection keeps `good`, the last prefix with a success, and looks at the middle between
it and the nearest prefix behind it that had k failures; before the step in between is called the first error, it must
have failed `confirm` times.

    wrong trace of 8 steps   probe 4: success at the 2nd rollout   probe 6: k failures   probe 5: success   -> 6 is wrong

Successes and failures of rollouts that pass through a prefix, and those of other traces of the problem, count as
evidence (`prm.labelers.evidence`). Left out: generators that often slip back to the right answer after a mistake (p > 0
behind a wrong step); what counts as good is then "not lost", as with all Monte Carlo labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prm.labelers.evidence import Evidence
from prm.labelers.plans import Plan, Steps, together
from prm.sampling.rollouts import Request
from prm.types import LabeledTrace, Problem, Trace


@dataclass(frozen=True)
class FirstError:
    """See `prm.labelers.Planner`."""

    rollouts: int = 4
    """Failures that make a probed prefix count as bad."""
    confirm: int = 8
    """Failures behind the step that is called the first error."""
    round: int = 2
    """Drawn at a time; a success ends the probe."""

    @property
    def method(self) -> str:
        return f"first_error@{self.rollouts}+{self.confirm}"

    def plan(self, problem: Problem, traces: Sequence[Trace], evidence: Evidence) -> Plan:
        evidence.watch(problem, traces)
        return together([self._plan_trace(problem, trace, evidence) for trace in traces])

    def _plan_trace(self, problem: Problem, trace: Trace, evidence: Evidence) -> Steps[LabeledTrace]:
        def counts(end: int) -> tuple[int, int]:
            return evidence.counts(problem, trace.steps[:end])

        def own(end: int) -> int:
            return len(evidence.own(problem, trace.steps[:end]))

        def seen(end: int) -> int:
            return max(counts(end)[1], own(end))  # an answer that could not be checked was no success either

        length = len(trace.steps)
        good = length if trace.correct else 0  # steps of the longest prefix that is known to be good
        while good < length:
            good = max([good, *(end for end in range(good + 1, length) if counts(end)[0])])
            bad = next((end for end in range(good + 1, length) if seen(end) >= self.rollouts), length)
            if bad > good + 1:
                probe, needed = (good + bad) // 2, self.rollouts
            elif bad < length and seen(bad) < self.confirm:
                probe, needed = bad, self.confirm
            else:
                break
            yield [Request(problem, trace.steps[:probe], own(probe) + min(self.round, needed - seen(probe)))]
        return LabeledTrace(
            trace=trace,
            labels=tuple(end <= good for end in range(1, length + 1)),
            values=None,
            counts=(*(counts(end) for end in range(1, length)), (int(bool(trace.correct)), 1)),
            method=self.method,
            semantics="value",
        )
