"""What a labeled step costs to train on: two logits against all of the vocabulary's, packed traces against padded rows.

Two panels on the 10M shape, forward and backward, each the best of three: milliseconds per labeled step against the
vocabulary, with two logits per step and with all of the vocabulary's; milliseconds against the traces of one problem, packed
and padded. Whole optimizer steps are `bench_training.py`. Nothing else should run on the machine.

Reads   nothing
Writes  --picture, and the last line of its output, JSON: {name: [[x, milliseconds], ...]}

    python eval/bench_step_cost.py --picture outputs/bench/training_cost.png
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prm.command_line import run_script
from prm.datasets import arithmetic
from prm.evaluation.workloads import save_llama
from prm.training.examples import TraceExample
from prm.training.workloads import MODEL_INPUTS, gsm8k_problem, pad, seconds_of

if TYPE_CHECKING:  # each function imports what it uses: help and a typo must not wait for torch
    import torch


@dataclass
class Arguments:
    picture: Path = field(metadata={"help": "the picture to write, a .png"})
    shape: str = field(default="10m", metadata={"help": "shape of the model", "choices": ["tiny", "10m"]})
    vocabularies: list[int] = field(
        default_factory=lambda: [8192, 32768, 131072], metadata={"help": "sizes of the vocabulary", "least": 512}
    )


def main(args: Arguments) -> None:
    import matplotlib.pyplot as plt
    import torch

    from prm.models.loading import from_base
    from prm.training.batches import StepCollator

    plt.switch_backend("Agg")
    rng = random.Random(2)
    points: dict[str, list[tuple[int, float]]] = {
        name: [] for name in ("two logits at step ends", "full-vocabulary logits", "packed tree", "padded rows")
    }

    def note(name: str, x: int, work: Callable[[], torch.Tensor], parts: int = 1) -> None:
        work().sum().backward()
        milliseconds = 1000 * min(seconds_of(lambda: work().sum().backward()) for _ in range(3))
        points[name].append((x, milliseconds / parts))

    def load(vocabulary: int) -> torch.nn.Module:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = arithmetic.build_tokenizer()
            return from_base(save_llama(args.shape, f"{folder}/base", tokenizer, vocab_size=vocabulary)).train()

    def collate(examples: Sequence[TraceExample]) -> dict[str, torch.Tensor]:
        collated = StepCollator()(examples)
        return {name: collated[name] for name in MODEL_INPUTS}

    smallest = min(args.vocabularies)
    batch = collate(gsm8k_problem(rng, "p", smallest))
    everywhere = {name: tensor for name, tensor in batch.items() if name != "step_index"}
    steps = len(batch["step_index"])
    for size in args.vocabularies:
        model = load(size)
        note("two logits at step ends", size, lambda model=model: model(**batch).logits, steps)
        model.score = torch.nn.Linear(model.config.hidden_size, size, bias=False)
        note(
            "full-vocabulary logits",
            size,
            lambda model=model: model(**everywhere).logits.flatten(0, 1)[batch["step_index"]][:, :2],
            steps,
        )

    model, problem = load(smallest), gsm8k_problem(rng, "p", smallest)
    for count in (1, 2, 4, 8, 16):
        examples = problem[:count]
        inputs, ids = collate(examples), pad(examples)["input_ids"]
        note("packed tree", count, lambda inputs=inputs: model(**inputs).logits)
        note("padded rows", count, lambda ids=ids: model(ids).logits)

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for axis, names in zip(axes, (list(points)[:2], list(points)[2:]), strict=True):
        for name in names:
            axis.plot(*zip(*points[name], strict=True), marker="o", label=name)
        axis.legend(frameon=False)
    axes[0].set(xscale="log", xlabel="vocabulary", ylabel="ms per labeled step", ylim=(0, None))
    axes[1].set(
        xlabel="traces of one problem", ylabel="ms, forward and backward", xticks=[1, 2, 4, 8, 16], ylim=(0, None)
    )
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.picture, dpi=150)
    print(json.dumps(points))


if __name__ == "__main__":
    run_script(main, Arguments)
