r"""inspect_ai: a scorer that adds step scores to the verdict, and reducers that choose among epochs by them.

    Task(dataset, solver=generate(), scorer=step_scores("outputs/quickstart/prm"),
         epochs=Epochs(16, ["mean", best_of_n(), weighted_vote()]))

The score of a sample is whether its answer is right (`prm.answers`); what the verifier said of it is in its metadata:

    Score(value="C", answer="63", metadata={"verifier": 0.93, "steps": [0.97, 0.94, 0.93], "usable": True})

A reducer sees nothing but these scores, so it can choose after the fact, in `inspect score` of a stored log as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prm import answers
from prm.adapters.texts import CHOICES, TextVerifier, load_text_verifier
from prm.types import Scores, StepRule, Trace


def step_scores(verifier: str, step_rule: StepRule | None = None) -> Any:
    """A scorer. The problem is the input of the sample, the solution is the model's completion, its target the gold answer.

    Args:
        verifier, step_rule: as in `load_text_verifier`.
    """
    from anyio.to_thread import run_sync
    from inspect_ai.scorer import Score, accuracy, scorer, stderr

    @scorer(metrics=[accuracy(), stderr()], name="step_scores")
    def build(verifier: str, step_rule: str | None) -> Any:
        async def score(state: Any, target: Any) -> Any:
            finished = state.output.stop_reason != "max_tokens"
            judge = load_text_verifier(verifier, step_rule)  # type: ignore[arg-type]
            # A thread, so that the samples of other tasks go on.
            return Score(
                **await run_sync(opinion, judge, state.input_text, state.output.completion, finished, target.text)
            )

        return score

    return build(verifier, step_rule)


def opinion(judge: TextVerifier, prompt: str, text: str, finished: bool, gold: str) -> dict[str, Any]:
    """The fields of a score."""
    (scores,) = judge.score([prompt], [text])
    trace = judge.candidate(text, finished)
    outcome = answers.check(gold=gold, pred=trace.answer)
    return {
        "value": "C" if outcome == "correct" else "I",
        "answer": trace.answer,
        "explanation": outcome if scores else f"{outcome}; blank, or longer than the verifier reads",
        "metadata": {
            "verifier": scores.trace if scores else None,
            "steps": list(scores.steps) if scores else [],
            "usable": trace.usable,
        },
    }


def best_of_n() -> Any:
    """A reducer: the epoch that the verifier scores highest."""
    return _reducer("best_of_n")


def weighted_vote() -> Any:
    """A reducer: the first epoch of the answer with the highest sum of scores."""
    return _reducer("weighted_vote")


def _reducer(how: str) -> Any:
    from inspect_ai.scorer import score_reducer

    @score_reducer(name=how)
    def build() -> Any:
        return lambda scores: scores[chosen(how, [(score.answer, score.metadata) for score in scores])]

    return build()


def chosen(how: str, epochs: Sequence[tuple[str | None, dict[str, Any] | None]]) -> int:
    """Index of the epoch that is taken: the first one where none can be chosen, which is wrong then.

    Raises:
        ValueError: the scores are not those of `step_scores`.
    """
    traces, scores = [], []
    for answer, metadata in epochs:
        if metadata is None or "verifier" not in metadata:
            raise ValueError(f"{how} reduces the scores of step_scores; this score has the metadata {metadata}")
        traces.append(Trace("", (), answer if metadata["usable"] else None, correct=None))
        score = metadata["verifier"]
        scores.append(None if score is None else Scores(steps=tuple(metadata["steps"]), trace=score))
    return CHOICES[how](traces, scores) or 0
