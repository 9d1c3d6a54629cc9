r"""What reinforcement learning does to a generator, measured on problems it does not learn from while it is trained.

The reward of the training itself cannot say it: it rises whether the generator becomes better or finds out how to please the
verifier. So samples of held-out problems are checked against the gold answers and scored by the verifier, before the first
step, every few steps, and after the last. Reward up and pass@1 down is a reward that is hacked.

    {"step": 40, "split": "validation", "problems": 105, "samples": 2, "pass@1": 0.41, "low": 0.35, "high": 0.47,
     "reward": 0.73, "steps": 5.1, "tokens": 33.0, "faults": {"repeated": 0.02}}

`test` is measured before and after only; nothing is to be chosen by it. Rows are kept in the state of the Trainer, so a run
that goes on from a checkpoint has those before it. Left out: several processes, and engines other than this one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from transformers import PreTrainedTokenizerBase, TrainerCallback

from prm.encoding.prompts import PromptTemplate
from prm.evaluation.search_metrics import bootstrap
from prm.generators import generate_what_fits
from prm.generators.hf import HfGenerator
from prm.sampling.traces import grow, open_trace, trace_seed
from prm.storage.jsonl import write_jsonl
from prm.types import Problem
from prm.verifiers import Verifier
from prm.verifiers.rewards import RewardRule, score_texts

FILE = "held_out.jsonl"
KEY = "held_out"


class HeldOut(TrainerCallback):
    """Writes `held_out.jsonl` to the output folder."""

    def __init__(
        self,
        problems: Mapping[str, Sequence[Problem]],
        samples: int,
        every: int,
        tokenizer: PreTrainedTokenizerBase,
        template: PromptTemplate,
        rule: RewardRule,
        verifier: Verifier | None,
        seed: int = 0,
    ) -> None:
        """
        Args:
            problems: of `validation` and `test`.
            samples: of each problem.
            every: so many steps of training validation is measured.
            verifier: None = rewards are not measured.
            seed: of the samples, the same at every step, so that what changes is the generator.
        """
        self.problems, self.samples, self.every = problems, samples, every
        self.tokenizer, self.template, self.rule, self.verifier, self.seed = tokenizer, template, rule, verifier, seed

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        if state.global_step == 0:
            self._add(args, state, model, ["validation", "test"])

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        if state.global_step % self.every == 0 and state.global_step < state.max_steps:
            self._add(args, state, model, ["validation"])

    def on_train_end(self, args, state, control, model=None, **kwargs) -> None:
        if all(row["step"] < state.global_step for row in measured(state.log_history)):
            self._add(args, state, model, ["validation", "test"])

    def _add(self, args, state, model, splits: Sequence[str]) -> None:
        was_training = model.training
        for split in splits:
            row = {"step": state.global_step, "split": split, **self.measure(model, split, args)}
            state.log_history.append({KEY: row, "step": state.global_step})
            print(f"step {row['step']} of {state.max_steps}: {describe(row)}", flush=True)
        model.train(was_training)
        write_jsonl(Path(args.output_dir) / FILE, measured(state.log_history))

    def measure(self, model, split: str, args) -> dict[str, Any]:
        """The row of a split, without its step.

        Args:
            args: TRL's, whose temperature, top_p and longest completion are those of the samples.
        """
        problems = [problem for problem in self.problems[split] for _ in range(self.samples)]
        generator = HfGenerator(
            model,
            self.tokenizer,
            name="policy",
            template=self.template,
            step_rule=self.rule.step_rule,
            temperature=args.temperature,
            top_p=args.top_p,
            max_new_tokens=args.max_completion_length,
        )
        seeds = [trace_seed(self.seed, problem.id, i % self.samples) for i, problem in enumerate(problems)]
        prompts = [problem.prompt for problem in problems]
        sampled = generate_what_fits(generator, [generator.encode(prompt) for prompt in prompts], seeds)
        traces = grow([open_trace(problem) for problem in problems], sampled, problems, generator)
        right_P = [
            fmean(float(trace.correct is True) for trace in traces[start : start + self.samples])
            for start in range(0, len(traces), self.samples)
        ]
        estimate = bootstrap(right_P)
        row: dict[str, Any] = {"problems": len(right_P), "samples": self.samples, "pass@1": estimate.mean}
        row |= {"low": estimate.low, "high": estimate.high}
        if self.verifier is not None:
            ended = [one.stop != "length" for one in sampled]
            rewarded = score_texts(self.verifier, prompts, [one.text for one in sampled], self.rule, ended)
            faults = Counter(one.fault for one in rewarded if one.fault)
            row["reward"] = fmean(one.total for one in rewarded)
            row["faults"] = {fault: count / len(rewarded) for fault, count in sorted(faults.items())}
        row["steps"] = fmean(len(trace.steps) for trace in traces)
        row["tokens"] = fmean(len(one.token_ids) for one in sampled)
        return row


def measured(log_history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows in the state of a Trainer."""
    return [entry[KEY] for entry in log_history if KEY in entry]


def describe(row: Mapping[str, Any]) -> str:
    """One row in words."""
    reward = f", reward {row['reward']:.3f}" if "reward" in row else ""
    faults = "".join(f", {share:.1%} {fault}" for fault, share in row.get("faults", {}).items())
    interval = "" if row["low"] is None else f" [{row['low']:.1%}, {row['high']:.1%}]"
    return (
        f"{row['split']} pass@1 {row['pass@1']:.1%}{interval}{reward}, {row['steps']:.1f} steps,"
        f" {row['tokens']:.0f} tokens{faults}"
    )
