r"""PRMTrainer and PRMConfig: what TRL's last release with a PRM trainer (1.13) took, for scripts that have lost it.

    -from trl.experimental.prm import PRMConfig, PRMTrainer
    +from prm.training import PRMConfig, PRMTrainer
     model = AutoModelForTokenClassification.from_pretrained("Qwen/Qwen2.5-0.5B", num_labels=2)
     trainer = PRMTrainer(model=model, args=PRMConfig("out"), train_dataset=rows, processing_class=tokenizer)
     trainer.train()

with rows {"prompt": "What is 2 + 2?", "completions": ["2 + 2 = 5", "#### 5"], "labels": [False, False]}. Text, loss and
defaults are TRL's, and so is the first loss; packed rows, evaluation per step and checkpoints that `load_verifier` reads are
those of `VerifierTrainer`. Arguments have TRL's names, and what differs is refused with its reason:

- soft labels, which TRL rounded down to 0; steps that are cut in the middle (rows are cut between steps);
- `data_collator`, `compute_metrics`, `model_init`, `max_completion_length`, `disable_dropout=False`;
- a LoRA whose head would not be trained or saved, or that `load_verifier` could not read.

Two things differ and are not refused. TRL began every row with the tokenizer's BOS token, even where the tokenizer itself
never does, so that its own documented inference read another text: such a token is left out here, with a warning. And the
loss does not grow with gradient accumulation (`prm.training.losses`). Left out: writing config.yaml, since a script is its
own record.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftConfig, get_peft_model
from transformers import (
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainingArguments,
)

from prm.aggregation import DEFAULT_AGGREGATION
from prm.encoding.codec import StepCodec
from prm.encoding.prompts import PromptTemplate, bos
from prm.models import tree_attention
from prm.models.fingerprints import hash_of_base
from prm.models.loading import lora_config
from prm.models.step_classifier import HEAD, LABELS, Fp32Linear, StepClassifier, classifier_class
from prm.storage.rows import LabeledRow, row_to_labeled
from prm.training.data import data_hash
from prm.training.examples import ExampleSet, prm_examples
from prm.training.preflight import check_examples, check_targets
from prm.training.trainer import VerifierTrainer
from prm.types import Semantics
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.loading import other_than


@dataclass
class PRMConfig(TrainingArguments):
    """`TrainingArguments` with TRL's additions and defaults, and what the labels mean."""

    learning_rate: float = 1e-5
    logging_steps: float = 10
    bf16: bool | None = None  # type: ignore[assignment]
    """None = unless fp16 is set."""
    max_length: int | None = 1024
    """Longest trace in tokens; longer ones lose their last steps. None = what the model reads."""
    step_separator: str = "\n"
    train_on_last_step_only: bool = False
    """Learn the label of the last step alone: the checkpoint is an ORM then."""
    semantics: Semantics | None = None
    """What the labels mean, which decides how step scores become one: `correctness` of the step (PRM800K), or the `value` of
    what follows (Math-Shepherd). None = `correctness`, with a note."""
    max_completion_length: int | None = field(default=None, metadata={"help": "must be left out"})
    disable_dropout: bool = field(default=True, metadata={"help": "must be true"})
    dataset_num_proc: int | None = field(default=None, metadata={"help": "not needed: changes nothing"})

    def __post_init__(self) -> None:
        self.bf16 = not self.fp16 if self.bf16 is None else self.bf16
        if self.gradient_checkpointing is None and self.activation_checkpointing is None:
            self.activation_checkpointing = True
        super().__post_init__()
        if self.max_completion_length is not None:
            raise ValueError(
                f"max_completion_length {self.max_completion_length} would cut a step in the middle and leave its label"
                " out; max_length is the only limit here, and cuts between steps"
            )
        if not self.disable_dropout:
            raise ValueError("disable_dropout=False is refused: packed rows are computed without dropout; leave it out")
        if self.semantics == "outcome":
            raise ValueError("semantics 'outcome' is what train_on_last_step_only=True says; give that instead")


