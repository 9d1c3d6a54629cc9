"""Training of verifiers on the Hugging Face `Trainer`, in the order of a run; and of generators by their rewards.

- `arguments`: the flags that both recipes share.
- `data`: the folder, file or hub name that they name.
- `run`: `read_rows`, then `fit`, from examples to a checkpoint that is checked. The rest is what they use:
- `examples`: labeled rows -> token ids, positions and targets.
- `input`: rows that are read and encoded once for all processes of a machine.
- `preflight`: refuses data that cannot train a verifier, and shows what the model will read.
- `batches`: examples -> packed rows.
- `losses`: the objectives.
- `trainer`: `VerifierTrainer`, evaluation per step, checkpoints that say how to read them.
- `prm_trainer`: `PRMTrainer` and `PRMConfig`, which take what TRL's took, for rows in memory; load lazily from here.
- `implicit`: an implicit PRM, a language model that learns outcomes.
- `step_grpo`: TRL's GRPO with an advantage for each step; `held_out`: what it does to a generator, measured on the way.
- `settings`: config.yaml, with which the run can be repeated.
- `distributed`, `resume`, `throughput`, `tracking`: several processes, killed runs, speed, W&B.
- `workloads`: examples shaped like real ones, for benchmarks.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prm.training.prm_trainer import PRMConfig, PRMTrainer

__all__ = ["PRMConfig", "PRMTrainer"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'prm.training' has no attribute {name!r}")
    return getattr(import_module("prm.training.prm_trainer"), name)
