"""Export of an outcome reward model to the one-logit form that TRL's `RewardTrainer` writes and its users load.

`AutoModelForSequenceClassification` with `num_labels=1` reads one logit at the last token. Ours has two logits; their
difference is the log-odds that the answer is right, so the one row is `score[good] - score[bad]`. Its bias is lost, since
that class has none: all rewards shift by one constant, and no ranking, pair or advantage depends on it.

    outputs/orm          LlamaForTokenClassification       score.weight (2, hidden), score.bias (2,)
    outputs/orm_reward   LlamaForSequenceClassification    score.weight (1, hidden)

The text to score is `prompt + steps`, each step with its separator, the last one included; special tokens at the end would
move the read position. Left out: PRMs (a token classifier is what their users load), MLP heads (the class is linear).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from prm.files import write_whole
from prm.models.folders import SAFELY
from prm.models.loading import load_tokenizer
from prm.verifiers.checkpoint import VerifierConfig, check_files
from prm.verifiers.loading import load_classifier


def export_reward_model(path: str, output_dir: str) -> float:
    """Write the one-logit form of an ORM checkpoint (full, LoRA or merged).

    Returns:
        What every reward lacks of the log-odds: bias[good] - bias[bad].

    Raises:
        ValueError: not an ORM, or its head is not linear.
    """
    config = VerifierConfig.load(path)
    if config.kind != "orm" or config.head == "mlp" or config.quantization is not None:
        raise ValueError(
            f"{path} is a {config.kind} with head {config.head} and quantization {config.quantization}; only ORMs with a"
            " linear head on whole weights have a one-logit form"
        )
    verifier: Any = load_classifier(path)
    check_files(path)
    weight, bias = verifier.score.weight.data, verifier.score.bias.data
    model_config = verifier.config
    model_config.num_labels = 1
    model_config.problem_type = "regression"  # vLLM then serves the raw logit
    reward = AutoModelForSequenceClassification.from_config(model_config, dtype=verifier.dtype, **SAFELY)
    body = {name: tensor for name, tensor in verifier.state_dict().items() if not name.startswith("score.")}
    missing, unexpected = reward.load_state_dict(body, strict=False)
    if unexpected or set(missing) != {"score.weight"}:
        raise ValueError(
            f"{path}: the body does not fit its sequence classifier: {missing} missing, {unexpected} left over"
        )
    with torch.no_grad():
        reward.score.weight.copy_(weight[1] - weight[0])
    reward.save_pretrained(output_dir)
    codec = config.codec
    tokenizer = load_tokenizer(path)
    if codec.prompt.chat:  # whoever renders a chat with it must read the verifier's date, not the clock
        tokenizer.chat_template = codec.prompt.fixed_chat_template(tokenizer)
    tokenizer.save_pretrained(output_dir)
    write_whole(
        Path(output_dir, "README.md"),
        f"# Outcome reward model\n\nOne logit per sequence, exported from `{Path(path).name}` (base"
        f" `{config.base_model}`). Read at the last token of prompt + steps. The prompt is"
        f" {codec.prompt.text!r}{' in the chat template' if codec.prompt.chat else ''}, every step is followed by"
        f" {codec.marker or codec.separator!r}, and nothing follows the last one. Tokenize the pieces separately and join"
        " their ids: a tokenizer merges text across step ends.\n",
    )
    return float(bias[1] - bias[0])
