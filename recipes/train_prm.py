r"""Train a process reward model on labeled traces: one score per step.

Reads   labeled.jsonl    LabeledTrace rows (data/label_steps.py), or TRL stepwise rows with --semantics
Writes  <output_dir>/    a verifier checkpoint that `prm.load_verifier` takes; eval_results.json with its validation metrics

    accelerate launch recipes/train_prm.py --config recipes/configs/prm_arithmetic.yaml
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import prm  # noqa: F401  # isort: skip  (first: it drops a warning of bitsandbytes, which transformers imports)
from transformers import TrainingArguments, set_seed
from trl import TrlParser

from prm.datasets.splits import hold_out
from prm.storage.rows import read_labeled
from prm.training.arguments import VerifierArguments
from prm.training.distributed import close_process_group
from prm.training.examples import prm_examples
from prm.training.preflight import preflight
from prm.training.run import run_training
from prm.training.trainer import VerifierTrainer


@dataclass
class PrmArguments(VerifierArguments):
    semantics: Literal["value", "correctness"] | None = field(
        default=None, metadata={"help": "what the labels mean, for rows that do not say so"}
    )
    targets: Literal["soft", "hard"] | None = field(
        default=None,
        metadata={"help": "soft = the values, hard = the labels; default: soft for value, hard for correctness"},
    )
    objective: Literal["cross_entropy", "squared_error", "ranking"] = field(
        default="cross_entropy", metadata={"help": "prm/training/losses.py; ranking is that of PQM, on hard labels"}
    )
    until_first_error: bool = field(
        default=False, metadata={"help": "steps behind the first bad one have no target (Lightman et al. 2023)"}
    )
    aggregation: Literal["last", "min", "product", "mean"] | None = field(
        default=None,
        metadata={"help": "how step scores become a trace score; default: last for value, product otherwise"},
    )


def main() -> None:
    script, training = TrlParser((PrmArguments, TrainingArguments)).parse_args_and_config()
    set_seed(training.seed)

    labeled = read_labeled(script.data, script.semantics)
    rows = labeled[: script.limit]
    if not rows:
        raise SystemExit(f"{script.data} has no row with status ok")
    train_rows, eval_rows = (
        (rows, read_labeled(script.eval_data, script.semantics)) if script.eval_data else hold_out(rows)
    )
    if not eval_rows:
        raise SystemExit(f"{script.eval_data} has no row with status ok")
    kinds = {row.labeled.semantics for row in [*train_rows, *eval_rows]}
    if len(kinds) > 1:
        raise SystemExit(
            f"the rows mix labels of different meaning ({', '.join(sorted(kinds))}); train and validate on one kind"
        )
    semantics = kinds.pop()
    ranking = script.objective == "ranking"
    if ranking and script.targets == "soft":
        raise SystemExit("--objective ranking orders good before bad steps and needs --targets hard")
    targets = script.targets or ("soft" if semantics == "value" and not ranking else "hard")
    objective = script.weighted(script.objective)

    tokenizer, codec = script.load_tokenizer(), script.codec()
    train_examples, train_report = prm_examples(train_rows, codec, tokenizer, targets, script.until_first_error)
    eval_examples, eval_report = prm_examples(eval_rows, codec, tokenizer, targets, script.until_first_error)
    train = (train_rows, train_examples, train_report)
    preflight(script.data, len(labeled), train, (eval_rows, eval_examples, eval_report), codec, tokenizer)
    print(f"targets     {targets}, semantics {semantics}")

    trainer = VerifierTrainer(
        script.load_model(),
        training,
        script.verifier_config("prm", semantics, script.aggregation, script.objective),
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
