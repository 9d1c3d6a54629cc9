"""Export of a verifier (full, LoRA or merged) to the layouts that other tools load, with the same scores.

    form                      class in config.json              head in the weights
    token_classification      LlamaForTokenClassification       score.weight (2, h), score.bias (2)
    qwen_prm                  Qwen2ForProcessRewardModel        score.0.* (h, h), score.2.* (2, h)
    math_shepherd             LlamaForCausalLM                  lm_head.weight (vocabulary, h)
    sequence_classification   LlamaForSequenceClassification    score.weight (1, h)

- `token_classification` is the layout of training, with an adapter merged; `load_verifier` reads it, too.
- `qwen_prm`, the layout of Qwen2.5-Math-PRM, has a head of two layers, linear, ReLU, linear. A linear head is embedded in it
  exactly: the first layer computes +z and -z of its two logits, the second adds up relu(z) - relu(-z) = z. A Llama body is a
  Qwen2 body whose biases are zero (its tokenizer must survive being read as Qwen's). `load_verifier` reads it, too.
- `math_shepherd` is a language model whose logits of "+" and "-" are those of the head; its other rows are zero, it says
  nothing else. A language model has no bias there, so the head must have none.
- `sequence_classification` is the twin for consumers that read one logit at the last token (TRL's GRPO, verl, OpenRLHF,
  vLLM's /classify): the row good - bad. The class has no bias, so that of the head is lost; `offset` in scoring.json has it.
  As a reward all logits shift by one constant, and no ranking, pair or advantage depends on it.

What cannot be exact is refused. The tensors that were written are compared with those that the class needs, because vLLM
serves a model without its head and does not say so. The folder is then loaded with plain Transformers and scored. Left out:
4-bit bases (merged, they would be rounded once more), and heads in a layout that cannot hold them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, Qwen2Config

from prm.encoding.codec import StepCodec
from prm.models.loading import in_dtype, load_tokenizer
from prm.models.step_classifier import HEAD
from prm.verifiers.checkpoint import VerifierConfig, check_files
from prm.verifiers.export_card import write_export_card
from prm.verifiers.loading import load_classifier
from prm.verifiers.model_card import EXAMPLE
from prm.verifiers.plain import check_key_set, class_of, plain_scores
from prm.verifiers.scoring import READ, CalibratedChoice, Example, Form, Scoring
from prm.verifiers.step_verifier import TOLERANCE, StepVerifier, largest_difference

TRACES = (
    EXAMPLE,
    ("Start with 12, add 3.", ("#### 16",)),
    ("A crate holds 6 rows of 8 eggs. 5 break. How many are left?", ("6 * 8 = 48", "48 - 5 = 43", "43", "#### 43")),
    ("Solve 2x + 1 = 7.", ("Subtract 1: 2x = 6.", "Divide by 2: x = 4.", "So the answer is \\boxed{4}.")),
)
"""What an exported verifier is proved with."""

LABEL_TOKENS = ("-", "+")
"""Of Math-Shepherd: bad, good."""

SMALLEST_BIAS = 1e-6
"""Of good over bad; it moves no score by more than a quarter of it."""


def export_verifier(
    path: str,
    output_dir: str,
    form: Form,
    base_model: str | None = None,
    threshold: float | None = None,
    calibrations: Sequence[CalibratedChoice] = (),
) -> tuple[Scoring, float]:
    """Write a verifier in another layout, with tokenizer, `scoring.json` and a card.

    Args:
        base_model: as for `load_verifier`.
        threshold, calibrations: for `scoring.json`.

    Returns:
        What `scoring.json` says, and the largest difference between the scores of the verifier and those of the folder as
        plain Transformers loads it, in fp32.

    Raises:
        ValueError: the layout cannot hold this verifier exactly; a calibration is that of another verifier; or what
            `load_verifier` refuses.
        RuntimeError: the scores differ by more than `TOLERANCE`.
    """
    config = VerifierConfig.load(path)
    if config.quantization is not None:
        raise ValueError(
            f"{path} was trained on a base rounded to 4 bits; exported, it would be rounded once more, or score otherwise on"
            " the unrounded base. Train without --load_in_4bit"
        )
    model: Any = load_classifier(path, base_model)
    check_files(path)
    tokenizer = load_tokenizer(path)
    verifier = StepVerifier(model, tokenizer, config)
    source, dtype = verifier.name, model.dtype
    if strangers := {its.verifier for its in calibrations} - {source}:
        raise ValueError(f"{path} is {source}, a calibration was learned for {strangers.pop()}; leave it out")

    # The layout, or the reason why not.
    model_config = type(model.config).from_dict(model.config.to_dict())
    body = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(f"{HEAD}.")}
    head = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(f"{HEAD}.")}
    label_ids, offset = (0, 1), 0.0
    if form == "token_classification":
        _need_linear(path, config, "export it as qwen_prm")
    elif form == "qwen_prm":
        model_config, body, head = _as_qwen_prm(path, model_config, body, head, config)
    elif form == "math_shepherd":
        label_ids = _label_ids(path, config, tokenizer)
        model_config, head = _as_language_model(path, model_config, head, config, label_ids)
    else:
        model_config, head, offset = _as_twin(path, model_config, head, config, tokenizer)

    # The scores to keep are those in fp32; what is written keeps its numbers.
    in_dtype(model, torch.float32)
    examples = _examples(path, verifier)
    codec = config.codec
    step_end_ids = tuple(codec.step_end_ids(tokenizer))
    if codec.prompt.chat:  # whoever renders a chat with it must read the verifier's date, not the clock
        tokenizer.chat_template = codec.prompt.fixed_chat_template(tokenizer)
    _check_tokenizer(path, tokenizer, model_config, codec, examples)
    with torch.device("meta"):
        written = class_of(model_config, form)(model_config)
    written.load_state_dict(body | head, assign=True)
    written.save_pretrained(output_dir)
    shapes = {name: tensor.shape for name, tensor in (body | head).items()}
    del written, body, head
    tokenizer.save_pretrained(output_dir)
    scoring = Scoring(
        form=form,
        kind=config.kind,
        read=READ[form],
        codec=codec,
        step_end_ids=step_end_ids,
        aggregation=config.aggregation,
        dtype=str(dtype).removeprefix("torch."),
        num_parameters=sum(math.prod(shape) for shape in shapes.values()),
        source=source,
        examples=examples,
        label_ids=label_ids,
        label_tokens=LABEL_TOKENS if form == "math_shepherd" else None,
        offset=offset,
        objective=config.objective,
        step_rule=config.step_rule,
        threshold=threshold,
        calibrations=tuple(calibrations),
    )
    scoring.save(output_dir)
    write_export_card(path, output_dir, config, scoring)
    if form in ("token_classification", "qwen_prm"):  # `load_verifier` reads these
        replace(config, base_weights=None, head="mlp" if form == "qwen_prm" else config.head).save(output_dir)

    # Proved as after training: the names are those that the class needs, the scores those of the checkpoint.
    check_key_set(output_dir, form)
    found = [score for scores in plain_scores(output_dir, scoring) for score in scores]
    difference = largest_difference(found, [score for example in examples for score in example.scores])
    if not difference <= TOLERANCE:  # true for NaN, too
        raise RuntimeError(f"{output_dir}: its scores differ from those of {path} by {difference:.2g}; do not use it")
    return scoring, difference


Tensors = dict[str, torch.Tensor]


def _need_linear(path: str, config: VerifierConfig, instead: str) -> None:
    if config.head == "mlp":
        raise ValueError(f"{path} has an MLP head, which this layout cannot hold; {instead}")


def _as_qwen_prm(
    path: str, model_config: Any, body: Tensors, head: Tensors, config: VerifierConfig
) -> tuple[Any, Tensors, Tensors]:
    """The config, the body with the biases of Qwen2, and the head of two layers."""
    kind = model_config.model_type
    if kind == "llama":
        scaled = model_config.rope_parameters.get("rope_type", "default") != "default"
        if scaled or model_config.attention_bias or model_config.mlp_bias:
            raise ValueError(
                f"{path} is a Llama with {'scaled rotary embeddings' if scaled else 'biases'}, which was not shown to be a"
                " Qwen2 exactly; export it as token_classification"
            )
        layers = model_config.num_hidden_layers
        for name in [f"model.layers.{i}.self_attn.{part}_proj" for i in range(layers) for part in "qkv"]:
            body = body | {f"{name}.bias": body[f"{name}.weight"].new_zeros(len(body[f"{name}.weight"]))}
        values = model_config.to_dict()
        shared = {name: values[name] for name in Qwen2Config().to_dict() if name in values}
        shared |= {"head_dim": model_config.head_dim, "use_sliding_window": False, "layer_types": None}
        model_config = Qwen2Config(
            **{name: v for name, v in shared.items() if name not in ("model_type", "architectures")}
        )
    elif kind != "qwen2":
        raise ValueError(f"{path} has the body of a {kind}; qwen_prm holds those of Qwen2 and Llama models only")
    if config.head == "mlp":
        return model_config, body, head
    weight, bias = head[f"{HEAD}.weight"], head[f"{HEAD}.bias"]
    labels, size = weight.shape
    first, second = weight.new_zeros(size, size), weight.new_zeros(labels, size)
    for label in range(labels):
        first[2 * label], first[2 * label + 1] = weight[label], -weight[label]
        second[label, 2 * label], second[label, 2 * label + 1] = 1, -1
    layers = {"0.weight": first, "0.bias": weight.new_zeros(size), "2.weight": second, "2.bias": bias}
    return model_config, body, {f"{HEAD}.{name}": tensor for name, tensor in layers.items()}


def _as_language_model(
    path: str, model_config: Any, head: Tensors, config: VerifierConfig, label_ids: tuple[int, int]
) -> tuple[Any, Tensors]:
    """The config, and the rows of the vocabulary."""
    _need_linear(path, config, "export it as qwen_prm")
    bias = head.get(f"{HEAD}.bias", torch.zeros(2))
    if abs(difference := float(bias[1] - bias[0])) > SMALLEST_BIAS:
        raise ValueError(
            f"{path}: its head adds {difference:.4f} to the log-odds of good, and a language model has no place for that, so"
            " that all its scores would be shifted. Export it as token_classification, or train with"
            ' "token_classification_bias": false in the config.json of the base'
        )
    weight = head[f"{HEAD}.weight"]
    rows = weight.new_zeros(model_config.vocab_size, weight.shape[1])
    rows[list(label_ids)] = weight
    model_config.tie_word_embeddings = False
    for name in ("num_labels", "id2label", "label2id", "classifier_dropout"):
        model_config.__dict__.pop(name, None)
    return model_config, {"lm_head.weight": rows}


def _label_ids(path: str, config: VerifierConfig, tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    if config.codec.marker is None:
        raise ValueError(
            f"{path} ends its steps with {config.codec.separator!r}, which may occur inside a step, too; readers of this"
            " layout look for one special token. Train with --marker, or export it as token_classification"
        )
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in LABEL_TOKENS]
    if any(len(tokens) != 1 for tokens in ids) or ids[0] == ids[1]:
        raise ValueError(
            f"{path}: '-' and '+' are the tokens {ids}, each must be one; export it as token_classification"
        )
    return ids[0][0], ids[1][0]


def _as_twin(
    path: str, model_config: Any, head: Tensors, config: VerifierConfig, tokenizer: PreTrainedTokenizerBase
) -> tuple[Any, Tensors, float]:
    """The config, the one row, and the offset."""
    _need_linear(path, config, "train with the linear one")
    last = config.codec.step_end_ids(tokenizer)[-1]
    if tokenizer.pad_token_id == last:
        raise ValueError(
            f"{path}: a step ends with token {last}, the padding token: Transformers would read the one before it."
            " Give the tokenizer another padding token"
        )
    model_config.num_labels = 1
    model_config.problem_type = "regression"  # vLLM then serves the raw logit
    model_config.pad_token_id = tokenizer.pad_token_id
    weight, bias = head[f"{HEAD}.weight"], head.get(f"{HEAD}.bias", torch.zeros(2))
    return model_config, {f"{HEAD}.weight": weight[1:] - weight[:1]}, float(bias[1] - bias[0])


def _check_tokenizer(
    path: str, tokenizer: PreTrainedTokenizerBase, model_config: Any, codec: StepCodec, examples: Sequence[Example]
) -> None:
    """Refuse a layout beside whose config the tokenizer is read otherwise: Transformers 5 makes any tokenizer of a folder
    with `model_type` qwen2 one that divides texts as Qwen's does, whatever its own files say."""
    with TemporaryDirectory() as folder:
        model_config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        read = load_tokenizer(folder)
    for example in examples:
        if codec.encode(read, example.prompt, example.steps).input_ids != example.input_ids:
            raise ValueError(
                f"{path}: beside a config of {model_config.model_type}, Transformers reads its tokenizer as a"
                f" {type(read).__name__}, which makes other ids of {example.prompt!r}; export it as token_classification"
            )


def _examples(path: str, verifier: StepVerifier) -> tuple[Example, ...]:
    """Those of `TRACES` that the verifier can read, with their scores."""
    with (
        warnings.catch_warnings()
    ):  # a vocabulary of few words does not know those of all traces, and still scores them
        warnings.filterwarnings("ignore", "of the tokens of the first")
        scores_N = verifier.score_batch([prompt for prompt, _ in TRACES], [steps for _, steps in TRACES])
    encoded_N = [verifier.config.codec.encode(verifier.tokenizer, *trace) for trace in TRACES]
    examples = tuple(
        Example(prompt, steps, encoded.input_ids, encoded.step_ends, scores.steps)
        for (prompt, steps), encoded, scores in zip(TRACES, encoded_N, scores_N, strict=True)
        if scores is not None
    )
    if not examples:
        raise ValueError(
            f"{path} reads {verifier.config.codec.max_length} tokens, and the shortest example has"
            f" {min(len(encoded.input_ids) for encoded in encoded_N)}; its export could not be proved"
        )
    return examples
