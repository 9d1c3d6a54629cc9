r"""What a verifier with one logit is worth where reinforcement learning reads it: at the end of a text that a trainer makes.

TRL's GRPO, verl and OpenRLHF tokenize prompt and answer themselves, as one text or in the tokenizer's chat template, and
read the logit at the last token. The twin (prm/verifiers/export.py) was trained to be read after the last step and its
separator, with pieces tokenized separately. How well the logit ranks right above wrong traces of one problem is measured at
both.

Reads   --data       checked traces, several per problem (data/sample_traces.py); their column `correct`
        --verifier   a folder of recipes/export_verifier.py --form sequence_classification
Prints  a table; writes nothing

    python eval/check_reward_position.py --verifier outputs/quickstart/prm_twin --data outputs/quickstart/held_out.jsonl
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from prm.command_line import run_script
from prm.evaluation.tables import as_text
from prm.storage.rows import group_by_problem, read_traces
from prm.verifiers.scoring import TWIN, Scoring

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Texts = Callable[[str, tuple[str, ...]], list[int]]
"""Problem and steps -> token ids, the last of which is read."""


@dataclass
class Arguments:
    verifier: str = field(metadata={"help": "exported folder with one logit"})
    data: str = field(metadata={"help": "file of checked traces"})
    limit: int = field(default=200, metadata={"help": "first problems only", "least": 1})


def main(args: Arguments) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    from prm.models.loading import load_tokenizer, load_weights

    scoring = Scoring.load(args.verifier)
    if scoring.form != TWIN:
        raise ValueError(f"{args.verifier} has the layout {scoring.form}; give one exported with --form {TWIN}")
    tokenizer = load_tokenizer(args.verifier)
    model: Any = load_weights(AutoModelForSequenceClassification, args.verifier, dtype=torch.float32).eval()
    problems = list(group_by_problem(read_traces(args.data)))[: args.limit]

    table = [["read at the end of", "right above wrong", "pairs"]]
    for name, ids_of in ways(scoring, tokenizer).items():
        wins, pairs = 0.0, 0
        for problem, traces in problems:
            rewards: dict[bool, list[float]] = {True: [], False: []}
            for trace in traces:
                ids = ids_of(problem.prompt, trace.steps)
                if trace.correct is not None and len(ids) <= scoring.codec.max_length:
                    with torch.inference_mode():
                        rewards[trace.correct].append(model(torch.tensor([ids])).logits.item())
            for right, wrong in product(rewards[True], rewards[False]):
                wins += (right > wrong) + (right == wrong) / 2
                pairs += 1
        table.append([name, f"{wins / pairs:.3f}" if pairs else "no pairs", str(pairs)])
    print(as_text(table))


def ways(scoring: Scoring, tokenizer: PreTrainedTokenizerBase) -> dict[str, Texts]:
    codec = scoring.codec
    separator = codec.marker or codec.separator

    def ours(prompt: str, steps: tuple[str, ...]) -> list[int]:
        return list(codec.encode(tokenizer, prompt, steps).input_ids)

    def one_text(prompt: str, steps: tuple[str, ...]) -> list[int]:
        return tokenizer(codec.prompt.render(prompt) + separator.join(steps), add_special_tokens=False)["input_ids"]

    def closed(prompt: str, steps: tuple[str, ...]) -> list[int]:
        text = codec.prompt.render(prompt) + "".join(step + separator for step in steps)
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def chat(prompt: str, steps: tuple[str, ...]) -> list[int]:
        turns = [("user", codec.prompt.render(prompt)), ("assistant", separator.join(steps))]
        messages = [{"role": role, "content": content} for role, content in turns]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    found = {"the last step and its separator, as trained": ours}
    found |= {"one text, with the last separator": closed, "one text, without it": one_text}
    return found | ({"the chat template": chat} if tokenizer.chat_template else {})


if __name__ == "__main__":
    run_script(main, Arguments)
