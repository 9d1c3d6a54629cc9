"""The command line that `recipes/train_prm.py` and `recipes/train_orm.py` share, and what it is made into.

Flags come from `VerifierArguments` and from `transformers.TrainingArguments`; `--config file.yaml` gives defaults, flags
override them, an unknown key is an error (TRL's `TrlParser`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from prm.aggregation import DEFAULT_AGGREGATION
from prm.encoding.codec import StepCodec
from prm.encoding.prompts import PROMPTS, prompt_template
from prm.encoding.steps import DEFAULT_SEPARATOR
from prm.models.loading import from_base, nf4
from prm.models.step_classifier import HEADS
from prm.storage.jsonl import file_hash
from prm.training.losses import OBJECTIVES, Objective, weigh_bad
from prm.training.trainer import add_lora
from prm.types import Aggregation, Semantics
from prm.verifiers.checkpoint import VerifierConfig


@dataclass
class VerifierArguments:
    """What to train from, on what, and how traces become tokens."""

    model: str = field(metadata={"help": "base model: folder or hub name of a causal language model"})
    data: str = field(metadata={"help": "JSON Lines file of labeled traces (PRM) or of checked traces (ORM)"})
    eval_data: str | None = field(
        default=None,
        metadata={"help": "the same for validation; none = the validation share of the problems in `data`"},
    )
    prompt: str = field(default="plain", metadata={"help": f"prompt template: {', '.join(PROMPTS)}"})
    separator: str = field(default=DEFAULT_SEPARATOR, metadata={"help": "text behind every step"})
    marker: str | None = field(default=None, metadata={"help": "single special token in place of the separator"})
    max_length: int = field(
        default=1024, metadata={"help": "longest trace in tokens; longer ones lose their last steps"}
    )
    head: str = field(default="linear", metadata={"help": f"what reads the hidden state: {', '.join(HEADS)}"})
    lora_r: int = field(default=0, metadata={"help": "LoRA rank on all linear layers; 0 = full fine-tuning"})
    load_in_4bit: bool = field(default=False, metadata={"help": "QLoRA: 4-bit weights under the LoRA"})
    freeze_backbone: bool = field(default=False, metadata={"help": "train the head only (the cheap tier)"})
    shared_steps: str = field(
        default="per_trace",
        metadata={"help": "a step that several traces share counts `per_trace` (as in separate sequences) or `once`"},
    )
    bad_weight: float = field(default=1.0, metadata={"help": "factor on the loss of bad steps, for unbalanced labels"})
    early_stopping: int | None = field(
        default=None,
        metadata={"help": "stop after so many evaluations without a better one; needs --load_best_model_at_end"},
    )
    limit: int | None = field(default=None, metadata={"help": "train on the first rows only"})

    def __post_init__(self) -> None:
        if self.freeze_backbone and self.lora_r:
            raise ValueError(
                f"--freeze_backbone trains the head only, --lora_r {self.lora_r} asks for more; choose one"
            )
        if self.load_in_4bit and not self.lora_r:
            raise ValueError("4-bit weights cannot be trained; add --lora_r 16, or leave --load_in_4bit out")
        if self.shared_steps not in ("per_trace", "once"):
            raise ValueError(f"--shared_steps {self.shared_steps!r} is not one of per_trace, once")

    def codec(self) -> StepCodec:
        return StepCodec(prompt_template(self.prompt), self.separator, self.marker, self.max_length)

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        return AutoTokenizer.from_pretrained(self.model)

    def load_model(self) -> torch.nn.Module:
        """fp32 weights (mixed precision is the Trainer's), a new head, and what else is asked for."""
        options = {"quantization_config": nf4()} if self.load_in_4bit else {}
        model = from_base(self.model, torch.float32, self.head, **options)  # type: ignore[arg-type]
        if self.lora_r:
            return add_lora(model, self.lora_r)
        if self.freeze_backbone:
            model.get_decoder().requires_grad_(False)
        return model

    def verifier_config(
        self,
        kind: Literal["prm", "orm"],
        semantics: Semantics,
        aggregation: Aggregation | None = None,
        objective: str = "cross_entropy",
    ) -> VerifierConfig:
        """What the checkpoint will say about itself."""
        return VerifierConfig(
            kind=kind,
            codec=self.codec(),
            semantics=semantics,
            aggregation=aggregation or DEFAULT_AGGREGATION[semantics],
            base_model=self.model,
            data_hash=file_hash(self.data),
            head=self.head,  # type: ignore[arg-type]
            quantization="nf4" if self.load_in_4bit else None,
            objective=objective,
            bad_weight=self.bad_weight,
        )

    def weighted(self, name: str) -> Objective:
        """The objective of this name, with `bad_weight` on its bad steps.

        Raises:
            ValueError: `bad_weight` or `shared_steps` mean nothing for it.
        """
        relative = name in ("ranking", "bradley_terry")
        if relative and (self.bad_weight != 1 or self.shared_steps == "once"):
            raise ValueError(
                f"--objective {name} compares steps with each other, so --bad_weight and --shared_steps once mean nothing"
                " for it; leave them out"
            )
        return OBJECTIVES[name] if self.bad_weight == 1 else weigh_bad(OBJECTIVES[name], self.bad_weight)
