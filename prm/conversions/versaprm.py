"""VersaPRM's MMLU-Pro chains (Zeng et al. 2502.06737): several chains per row, judged by a language model.

    {"question": "What is 2 + 2?", "answer": "4", "chain_of_thoughts": [
     {"steps": ["2 + 2 = 4", "Hm."], "labels": [1, 0]},
     {"steps": ["2 + 2 = 5"], "labels": [-1], "augs": [{"aug_step": "2 + 2 is 22", "aug_idx": 0, "aug_type": -1}]}]}

Labels mean correctness: 1 is good, -1 bad, and 0 (neither) what `neutral` says, good by default, as of PRM800K's ratings.
Each of `augs` is another candidate for step `aug_idx`, counted from 0, and ends a trace of its own; `branches` says how the
steps before it are labeled, as in `prm.conversions.prm800k`.
"""

from __future__ import annotations

from collections.abc import Iterator

from prm.conversions.omega_prm import Branches
from prm.conversions.prm800k import Neutral, judged, rating_labels
from prm.conversions.rows import Refused, Row, fields, labeled_row, question, step_texts
from prm.storage.rows import need
from prm.storage.sources import cell_text


def import_row(where: str, row: Row, neutral: Neutral = "good", branches: Branches = "once") -> Iterator[Row]:
    prompt, gold = question(where, need(where, row, "question", str)), cell_text(row.get("answer"))
    ratings = rating_labels(neutral)
    for number, chain in enumerate(need(where, row, "chain_of_thoughts", list)):
        place = f"{where}: chain {number}"
        steps = step_texts(place, need(place, fields(place, chain), "steps", list))
        labels = [judged(place, label, ratings) for label in need(place, chain, "labels", list)]
        if len(labels) != len(steps):
            raise Refused("bad_label", f"{place}: {len(steps)} steps but {len(labels)} labels; fix or remove the row")
        traces = [(steps, labels)]
        for candidate in chain.get("augs") or ():
            index = need(place, fields(place, candidate), "aug_idx", int)
            if isinstance(index, bool) or not 0 <= index < len(steps):
                raise Refused(
                    "bad_label", f"{place}: aug_idx is {index!r}, and there are {len(steps)} steps; fix the row"
                )
            # What the chain has labeled already is labeled there only, but for errors: none must be hidden.
            before = labels[:index] if branches == "repeat" else [None if good else good for good in labels[:index]]
            text = need(place, candidate, "aug_step", str)
            traces.append(([*steps[:index], text], [*before, judged(place, candidate.get("aug_type"), ratings)]))
        for path, path_labels in traces:
            kept = {"domain": cell_text(row["domain"])} if "domain" in row else None
            yield labeled_row(
                "versaprm", prompt, path, path_labels, semantics="correctness", method="judge", gold=gold, kept=kept
            )
