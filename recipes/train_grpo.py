r"""Train a generator by reinforcement learning: TRL's GRPO, rewarded by a verifier, by the exact answer check, or by both.

For each problem the generator samples a group of completions; those that earn more than the mean of their group become more
likely (Shao et al. 2402.03300). What a completion earns is in `prm/verifiers/rewards.py`. The generator is measured on
held-out problems all along, because the reward cannot say whether it became better (`prm/training/held_out.py`,
recipes/reward_hacking.md). Left out: several processes.

Reads   problems with gold answers (their train split), a verifier, a generator
Writes  <output_dir>/             the generator, which `--generator` takes everywhere; config.yaml; README.md, its card
        <output_dir>/held_out.jsonl    pass@1, reward and faults along the training

    python recipes/train_grpo.py --config recipes/configs/grpo_arithmetic.yaml
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prm.command_line import GRPO_CONFIG, run_script
from prm.datasets import arithmetic
from prm.datasets.benchmarks import check_training
from prm.datasets.problems import load_problems
from prm.encoding.prompts import HELP, PromptTemplate, prompt_template
from prm.files import write_whole
from prm.training.arguments import check_given
from prm.training.data import training_source
from prm.training.resume import check_examples, find_checkpoint
from prm.types import Aggregation, Problem, StepRule
from prm.verifiers.checkpoint import SETTINGS_FILE
from prm.verifiers.rewards import Credit, RewardRule, StepRewards, answer_reward, verifier_reward

if TYPE_CHECKING:
    from trl import GRPOConfig


@dataclass
class ScriptArguments:
    """What is trained on which problems, and what is rewarded. All other flags are those of TRL's `GRPOConfig`."""

    model: str = field(metadata={"help": "generator to start from: folder or hub name"})
    data: str = field(metadata={"help": "problems: `arithmetic`, `arithmetic_hard`, a file, or a hub name"})
    reward: Literal["prm", "answer", "both"] = field(
        default="prm", metadata={"help": "the verifier, the answer check, or both (--reward_weights 1 0.5 weighs them)"}
    )
    verifier: str | None = field(
        default=None,
        metadata={"help": "checkpoint, `family:path`, served or your own; with --reward answer only measured"},
    )
    credit: Credit = field(default="aggregate", metadata={"help": "how step scores become rewards"})
    per_step: bool = field(
        default=False, metadata={"help": "an advantage for each step (prm/training/step_grpo.py); GRPO has one for all"}
    )
    aggregation: Aggregation | None = field(
        default=None, metadata={"help": "of --credit aggregate; default: the verifier's"}
    )
    min_form_temperature: float = field(
        default=0.1, metadata={"help": "of --credit min_form: smaller is closer to the minimum", "above": 0}
    )
    least_steps: int = field(default=1, metadata={"help": "fewer steps earn nothing", "least": 1})
    most_steps: int | None = field(default=None, metadata={"help": "more steps earn nothing", "least": 1})
    most_repeats: int = field(default=2, metadata={"help": "the same step more often earns nothing", "least": 1})
    prompt: str = field(default="plain", metadata={"help": f"prompt template: {HELP}"})
    step_rule: StepRule | None = field(
        default=None, metadata={"help": "where a step ends; default: paragraph for chat prompts, line for others"}
    )
    limit: int | None = field(default=None, metadata={"help": "train on the first problems only", "least": 1})
    held_out: int = field(default=200, metadata={"help": "problems of each other split to measure on", "least": 1})
    samples: int = field(default=4, metadata={"help": "samples of each of them", "least": 1})
    measure_every: int = field(default=10, metadata={"help": "steps between two measurements", "least": 1})
    allow_benchmark: bool = field(default=False, metadata={"help": "train on problems of a benchmark, too"})
    license: str | None = field(default=None, metadata={"help": "license of the model, for its card (e.g. apache-2.0)"})
    overwrite_output_dir: bool = field(default=False, metadata={"help": "replace a finished model in --output_dir"})

    def __post_init__(self) -> None:
        template = prompt_template(self.prompt)  # a wrong name is found before anything is loaded
        self.step_rule = self.step_rule or template.step_rule
        self.rule()
        if self.reward != "answer" and self.verifier is None:
            raise ValueError(f"--reward {self.reward} needs a --verifier")
        if self.per_step and self.reward == "answer":
            raise ValueError("--reward answer says nothing of single steps; leave --per_step out")
        if self.credit == "progress" and not self.per_step:
            raise ValueError(
                "--credit progress adds up to the last score, so for the whole completion it is --aggregation last; give"
                " that, or add --per_step true"
            )
        if self.data in arithmetic.SETS and self.limit is None:
            raise ValueError(f"--data {self.data} is endless; say with --limit on how many problems to train")

    def rule(self) -> RewardRule:
        return RewardRule(
            credit=self.credit,
            aggregation=self.aggregation,
            temperature=self.min_form_temperature,
            step_rule=self.step_rule or "line",
            most_repeats=self.most_repeats,
            least_steps=self.least_steps,
            most_steps=self.most_steps,
        )