class PRMTrainer(VerifierTrainer):
    """See the module's docstring."""

    def __init__(
        self,
        model: Any = None,
        args: PRMConfig | None = None,
        data_collator: Any = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        model_init: Callable | None = None,
        compute_metrics: Callable | None = None,
        callbacks: Sequence[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        preprocess_logits_for_metrics: Callable | None = None,
        peft_config: PeftConfig | None = None,
    ) -> None:
        """
        Args:
            model: of `AutoModelForTokenClassification`, with two labels; becomes a `StepClassifier` with the same weights.
            train_dataset, eval_dataset: rows with `prompt`, `completions` and `labels`; other columns are not read.
            processing_class: the tokenizer.
            peft_config: a LoRA with task_type "TOKEN_CLS".

        Raises:
            ValueError: what is refused; says why, and what to do.
        """
        refused = {
            "data_collator": (data_collator, "rows are packed, so that shared prefixes are computed once"),
            "model_init": (model_init, "give the model itself"),
            "compute_metrics": (compute_metrics, "metrics per step and per trace are built in (recipes/README.md)"),
            "preprocess_logits_for_metrics": (preprocess_logits_for_metrics, "metrics are built in"),
        }
        for name, (value, why) in refused.items():
            if value is not None:
                raise ValueError(f"{name} is refused: {why}; leave it out")
        needed = {"args": args, "train_dataset": train_dataset, "processing_class": processing_class}
        if missing := [name for name, value in needed.items() if value is None]:
            raise ValueError(f"PRMTrainer needs {', '.join(missing)}")
        assert args is not None
        assert processing_class is not None
        _to_step_classifier(model)
        longest = args.max_length or model.config.max_position_embeddings
        codec = StepCodec(PromptTemplate("{prompt}"), args.step_separator, max_length=longest)
        if processing_class.bos_token_id is not None and not bos(processing_class):
            _say(
                f"rows begin without {processing_class.bos_token}, as this tokenizer's texts do; TRL put it before each, so"
                " the first loss differs from TRL's"
            )
        semantics: Semantics = "outcome" if args.train_on_last_step_only else args.semantics or "correctness"
        if not args.train_on_last_step_only and args.semantics is None:
            _say(
                "labels are taken to say whether a step is right; for labels of how a trace can end (Math-Shepherd), give"
                " PRMConfig(semantics='value')"
            )
        train = _examples(
            "train_dataset", train_dataset, codec, processing_class, semantics, args.train_on_last_step_only
        )
        check_targets("train_dataset", train.examples)
        validation = None
        if eval_dataset is not None:
            validation = _examples("eval_dataset", eval_dataset, codec, processing_class, semantics)
        config = VerifierConfig(
            kind="orm" if semantics == "outcome" else "prm",
            codec=codec,
            semantics=semantics,
            aggregation=DEFAULT_AGGREGATION[semantics],
            base_model=model.name_or_path,
            data_hash=data_hash("", train.rows),
            training_data=str(train.report),
        )
        if peft_config is not None:
            config = replace(config, base_weights=_hash_of_base(model.name_or_path))
            model = get_peft_model(model, _lora(peft_config))
        examples = validation.examples if validation else ()
        super().__init__(model, args, config, processing_class, train.examples, examples)
        if optimizers != (None, None):
            self.optimizer, self.lr_scheduler = optimizers
        for callback in callbacks or ():
            self.add_callback(callback)


def _to_step_classifier(model: Any) -> None:
    """Change a stock token classifier into ours, in place: its class, its head in fp32, and its attention.

    Raises:
        ValueError: it is another model, its weights are quantized, or its labels are not two, or in another order.
    """
    if isinstance(model, StepClassifier):
        return
    if not isinstance(model, PreTrainedModel) or type(model) not in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING.values():
        raise ValueError(
            f"model is a {type(model).__name__}; give AutoModelForTokenClassification.from_pretrained(base, num_labels=2),"
            " and a LoRA as peft_config"
        )
    if "quantization_config" in model.config.to_dict():
        raise ValueError("the model has quantized weights; recipes/train_prm.py trains on those (--load_in_4bit)")
    labels = {int(i): label for i, label in (model.config.id2label or {}).items()}
    if labels not in (LABELS, {0: "LABEL_0", 1: "LABEL_1"}):
        raise ValueError(f"the model's labels are {labels}; load it with num_labels=2, where label 1 is good")
    model.__class__ = classifier_class(model.config)
    old: Any = model.score
    new = Fp32Linear(old.in_features, len(LABELS), old.bias is not None, old.weight.device, torch.float32)
    new.load_state_dict(old.state_dict())
    setattr(model, HEAD, new)
    model.set_attn_implementation(tree_attention.NAME)
    model.config.id2label, model.config.label2id = dict(LABELS), {label: i for i, label in LABELS.items()}
    model.config.classifier_dropout = 0.0
    model.config.use_cache = False


def _examples(
    name: str,
    dataset: Any,
    codec: StepCodec,
    tokenizer: PreTrainedTokenizerBase,
    semantics: Semantics,
    last_only: bool = False,
) -> ExampleSet:
    """
    Args:
        last_only: leave out the labels of all steps but the last one.
    """
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"{name} is a {type(dataset).__name__}; give one datasets.Dataset in memory (a stream has no length, and of"
            " several sets TRL could not make one either)"
        )
    columns = ["prompt", "completions", "labels"]
    if missing := [column for column in columns if column not in dataset.column_names]:
        raise ValueError(
            f"{name} has the columns {', '.join(dataset.column_names)} and no {', '.join(missing)}; rows are tokenized here,"
            " so give them as text"
        )
    rows: list[LabeledRow] = []
    for i, row in enumerate(dataset.select_columns(columns)):
        labels = [bool(label) if label in (0, 1) else label for label in row["labels"]]
        if last_only:
            labels[:-1] = [None] * (len(labels) - 1)
        rows.append(row_to_labeled(f"{name}[{i}]", {**row, "labels": labels}, semantics))
    made = prm_examples(rows, codec, tokenizer, "hard", overlong="truncate")
    check_examples(made.rows, made.examples, codec, tokenizer)
    if made.report.truncated:
        _say(f"{name}: {made.report.truncated} of {len(rows)} rows lost steps after max_length {codec.max_length}")
    return made


