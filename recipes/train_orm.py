r"""Train an outcome reward model: one score per trace, read at its last step.

Reads   traces.jsonl     checked traces (data/sample_traces.py), or labeled ones (data/label_steps.py)
Writes  <output_dir>/    a verifier checkpoint that `prm.load_verifier` takes; eval_results.json with its validation metrics

    accelerate launch recipes/train_orm.py --config recipes/configs/orm_arithmetic.yaml
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import prm  # noqa: F401  # isort: skip  (first: it drops a warning of bitsandbytes, which transformers imports)
from transformers import TrainingArguments, set_seed
from trl import TrlParser

from prm.datasets.splits import hold_out
from prm.storage.rows import read_outcomes
from prm.training.arguments import VerifierArguments
from prm.training.distributed import close_process_group
from prm.training.examples import orm_examples, pair_examples
from prm.training.preflight import preflight
from prm.training.run import run_training
from prm.training.trainer import VerifierTrainer


@dataclass
class OrmArguments(VerifierArguments):
    objective: Literal["cross_entropy", "squared_error", "bradley_terry"] = field(
        default="cross_entropy",
        metadata={"help": "prm/training/losses.py; bradley_terry compares a right and a wrong trace of one problem"},
    )
    tokens: Literal["last", "all"] = field(
        default="last",
        metadata={"help": "where the outcome is learned: at the last token, or at every one (Cobbe 2021)"},
    )


def main() -> None:
    script, training = TrlParser((OrmArguments, TrainingArguments)).parse_args_and_config()
    set_seed(training.seed)
    objective = script.weighted(script.objective)
    pairs = script.objective == "bradley_terry"
    if pairs and script.tokens == "all":
        raise SystemExit("--objective bradley_terry compares whole traces and needs --tokens last")

    checked = read_outcomes(script.data)
    rows = checked[: script.limit]
    if not rows:
        raise SystemExit(f"{script.data} has no trace whose outcome is known")
    train_rows, eval_rows = (rows, read_outcomes(script.eval_data)) if script.eval_data else hold_out(rows)
    if not eval_rows:
        raise SystemExit(f"{script.eval_data} has no trace whose outcome is known")

    tokenizer, codec = script.load_tokenizer(), script.codec()
    train_examples, train_report = orm_examples(train_rows, codec, tokenizer, script.tokens)
    eval_examples, eval_report = orm_examples(eval_rows, codec, tokenizer)
    train = (train_rows, train_examples, train_report)
    preflight(script.data, len(checked), train, (eval_rows, eval_examples, eval_report), codec, tokenizer)
    if pairs:
        train_examples = pair_examples(train_examples, seed=training.seed)
        print(
            f"pairs       {len(train_examples)}, from {len({pair['problem'] for pair in train_examples})} of"
            f" {len({row.problem.id for row in train_rows})} problems; the others have no right or no wrong trace"
        )

    trainer = VerifierTrainer(
        script.load_model(),
        training,
        script.verifier_config("orm", "outcome", objective=script.objective),
        tokenizer,
        train_examples,
        eval_examples,
        objective=objective,
        shared_steps=script.shared_steps,
    )
    trainer.train_report = train_report
    metrics = run_training(trainer, eval_rows, script)
    print("\n".join(f"{name:40} {value:.4f}" for name, value in metrics.items() if isinstance(value, float)))


if __name__ == "__main__":
    main()
    close_process_group()
