r"""Finds where a text states its final answer: one definition for extraction and for the end of a trace.

    extract("... so she has $18 left.\n#### 18")          ->  Extraction(answer="18", rule="hash")
    extract(r"The roots are $\boxed{3}$ and $\boxed{5}$.") ->  Extraction(answer="3, 5", rule="boxed")
    extract("#### Step 1: add\nThe answer is:\n\[\frac34\]") ->  Extraction(answer=r"\frac34", rule="answer_is")
    states_answer("#### 18"), states_answer("#### Step 1: Add 3 and 4")  ->  True, False

A text states its answer with a box, a line `#### 18`, `<answer>` tags, or a sentence that begins with "The answer is"
or "Answer:". The last of these counts, up to where a model that runs on begins another problem. If there is none, the
answer may be an aside ("..., so the answer is 7"), else it is the last number of the text with all that belongs to it.
A text that breaks off within a box has no answer.

`states_answer` asks less of a text and more of a sign, because a trace ends there: if in doubt, the model goes on to its
end token. A box within a sentence may be an interim result, so it ends a trace only in a conclusion ("Therefore ...").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from prm.answers.boxes import boxes, is_open
from prm.answers.claims import claimed, is_value
from prm.answers.last_value import last_value

Rule = Literal["boxed", "hash", "answer_is", "tags", "last_number", "none"]


@dataclass(frozen=True)
class Extraction:
    """The final answer found in a text, as written there, and the rule that found it."""

    answer: str | None
    rule: Rule


class _Statement(NamedTuple):
    start: int
    end: int
    """Where the sign begins, and where its answer ends at the latest."""
    answer: str
    rule: Rule


_HASH = re.compile(r"^[ \t]*+####[ \t]*+(\S.*)$", re.MULTILINE)
_TAGS = re.compile(r"<answer>((?:(?!</?answer>).)*+)</answer>", re.DOTALL | re.IGNORECASE)
_THOUGHT = re.compile(r"^.*</think>(?=.*\S)", re.DOTALL)
_LEAD = re.compile(
    r"(?:\b(?:final\s+)?answers?\b[\s*_]*(?:\([\w ]{1,40}\)[\s*]*)?"  # "the answer (in dollars) is"
    r"(?:(?:to (?:the|this) (?:question|problem)[\s*]*)?\b(?:is|are)\b(?!\s+not\b)|:|=)"
    r"|\b(?:Antwort|Réponse|Respuesta|Resposta|Risposta|Ответ)[\s*]*:|答案[是为]?[:：]?|答[:：])[\s*:]*",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"(?:step \d+[.:] *)?(?:(?:therefore|thus|hence|so|then|finally|in conclusion|consequently|conclusion|and|now)\b[ ,:]*)*"
    r"(?:we (?:get|find|have|conclude)(?: that)? )?(?:(?:the|our|my|your) )?(?:correct )?",
    re.IGNORECASE,
)
"""What may come before "(final) answer is" in a sentence that states the answer."""
_DOUBT = re.compile(
    r"\b(?:if|know|known|given|suppose|assume|whether|unless|usually|typically|often|check|guess|verify|says?|told|that)\b",
    re.IGNORECASE,
)
_CONCLUSION = re.compile(r"\W*(?:therefore|thus|hence|finally|in conclusion|consequently)\b", re.IGNORECASE)
_RUN_ON = re.compile(
    r"^[ \t]*(?:\*\*|#+[ \t]*)?(?:question|problem|q|exercise|example|instruction|human|user|input|task)\b[ \d.#]*"
    r"(?:\*\*)?[:：]|<\|(?:im_start|endoftext|im_end|eot_id)\|>",
    re.MULTILINE | re.IGNORECASE,
)
"""Where a model that runs on begins another problem."""
_CLOSING = re.compile(r"[\s.*$\\)\]!}]*+(?:I hope (?:it|this) is correct\.?)?[\s*]*+", re.IGNORECASE)
"""What may come after the answer in the step that ends a trace."""
_HEADING = re.compile(
    r"(?:step|part|case|solution|conclusion|check|verif\w*|answer|final answer)\b|\d+[.)]\s", re.IGNORECASE
)
_SAYS_SOMETHING = re.compile(r"[\d\\$]|^\W*\w\W*$")
_MAX_SIGNS = 100
"""Of one kind at the beginning and at the end of a text that are looked at."""


def extract(text: str) -> Extraction:
    r"""The final answer of a text, as the module says. Takes time linear in the length of the text.

    >>> extract(r"\boxed{1}? No: \boxed{\frac{1}{2}}.")
    Extraction(answer='\\frac{1}{2}', rule='boxed')
    >>> extract("5 + 7 = 12"), extract("I give up.")
    (Extraction(answer='12', rule='last_number'), Extraction(answer=None, rule='none'))
    """
    text = _THOUGHT.sub("", text) if "</think>" in text else text
    statements = sorted([*_tags(text), *_boxes(text), *_hashes(text), *_leads(text)], key=lambda s: (s.start, s.end))
    if statements:
        begins = _RUN_ON.search(text, statements[0].end)
        ours = [s for s in statements if begins is None or s.start < begins.start()]
        # "The answer is correct" after an answer says nothing new.
        last = ([s for s in ours if s.rule in ("boxed", "tags") or _SAYS_SOMETHING.search(s.answer)] or ours)[-1]
        return Extraction(last.answer, last.rule)
    if is_open(text):
        return Extraction(None, "none")
    asides = list(_leads(text, asides=True))
    if asides:
        return Extraction(asides[-1].answer, "answer_is")
    number = last_value(text)
    return Extraction(number, "none" if number is None else "last_number")


def states_answer(step: str) -> bool:
    r"""Whether a step surely states the final answer, so that nothing should follow it.

    >>> states_answer("#### 73"), states_answer("47 + 38 = 85"), states_answer("The answer is 7.")
    (True, False, True)
    >>> states_answer("We know the answer is 7."), states_answer(r"Therefore it is \boxed{4}.")
    (False, True)
    """
    statements = sorted([*_tags(step), *_boxes(step), *_hashes(step), *_leads(step)], key=lambda s: (s.start, s.end))
    if not statements or is_open(step):
        return False
    last = statements[-1]
    if (last.rule != "tags" and not is_value(last.answer)) or not _CLOSING.fullmatch(step, last.end):
        return False
    before = re.sub(r"[\s*$\\(\[{]+$", "", step[: last.start])
    is_alone = re.fullmatch(r"\W*(?:(?:final )?answer\W*)?", before, re.IGNORECASE) is not None
    is_declared = any(s.rule == "answer_is" for s in statements)
    return last.rule != "boxed" or is_alone or is_declared or _CONCLUSION.match(_last_sentence(before)) is not None


def _tags(text: str) -> Iterator[_Statement]:
    for match in _TAGS.finditer(text):
        if match[1].strip():
            yield _Statement(match.start(), match.end(), match[1].strip(), "tags")


def _boxes(text: str) -> Iterator[_Statement]:
    for box in boxes(text):
        yield _Statement(box.start, box.end, box.answer, "boxed")


def _hashes(text: str) -> Iterator[_Statement]:
    r"""Lines `#### 18`; "#### Step 2" is a Markdown heading. Words are an answer only at the end of the text."""
    lines = list(_HASH.finditer(text))
    for match in lines if len(lines) <= 2 * _MAX_SIGNS else [*lines[:_MAX_SIGNS], *lines[-_MAX_SIGNS:]]:
        payload = match[1].strip().strip("*").strip()
        if lead := _LEAD.match(re.sub(r"^(?:the|our) ", "", payload, flags=re.IGNORECASE)):
            payload = re.sub(r"^(?:the|our) ", "", payload, flags=re.IGNORECASE)[lead.end() :]
        elif _HEADING.match(payload):
            continue
        answer = claimed(payload) if lead else payload
        after = text[match.end() : match.end() + 400].lstrip()
        is_last = not after or _RUN_ON.match(after)
        is_words = (
            len(answer.split()) <= 3 and not answer.endswith(":") and answer.lower() not in ("answer", "final answer")
        )
        if answer and (is_value(answer) or (is_last and is_words)):
            yield _Statement(match.start(), match.end(), answer, "hash")


def _leads(text: str, asides: bool = False) -> Iterator[_Statement]:
    """Sentences that begin with "The answer is", or where the answer is mentioned without any sign of doubt."""
    for match in list(_LEAD.finditer(text))[-2 * _MAX_SIGNS :]:
        opening = _last_sentence(text[max(0, match.start() - 200) : match.start()])
        is_opening = _OPENING.fullmatch(opening) is not None
        if not is_opening and not (asides and not _DOUBT.search(opening)):
            continue
        answer = claimed(text[match.end() : match.end() + 1_000])
        end = max(match.end(), text.find(answer, match.end()) + len(answer))
        # Words, and sentences with several numbers, count only if the text ends with them.
        is_last = is_opening and answer and _CLOSING.fullmatch(text, end) is not None
        if is_value(answer) or (is_last and (_is_brief(answer) or re.search(r"\d", answer))):
            yield _Statement(match.start(), end, answer, "answer_is")


def _is_brief(answer: str) -> bool:
    return len(answer.split()) <= 5


def _last_sentence(text: str) -> str:
    """The beginning of the sentence in which a text ends."""
    return re.split(r"[.!?]\s+|[.!?]$|\n|[:;]\s+(?=\W*(?:[Tt]he)?\s*$)", text)[-1].lstrip(" #*->\t_")
