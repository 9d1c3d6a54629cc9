"""prm_config.json: what a verifier checkpoint says about itself, beside the plain Hugging Face files.

    {"kind": "prm", "head": "linear", "semantics": "value", "aggregation": "last", "labels": ["bad", "good"],
     "codec": {"prompt": {"text": "{prompt}\\n", "chat": false, "system": null, "date": "2024-07-26"},
               "separator": "\\n", "marker": null, "max_length": 256},
     "base_model": "arithmetic-generator", "base_weights": null, "data_hash": "9f2c...", "versions": {"prm": "0.1.0", ...}}

Training writes it and scoring reads it, so that the two can never differ in prompt, separator or read position.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

from prm.encoding.codec import StepCodec
from prm.storage.paths import need_folder
from prm.storage.provenance import library_versions
from prm.types import Aggregation, Head, Semantics, StepRule

FILE = "prm_config.json"
SETTINGS_FILE = "config.yaml"
"""All flags of the training run, beside it (`prm.training.settings`)."""


@dataclass(frozen=True)
class VerifierConfig:
    """The contents of `prm_config.json`."""

    kind: Literal["prm", "orm"]
    codec: StepCodec
    semantics: Semantics
    aggregation: Aggregation
    base_model: str
    """Folder or hub name, as it was given in training."""
    data_hash: str
    head: Head = "linear"
    quantization: Literal["nf4"] | None = None
    """How the base of an adapter was quantized in training; scoring does the same, or the scores would shift (a little they
    do where bf16 is computed on a GPU and fp32 on the CPU)."""
    base_weights: str | None = None
    """Of an adapter: the hash of the base that it was trained on (`prm.models.loading.hash_of_base`)."""
    objective: str = "cross_entropy"
    bad_weight: float = 1.0
    targets: Literal["soft", "hard", "counts"] = "hard"
    until_first_error: bool = False
    tokens: Literal["last", "all"] = "last"
    """What it was trained with (`prm.training`). What a score means follows from it (`prm.verifiers.score_meaning`)."""
    training_data: str = ""
    """Counts of the training rows and who labeled them, in words."""
    step_rule: StepRule | None = None
    """How the traces it learned from were divided into steps (`prm.encoding.steps`); None if their rows do not say."""
    labels: tuple[str, str] = ("bad", "good")
    versions: dict[str, str] = field(default_factory=library_versions)

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("kind", self.kind, ("prm", "orm")),
            ("semantics", self.semantics, get_args(Semantics)),
            ("aggregation", self.aggregation, get_args(Aggregation)),
            ("head", self.head, get_args(Head)),
            ("quantization", self.quantization, (None, "nf4")),
            ("step_rule", self.step_rule, (None, *get_args(StepRule))),
            ("targets", self.targets, ("soft", "hard", "counts")),
            ("tokens", self.tokens, ("last", "all")),
        ):
            if value not in allowed:
                raise ValueError(f"{FILE}: {name} {value!r} is not one of {', '.join(map(str, allowed))}")
        if self.labels != ("bad", "good"):
            raise ValueError(f"{FILE}: labels are {self.labels}, not ('bad', 'good'); the scores could be upside down")
        if (self.kind == "orm") != (self.semantics == "outcome"):
            raise ValueError(
                f"{FILE}: a {self.kind} cannot have {self.semantics!r} labels; an orm learns outcomes, a prm learns steps"
            )

    def save(self, folder: str | Path) -> None:
        (Path(folder) / FILE).write_text(
            json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )

    @classmethod
    def load(cls, folder: str | Path) -> VerifierConfig:
        path = need_folder(folder) / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: {folder} is not a verifier saved by this project, and how its prompts, steps and"
                " scores are laid out is unknown"
            )
        values = json.loads(path.read_text(encoding="utf-8"))
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"{path}: unknown keys {', '.join(sorted(unknown))}; was it written by a newer version?")
        return cls(**{**values, "codec": StepCodec.from_dict(values["codec"]), "labels": tuple(values["labels"])})