def main(script: ScriptArguments, training: GRPOConfig) -> None:
    # Not at the top: help and a typo must not wait for torch.
    from datasets import Dataset
    from trl import GRPOTrainer

    from prm.models.loading import load_model_and_tokenizer
    from prm.training.held_out import HeldOut
    from prm.training.settings import settings_text
    from prm.training.step_grpo import StepGRPOTrainer
    from prm.verifiers import find_verifier

    if training.world_size > 1:
        raise ValueError(f"{training.world_size} processes: held-out problems are measured in one; start a single one")
    settings = settings_text(script, training)
    template, rule, source = prompt_template(script.prompt), script.rule(), training_source(script.data)
    problems = load_problems(source, "train", script.limit)
    if not script.allow_benchmark:
        check_training((source, problem) for problem in problems)
    held_out = {split: load_problems(source, split, script.held_out) for split in ("validation", "test")}
    model, tokenizer = load_model_and_tokenizer(script.model)
    verifier = None if script.verifier is None else find_verifier(script.verifier)
    check_lengths(verifier, [problem.prompt for problem in problems], rule.step_rule, training.max_completion_length)

    rows = [row_of(problem, template) for problem in problems]
    check_prompt(tokenizer, template, problems[0], rows[0]["prompt"])
    ends = model.generation_config.eos_token_id
    end_ids = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
    rewards: list[Any] = []
    seen: list[StepRewards] = []
    if verifier is not None and script.reward != "answer":
        rewards.append(verifier_reward(verifier, rule, end_ids, seen=seen))
    if script.reward != "prm":
        rewards.append(answer_reward(end_ids, rule.step_rule))
    kind: Any = partial(StepGRPOTrainer, seen=seen, step_rule=rule.step_rule) if script.per_step else GRPOTrainer
    trainer = kind(
        model=model,
        reward_funcs=rewards,
        args=training,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[HeldOut(held_out, script.samples, script.measure_every, tokenizer, template, rule, verifier)],
    )
    output_dir = str(training.output_dir)
    checkpoint = find_checkpoint(training.resume_from_checkpoint, output_dir)
    learned_from = (rows, rule, script.reward, script.per_step, verifier and verifier.name)
    check_examples(checkpoint, output_dir, hashlib.sha256(repr(learned_from).encode()).hexdigest()[:16])
    trainer.train(resume_from_checkpoint=checkpoint)

    model = trainer.accelerator.unwrap_model(trainer.model)
    model.save_pretrained(output_dir)
    tokenizer.save_pretrained(output_dir)
    write_card_of(Path(output_dir), script, settings, len(rows))
    print(f"saved {output_dir}")


def row_of(problem: Problem, template: PromptTemplate) -> dict[str, Any]:
    """A row as TRL takes it: text, or messages of which TRL makes text with the chat template of the tokenizer."""
    prompt: Any = template.render(problem.prompt)
    if template.chat:
        system = [] if template.system is None else [{"role": "system", "content": template.system}]
        prompt = [*system, {"role": "user", "content": prompt}]
    return {"prompt": prompt, "problem": problem.prompt, "answer": problem.answer}


def check_prompt(tokenizer, template: PromptTemplate, problem: Problem, prompt: Any) -> None:
    """Refuse a prompt of which TRL makes other tokens than sampling and the verifier's training did."""
    if template.chat:
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=True, return_dict=True)[
            "input_ids"
        ]
    else:
        ids = tokenizer(prompt)["input_ids"]
    if (ours := template.encode(tokenizer, problem.prompt)) != ids:
        raise ValueError(
            f"TRL makes {len(ids)} tokens of the prompt {tokenizer.decode(ids)[-80:]!r}, sampling makes {len(ours)}:"
            f" {tokenizer.decode(ours)[-80:]!r}; use a --prompt without exemplars and a chat template without a date"
        )


def check_lengths(verifier, prompts: list[str], step_rule: StepRule, longest: int) -> None:
    """Refuse a verifier of other steps, and say where a completion may be too long for it."""
    from prm.verifiers.served import ServedVerifier
    from prm.verifiers.step_verifier import StepVerifier

    if isinstance(verifier, StepVerifier | ServedVerifier):  # one of the user's own says nothing of its steps
        warning = verifier.check_generator(prompts, step_rule, longest)
        if warning:
            print(f"warning: --verifier {warning.replace('--max_new_tokens', '--max_completion_length')}")


def write_card_of(folder: Path, script: ScriptArguments, settings: str, problems: int) -> None:
    """Write config.yaml and the model card."""
    from prm.training.held_out import FILE, describe
    from prm.verifiers.origin import origins, training_section, write_card

    write_whole(folder / SETTINGS_FILE, settings)
    head = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["reasoning", "grpo"]}
    lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    measured = [f"- step {row['step']}: {describe(row)}" for row in map(json.loads, lines)]
    sections = [
        f"# {folder.name}",
        f"A generator of step-by-step solutions: `{script.model}` after GRPO on {problems} problems of `{script.data}`,"
        f" rewarded by `{script.reward}` (verifier: `{script.verifier}`). Its prompts are made by the template"
        f" `{script.prompt}`.",
        "## Held-out problems\n\n" + "\n".join(measured),
        training_section(folder),
    ]
    write_card(folder, head | origins(folder, script.model), sections)


if __name__ == "__main__":
    run_script(main, ScriptArguments, GRPO_CONFIG, check_given)
