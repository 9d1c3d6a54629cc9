r"""Merge a LoRA verifier into its base: one folder of whole weights that `load_verifier`, vLLM and Hugging Face read alone.

Reads   <verifier>/      a PRM or ORM trained with --lora_r (recipes/train_prm.py, recipes/train_orm.py), and its base
Writes  <output_dir>/    a verifier checkpoint with the same scores, in fp32

    python recipes/merge_adapter.py --verifier outputs/quickstart/prm_lora --output_dir outputs/quickstart/prm_merged
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from prm.command_line import run_script


@dataclass
class Arguments:
    verifier: str = field(metadata={"help": "checkpoint folder with an adapter"})
    output_dir: str = field(metadata={"help": "folder to write"})
    base_model: str | None = field(
        default=None, metadata={"help": "folder or hub name of its base, if that moved since training and is not found"}
    )


def main(args: Arguments) -> None:
    if any(Path(args.output_dir).glob("*.safetensors")):
        raise ValueError(f"{args.output_dir} holds a model; give another --output_dir")
    from prm.verifiers.merging import merge_adapter  # imports torch; help and a typo must not wait for it

    difference = merge_adapter(args.verifier, args.output_dir, args.base_model)
    print(f"saved {args.output_dir}; loaded again, scores agree to {difference:.1g}")


if __name__ == "__main__":
    run_script(main, Arguments)
