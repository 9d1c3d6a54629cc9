"""Verifiers score the steps of traces. PRM and ORM alike: one score in [0, 1] per step, and one of the whole trace.

- `step_verifier.StepVerifier`: a trained checkpoint of this project (full, LoRA or merged), or a published one.
- `families`, `published`: the conventions of verifiers that others trained, as data, and how one is loaded.
- `implicit.ImplicitVerifier`: the log-likelihood ratio of two language models.
- `generative.GenerativeVerifier`: a language model that writes a critique with a verdict for every step.
- `likelihood.LikelihoodVerifier`: how likely the generator itself finds a trace.
- `oracle.OracleVerifier`: knows the gold answers.
- `served.ServedVerifier`: an exported verifier that vLLM runs (`pooling`), here or on another machine.
- `checkpoint`, `loading`, `merging`, `export`: the folder of a checkpoint, how it is loaded, its other forms.
- `scoring`, `plain`, `export_card`: what an exported folder says of itself, what plain Transformers makes of it, its card.
- `rewards`: what a completion earns in reinforcement learning.
- `model_card`, `score_meaning`, `origin`: what its card says.

One of your own needs the four members of `Verifier` and nothing else; `my_file.py:MyVerifier` names it on a command line:

    class ShortestWins:
        name, kind, num_parameters = "shortest", "prm", 0

        def score_batch(self, prompts, steps_N):
            return [Scores(steps=(0.5,) * len(steps), trace=1 / len(steps)) for steps in steps_N]
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from prm.storage.user_code import load_object
from prm.types import Dtype, Scores
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.families import split_name
from prm.verifiers.scoring import SERVED, Scoring

if TYPE_CHECKING:
    from prm.verifiers.generative import GenerativeVerifier
    from prm.verifiers.implicit import ImplicitVerifier
    from prm.verifiers.step_verifier import StepVerifier


class Verifier(Protocol):
    """Scores steps. For an ORM the score of the last step is the one it was trained for."""

    @property
    def name(self) -> str:
        """Fingerprint: what changes the scores changes the name."""
        ...

    @property
    def kind(self) -> Literal["prm", "orm"]: ...

    @property
    def num_parameters(self) -> int:
        """For FLOPs; 0 if it is no model."""
        ...

    def score_batch(self, prompts: Sequence[str], steps_N: Sequence[Sequence[str]]) -> list[Scores | None]:
        """One `Scores` per trace, with one score per step, whatever else is in the batch; None for a trace that it cannot
        read because it is too long, or of which it wrote no critique that can be read.

        Neighbors with the same prompt are traces of one problem: what they share is read once and reported once. What
        earlier calls have read is reported again; a verifier that keeps it reports `Scores.ends`, and it is not charged.
        """
        ...


def score_written(verifier: Verifier, prompts: Sequence[str], steps_N: Sequence[Sequence[str]]) -> list[Scores | None]:
    """As `score_batch`, of traces some of which may have no step: these have no score, and the verifier is not asked."""
    written = [i for i, steps in enumerate(steps_N) if steps]
    found = verifier.score_batch([prompts[i] for i in written], [steps_N[i] for i in written]) if written else []
    scores = dict(zip(written, found, strict=True))
    return [scores.get(i) for i in range(len(steps_N))]


LIKELIHOOD = "likelihood"
"""In the place of a checkpoint on a command line: the likelihood of the run's own generator."""

MEMBERS = ("name", "kind", "num_parameters", "score_batch")


