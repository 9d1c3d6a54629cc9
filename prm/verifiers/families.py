r"""Families: published verifiers that others trained, each a row of data. `load_verifier("family:path")` loads one.

    load_verifier("qwen_prm:Qwen/Qwen2.5-Math-PRM-7B").score(prompt, steps)
    python eval/run_search.py --verifiers prm=math_shepherd:checkpoints/math-shepherd-mistral-7b-prm ...

A family says how its checkpoints are read: the text, the tokens at which a score is read (`prm.encoding.layouts`), and
which of their tensors make the score (`prm.verifiers.published`). Such a checkpoint does not say it itself, and a wrong
reading gives numbers that look like scores, so the family is always named and never guessed.

A family of your own is a YAML file that names the one it is `like` and what differs; `load_verifier("my.yaml:path")`:

    like: math_shepherd                  # ER-PRM: the same text, on Llama 3.1
    good: " +"
    bad: " -"
    codec: {numbered: false}

As family.yaml in the folder of a checkpoint, it need not be named: `load_verifier("path")`. The path of a generative
verifier may also be a model on a server, as in "generative:Qwen/Qwen3-8B@http://127.0.0.1:8000/v1".

The conventions are those of the code that came with the checkpoints. Of sources that differ it is the one of training:
search-and-learn reads Math-Shepherd without "Step i:", and OpenR's own training script supervises the token before the one
that its inference reads, which is the one read here. Aggregations are those of the papers where they name one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from prm.encoding.critiques import ARITHMETIC, CritiqueForm
from prm.encoding.layouts import Layout
from prm.encoding.prompts import PromptTemplate
from prm.files import read_settings
from prm.types import Aggregation, Semantics, StepRule
from prm.verifiers.checkpoint import made

PublishedHead = Literal["token_classifier", "mlp", "value", "sequence_classifier", "tokens", "implicit", "generative"]
"""What makes the score of a hidden state (`prm.verifiers.published`), or that two language models do
(`prm.verifiers.implicit`), or one that writes (`prm.verifiers.generative`)."""


FAMILY_FILE = "family.yaml"
"""In the folder of a checkpoint: its family, so that it need not be named."""


@dataclass(frozen=True)
class Critic:
    """How a generative verifier is asked."""

    form: CritiqueForm
    votes: int = 1
    """Readable critiques of a trace, over which its scores are averaged."""
    retries: int = 3
    """Further critiques of a trace, to replace unreadable ones."""
    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 4096
    logprobs: bool = True
    """Whether the score is the probability of the verdicts; if not, the share of the votes that say good."""
    batch_size: int = 64
    """Critiques that are written at once."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.votes < 1 or self.retries < 0 or self.max_new_tokens < 1 or self.batch_size < 1:
            raise ValueError(
                f"votes {self.votes}, retries {self.retries}, max_new_tokens {self.max_new_tokens}, batch_size"
                f" {self.batch_size}: retries are at least 0, the others at least 1"
            )
        if self.temperature < 0 or (self.temperature == 0 and self.votes + self.retries > 1):
            raise ValueError(
                f"temperature {self.temperature}: it is at least 0, and at 0 every critique is the same: say `votes: 1` and"
                " `retries: 0`"
            )
        if not self.logprobs and self.votes == 1:
            raise ValueError(
                "`logprobs: false` needs several votes: the share of one is no probability; say `votes: 8`"
            )


@dataclass(frozen=True)
class Family:
    """How the verifiers of one origin are read."""

    head: PublishedHead
    codec: Layout
    kind: Literal["prm", "orm"] = "prm"
    semantics: Semantics = "correctness"
    aggregation: Aggregation = "min"
    step_rule: StepRule | None = None
    """The only rule by which its steps are divided, if there is one."""
    good: str = "+"
    bad: str = "-"
    """Of the head `tokens`: texts of the two tokens whose logits are compared."""
    reference: str | None = None
    """Of the head `implicit`: folder or hub name of the reference model."""
    reference_weights: str | None = None
    """Of the head `implicit`: hash of the reference (`prm.models.fingerprints.hash_of_base`), if it is to be compared."""
    beta: float = 0.05
    """Of the head `implicit`: factor on the log-likelihood ratio."""
    critic: Critic | None = None
    """Of the head `generative`: what it is asked, and how often. Its question is the prompt of `codec`."""


_LONGEST = 4096
_REASON = "Please reason step by step, and put your final answer within \\boxed{}."
_QUESTION = PromptTemplate("{prompt} ")
_CHAT = PromptTemplate("{prompt}", chat=True)
_QWEN_CHAT = PromptTemplate("{prompt}", chat=True, system=_REASON)
_LAST = {"kind": "orm", "semantics": "outcome", "aggregation": "last"}