def _lora(given: PeftConfig) -> LoraConfig:
    """The LoRA that was asked for, as `load_verifier` reads it.

    Raises:
        ValueError: it could not be read, or not train the head; names the setting.
    """
    if not isinstance(given, LoraConfig):
        raise ValueError(f"peft_config is a {type(given).__name__}; checkpoints here are whole, or a LoraConfig")
    if given.task_type != "TOKEN_CLS":
        raise ValueError(
            f"task_type of peft_config is {given.task_type}: the new head would stay random and not be saved; give"
            ' LoraConfig(task_type="TOKEN_CLS")'
        )
    targets: Any = given.target_modules
    if isinstance(targets, str) and targets != "all-linear":
        raise ValueError(f"target_modules is the pattern {targets!r}; give a list of names of layers, or 'all-linear'")
    targets = targets if targets is None or isinstance(targets, str) else sorted(targets)
    ours = lora_config(given.r, given.lora_alpha, targets)
    wrong = other_than(given.to_dict(), ours.to_dict())
    excluded = given.exclude_modules
    others = {*(given.modules_to_save or ()), *([excluded] if isinstance(excluded, str) else excluded or ())}
    if others := others - {HEAD, "classifier"}:
        wrong = f"it names {', '.join(sorted(others))}; of whole layers the head alone is trained here"
    if given.init_lora_weights is not True:
        wrong = f"init_lora_weights is {given.init_lora_weights!r}, which may change the base"
    if wrong:
        raise ValueError(f"peft_config: {wrong}; leave it out, or train the whole model")
    return replace(ours, lora_dropout=given.lora_dropout)


def _hash_of_base(path: str) -> str:
    if not path:
        raise ValueError(
            "the model was not loaded from a folder or the hub, so no adapter on it could be loaded; save it"
        )
    return hash_of_base(path)


def _say(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
