"""StepClassifier: a Hugging Face `*ForTokenClassification` whose two-label head runs in fp32, at step ends only.

The class is made on the fly from the stock one (`LlamaForTokenClassification`, `Qwen2ForTokenClassification`, ...), so a
checkpoint is a plain Hugging Face folder: `AutoModelForTokenClassification`, PEFT and vLLM load it as they load any other.
What differs from the stock class, and why:

- logits only where a score is read (`step_index`), not at every token;
- head and logits stay fp32 in a bf16 model: bf16 collapses 200 distinct probabilities near 1 into 5 and ties the ranking;
- no dropout in front of the head (stock default 0.1), which would make scores noisy outside `eval()`;
- no built-in loss: the stock one is wrong under gradient accumulation (transformers#47688). See `prm.training.losses`.

Loading has two modes. `from_base` starts from a language model and may miss the head, nothing else. `load_classifier`
reads a finished checkpoint and refuses one without its head or with another order of labels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from torch import nn
from transformers import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

LABELS = {0: "bad", 1: "good"}
HEAD = "score"
"""Name of the head module in every stock token classifier that has a causal language model beside it."""


class Fp32Linear(nn.Linear):
    """A linear layer that computes in fp32 whatever its input and the autocast around it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


class StepClassifier:
    """Mixin in front of a stock token classifier. `forward` gives logits (number of indices, 2)."""

    accepts_loss_kwargs = False  # the Trainer's loss function scales by the global count itself

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        head: nn.Linear = self.score  # type: ignore[has-type]
        # The explicit dtype wins over that of the folder, when the head is new and when it is loaded.
        self.score = Fp32Linear(head.in_features, head.out_features, bias=head.bias is not None, dtype=torch.float32)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        step_index: torch.Tensor | None = None,
        return_dict: bool = True,
        **peft_defaults: None,
    ) -> TokenClassifierOutput:
        """
        Args:
            input_ids: (rows, tokens).
            attention_mask: (rows, tokens), 0 at padding.
            position_ids: (rows, tokens), if not 0, 1, 2, ...
            step_index: (steps,) indices into the flattened (rows * tokens) positions; None = every position.
            return_dict: always true; PEFT's wrapper passes it.
            peft_defaults: what PEFT's wrapper passes along unset (`labels`, `inputs_embeds`, ...).
        """
        unknown = {name: value for name, value in peft_defaults.items() if value is not None}
        if unknown:
            raise TypeError(f"StepClassifier.forward does not take {', '.join(unknown)}")
        backbone = self.get_decoder()  # type: ignore[attr-defined]
        hidden = backbone(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
        ).last_hidden_state
        if step_index is not None:
            hidden = hidden.flatten(0, 1)[step_index]
        return TokenClassifierOutput(logits=self.score(hidden))


def classifier_class(config: PreTrainedConfig) -> Any:
    """The StepClassifier of this architecture, under the name of the stock class, which is what checkpoints record."""
    try:
        stock: Any = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[type(config)]
    except KeyError as error:
        raise ValueError(
            f"{config.model_type!r} models have no token-classification class in transformers, so no head can be put on"
            " them; use a Llama, Qwen2, Qwen3, Mistral, Gemma ... base model"
        ) from error
    return type(stock.__name__, (StepClassifier, stock), {"__module__": stock.__module__})


def from_base(path: str, dtype: torch.dtype | str = "auto") -> PreTrainedModel:
    """A classifier with a new head on a language model (or on another verifier of ours, whose head is kept).

    Raises:
        ValueError: the folder lacks weights other than those of the head.
    """
    config = AutoConfig.from_pretrained(path)
    config.num_labels = len(LABELS)
    config.id2label = dict(LABELS)
    config.label2id = {label: i for i, label in LABELS.items()}
    config.classifier_dropout = 0.0
    config.use_cache = False
    model, info = classifier_class(config).from_pretrained(path, config=config, dtype=dtype, output_loading_info=True)
    missing = [key for key in info["missing_keys"] if not key.startswith(f"{HEAD}.")]
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} weights of its body, for instance {missing[0]}; it is incomplete"
        )
    return model


def load_classifier(path: str, base_model: str | None = None) -> nn.Module:
    """A finished verifier: a full or merged checkpoint, or a LoRA adapter folder (then merged into its base).

    Args:
        path: checkpoint folder.
        base_model: where the base of an adapter lies, if it is no longer where the adapter says.

    Raises:
        ValueError: the head is missing, or the labels are not `0 = bad, 1 = good`.
    """
    if (Path(path) / "adapter_config.json").is_file():
        return _load_adapter(path, base_model)
    config = AutoConfig.from_pretrained(path)
    _check_labels(path, config.id2label)
    model, info = classifier_class(config).from_pretrained(path, dtype="auto", output_loading_info=True)
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: the head was lost when it was saved, its scores would be random."
            " Train again, or save with Trainer.save_model / PEFT task_type TOKEN_CLS"
        )
    return model


def _load_adapter(path: str, base_model: str | None) -> nn.Module:
    from safetensors import safe_open

    with safe_open(str(Path(path) / "adapter_model.safetensors"), framework="pt") as weights:
        keys = set(weights.keys())
    lost = [name for name in ("weight", "bias") if not any(key.endswith(f"{HEAD}.{name}") for key in keys)]
    if lost:
        raise ValueError(
            f"{path}: the adapter holds no {HEAD}.{lost[0]}, so the trained head is lost and its scores would be random."
            " Train with LoraConfig(task_type='TOKEN_CLS', modules_to_save=['score']), as recipes/train_prm.py does"
        )
    peft_config = PeftConfig.from_pretrained(path)
    # In fp32, as in training: the bf16 in which most bases are stored would shift the scores by about 0.01.
    base = from_base(base_model or peft_config.base_model_name_or_path, dtype=torch.float32)
    labels = json.loads((Path(path) / "prm_config.json").read_text())["labels"]
    _check_labels(path, dict(enumerate(labels)))
    return PeftModel.from_pretrained(base, path).merge_and_unload()


def _check_labels(path: str, id2label: dict[int, str]) -> None:
    if {int(i): label for i, label in id2label.items()} != LABELS:
        raise ValueError(
            f"{path}: labels are {id2label}, this project needs {LABELS}; a checkpoint of unknown label order is refused"
            " because its scores could be upside down. If label 1 means good, set id2label in its config.json"
        )
