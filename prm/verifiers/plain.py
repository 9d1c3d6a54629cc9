"""The scores of an exported folder as plain Transformers gives them: the class that config.json names, one trace at a time.

It shares nothing with `StepVerifier` but the token ids: no packing, no derived class, positions read as `scoring.json` says.
This is what every export is proved with, and what served scores are compared with. Slow, on the CPU, in fp32.

    plain_scores("outputs/prm_twin", Scoring.load("outputs/prm_twin"))    # -> [[0.0312, 0.0104], ...], one list per example
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    AutoConfig,
    PreTrainedConfig,
)

from prm.models.folders import SAFELY, refuse_names, stored_tensors
from prm.models.loading import load_weights
from prm.verifiers.scoring import TWIN, Form, Scoring

CLASSES: dict[Form, Any] = {
    "token_classification": MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    "math_shepherd": MODEL_FOR_CAUSAL_LM_MAPPING,
    "sequence_classification": MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
}


def class_of(config: PreTrainedConfig, form: Form) -> Any:
    """The class of a form for this body. Transformers has none for `qwen_prm`: there it is made of its token classifier."""
    if form != "qwen_prm":
        return CLASSES[form][type(config)]
    stock: Any = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[type(config)]

    class Qwen2ForProcessRewardModel(stock):
        def __init__(self, config: PreTrainedConfig) -> None:
            super().__init__(config)
            size, labels = config.hidden_size, 2  # vLLM, too, always makes two
            self.score = torch.nn.Sequential(
                torch.nn.Linear(size, size), torch.nn.ReLU(), torch.nn.Linear(size, labels)
            )

    Qwen2ForProcessRewardModel.__module__ = stock.__module__
    return Qwen2ForProcessRewardModel


def check_key_set(folder: str | Path, form: Form) -> None:
    """Refuse a folder whose tensors are not exactly those of its class: vLLM would serve one without a head.

    Raises:
        ValueError: a tensor is missing, has another name or another shape; names it.
    """
    config, stored = AutoConfig.from_pretrained(folder, **SAFELY), stored_tensors(Path(folder))
    with torch.device("meta"):
        needed = class_of(config, form)(config).state_dict()
    refuse_names(str(folder), needed.keys() - stored.keys(), "lacks {}, and would be served with arbitrary numbers")
    refuse_names(str(folder), stored.keys() - needed.keys(), "holds {}, for which its class has no place")
    other = [name for name, tensor in needed.items() if stored[name].shape != tuple(tensor.shape)]
    refuse_names(str(folder), other, "has another shape of {} than its class")


@torch.inference_mode()
def plain_scores(folder: str | Path, scoring: Scoring) -> list[list[float]]:
    """P(good) of every step of the examples in `scoring.json`."""
    config = AutoConfig.from_pretrained(folder, **SAFELY)
    kind = class_of(config, scoring.form)
    model = load_weights(kind, str(folder), dtype=torch.float32).eval()
    return [
        [scoring.probability(logits) for logits in _logits(model, scoring, example.input_ids, example.positions)]
        for example in scoring.examples
    ]


def _logits(model: Any, scoring: Scoring, ids: Sequence[int], positions: Sequence[int]) -> list[list[float]]:
    if scoring.form == TWIN:
        return [model(torch.tensor([ids[: position + 1]])).logits[0].tolist() for position in positions]
    logits = model(torch.tensor([ids])).logits[0, list(positions)]
    return logits[:, list(scoring.label_ids)].tolist()
