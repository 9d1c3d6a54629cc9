"""The README.md of an exported verifier: how to read it without this project, how vLLM serves it, and where it comes from.

    vllm serve outputs/prm_twin --runner pooling --dtype float32 --max-model-len 256

The card of the checkpoint (`prm.verifiers.model_card`) says what it was trained on and how good it is, and is kept beside
it as SOURCE.md.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.model_card import KINDS
from prm.verifiers.origin import origins, write_card
from prm.verifiers.score_meaning import score_meaning
from prm.verifiers.scoring import FILE, TWIN, Scoring, launch_line, vllm_options

SOURCE = "SOURCE.md"

TASK = {"qwen_prm": "token-classification", "math_shepherd": "text-generation"}

SERVING = {
    False: """It returns logits {rows}. In a tree search every new step costs its whole prefix again: vLLM does not
read its prefix cache for them. `sequence_classification`, the twin of this layout, costs the new step only.""",
    True: """It returns one logit per request. A prefix that was read before is in vLLM's cache, so that in a tree
search a new step costs its own tokens; a whole trace of n steps takes n requests, where a token head takes one.""",
}


def write_export_card(path: str, output_dir: str, config: VerifierConfig, scoring: Scoring) -> None:
    """Write `output_dir`/README.md, and the card of the checkpoint as SOURCE.md."""
    folder, card = Path(output_dir), Path(path, "README.md")
    if card.is_file():
        shutil.copy(card, folder / SOURCE)
    head: dict[str, Any] = {"library_name": "transformers", **origins(Path(path), config.base_model)}
    task = TASK.get(scoring.form, scoring.form.replace("sequence", "text").replace("_", "-"))
    head |= {
        "pipeline_tag": task,
        "tags": [config.kind, KINDS[config.kind].replace(" ", "-"), "reward-model", "reasoning"],
    }
    article = "an" if config.kind == "orm" else "a"
    sections = [
        f"# {folder.name}",
        f"`{scoring.source}`, {article} {KINDS[config.kind]} trained from `{config.base_model}`, in the layout"
        f" `{scoring.form}`." + (f" [{SOURCE}]({SOURCE}) describes its training." if card.is_file() else ""),
        score_meaning(config),
        _reading(scoring),
        _serving(folder.name, scoring),
    ]
    write_card(folder, head, sections)


def _reading(scoring: Scoring) -> str:
    codec, example = scoring.codec, scoring.examples[0]
    template = " in the chat template, up to the start of the answer" if codec.prompt.chat else ""
    bias = ""
    if scoring.form == TWIN:
        bias = f"""

The offset is {scoring.offset:.6f}. A trainer that makes the text itself, or applies a chat template, reads at the end of
that, where this model was not trained: `eval/check_reward_position.py` measures what it is worth there."""
    return f"""## Reading scores

The prompt is {codec.prompt.text!r}{template}; after it come the steps, each followed by
{codec.marker or codec.separator!r} (token ids {list(scoring.step_end_ids)}), the last one, too, and nothing else. Prompt,
steps and step ends are tokenized separately and their ids joined: a tokenizer merges text across step ends. A step's
position is that of the last id after it. {scoring.read}. The scores of steps become
one of the trace by `{scoring.aggregation}`.{bias}

[{FILE}]({FILE}) says all this for programs, with traces, their ids, and the scores they must get.
{example.prompt!r} with the steps {list(example.steps)!r} has the ids {list(example.input_ids)}, the positions
{list(example.positions)} and the scores {[round(score, 5) for score in example.scores]}."""


def _serving(name: str, scoring: Scoring) -> str:
    rows = "for every token; take those at the positions" if scoring.codec.marker is None else "at every step end"
    task = "classify" if scoring.form == TWIN else "token_classify"
    return f"""## vLLM

```bash
{launch_line(name, vllm_options(scoring))}
```

`POST /pooling {{"model": "{name}", "task": "{task}", "use_activation": false, "input": [token ids]}}`.
{SERVING[scoring.form == TWIN].format(rows=rows)} On a GPU `--dtype bfloat16` is faster and moves scores by about 0.01."""
