r"""Write a PRM or ORM in a layout that other tools load and vLLM serves; prints the command that serves it.

Reads   <verifier>/      a PRM or ORM: full, merged, or an adapter, which is merged (recipes/train_prm.py, train_orm.py)
Writes  <output_dir>/    weights, tokenizer, scoring.json and a card (prm/verifiers/export.py says what the layouts are)

    python recipes/export_verifier.py --verifier outputs/quickstart/prm --form token_classification \
        --output_dir outputs/quickstart/prm_served
    python recipes/export_verifier.py --verifier outputs/quickstart/orm --form sequence_classification \
        --output_dir outputs/quickstart/orm_reward
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from prm.command_line import run_script
from prm.verifiers.scoring import CalibratedChoice, Form, launch_line, vllm_options


@dataclass
class Arguments:
    verifier: str = field(metadata={"help": "checkpoint folder of a PRM or ORM"})
    form: str = field(metadata={"help": "the layout", "choices": list(get_args(Form))})
    output_dir: str = field(metadata={"help": "folder to write"})
    base_model: str | None = field(
        default=None, metadata={"help": "folder or hub name of an adapter's base, if that moved since training"}
    )
    threshold: float | None = field(
        default=None,
        metadata={"help": "for scoring.json: a step with a lower score counts as wrong", "above": 0, "most": 1},
    )
    calibrations: list[str] = field(
        default_factory=list, metadata={"help": "for scoring.json: files of eval/calibrate_verifier.py"}
    )


def main(args: Arguments) -> None:
    if any(Path(args.output_dir).glob("*.safetensors")):
        raise ValueError(f"{args.output_dir} holds a model; give another --output_dir")
    from prm.search.calibration import read_calibration  # these import torch; help and a typo must not wait for it
    from prm.verifiers.export import export_verifier

    learned = [read_calibration(file) for file in args.calibrations]
    chances = [CalibratedChoice(its.verifier, its.generator, its.samples, its.best, its.vote) for its in learned]
    form: Form = args.form  # type: ignore[assignment]
    scoring, difference = export_verifier(
        args.verifier, args.output_dir, form, args.base_model, args.threshold, chances
    )
    print(f"saved {args.output_dir}; loaded again by plain Transformers, scores agree to {difference:.1g}")
    if scoring.offset:
        print(f"its logits are the log-odds of the verifier minus {scoring.offset:.4f}")
    print(f"serve it with\n{launch_line(args.output_dir, vllm_options(scoring))}")


if __name__ == "__main__":
    run_script(main, Arguments)
