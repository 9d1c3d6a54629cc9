r"""Label every step of every trace by Monte Carlo rollouts (Math-Shepherd, arXiv:2312.08935).

All traces of a problem are labeled together, so that equal prefixes share their rollouts. Rollouts are committed to a
journal beside the output (`<output>.rollouts`, kept: raw counts and texts can be read again); a killed run goes on where
it stopped and ends with the same file. A trace that cannot be labeled stays a row with its `status`.

Reads   traces.jsonl     Trace rows (data/sample_traces.py)
Writes  labeled.jsonl    LabeledTrace rows (recipes/train_prm.py reads them)

    python data/label_steps.py --traces outputs/traces.jsonl --generator arithmetic --rollouts 8 \
        --output outputs/labeled.jsonl
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tqdm import tqdm
from trl import TrlParser

from prm.formats import file_hash, group_by_problem, labeled_to_row, read_traces, trace_to_row, write_jsonl
from prm.generators import load_generator
from prm.labelers.monte_carlo import MonteCarlo, count
from prm.prompts import PROMPTS, prompt_template
from prm.provenance import write_provenance
from prm.store import Journal
from prm.types import Rollout


@dataclass
class Arguments:
    traces: str = field(metadata={"help": "traces file (data/sample_traces.py)"})
    generator: str = field(metadata={"help": "`arithmetic` (embedded), a Hugging Face folder or a hub name"})
    output: str = field(metadata={"help": "labeled file to write"})
    rollouts: int = field(default=8, metadata={"help": "rollouts per step prefix"})
    temperature: float = field(default=1.0, metadata={"help": "sampling temperature of the rollouts"})
    top_p: float = field(default=1.0, metadata={"help": "nucleus of the sampling distribution"})
    max_new_tokens: int = field(default=512, metadata={"help": "longest rollout in tokens"})
    batch_size: int = field(default=256, metadata={"help": "sequences decoded at once"})
    prompt: str = field(default="plain", metadata={"help": "prompt template", "choices": list(PROMPTS)})
    gguf_file: str | None = field(default=None, metadata={"help": "GGUF file inside the generator's folder"})
    chunk: int = field(default=16, metadata={"help": "problems between two commits"})
    seed: int = field(default=0, metadata={"help": "seed of the run"})


def main() -> None:
    (args,) = TrlParser(Arguments).parse_args_and_config()
    started = time.monotonic()
    rows = read_traces(args.traces)
    groups = list(group_by_problem([row for row in rows if row.trace.status == "ok"]))
    generator = load_generator(
        args.generator,
        gguf_file=args.gguf_file,
        prompt=prompt_template(args.prompt),
        temperature=args.temperature,
        top_p=args.top_p,
        max_new_tokens=args.max_new_tokens,
        batch_size=args.batch_size,
    )
    labeler = MonteCarlo(generator, args.rollouts, args.seed)
    journal = Journal(
        args.output + ".rollouts",
        {
            "generator": generator.name,
            "traces": file_hash(args.traces),
            "rollouts": args.rollouts,
            "chunk": args.chunk,
            "seed": args.seed,
        },
    )

    chunks = [groups[i : i + args.chunk] for i in range(0, len(groups), args.chunk)]
    if len(journal.done) == len(chunks) and Path(args.output).exists():
        print(f"{args.output} is complete already")
        return
    tokens = 0
    progress = tqdm(enumerate(chunks), total=len(chunks), unit="chunk", desc="label")
    for number, chunk in progress:
        if number in journal.done:
            continue
        pairs = [(problem, trace) for problem, traces in chunk for trace in traces]
        rollouts = labeler.sample([problem for problem, _ in pairs], [trace for _, trace in pairs])
        journal.append(number, [asdict(rollout) for rollout in rollouts])
        tokens += sum(rollout.num_tokens for rollout in rollouts)
        progress.set_postfix_str(f"{tokens / (time.monotonic() - started):,.0f} tokens/s")

    rollouts = [Rollout(**row) for row in journal.rows()]
    counts = count(rollouts)
    labeled = [labeler.derive(row.problem, row.trace, counts) if row.trace.status == "ok" else None for row in rows]
    labels = [label for row in labeled if row for label in row.labels if label is not None]
    generated = sum(rollout.num_tokens for rollout in rollouts)
    seconds = time.monotonic() - started
    facts = {
        "seconds": seconds,
        "generated_tokens": generated,
        "rollouts": len(rollouts),
        "outcomes": Counter(rollout.outcome for rollout in rollouts),
        "statuses": Counter(row.trace.status for row in rows),
        "duplicate_rate": 1 - len({(r.problem_id, r.prefix, r.text) for r in rollouts}) / max(1, len(rollouts)),
    }
    write_provenance(args.output, "data/label_steps.py", args, [args.traces], **facts)
    write_jsonl(  # last: where it is, the run is complete
        args.output,
        [
            labeled_to_row(row.problem, labels) if labels else trace_to_row(row.problem, row.trace)
            for row, labels in zip(rows, labeled, strict=True)
        ],
    )
    print(f"{args.output}: {len(labels)} labeled steps, {sum(labels) / max(1, len(labels)):.1%} good,")
    per_label = generated / max(1, len(labels))
    print(f"{len(rollouts):,} rollouts, {generated:,} tokens ({per_label:.0f} per label), {seconds:.0f} s")


if __name__ == "__main__":
    main()
