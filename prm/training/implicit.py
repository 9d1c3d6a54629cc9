r"""Training of an implicit PRM: a language model whose log-likelihood ratio to its own start predicts outcomes.

    loss  =  cross-entropy of sigmoid(q) with the outcome of the trace,   q = beta x sum over its tokens of log pi / pi_ref

(Yuan et al. 2024, arXiv:2412.01981, eq. 5.) No step has a label; that q before the end is the value of a prefix follows from
the form (`prm.verifiers.implicit`). The reference is the model that training starts from, and its sums are computed once,
before the first step, so that it takes no memory in training. The loss is divided by the traces of the whole optimizer
step, whatever its micro-batches and processes (`prm.training.losses` says why). A micro-batch is one packed row.

Written is a language model, and beside it family.yaml, by which `load_verifier(folder)` knows how to read it:

    like: implicit
    reference: /data/SmolLM2-135M
    reference_weights: 9f2c41d8a0b3e7f6
    beta: 0.05
    codec: {form: text, separator: "\n", ...}

Left out: LoRA, the DPO form, which needs pairs, and evaluation during training: every one would be two passes over all data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments

from prm.encoding.layouts import Layout
from prm.evaluation.step_metrics import step_report
from prm.files import write_whole
from prm.models import tree_attention
from prm.models.fingerprints import hash_of_base
from prm.models.loading import load_weights
from prm.models.packing import pack, plan_rows
from prm.models.tree_attention import attention_calls, check_supported
from prm.storage.rows import LabeledRow
from prm.training.batches import ProblemSampler
from prm.training.examples import ExampleSet, TraceExample
from prm.training.resume import check_examples, find_checkpoint
from prm.verifiers import load_verifier
from prm.verifiers.checkpoint import SETTINGS_FILE
from prm.verifiers.families import FAMILY_FILE
from prm.verifiers.implicit import ImplicitVerifier
from prm.verifiers.likelihood import token_logprobs
from prm.verifiers.origin import origins, training_section, write_card
from prm.verifiers.step_verifier import TOLERANCE, largest_difference

CHECKED_ROWS = 8
"""Validation rows whose scores are compared between the model in memory and the saved one."""


@dataclass(frozen=True)
class RatioExample:
    """A trace, its outcome, and what the reference says of it."""

    input_ids: tuple[int, ...]
    start: int
    """Its first token after the prompt."""
    right: float
    reference: float
    """Sum of the log-probabilities of its tokens."""
    problem: str


def ratio_examples(
    examples: Sequence[TraceExample],
    prompts: Sequence[str],
    layout: Layout,
    tokenizer: PreTrainedTokenizerBase,
    reference: PreTrainedModel,
    row_tokens: int = 4096,
) -> list[RatioExample]:
    """
    Args:
        examples: of `orm_examples`, with the prompt of each in `prompts`.
    """
    starts = {prompt: layout.prompt_length(tokenizer, prompt) for prompt in set(prompts)}
    made: dict[int, RatioExample] = {}
    for row in plan_rows([example.input_ids for example in examples], row_tokens):
        logprobs_N, _ = token_logprobs(reference, [examples[i].input_ids for i in row])
        for i, logprobs in zip(row, logprobs_N, strict=True):
            example, start = examples[i], starts[prompts[i]]
            total = sum(logprobs[start - 1 :])
            made[i] = RatioExample(example.input_ids, start, example.targets[-1], total, example.problem)
    return [made[i] for i in range(len(examples))]


def collate(examples: Sequence[RatioExample]) -> dict[str, torch.Tensor]:
    """One packed row; of every token of the traces, the place before it, its id and the trace it belongs to."""
    row = pack([example.input_ids for example in examples])
    parts = list(zip(row.positions_N, examples, strict=True))
    owner = [i for i, example in enumerate(examples) for _ in example.input_ids[example.start :]]
    outcomes = torch.tensor([its.right for its in examples])
    return row.model_inputs() | {
        "before": torch.cat([positions[its.start - 1 : -1] for positions, its in parts]),
        "tokens": torch.tensor([token for its in examples for token in its.input_ids[its.start :]]),
        "owner": torch.tensor(owner),
        "reference": torch.tensor([its.reference for its in examples]),
        "labels": outcomes,
        "shift_labels": outcomes,  # of a language model, the Trainer would leave the first label out of its count
    }


class ImplicitTrainer(Trainer):
    """The stock `Trainer` with the loss above."""

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        tokenizer: PreTrainedTokenizerBase,
        examples: Sequence[RatioExample],
        beta: float,
    ) -> None:
        model.set_attn_implementation(tree_attention.NAME)
        self.beta = beta
        self.examples = examples
        super().__init__(
            model=model,
            args=args,
            data_collator=collate,
            train_dataset=examples,  # type: ignore[arg-type]  # a sequence has all that is used of a Dataset
            processing_class=tokenizer,
            compute_loss_func=binary_cross_entropy_with_logits,  # makes the Trainer count the traces of all micro-batches
        )

    def _get_train_sampler(self, train_dataset=None) -> ProblemSampler:
        return ProblemSampler([example.problem for example in self.examples], self.args.seed)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        before, tokens, owner = (inputs[name] for name in ("before", "tokens", "owner"))
        outputs = model(
            input_ids=inputs["input_ids"],
            position_ids=inputs["position_ids"],
            tree=attention_calls(inputs["subtree_end"]),
            use_cache=False,
        )
        logits = outputs.logits[0, before].float()
        logprobs = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
        sums = torch.zeros_like(inputs["reference"]).index_add(0, owner, logprobs)
        q = self.beta * (sums - inputs["reference"])
        losses = binary_cross_entropy_with_logits(q, inputs["labels"], reduction="none")
        # The backward pass averages gradients over processes, which would divide by their number once more.
        loss = losses.sum() / num_items_in_batch * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss


def fit_implicit(
    model_path: str,
    training: TrainingArguments,
    layout: Layout,
    beta: float,
    tokenizer: PreTrainedTokenizerBase,
    train: ExampleSet,
    validation: ExampleSet,
    settings: str,
) -> dict[str, float]:
    """Train, save, prove that the folder holds what was trained, evaluate, and write the model card.

    Args:
        settings: the text of its config.yaml (`prm.training.settings`).

    Returns:
        Metrics of `step_report` for the scores of whole traces; empty in all processes but the first.

    Raises:
        ValueError: packed rows do not fit the model, or FSDP or DeepSpeed. RuntimeError: the saved model scores otherwise
            than the trained one.
    """
    reference, model = (load_weights(AutoModelForCausalLM, model_path, dtype=torch.float32) for _ in range(2))
    check_supported(model.config, layout.max_length)
    examples = ratio_examples(
        train.examples, [row.problem.prompt for row in train.rows], layout, tokenizer, reference.to(training.device)
    )
    reference.to("cpu")  # it is not needed before the end
    folder = str(training.output_dir)
    checkpoint = find_checkpoint(training.resume_from_checkpoint, folder)
    check_examples(checkpoint, folder, hashlib.sha256(repr((beta, examples)).encode()).hexdigest()[:16])
    trainer = ImplicitTrainer(model, training, tokenizer, examples, beta)
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise ValueError("an implicit PRM is trained in one process or with DDP; leave FSDP and DeepSpeed out")
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    if not trainer.is_world_process_zero():
        return {}
    place = str(Path(model_path).absolute()) if Path(model_path).is_dir() else model_path
    values = {"like": "implicit", "reference": place, "reference_weights": hash_of_base(model_path), "beta": beta}
    values["codec"] = json.loads(json.dumps(asdict(layout)))
    write_whole(Path(folder) / FAMILY_FILE, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))

    trained = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    live = ImplicitVerifier(trained, reference, tokenizer, layout, beta)
    saved: Any = load_verifier(folder, str(training.device))
    rows = validation.rows
    difference = largest_difference(_scores(saved, rows[:CHECKED_ROWS]), _scores(live, rows[:CHECKED_ROWS]))
    if not difference <= TOLERANCE:  # true for NaN, too
        raise RuntimeError(
            f"{folder}: its scores differ from those of the trained model by {difference:.2g}; do not use it"
        )
    print(f"saved {folder}; loaded again, scores agree to {difference:.1g}")
    report = step_report(
        [[score] for score in _scores(saved, rows)],
        [example.hard[-1:] for example in validation.examples],
        [row.problem.id for row in rows],
    )
    metrics = {f"eval_{name}": report[name] for name in ("trace_auc", "trace_auc_within_problem", "calibration_error")}
    trainer.save_metrics("eval", metrics)
    print("\n".join(f"{name:40} {value:.4f}" for name, value in metrics.items()))
    write_whole(Path(folder) / SETTINGS_FILE, settings)
    _write_card(Path(folder), model_path, train, metrics)
    return metrics


def _write_card(folder: Path, model_path: str, train: ExampleSet, metrics: dict[str, float]) -> None:
    name, report = folder.name, train.report
    measured = "\n".join(f"- `{key.removeprefix('eval_')}` {value:.4f}" for key, value in metrics.items())
    sections = [
        f"# {name}",
        f"An implicit process reward model (arXiv:2412.01981), trained from `{model_path}` on the outcomes of {report.rows}"
        f" traces, {report.mean_target:.1%} of them right. It is a language model, but none to sample from.",
        "A score is the sigmoid of beta times the log-likelihood ratio of this model to the one it was trained from, up to"
        f" the end of a step: how the trace is expected to end. `{FAMILY_FILE}` names that model, which is needed too.",
        f"```python\nfrom prm import load_verifier\n\nload_verifier({name!r}).score(prompt, steps)    # one per step\n```",
        f"## Validation\n\nOf the scores of whole traces:\n\n{measured}",
        training_section(folder),
    ]
    head = {"library_name": "transformers", "tags": ["prm", "process-reward-model", "reward-model", "reasoning"]}
    write_card(folder, head | origins(folder, model_path), sections)


def _scores(verifier: ImplicitVerifier, rows: Sequence[LabeledRow]) -> list[float]:
    """Of whole traces, all of which fit."""
    scores = verifier.score_batch([row.problem.prompt for row in rows], [row.labeled.trace.steps for row in rows])
    return [its.trace for its in scores if its is not None]
