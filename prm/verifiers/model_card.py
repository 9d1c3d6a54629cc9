r"""The README.md of a verifier checkpoint: what it scores, how to load it, what it was trained on, how good it is.

It is written with every checkpoint, from its `prm_config.json`, its `config.yaml` and the last validation; the Hub reads its
front matter. Its example is encoded by the checkpoint's own codec and tokenizer, so that prompt, separator and read position
are the real ones:

    Start with 47, add 38.
    47 + 38 = 85⟦\n⟧
    #### 85⟦\n⟧

A report on the verifier (`eval/report_verifier.py`) adds a section that links it.

Left out: rows of the training data, which may be private. Base and data in local folders are named in the text but not in
the front matter, where the Hub accepts only its own names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.encoding.codec import show_positions
from prm.files import write_whole
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.origin import origins, read_settings, training_section, write_card
from prm.verifiers.score_meaning import score_meaning

if TYPE_CHECKING:  # help of a script that links reports must not wait for it
    from transformers import PreTrainedTokenizerBase

EXAMPLE = "Start with 47, add 38.", ("47 + 38 = 85", "#### 85")

KINDS = {"prm": "process reward model", "orm": "outcome reward model"}


def write_model_card(
    folder: str | Path,
    name: str,
    config: VerifierConfig,
    tokenizer: PreTrainedTokenizerBase,
    metrics: dict[str, float],
) -> None:
    """Write `folder`/README.md, over the stock card that PEFT or the Trainer may have written.

    Args:
        folder: of the checkpoint, with its `config.yaml` if there is one.
        name: of the model; the title.
        metrics: of the last validation, names without `eval_`; empty before the first one.
    """
    folder = Path(folder)
    adapter = (folder / "adapter_config.json").is_file()
    article = "An" if config.kind == "orm" else "A"
    sections = [
        f"# {name}",
        f"{article} {KINDS[config.kind]} trained from `{config.base_model}`{' (LoRA adapter)' if adapter else ''}: one score"
        f" in [0, 1] per step of a reasoning trace.",
        score_meaning(config),
        _loading(name),
        _codec(config, tokenizer),
        _labels(config),
        _data(config, read_settings(folder)),
        training_section(folder),
        _metrics(metrics),
        _serving(name, config, tokenizer, adapter),
        _limits(config),
    ]
    write_card(folder, _front_matter(name, config, folder, metrics, adapter), sections)


REPORT = "## Verifier report"


def link_report(card: Path, text: str) -> None:
    """Add the section on the verifier report to a card, at its end; of one that is there already, replace the text."""
    before, heading, rest = card.read_text(encoding="utf-8").partition(f"\n{REPORT}\n")
    _, next_heading, after = rest.partition("\n## ") if heading else ("", "", "")
    write_whole(card, f"{before.rstrip()}\n\n{REPORT}\n\n{text}\n{next_heading}{after}")


def _front_matter(
    name: str, config: VerifierConfig, folder: Path, metrics: dict[str, float], adapter: bool
) -> dict[str, Any]:
    head: dict[str, Any] = {"library_name": "peft" if adapter else "transformers"}
    head |= origins(folder, config.base_model)
    head |= {
        "pipeline_tag": "token-classification",
        "tags": [config.kind, KINDS[config.kind].replace(" ", "-"), "reward-model", "reasoning"],
        "training_data_hash": config.data_hash,
    }
    if metrics:
        head["model-index"] = [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": "token-classification", "name": "step scoring"},
                        "dataset": {"type": "validation", "name": "validation problems"},
                        "metrics": [{"type": key, "value": round(value, 4)} for key, value in metrics.items()],
                    }
                ],
            }
        ]
    return head


def _loading(name: str) -> str:
    prompt, steps = EXAMPLE
    return f"""## Use

```python
from prm import load_verifier

verifier = load_verifier("{name}")    # the folder of this checkpoint
verifier.score({prompt!r}, {list(steps)!r})    # one score per step
verifier.score_trace({prompt!r}, {list(steps)!r})    # one score for the trace
```"""


def _codec(config: VerifierConfig, tokenizer: PreTrainedTokenizerBase) -> str:
    codec = config.codec
    encoded = codec.encode(tokenizer, *EXAMPLE)
    ids, ends = list(encoded.input_ids), list(encoded.step_ends)
    step_end = f"the marker `{codec.marker}`" if codec.marker else f"the separator {codec.separator!r}"
    return f"""## Step format

