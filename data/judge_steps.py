r"""Label steps with a language model as judge, or keep the traces where it agrees with Monte Carlo labels (`--consensus`).

The judge is a model on a server with the OpenAI protocol (`--url`), or a Hugging Face model with a chat template in this
process. Its answers are kept in a journal (`--answers`), so that a killed run continues where it stopped, texts can be
read again, and another run with the same judge pays only for traces that it has not seen. A trace without labels stays a
row with its `status`.

Reads   traces.jsonl     Trace rows (data/sample_traces.py); for --consensus labeled.jsonl (data/label_steps.py)
Writes  judged.jsonl     LabeledTrace rows, semantics `correctness` (recipes/train_prm.py reads them)

    vllm serve Qwen/Qwen2.5-72B-Instruct --tensor-parallel-size 4
    python data/judge_steps.py --traces outputs/labeled.jsonl --consensus --judge Qwen/Qwen2.5-72B-Instruct \
        --url http://127.0.0.1:8000/v1 --output outputs/consensus.jsonl
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

from tqdm import tqdm

from prm.command_line import run_script
from prm.files import sole_writer
from prm.generators.chat import Answer, ChatCritic, Critic, GeneratorCritic
from prm.generators.endpoint import Endpoint
from prm.labelers.consensus import agreed, first_error_of, relation
from prm.labelers.judge import Judge, judged
from prm.secrets import api_key, check_url
from prm.storage.journal import Journal
from prm.storage.jsonl import write_jsonl
from prm.storage.paths import check_name
from prm.storage.provenance import is_complete, write_provenance
from prm.storage.rows import labeled_to_row, row_to_labeled, row_to_trace, trace_to_row
from prm.storage.sources import read_file
from prm.types import LabeledTrace, Problem, Trace


@dataclass
class Arguments:
    traces: str = field(metadata={"help": "traces or labeled file; for --consensus one with Monte Carlo labels"})
    judge: str = field(
        metadata={"help": "with --url the name of the served model, else a Hugging Face folder or hub name"}
    )
    output: str = field(metadata={"help": "labeled file to write"})
    consensus: bool = field(default=False, metadata={"help": "keep traces where judge and Monte Carlo labels agree"})
    url: str | None = field(
        default=None, metadata={"help": "server, e.g. http://127.0.0.1:8000/v1; key in OPENAI_API_KEY"}
    )
    votes: int = field(
        default=1, metadata={"help": "readable answers per trace; the step named most often counts", "least": 1}
    )
    retries: int = field(
        default=3, metadata={"help": "further answers per trace, to replace unreadable ones", "least": 0}
    )
    answers: str | None = field(default=None, metadata={"help": "journal of answers; default <output>.answers"})
    temperature: float = field(default=0.6, metadata={"help": "sampling temperature of the judge", "least": 0})
    top_p: float = field(
        default=0.95,
        metadata={"help": "nucleus sampling: share of the probability to sample from", "above": 0, "most": 1},
    )
    max_new_tokens: int = field(
        default=8192, metadata={"help": "longest answer in tokens, reasoning included", "least": 1}
    )
    batch_size: int = field(default=32, metadata={"help": "questions in flight at once", "least": 1})
    timeout: float = field(
        default=600.0, metadata={"help": "seconds after which a request to the server has failed", "above": 0}
    )
    patience: float = field(
        default=600.0, metadata={"help": "seconds for which a request may keep failing", "least": 0}
    )
    seed: int = field(default=0, metadata={"help": "seed of the run", "least": 0})


@dataclass(frozen=True)
class Row:
    """A row of the input."""

    problem: Problem
    trace: Trace
    labeled: LabeledTrace | None
    """Its Monte Carlo labels; None without --consensus, or if it has none."""


def main(args: Arguments) -> None:
    started = time.monotonic()
    if args.temperature == 0 and args.votes + args.retries > 1:
        raise ValueError(
            "at --temperature 0 every answer is the same: add --votes 1 --retries 0, or raise the temperature"
        )
    if args.url is None:
        check_name(args.judge)
    else:
        check_url(args.url)
        api_key()
    rows = read_rows(args.traces, args.consensus)  # first, so that a mistake in its name is called so
    if is_complete(args.output, args, [args.traces]):
        print(f"{args.output} is complete already")
        return
    judge = Judge(
        [(row.problem, row.trace) for row in rows if is_asked(row, args.consensus)],
        votes=args.votes,
        retries=args.retries,
        seed=args.seed,
    )
    critic = load_critic(args)

    with journal_of(args.answers or args.output + ".answers", critic.name, args.seed) as journal:
        # Answers of earlier runs count first, so that only missing ones are asked for.
        judge.add([Answer(**answer) for answer in journal.rows()])

        def commit(answers: Sequence[Answer]) -> None:
            nonlocal tokens
            journal.append(journal.next, [asdict(answer) for answer in answers])
            judge.add(answers)
            tokens += sum(answer.generated_tokens for answer in answers)
            progress.update(len(answers))
            progress.set_postfix_str(f"{tokens / (time.monotonic() - started):,.0f} tokens/s")

        tokens = 0
        with tqdm(unit="answer", desc="judge") as progress:
            while questions := judge.questions():  # all of them first, then new ones for unreadable answers
                progress.reset(total=len(questions))
                critic.ask(questions, commit)
    write(args, rows, judge, critic, started)


def read_rows(path: str, consensus: bool) -> list[Row]:
    rows = []
    for where, row in read_file(path):
        if consensus and (row.get("status") or "ok") == "ok":
            read = row_to_labeled(where, row, "value")
            rows.append(Row(read.problem, read.labeled.trace, read.labeled))
        else:
            trace = row_to_trace(where, row)
            rows.append(Row(trace.problem, trace.trace, None))
    return rows


def is_asked(row: Row, consensus: bool) -> bool:
    """Whether the judge's answer makes a difference for this row."""
    if consensus:
        return row.labeled is not None and first_error_of(row.labeled) is not None
    return row.trace.status == "ok"


