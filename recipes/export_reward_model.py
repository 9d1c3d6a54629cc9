r"""Write an outcome reward model in the one-logit form that TRL's `RewardTrainer` writes and GRPO or vLLM's /classify load.

Reads   <verifier>/      an ORM (recipes/train_orm.py)
Writes  <output_dir>/    AutoModelForSequenceClassification with num_labels=1 (prm/verifiers/export.py says what is lost)

    python recipes/export_reward_model.py --verifier outputs/quickstart/orm --output_dir outputs/quickstart/orm_reward
"""

from __future__ import annotations

from dataclasses import dataclass, field

from prm.command_line import run_script


@dataclass
class Arguments:
    verifier: str = field(metadata={"help": "checkpoint folder of an ORM"})
    output_dir: str = field(metadata={"help": "folder to write"})


def main(args: Arguments) -> None:
    from prm.verifiers.export import export_reward_model  # imports torch; help and a typo must not wait for it

    shift = export_reward_model(args.verifier, args.output_dir)
    print(f"saved {args.output_dir}; its rewards are the log-odds of the verifier minus {shift:.4f}")


if __name__ == "__main__":
    run_script(main, Arguments)
