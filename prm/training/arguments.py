"""The flags that `recipes/train_prm.py` and `recipes/train_orm.py` share, and what follows from them alone.

All other flags are those of `transformers.TrainingArguments` (`prm/command_line.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prm.aggregation import DEFAULT_AGGREGATION
from prm.datasets import arithmetic
from prm.encoding.codec import StepCodec
from prm.encoding.prompts import HELP, prompt_template
from prm.encoding.steps import SEPARATORS
from prm.generators import EMBEDDED, embedded_folder
from prm.storage.paths import check_name
from prm.storage.rows import LabeledRow
from prm.storage.sources import HUB_NAMES
from prm.training.data import data_hash, training_source, validation_source
from prm.training.resume import check_output_dir
from prm.types import Aggregation, Head, Semantics, StepRule
from prm.verifiers.checkpoint import VerifierConfig

if TYPE_CHECKING:
    from prm.training.losses import Objective


@dataclass
class VerifierArguments:
    """What to train on, from which model, and how traces become tokens."""

    model: str = field(metadata={"help": "base model: a folder or a hub name"})
    data: str = field(
        metadata={
            "help": "labeled traces (PRM) or checked traces (ORM): a file, a folder of data/build_dataset.py, or a hub name"
        }
    )
    eval_data: str | None = field(
        default=None,
        metadata={
            "help": "the same for validation; default: the validation split of `data`, or a tenth of its problems, held out"
        },
    )
    prompt: str = field(default="plain", metadata={"help": f"prompt template: {HELP}"})
    separator: str | None = field(
        default=None,
        metadata={"help": r"text after every step; default: that between the steps of the rows, \n or \n\n"},
    )
    marker: str | None = field(default=None, metadata={"help": "single special token in place of the separator"})
    max_length: int = field(default=1024, metadata={"help": "longest trace in tokens", "least": 1})
    overlong: Literal["error", "drop", "truncate"] = field(
        default="error", metadata={"help": "longer traces: stop, leave them out, or leave their last steps out"}
    )
    tokens_per_row: int | None = field(
        default=None,
        metadata={
            "help": "most tokens computed at once; default: what a GPU holds, on a CPU a micro-batch",
            "least": 1,
        },
    )
    head: Head = field(default="linear", metadata={"help": "what reads the hidden state"})
    lora_r: int = field(default=0, metadata={"help": "LoRA rank; 0 = full fine-tuning", "least": 0})
    load_in_4bit: bool = field(default=False, metadata={"help": "QLoRA: 4-bit weights under the LoRA"})
    freeze_backbone: bool = field(default=False, metadata={"help": "train the head only, which is cheap"})
    objective: str = field(default="cross_entropy", metadata={"help": "loss (prm/training/losses.py)"})
    bad_weight: float = field(
        default=1.0, metadata={"help": "factor on the loss of bad steps, for unbalanced labels", "above": 0}
    )
    early_stopping: int | None = field(
        default=None,
        metadata={
            "help": "stop after this many evaluations without improvement; needs --load_best_model_at_end",
            "least": 1,
        },
    )
    limit: int | None = field(
        default=None, metadata={"help": "use only this many rows of `data`, from the first", "least": 1}
    )
    allow_benchmark: bool = field(default=False, metadata={"help": "train on rows of a benchmark, too"})
    license: str | None = field(default=None, metadata={"help": "license of the model, for its card (e.g. apache-2.0)"})
    overwrite_output_dir: bool = field(default=False, metadata={"help": "replace a finished model there"})

    def __post_init__(self) -> None:
        prompt_template(self.prompt)  # a wrong name is found before anything is loaded
        if self.freeze_backbone and self.lora_r:
            raise ValueError(
                f"--freeze_backbone trains the head only, --lora_r {self.lora_r} asks for more; choose one"
            )
        if self.load_in_4bit and not self.lora_r:
            raise ValueError("4-bit weights cannot be trained; add --lora_r 16, or leave --load_in_4bit out")
        if self.bad_weight != 1 and self.objective in ("ranking", "bradley_terry", "beta_binomial"):
            reason = "learns counts" if self.objective == "beta_binomial" else "compares steps with each other"
            raise ValueError(
                f"--objective {self.objective} {reason}, so --bad_weight means nothing for it; leave it out"
            )

    def codec(self, rule: StepRule | None) -> StepCodec:
        """
        Args:
            rule: by which the rows are divided into steps; None if they do not say.
        """
        # A shell passes "\\n" on as two characters.
        separator = SEPARATORS[rule or "line"] if self.separator is None else self.separator.replace("\\n", "\n")
        return StepCodec(prompt_template(self.prompt), separator, self.marker, self.max_length)

    def loss(self) -> Objective:
        """The objective, with `bad_weight` on its bad steps."""
        from prm.training.losses import OBJECTIVES, weigh_bad  # imports torch; help must not wait for it

        objective = OBJECTIVES[self.objective]
        return objective if self.bad_weight == 1 else weigh_bad(objective, self.bad_weight)

    def verifier_config(
        self,
        kind: Literal["prm", "orm"],
        semantics: Semantics,
        rows: Sequence[LabeledRow],
        aggregation: Aggregation | None = None,
        **learned: Any,
    ) -> VerifierConfig:
        """What the checkpoint will say about itself.

        Args:
            rows: to train on.
            aggregation: the default of the semantics if None.
            learned: `targets`, `until_first_error` or `tokens` of the checkpoint's config.
        """
        rule = step_rule_of(rows)
        return VerifierConfig(
            kind=kind,
            codec=self.codec(rule),
            semantics=semantics,
            aggregation=aggregation or DEFAULT_AGGREGATION[semantics],
            base_model=self.model,
            data_hash=data_hash(training_source(self.data), rows),
            head=self.head,
            quantization="nf4" if self.load_in_4bit else None,
            objective=self.objective,
            bad_weight=self.bad_weight,
            step_rule=rule,
            **learned,
        )


def check_model(name: str) -> None:
    """Refuse a model to start from that is nowhere.

    Raises:
        FileNotFoundError: as `check_name`; of the name of an embedded generator it says where that is.
    """
    if name in EMBEDDED and not Path(name).exists():
        raise FileNotFoundError(f"{name} is a generator's name, no folder; give --model {embedded_folder(name)}")
    check_name(name)


def check_given(given: Mapping[str, Any]) -> None:
    """Refuse a model or data that are nowhere, and the replacement of a finished model.

    Args:
        given: the flags of a training script by name, before transformers is imported, which takes ten seconds.

    Raises:
        FileNotFoundError: there is nothing of that name. ValueError: as `check_output_dir` and `training_source`.
    """
    if given.get("model") is not None:  # a generator may be new
        check_model(given["model"])
    data, eval_data = given["data"], given.get("eval_data")
    for source in (training_source(data), validation_source(data, eval_data) if eval_data else None):
        if source is not None:
            check_name(source, (*arithmetic.SETS, *HUB_NAMES))
    resume, overwrite = given.get("resume_from_checkpoint"), given.get("overwrite_output_dir", False)
    check_output_dir(given["output_dir"], resume, overwrite)


def step_rule_of(rows: Sequence[LabeledRow]) -> StepRule | None:
    """By which rule the rows are divided into steps; None if they do not say.

    Raises:
        ValueError: by several. A verifier that learned from lines and from paragraphs would be right about neither.
    """
    rows_by_rule = Counter(row.labeled.trace.step_rule for row in rows if row.labeled.trace.step_rule)
    if len(rows_by_rule) > 1:
        found = ", ".join(f"{rule} ({n} rows)" for rule, n in rows_by_rule.items())
        raise ValueError(f"the rows are divided into steps by different rules: {found}; train on the rows of one rule")
    return next(iter(rows_by_rule), None)