def load_critic(args: Arguments) -> Critic:
    settings = {name: getattr(args, name) for name in ("temperature", "top_p", "max_new_tokens", "batch_size")}
    if args.url is None:
        return GeneratorCritic.from_pretrained(args.judge, **settings)
    return ChatCritic(Endpoint(args.url, timeout=args.timeout, patience=args.patience), args.judge, **settings)


@contextmanager
def journal_of(path: str, critic: str, seed: int):
    """The journal of answers, for this process only: a second process would pay for the same answers."""
    with sole_writer(path + ".lock", path, "wait for it, or give another --answers"):
        yield Journal(path, {"critic": critic, "seed": seed}, "Give another --answers")


def decide(row: Row, judge: Judge, consensus: bool) -> LabeledTrace | str:
    """The row's trace with labels, or the status that says why it has none."""
    if not is_asked(row, consensus):
        return row.trace.status if row.labeled is None else "undecided"
    verdict = judge.verdict(row.problem, row.trace)
    if row.labeled is None:
        return judged(row.trace, verdict, judge.method)
    return agreed(row.labeled, verdict, judge.method)


def write(args: Arguments, rows: list[Row], judge: Judge, critic: Critic, started: float) -> None:
    """Write every row of the input, in the same order."""
    results = [decide(row, judge, args.consensus) for row in rows]
    labels = [
        label for result in results if not isinstance(result, str) for label in result.labels if label is not None
    ]
    facts = {
        "statuses": dict(Counter(result if isinstance(result, str) else "ok" for result in results)),
        "labeled_steps": len(labels),
        "good": sum(labels) / max(1, len(labels)),
        **judge.report(),
        "server": dict(critic.ledger),
        "seconds": time.monotonic() - started,
    }
    if args.consensus:
        pairs = [
            (first_error_of(row.labeled), judge.verdict(row.problem, row.trace)) for row in rows if is_asked(row, True)
        ]
        facts["first_errors"] = dict(
            Counter(relation(first, verdict) for first, verdict in pairs if not isinstance(verdict, str))
        )
    write_provenance(args.output, "data/judge_steps.py", args, [args.traces], judge_name=critic.name, **facts)
    write_jsonl(  # comes last, because a run counts as complete once this file exists
        args.output,
        [
            trace_to_row(row.problem, replace(row.trace, status=result))
            if isinstance(result, str)
            else labeled_to_row(row.problem, result)
            for row, result in zip(rows, results, strict=True)
        ],
    )
    print(f"{args.output}: {len(labels):,} labeled steps, {facts['good']:.1%} good, statuses {facts['statuses']}")
    if args.consensus:
        print(f"first errors of Monte Carlo labels and judge: {facts['first_errors']}")
    unparsable = sum(facts["unparsable"].values())
    print(
        f"{facts['answers']:,} answers about {facts['judged']:,} traces, {facts['retries']:,} of them retries;", end=" "
    )
    print(f"unparsable {unparsable / max(1, facts['answers']):.1%} {facts['unparsable']}")
    print(f"{facts['prompt_tokens']:,} tokens read, {facts['generated_tokens']:,} generated, {facts['seconds']:.0f} s")
    if critic.ledger:
        print(f"server, in this run: {facts['server']}")


if __name__ == "__main__":
    run_script(main, Arguments)