def load_verifier(
    path: str, device: str | None = None, base_model: str | None = None, dtype: Dtype | None = None
) -> StepVerifier | ImplicitVerifier | GenerativeVerifier:
    """A verifier from a checkpoint: one of this project, or `family:path`, one that others published.

    Args:
        path: folder that holds `prm_config.json` (full, merged, or a LoRA adapter); or a family of
            `prm.verifiers.families`, or the YAML file of one, a colon, and a folder or hub name; of a generative one also
            the name of a model, `@` and the URL of its server.
        device: `cpu`, `cuda`, ...; the GPU if there is one.
        base_model: base of a LoRA adapter, if it moved since training and is not found; of an implicit PRM, its reference.
        dtype: numbers of the body; the head stays fp32. None: bf16 on a GPU that computes in it, where fp32 would take twice
            the memory and several times as long (eval/check_parity.py prints what that moves); elsewhere, and for a body of
            4-bit weights, those of the checkpoint.

    Raises:
        FileNotFoundError: no `prm_config.json`.
        ValueError: a tensor is missing, or the labels have another order; there is no such family; the base of an adapter is
            another one or not found; `base_model` is given for a checkpoint that needs none, or `dtype` for one with 4-bit
            weights.
    """
    if found := split_name(path):
        family, place = found
        if family.head == "implicit":
            from prm.verifiers.implicit import ImplicitVerifier

            return ImplicitVerifier.from_pretrained(place, family, device, base_model, dtype)
        if family.head == "generative":
            from prm.verifiers.generative import GenerativeVerifier

            return GenerativeVerifier.from_pretrained(place, family, device, base_model, dtype)
        from prm.verifiers.published import load_published

        return load_published(place, family, device, base_model, dtype)
    from prm.verifiers.step_verifier import StepVerifier, usual_dtype

    return StepVerifier.from_pretrained(path, device, base_model, dtype or usual_dtype(path, device))


def find_verifier(name: str, dtype: Dtype | None = None) -> Verifier:
    """What a command line names: what `load_verifier` takes; `file.py:Name`, a class of one's own without arguments; or an
    exported folder with what serves it, `folder@vllm` or `folder@http://...` (`prm.verifiers.served`).

    Raises:
        ValueError: the file has no such class, or it is no verifier. FileNotFoundError: no such file, or no checkpoint.
    """
    if is_served(name):
        from prm.verifiers.served import load_served

        return load_served(name, dtype)
    return _own_verifier(name) if ".py:" in name else load_verifier(name, dtype=dtype)


def is_served(name: str) -> bool:
    """Whether it is the name of a verifier that vLLM runs."""
    served = SERVED.fullmatch(name)
    if served is None:
        return False
    found = split_name(served["folder"])
    return found is None or found[0].head != "generative"


def kind_of(name: str) -> Literal["prm", "orm"]:
    """Of a checkpoint or a served verifier, before it is loaded; errors as there."""
    if is_served(name):
        return Scoring.load(name.rpartition("@")[0]).kind
    found = split_name(name)
    return found[0].kind if found else VerifierConfig.load(name).kind


def short_name(name: str) -> str:
    """What tables call the verifier that a command line names: its folder or class."""
    return Path(_place(name)).name.rpartition(":")[2]


def folder_of(name: str) -> Path | None:
    """Where its checkpoint is on this machine, whatever its family; None if it has no folder here.

    >>> folder_of("trl:."), folder_of(".@vllm"), folder_of("trl:trl-lib/a-name-on-the-hub")
    (PosixPath('.'), PosixPath('.'), None)
    """
    place = _place(name)
    folder = Path(place if Path(place).is_dir() else place.rpartition(":")[2])
    return folder if folder.is_dir() else None


def _place(name: str) -> str:
    served = SERVED.fullmatch(name)
    return served["folder"] if served else name


def _own_verifier(name: str) -> Verifier:
    kind: Any = load_object(name)
    if not isinstance(kind, type):
        raise ValueError(f"{name} is {kind!r:.60}; a verifier is a class (prm/verifiers/__init__.py shows one)")
    try:
        inspect.signature(kind).bind()
    except TypeError as error:
        raise ValueError(f"{name} must be made without arguments: {error}; give them defaults") from error
    verifier: Verifier = kind()
    if missing := [member for member in MEMBERS if member not in dir(verifier)]:
        raise ValueError(f"{name} lacks {', '.join(missing)}; a verifier has {', '.join(MEMBERS)}")
    if verifier.kind not in ("prm", "orm"):
        raise ValueError(f"{name}: its kind is {verifier.kind!r}; it must be prm or orm")
    return verifier