The prompt, every step, and {step_end} after every step are tokenized separately and their ids concatenated. The score of
a step is read at the last token of {step_end} after it: the token in ⟦ ⟧ below, at positions {ends} of {len(ids)}. At most
{codec.max_length} tokens. `prm_config.json` holds all of this for programs.

```
{show_positions(tokenizer, ids, ends, [""] * len(ends)).rstrip()}
```"""


def _labels(config: VerifierConfig) -> str:
    return f"""## Labels

Label 0 is `{config.labels[0]}`, label 1 is `{config.labels[1]}`; a score is the softmax probability of label 1. Semantics of
the training labels: `{config.semantics}`; targets: `{config.targets}`; objective: `{config.objective}`. Aggregation of
step scores into a trace score: `{config.aggregation}`."""


def _data(config: VerifierConfig, settings: dict[str, Any]) -> str:
    names = f"`{settings['data']}`" if settings else "Its name was not recorded"
    if settings.get("eval_data"):
        names += f", validated on `{settings['eval_data']}`"
    rows = f"{config.training_data}. " if config.training_data else ""
    versions = ", ".join(f"{name} {version}" for name, version in config.versions.items())
    return f"""## Training data

{names}. {rows}SHA-256 begins with `{config.data_hash}`. Versions: {versions}."""


def _metrics(metrics: dict[str, float]) -> str:
    if not metrics:
        return "## Validation\n\nNot validated when this was written."
    rows = "\n".join(f"| `{name}` | {value:.4f} |" for name, value in metrics.items())
    return f"""## Validation

On the validation rows. `trace_auc_within_problem` is what best-of-N depends on: of a right and a wrong trace of one
problem, how often the right one scores higher.

| metric | value |
|---|---|
{rows}"""


def _serving(name: str, config: VerifierConfig, tokenizer: PreTrainedTokenizerBase, adapter: bool) -> str:
    """Tested with vLLM 0.32. Its pooler can select rows at one token id only, so without a marker it returns all rows."""
    if config.quantization is not None:
        return f"""## vLLM

Not served in this form: the adapter belongs to a base rounded to 4 bits ({config.quantization}). Merged into the unrounded
base, its scores shift; measure by how much before you use them."""
    codec = config.codec
    launch = f"vllm serve {'merged' if adapter else name} --runner pooling --max-model-len {codec.max_length}"
    if codec.marker:
        pooler = {"pooling_type": "STEP", "step_tag_id": codec.step_end_ids(tokenizer)[0]}
        read = "It returns one row of probabilities per marker"
    else:
        pooler = {"pooling_type": "ALL"}
        read = "It returns one row of probabilities per token; take the rows at the step positions"
    launch += f" --pooler-config '{json.dumps(pooler)}'"
    bases = " The MLP head is served on Qwen2 bases only." if config.head == "mlp" else ""
    merge = f"""Merge the adapter into its base first:
`python recipes/merge_adapter.py --verifier {name} --output_dir merged`.

"""
    return f"""## vLLM

{merge if adapter else ""}```bash
{launch}
```

`POST /pooling {{"model": ..., "task": "token_classify", "input": [token ids]}}`. {read}; column 1 is the score. Send
token ids made as above, not text: a tokenizer may merge text across step ends.{bases} On a GPU vLLM rounds to 16 bits unless
`--dtype float32` is given. `recipes/export_verifier.py` writes other layouts, and what a search through vLLM needs."""


def _limits(config: VerifierConfig) -> str:
    trace = (
        " As an ORM it cannot say which step is wrong."
        if config.kind == "orm"
        else " A score is an estimate, not a proof that a step is right or wrong."
    )
    return f"""## Limits

Scores are meant for problems and generators like those of the training data; measure before using them elsewhere.{trace}
Optimizing a generator against these scores, or a long search, exploits their errors."""
