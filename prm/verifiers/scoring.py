"""scoring.json: all that a reader of an exported verifier needs, beside its config.json, without any code of this project.

    {"form": "token_classification", "kind": "prm", "read": "For every step: the softmax of the logits at its position ...",
     "codec": {"prompt": {"text": "{prompt}\\n", "chat": false, ...}, "separator": "\\n", "marker": null, "max_length": 256},
     "step_end_ids": [4], "label_ids": [0, 1], "offset": 0.0, "aggregation": "last", "threshold": null, "calibrations": [],
     "step_rule": "line", "dtype": "float32", "num_parameters": 889088, "source": "prm-91ab03fe", "examples":
     [{"prompt": "Start with 47, add 38.", "steps": ["47 + 38 = 75", "#### 75"], "input_ids": [...], "positions": [21, 25],
       "scores": [0.0312, 0.0104]}, ...]}

`codec` has the words of `prm_config.json`. `examples` are traces with their token ids and the scores that the verifier gave
them in fp32: whoever builds a reader, or serves the folder on an engine, compares with them first. `ServedVerifier` does so.

Why vLLM's options are made here: what it must be told follows from the form, and it cannot be told in config.json (vLLM
0.32 has no key for the step token, and a request cannot set it over HTTP).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from prm.encoding.codec import StepCodec
from prm.files import read_object, write_whole
from prm.types import Aggregation, StepRule
from prm.verifiers.checkpoint import made

FILE = "scoring.json"

Form = Literal["token_classification", "qwen_prm", "math_shepherd", "sequence_classification"]
"""How an exported verifier is laid out; `prm.verifiers.export` describes each."""

TWIN: Form = "sequence_classification"
"""The one that gives one logit, at the last token of what it reads."""

SERVED = re.compile(r"(?P<folder>.+?)@(?P<place>vllm|https?://.*)")
"""How a served verifier is named."""

READ: dict[Form, str] = {
    "token_classification": "For every step: the softmax of the two logits at its position; the probability of label 1 is"
    " the score",
    "qwen_prm": "For every step: the softmax of the two logits at its position; the probability of label 1 is the score",
    "math_shepherd": "For every step: the softmax of two of the vocabulary's logits at its position, those of `label_ids`;"
    " the probability of the second is the score",
    "sequence_classification": "For every step: give the model the ids up to and with its position; the sigmoid of its one"
    " logit plus `offset` is the score. As a reward, the logit of the whole trace alone ranks the same",
}


@dataclass(frozen=True)
class Example:
    """A trace, its token ids, and what it must score."""

    prompt: str
    steps: tuple[str, ...]
    input_ids: tuple[int, ...]
    positions: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class CalibratedChoice:
    """How likely what is chosen among samples of one generator is right, by its evidence (eval/calibrate_verifier.py)."""

    verifier: str
    """Name of the verifier that chooses."""
    generator: str
    samples: int
    best: tuple[tuple[float, float], ...]
    """Of best-of-N: (lowest highest score, chance), both rising."""
    vote: tuple[tuple[float, float], ...]
    """Of the weighted vote: (lowest lead of the first answer, chance)."""


@dataclass(frozen=True)
class Scoring:
    """The contents of `scoring.json`."""

    form: Form
    kind: Literal["prm", "orm"]
    read: str
    codec: StepCodec
    step_end_ids: tuple[int, ...]
    """Token ids after every step; the last one is the position of its score."""
    aggregation: Aggregation
    dtype: str
    """Of the stored weights of the body."""
    num_parameters: int
    source: str
    """Name of the verifier that was exported: kind and fingerprint."""
    examples: tuple[Example, ...]
    label_ids: tuple[int, int] = (0, 1)
    """Logits of bad and good; `math_shepherd`: token ids."""
    label_tokens: tuple[str, str] | None = None
    """`math_shepherd`: the tokens of bad and good."""
    offset: float = 0.0
    """What a single logit lacks of the log-odds of good."""
    objective: str = "cross_entropy"
    step_rule: StepRule | None = None
    threshold: float | None = None
    """A step with a lower score counts as wrong, as chosen on data of its own; None: not chosen."""
    calibrations: tuple[CalibratedChoice, ...] = ()

    def save(self, folder: str | Path) -> None:
        write_whole(Path(folder, FILE), json.dumps(asdict(self), ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Scoring:
        """
        Raises:
            FileNotFoundError: there is none. ValueError: it is damaged; names the file and the key.
        """
        path = Path(folder, FILE)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: how its prompts, steps and scores are laid out is unknown; write the folder with"
                " recipes/export_verifier.py"
            )
        fix = "export the verifier again"
        try:
            scoring: Scoring = made(cls, read_object(path, fix))
        except ValueError as error:
            raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}; {fix}") from error
        if not scoring.examples:
            raise ValueError(f"{path}: examples is empty, so nothing shows that scores are right; {fix}")
        return scoring

    @property
    def fingerprint(self) -> str:
        """Eight hex digits of what decides scores: layout, labels and, through the examples, the weights."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]

    def probability(self, logits: Sequence[float]) -> float:
        """P(good) of one step from its raw logits, in the order of the form: (bad, good), or the one logit of the twin."""
        difference = logits[0] + self.offset if self.form == TWIN else logits[1] - logits[0]
        return 1 / (1 + math.exp(-difference)) if difference > -700 else 0.0


def vllm_options(scoring: Scoring, dtype: str = "float32") -> dict[str, Any]:
    """What vLLM 0.32 must be told to serve the folder, by the names of its `LLM`.

    Without a marker all positions are returned and the reader picks those of the steps: a separator may occur inside a step.
    """
    options: dict[str, Any] = {"runner": "pooling", "dtype": dtype, "max_model_len": scoring.codec.max_length}
    if scoring.form == TWIN:
        return options
    if scoring.form == "math_shepherd":
        options |= {
            "convert": "classify",
            "hf_overrides": {
                "classifier_from_token": list(scoring.label_tokens or ()),
                "method": "no_post_processing",
            },
        }
    pooler: dict[str, Any] = {"task": "token_classify"}
    if scoring.codec.marker is None:
        pooler |= {"pooling_type": "ALL"}
    else:
        pooler |= {"pooling_type": "STEP", "step_tag_id": scoring.step_end_ids[-1]}
    return options | {"pooler_config": pooler}


def launch_line(folder: str, options: dict[str, Any]) -> str:
    """The command that serves the folder."""
    words = [
        f"--{name.replace('_', '-')} " + (f"'{json.dumps(value)}'" if isinstance(value, dict) else str(value))
        for name, value in options.items()
    ]
    return " ".join([f"vllm serve {folder}", *words])
