"""StepClassifier: a Hugging Face `*ForTokenClassification` whose two-label head runs in fp32, at step ends only.

The class is made on the fly from the stock one (`LlamaForTokenClassification`, `Qwen2ForTokenClassification`, ...), so a
checkpoint is a plain Hugging Face folder: `AutoModelForTokenClassification`, PEFT and vLLM load it as they load any other.
What differs from the stock class, and why:

- it reads packed rows (`prm.packing`), in which shared prefixes are computed once;
- logits, and the MLP of the last layer, only where a score is read (`step_index`), not at every token;
- head and logits stay fp32 in a bf16 model: bf16 collapses 200 distinct probabilities near 1 into 5 and ties the ranking;
- no dropout in front of the head (stock default 0.1), which would make scores noisy outside `eval()`;
- no built-in loss: the stock one is wrong under gradient accumulation (transformers#47688). See `prm.training.losses`.

Three heads (`HEADS`), all with two logits per step: `linear`; `mlp`, two layers with the names of Qwen2.5-Math-PRM, which
vLLM serves and the stock token classifier cannot hold; `lm_tokens`, a linear head that starts as the language model's own
rows for "-" and "+" (Math-Shepherd, RLHFlow), so that training begins from what the model already says.

Loading has two modes. `from_base` starts from a language model and may miss the head, nothing else. `load_classifier`
reads a finished checkpoint and refuses one without its head or with another order of labels.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from torch import nn
from transformers import (
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import TokenClassifierOutput

from prm import tree_attention
from prm.verifiers.checkpoint import HEADS, Head, VerifierConfig

LABELS = {0: "bad", 1: "good"}
HEAD = "score"
"""Name of the head module in the stock token classifiers of Llama, Qwen, Mistral, Gemma and most others."""


class Fp32Linear(nn.Linear):
    """A linear layer that computes in fp32 whatever its input and the autocast around it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


class StepClassifier:
    """Mixin in front of a stock token classifier. `forward` gives logits (number of indices, 2)."""

    accepts_loss_kwargs = False  # the Trainer's loss function scales by the global count itself
    head: Head = "linear"

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        if HEAD not in self._modules:  # type: ignore[attr-defined]
            raise ValueError(
                f"the token classifier of {config.model_type!r} models has no head called {HEAD!r}; use a Llama, Qwen2,"
                " Qwen3, Mistral, Gemma ... base model"
            )
        stock: nn.Linear = self.score  # type: ignore[has-type]
        size = stock.in_features
        # The explicit dtype wins over that of the folder, when the head is new and when it is loaded.
        last = Fp32Linear(size, stock.out_features, bias=stock.bias is not None, dtype=torch.float32)
        first = (Fp32Linear(size, size, dtype=torch.float32), nn.ReLU()) if self.head == "mlp" else ()
        self.score = nn.Sequential(*first, last) if first else last  # type: ignore[assignment]

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        subtree_end: torch.Tensor | None = None,
        step_index: torch.Tensor | None = None,
        return_dict: bool = True,
        **peft_defaults: None,
    ) -> TokenClassifierOutput:
        """
        Args:
            input_ids: (1, tokens) of a packed row, or (rows, tokens) of whole sequences of one length.
            position_ids: (1, tokens), if not 0, 1, 2, ...
            subtree_end: (1, tokens) of a packed row (`prm.packing`); None = plain causal rows.
            step_index: (steps,) indices into the flattened (rows * tokens) positions; None = every position.
            return_dict: always true; PEFT's wrapper passes it.
            peft_defaults: what PEFT's wrapper passes along unset (`labels`, `inputs_embeds`, ...). There is no
                `attention_mask`, because no row has padding.
        """
        unknown = {name: value for name, value in peft_defaults.items() if value is not None}
        if unknown:
            raise TypeError(f"StepClassifier.forward does not take {', '.join(unknown)}")
        tree = {}
        if subtree_end is not None:
            if len(subtree_end) != 1:
                raise ValueError(
                    f"packed rows come one at a time, this batch has {len(subtree_end)}; pack them together"
                )
            tree = {"tree": tree_attention.plan(subtree_end)}
        backbone = self.get_decoder()  # type: ignore[attr-defined]
        only = nullcontext()
        if step_index is not None and not backbone.layers[-1].gradient_checkpointing:
            only = _only_at(step_index.unique(), backbone.layers[-1].mlp)  # type: ignore[assignment]
        with only:
            hidden = backbone(input_ids=input_ids, position_ids=position_ids, use_cache=False, **tree).last_hidden_state
        if step_index is not None:
            hidden = hidden.flatten(0, 1)[step_index]
        return TokenClassifierOutput(logits=self.score(hidden))