FAMILIES: dict[str, Family] = {
    # TRL <= 1.13, PRMTrainer. It put a BOS token before every text if the tokenizer has one.
    "trl": Family(
        "token_classifier",
        Layout(PromptTemplate("{prompt}"), "\n", None, _LONGEST, bos="always"),
        aggregation="product",
    ),
    # peiyi9979/math-shepherd-mistral-7b-prm (2312.08935).
    "math_shepherd": Family(
        "tokens", Layout(_QUESTION, "\n", " ки", _LONGEST, form="text", numbered=True), semantics="value"
    ),
    # RLHFlow/Llama3.1-8B-PRM-{Mistral,Deepseek}-Data, and RLHFlow/Llama3.1-8B-ORM-*.
    "rlhflow": Family(
        "tokens",
        Layout(PromptTemplate("{prompt} ", chat=True), "", None, _LONGEST, form="turns"),
        semantics="value",
        aggregation="mean",
    ),
    "rlhflow_orm": Family(
        "tokens",
        Layout(PromptTemplate("{prompt} ", chat=True), "\n", None, _LONGEST, form="message", read="end"),
        **_LAST,  # type: ignore[arg-type]
    ),
    # Qwen/Qwen2.5-Math-PRM-{7B,72B} and -7B-PRM800K (2501.07301), and Qwen/Qwen2.5-Math-RM-72B.
    "qwen_prm": Family("mlp", Layout(_QWEN_CHAT, "", "<extra_0>", _LONGEST, form="answer"), aggregation="product"),
    "qwen_rm": Family(
        "mlp",
        Layout(_QWEN_CHAT, "\n\n", None, _LONGEST, form="answer", read="end"),
        **_LAST,  # type: ignore[arg-type]
    ),
    # Skywork/Skywork-o1-Open-PRM-Qwen-2.5-{1.5B,7B}: every line is a step.
    "skywork_prm": Family(
        "value",
        Layout(PromptTemplate("{prompt}\n"), "\n", None, _LONGEST, bos="always"),
        semantics="value",
        step_rule="line",
    ),
    # Process_Q_Model (2410.11287): the score is the sigmoid of its Q value.
    "pqm": Family(
        "value",
        Layout(
            PromptTemplate("[INST] {prompt} [/INST]\n"),
            "\n",
            " [PRM]",
            _LONGEST,
            form="text",
            numbered=True,
            bos="never",
        ),
        semantics="value",
    ),
    # openreasoner/Math-psa: a LoRA on Qwen2.5-Math-7B-Instruct.
    "openr": Family(
        "tokens",
        Layout(_QUESTION, "", " \n\n\n\n\n", _LONGEST, form="text"),
        semantics="value",
        good=" +",
        bad=" -",
    ),
    # AutoModelForSequenceClassification, on chats and on plain texts with an EOS token, as TRL's RewardTrainer makes them.
    "sequence_classifier": Family(
        "sequence_classifier",
        Layout(_CHAT, "\n\n", None, _LONGEST, form="answer", read="end"),
        **_LAST,  # type: ignore[arg-type]
    ),
    "text_classifier": Family(
        "sequence_classifier",
        Layout(PromptTemplate("{prompt}\n"), "\n", None, _LONGEST, form="text", read="end", eos=True),
        **_LAST,  # type: ignore[arg-type]
    ),
    # Free process rewards (2412.01981), and PRIME-RL/EurusPRM-Stage{1,2}.
    "implicit": Family(
        "implicit", Layout(_CHAT, "\n\n", None, _LONGEST, form="answer"), semantics="value", aggregation="last"
    ),
    "eurus_prm": Family(
        "implicit",
        Layout(_CHAT, "\n\n", None, _LONGEST, form="answer"),
        semantics="value",
        aggregation="last",
        reference="Qwen/Qwen2.5-Math-7B-Instruct",
        beta=0.001,
    ),
    # Any chat model, asked in the words of ThinkPRM (2504.16828).
    "generative": Family("generative", Layout(_CHAT, "\n", None, _LONGEST), critic=Critic(CritiqueForm())),
    # recipes/README.md, "A generative verifier": one of the embedded sets.
    "arithmetic_critic": Family(
        "generative",
        Layout(PromptTemplate(), "\n", None, _LONGEST),
        aggregation="product",
        critic=Critic(ARITHMETIC, retries=0, temperature=0.0, top_p=1.0, max_new_tokens=24, batch_size=256),
    ),
}


def split_name(name: str) -> tuple[Family, str] | None:
    """Family and path of `family:path`, or of a folder that holds family.yaml; None if it names no family.

    Raises:
        ValueError: as `find_family`. FileNotFoundError: the family is a YAML file that is not there.
    """
    if Path(name).is_dir():
        file = Path(name) / FAMILY_FILE
        return (find_family(str(file)), name) if file.is_file() else None
    family, colon, path = name.partition(":")
    return (find_family(family), path) if colon else None


def find_family(name: str) -> Family:
    """The family of this name, or of a YAML file.

    Raises:
        ValueError: no such name; or the file is not `like` one, or has an unknown key or a value of another type.
        FileNotFoundError: no such file.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    if not name.endswith((".yaml", ".yml")):
        raise ValueError(f"family {name!r} is not one of {', '.join(FAMILIES)}, and no YAML file")
    given = read_settings(name, "a family is a YAML file; prm/verifiers/families.py shows one")
    like = given.pop("like", None)
    if like not in FAMILIES:
        raise ValueError(f"{name}: like is {like!r:.80}; it must name the family to start from: {', '.join(FAMILIES)}")
    try:
        family: Family = made(Family, _merged(json.loads(json.dumps(asdict(FAMILIES[like]))), given))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if (family.kind == "orm") != (family.semantics == "outcome"):
        raise ValueError(
            f"{name}: kind {family.kind} with semantics {family.semantics}; an orm has outcome, a prm does not"
        )
    return family


def _merged(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values with those that are given in their place, key by key of the objects in it."""
    both = {
        key: _merged(values[key], value) if isinstance(value, dict) and isinstance(values.get(key), dict) else value
        for key, value in given.items()
    }
    return {**values, **both}
