"""Verifiers score the steps of traces. PRM and ORM alike: one score in [0, 1] per step, and one of the whole trace.

- `step_verifier.StepVerifier`: a trained checkpoint of this project (full, LoRA or merged), or a published one.
- `families`, `published`: the conventions of verifiers that others trained, as data, and how one is loaded.
- `implicit.ImplicitVerifier`: the log-likelihood ratio of two language models.
- `likelihood.LikelihoodVerifier`: how likely the generator itself finds a trace.
- `oracle.OracleVerifier`: knows the gold answers.
- `checkpoint`, `loading`, `merging`, `export`: the folder of a checkpoint, how it is loaded, its other forms.
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
from typing import TYPE_CHECKING, Any, Literal, Protocol

from prm.storage.user_code import load_object
from prm.types import Dtype, Scores
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.families import split_name

if TYPE_CHECKING:
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
        read because it is too long.

        Neighbors with the same prompt are traces of one problem: what they share is read once and reported once. What
        earlier calls have read is reported again; a verifier that keeps it reports `Scores.ends`, and it is not charged.
        """
        ...


LIKELIHOOD = "likelihood"
"""In the place of a checkpoint on a command line: the likelihood of the run's own generator."""

MEMBERS = ("name", "kind", "num_parameters", "score_batch")


def load_verifier(
    path: str, device: str | None = None, base_model: str | None = None, dtype: Dtype | None = None
) -> StepVerifier | ImplicitVerifier:
    """A verifier from a checkpoint: one of this project, or `family:path`, one that others published.

    Args:
        path: folder that holds `prm_config.json` (full, merged, or a LoRA adapter); or a family of
            `prm.verifiers.families`, or the YAML file of one, a colon, and a folder or hub name.
        device: `cpu`, `cuda`, ...; the GPU if there is one.
        base_model: base of a LoRA adapter, if it moved since training and is not found; of an implicit PRM, its reference.
        dtype: numbers of the body, in place of those of the checkpoint; the head stays fp32.

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
        from prm.verifiers.published import load_published

        return load_published(place, family, device, base_model, dtype)
    from prm.verifiers.step_verifier import StepVerifier

    return StepVerifier.from_pretrained(path, device, base_model, dtype)


def kind_of(path: str) -> Literal["prm", "orm"]:
    """Of a checkpoint that `load_verifier` takes, before it is loaded; errors as there."""
    found = split_name(path)
    return found[0].kind if found else VerifierConfig.load(path).kind


def find_verifier(name: str) -> Verifier:
    """What a command line names: what `load_verifier` takes, or `file.py:Name`, a class of one's own without arguments.

    Raises:
        ValueError: the file has no such class, or it is no verifier. FileNotFoundError: no such file, or no checkpoint.
    """
    return _own_verifier(name) if ".py:" in name else load_verifier(name)


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
