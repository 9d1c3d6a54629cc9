r"""AnswerCall: a generator whose traces end with a call that asks for the answer (Kojima et al. 2022, arXiv:2205.11916).

Zero-shot chain of thought takes two calls. The first one samples the reasoning. The second one continues prompt, reasoning
and the template's trigger with the most likely tokens, up to the end of the step and at most `ANSWER_TOKENS`; what it
states is the answer:

    Q: ...\nA: Let's think step by step.\n  ->  There are 48 / 2 = 24 clips.\nSo 48 + 24 = 72.
    ... Therefore, the answer is            ->   72.

The trigger and what follows it are the last step of the trace, so whoever reads its text finds the same answer:

    ("There are 48 / 2 = 24 clips.", "So 48 + 24 = 72.", "Therefore, the answer is 72.")

It is asked for after every reasoning, as in the paper, also where that states an answer or was cut at the token limit. A
rule for when to ask would make two kinds of traces, of different costs, in one vote, and would depend on what counts as a
stated answer; and a reasoning that was cut is what the second call is for. So no such trace is `truncated`, and the ledger
counts how often that happened. One that fills the model's context cannot be asked, and stays cut.

With `reasoning: false` the only call is the one for the answer, sampled at the generator's temperature: a direct answer.

Sampling, labeling and search see a generator as any other. A search that grows traces step by step goes on with the first
call and makes the second one where a trace ends. What the second call samples belongs to the continuation, what it reads is
`Continuation.asked`: prompt and reasoning once more, since nothing is kept for what comes once, at the end of a trace.

Left out: a second turn of a chat for the question; the trigger continues the turn of the assistant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from prm.encoding.prompts import PromptTemplate
from prm.encoding.steps import separator_of, split_steps
from prm.generators import Ended, Generator, ignore
from prm.generators.token_text import Until
from prm.models.kept_tokens import KeptTokens
from prm.types import Continuation, StepRule

ANSWER_TOKENS = 32
"""Most tokens of an answer, as in the paper's code."""


class AnswerCall:
    """See `prm.generators.Generator`."""

    def __init__(self, generator: Generator, template: PromptTemplate, tokenize: Callable[[str], list[int]]) -> None:
        """
        Args:
            generator: makes both calls; its prompts are of this template.
            template: with a trigger.
            tokenize: text -> its ids in the generator's vocabulary, without special tokens.

        Raises:
            ValueError: the template has no trigger.
        """
        if template.trigger is None:
            raise ValueError("a call for the answer needs a prompt template with a trigger")
        self._generator = generator
        self._template = template
        self._trigger = template.trigger
        self._tokenize = tokenize
        self.name = generator.name
        self.step_rule = generator.step_rule
        self.num_parameters = generator.num_parameters
        self.max_new_tokens = ANSWER_TOKENS + (generator.max_new_tokens if template.reasoning else 0)
        self.context = generator.context
        self.ledger: Counter[str] = generator.ledger
        """That of the generator, with the answers that were asked for, and how many of them after a cut."""

    def encode(self, prompt: str, steps: Sequence[str] = ()) -> list[int]:
        return self._generator.encode(prompt, steps)

    def generate(
        self,
        prefixes: Sequence[Sequence[int]],
        seeds: Sequence[int],
        until: Until = "end",
        limits: Sequence[int] | None = None,
        ended: Ended = ignore,
        greedy: bool = False,
        kept: KeptTokens | None = None,
    ) -> list[Continuation]:
        """One continuation per (prefix, seed), with the answer if it ends the trace. A limit holds for both calls together;
        `ANSWER_TOKENS` of it are kept for the second one."""
        limits_N = [min(limit, self.max_new_tokens) for limit in limits or [self.max_new_tokens] * len(prefixes)]
        if not self._template.reasoning:
            question = self._question("")
            asked_N = [[*prefix, *self._tokenize(question)] for prefix in prefixes]
            answers = self._ask(asked_N, seeds, limits_N, greedy, ended)
            return [replace(answer, text=self._answered(question, answer), stop="answer") for answer in answers]

        reasoning_limits = [max(1, limit - ANSWER_TOKENS) for limit in limits_N]
        found = self._generator.generate(prefixes, seeds, until, reasoning_limits, ended, greedy, kept=kept)
        asked = {}
        for i, reasoning in enumerate(found):
            ids = [*prefixes[i], *self._tokenize(self._question(reasoning.text))]
            is_room = len(reasoning.token_ids) < limits_N[i] and (self.context is None or len(ids) < self.context)
            if reasoning.stop != "step" and is_room:
                asked[i] = ids
        rest = [limits_N[i] - len(found[i].token_ids) for i in asked]
        for i, answer in zip(asked, self._ask(list(asked.values()), [seeds[i] for i in asked], rest), strict=True):
            reasoning = found[i]
            self.ledger["answers asked for after a cut"] += reasoning.stop == "length"
            found[i] = Continuation(
                reasoning.token_ids + answer.token_ids,
                self._answered(self._question(reasoning.text), answer),
                "answer",
                prefill=reasoning.prefill,
                keeps=reasoning.keeps,
                asked=answer.prefill,
            )
        return found

    def _ask(
        self,
        prefixes: Sequence[Sequence[int]],
        seeds: Sequence[int],
        limits: Sequence[int],
        greedy: bool = True,
        ended: Ended = ignore,
    ) -> list[Continuation]:
        until: Until = "end" if self.step_rule == "thought" else "step"
        answers = self._generator.generate(
            prefixes, seeds, until, [min(limit, ANSWER_TOKENS) for limit in limits], ended, greedy
        )
        self.ledger["answers asked for"] += len(answers)
        self.ledger["tokens of these answers"] += sum(len(answer.token_ids) for answer in answers)
        return answers

    def _answered(self, question: str, answer: Continuation) -> str:
        """The question with its answer. Where an engine, which sees the answer alone, took "72." for the number of an item
        and went on, what comes after the step is left out."""
        rule: StepRule = "paragraph" if self.step_rule == "thought" else self.step_rule
        return question.removesuffix(self._trigger) + split_steps(self._trigger + answer.text, rule)[0]

    def _question(self, reasoning: str) -> str:
        """What the call for the answer continues, after the prefix."""
        if not reasoning.strip():
            return self._template.lead + self._trigger
        return reasoning.rstrip() + (separator_of(self.step_rule) or "\n") + self._trigger
