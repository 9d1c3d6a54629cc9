r"""PRM800K (Lightman et al. 2305.20050), the raw files of openai/prm800k: humans rated every step.

    {"question": {"problem": "How many seconds are in 7.8 minutes?", "ground_truth_answer": "468", ...},
     "label": {"steps": [{"completions": [{"text": "7 minutes are 420 seconds.", "rating": 1, "flagged": false}],
                          "human_completion": null, "chosen_completion": 0},
                         {"completions": [{"text": "So it is 478.", "rating": -1, ...},
                                          {"text": "0.8 minutes are 48 seconds.", "rating": 1, ...}],
                          "human_completion": null, "chosen_completion": null}],
               "finish_reason": "found_error"}, "is_quality_control_question": false, ...}

Labels mean correctness. At each step the labelers rated one or more candidates and continued from the chosen one, or
(phase 1, when all were bad) from a step that they wrote themselves, `human_completion`.

Decisions:

- Rating 1 is good, -1 is bad, null (flagged, or not rated) means no label. 0 ("neither wrong nor of any use") is good by
  default, as in the paper's scores and Qwen2.5-Math-7B-PRM800K; `neutral` changes this. TRL's converter reads 0 and
  null as bad. Where a rating was corrected later (`corrected_rating`), the correction counts.
- A step that a human wrote is good: it was written to be right.
- The main trace follows the chosen steps. If nothing was chosen, it ends in the first candidate, which in phase 2 is
  the step that the model had written, and usually the error. If steps follow all the same, they continue the only
  candidate; of several, nobody can say which one, and each later candidate becomes a row `nothing_chosen`.
- Each other candidate ends a trace of its own. The option `branches` says how its prefix is labeled: `once` labels the
  last step only, so that every human judgment counts once;
  `repeat` labels the whole prefix again, as TRL's set does (with five candidates at each of ten later steps, the first
  step then counts about forty times). Bad labels are always repeated, so that a step after an error never looks as if
  no error came before it.
- As in the paper (appendix B), quality control, screening, and traces whose labeler could not finish are not trained
  on: `status` is `quality_control`, `screening`, `give_up` or `bad_problem`. These rows keep their labels.
- The outcome is known only for a main trace that a labeler confirmed (`finish_reason` is `solution`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from prm.conversions.omega_prm import Branches
from prm.conversions.rows import Refused, Row, fields, labeled_row, question
from prm.storage.rows import need

Neutral = Literal["good", "bad", "unlabeled"]

FINISH_REASONS = ("solution", "found_error", "give_up", "bad_problem")

_ANSWER = "# Answer"


def import_row(where: str, row: Row, neutral: Neutral = "good", branches: Branches = "once") -> Iterator[Row]:
    asked, label = need(where, row, "question", dict), need(where, row, "label", dict)
    reason = label.get("finish_reason")
    if reason not in FINISH_REASONS:
        raise Refused(
            "bad_label", f"{where}: finish_reason is {reason!r}, not one of {', '.join(FINISH_REASONS)}; fix the row"
        )
    prompt = question(where, need(where, asked, "problem", str))
    ratings = rating_labels(neutral)

    # The main trace grows step by step. `others` are the traces that branch off it, complete as soon as they do, each with
    # its status.
    steps: list[str] = []
    labels: list[bool | None] = []
    status = status_of_question(row)
    if status == "ok" and reason in ("give_up", "bad_problem"):
        status = reason
    others: list[tuple[list[str], list[bool | None], str]] = []
    is_open = True  # whether the next step continues the main trace
    for number, step in enumerate(need(where, label, "steps", list)):
        where_step = f"{where}: step {number}"
        step = fields(where_step, step)
        candidates = [
            _candidate(where_step, fields(where_step, candidate), ratings)
            for candidate in step.get("completions") or ()
        ]
        chosen, human = step.get("chosen_completion"), step.get("human_completion")
        if chosen is not None and not (type(chosen) is int and 0 <= chosen < len(candidates)):
            raise Refused(
                "bad_label",
                f"{where_step}: chosen_completion is {chosen!r} of {len(candidates)} candidates; fix the row",
            )
        # With "once" the other candidates leave out the good labels that the main trace has already.
        prefix = labels if branches == "repeat" else [None if good else good for good in labels]
        if not is_open:
            others += [([*steps, text], [*prefix, good], "nothing_chosen") for text, good in candidates]
            continue

        # The candidate that the main trace takes: the chosen one, else the first; none if a human wrote the step.
        by_human = chosen is None and human is not None
        main = None if by_human or not candidates else chosen or 0
        others += [([*steps, text], [*prefix, good], status) for i, (text, good) in enumerate(candidates) if i != main]
        if by_human:
            text = need(where_step, fields(where_step, human), "text", str)
            steps, labels = [*steps, text], [*labels, True]
        elif main is not None:
            steps, labels = [*steps, candidates[main][0]], [*labels, candidates[main][1]]
        is_open = chosen is not None or human is not None or len(candidates) == 1

    for path, path_labels, its_status in [(steps, labels, status), *others]:
        last, is_main = path[-1] if path else "", path is steps
        yield labeled_row(
            "prm800k",
            prompt,
            path,
            path_labels,
            semantics="correctness",
            method="human",
            gold=asked.get("ground_truth_answer") or "",
            answer=last.split(_ANSWER)[-1].strip() or None if _ANSWER in last else None,
            correct=True if is_main and reason == "solution" else None,
            finished=_ANSWER in last,
            status=its_status,
        )


def rating_labels(neutral: Neutral) -> dict[Any, bool | None]:
    """Rating -> label."""
    return {1: True, 0: {"good": True, "bad": False, "unlabeled": None}[neutral], -1: False, None: None}


def _candidate(where: str, candidate: Row, ratings: dict[Any, bool | None]) -> tuple[str, bool | None]:
    corrected = candidate.get("corrected_rating")
    return need(where, candidate, "text", str), judged(
        where, candidate.get("rating") if corrected is None else corrected, ratings
    )


def judged(where: str, rating: Any, ratings: dict[Any, bool | None]) -> bool | None:
    """The label of a rating. Raises Refused for anything but a rating; true is none, though Python has it equal to 1."""
    if isinstance(rating, bool) or rating not in list(
        ratings
    ):  # a list, because a rating that cannot be hashed is none
        raise Refused("bad_label", f"{where}: rating is {rating!r}, not 1, 0, -1 or null; fix or remove the row")
    return ratings[rating]


def status_of_question(row: Row) -> str:
    """`ok`, or what the question was for."""
    if row.get("is_initial_screening_question"):
        return "screening"
    return "quality_control" if row.get("is_quality_control_question") else "ok"