@contextmanager
def _only_at(index: torch.Tensor, mlp: nn.Module) -> Iterator[None]:
    """Compute the MLP of the last layer at these places of the flattened rows; what it adds elsewhere is read by nobody.

    Not under gradient checkpointing, which calls the layer again when the hooks are gone.
    """
    shape: list[torch.Size] = []

    def select(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        shape.append(inputs[0].shape)
        return (inputs[0].flatten(0, 1)[index],)

    def spread(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        rows = output.new_zeros(shape[-1]).flatten(0, 1)
        return rows.index_copy(0, index, output).view(shape.pop())

    hooks = [mlp.register_forward_pre_hook(select), mlp.register_forward_hook(spread)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def classifier_class(config: PreTrainedConfig, head: Head = "linear") -> Any:
    """The StepClassifier of this architecture, under the name of the stock class, which is what checkpoints record (with
    an MLP head: `...ForProcessRewardModel`, as Qwen2.5-Math-PRM calls its class)."""
    try:
        stock: Any = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[type(config)]
    except KeyError as error:
        raise ValueError(
            f"{config.model_type!r} models have no token-classification class in transformers, so no head can be put on"
            " them; use a Llama, Qwen2, Qwen3, Mistral, Gemma ... base model"
        ) from error
    name = stock.__name__
    if head == "mlp":
        name = name.replace("TokenClassification", "ProcessRewardModel")
    return type(name, (StepClassifier, stock), {"__module__": stock.__module__, "head": head})


def from_base(path: str, dtype: torch.dtype | str = "auto", head: Head = "linear", **options: Any) -> PreTrainedModel:
    """A classifier with a new head on a language model (or on another verifier of ours, whose head is kept).

    Args:
        options: for `from_pretrained`, such as a `quantization_config`.

    Raises:
        ValueError: the folder lacks weights other than those of the head; `lm_tokens` and the tokenizer has no single
            token for "+" or "-".
    """
    if head not in HEADS:
        raise ValueError(f"head {head!r} is not one of {', '.join(HEADS)}")
    config = AutoConfig.from_pretrained(path)
    config.num_labels = len(LABELS)
    config.id2label = dict(LABELS)
    config.label2id = {label: i for i, label in LABELS.items()}
    config.classifier_dropout = 0.0
    config.use_cache = False
    model, info = classifier_class(config, head).from_pretrained(
        path,
        config=config,
        dtype=dtype,
        attn_implementation=tree_attention.NAME,
        output_loading_info=True,
        **options,
    )
    missing = [key for key in info["missing_keys"] if not key.startswith(f"{HEAD}.")]
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} weights of its body, for instance {missing[0]}; it is incomplete"
        )
    if any(key.startswith(f"{HEAD}.") for key in info["unexpected_keys"]):
        raise ValueError(
            f"{path} is a verifier whose head is not {head}; go on with the head it has, or start from its base"
        )
    if head == "lm_tokens" and info["missing_keys"]:
        _start_as_lm_tokens(model.score, path)
    return model


def _start_as_lm_tokens(score: nn.Linear, path: str) -> None:
    """Make the head the language model's rows of "-" (bad) and "+" (good)."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("-", "+")]
    if any(len(tokens) != 1 for tokens in ids) or ids[0] == ids[1] or tokenizer.unk_token_id in ids[0] + ids[1]:
        raise ValueError(
            f"{path}: '-' and '+' are the tokens {ids}, each must be one known token; train with --head linear"
        )
    rows = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).get_output_embeddings().weight
    with torch.no_grad():
        score.weight.copy_(rows[[tokens[0] for tokens in ids]])
        if score.bias is not None:
            score.bias.zero_()


def load_classifier(path: str, base_model: str | None = None) -> nn.Module:
    """A finished verifier: a full or merged checkpoint, or a LoRA adapter folder (then merged into its base, unless that
    has 4-bit weights).

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
    model, info = classifier_class(config, VerifierConfig.load(path).head).from_pretrained(
        path, dtype="auto", attn_implementation=tree_attention.NAME, output_loading_info=True
    )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: the head was lost when it was saved, its scores would be random."
            " Train again, or save with Trainer.save_model / PEFT task_type TOKEN_CLS"
        )
    return model


def nf4() -> BitsAndBytesConfig:
    """4-bit weights for the body (QLoRA, Dettmers et al. 2305.14314); the head stays as it is.

    Raises:
        ValueError: bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError(
            '4-bit weights need bitsandbytes: pip install "prm-toolkit[qlora]"; or leave --load_in_4bit out'
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
        llm_int8_skip_modules=[HEAD],
    )


def _load_adapter(path: str, base_model: str | None) -> nn.Module:
    from safetensors import safe_open

    with safe_open(str(Path(path) / "adapter_model.safetensors"), framework="pt") as weights:
        keys = set(weights.keys())
    config = VerifierConfig.load(path)
    head = config.head
    names = ("0.weight", "0.bias", "2.weight", "2.bias") if head == "mlp" else ("weight", "bias")
    lost = [name for name in names if not any(key.endswith(f"{HEAD}.{name}") for key in keys)]
    if lost:
        raise ValueError(
            f"{path}: the adapter holds no {HEAD}.{lost[0]}, so the trained head is lost and its scores would be random."
            " Train with LoraConfig(task_type='TOKEN_CLS', modules_to_save=['score']), as recipes/train_prm.py does"
        )
    peft_config = PeftConfig.from_pretrained(path)
    # In fp32, as in training: the bf16 in which most bases are stored would shift the scores by about 0.01.
    shape: Head = "mlp" if head == "mlp" else "linear"  # the trained head replaces whatever the base starts with
    options = {} if config.quantization is None else {"quantization_config": nf4()}
    base = from_base(base_model or peft_config.base_model_name_or_path, torch.float32, shape, **options)
    model = PeftModel.from_pretrained(base, path)
    return model.merge_and_unload() if config.quantization is None else model  # merging would round to 4 bits again


def _check_labels(path: str, id2label: dict[int, str]) -> None:
    if {int(i): label for i, label in id2label.items()} != LABELS:
        raise ValueError(
            f"{path}: labels are {id2label}, this project needs {LABELS}; a checkpoint of unknown label order is refused"
            " because its scores could be upside down. If label 1 means good, set id2label in its config.json"
        )
