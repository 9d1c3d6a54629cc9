r"""The main job on the embedded problem set, from nothing to a report.

Every stage is a command that you can run by hand. The terminal shows one line per stage; what the stages print goes to
a log, after their commands. Stopped and started again, the job goes on where it stopped; finished and started
again, it says so and prints the table.

Reads   nothing               the problems and the generator are part of the project
Writes  outputs/quickstart/   traces.jsonl, labeled.jsonl, prm/, orm/, search/, report.md, report.html, summary.json;
                              quickstart.log: what the stages print

    python recipes/quickstart.py
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prm.command_line import run_script

OUTPUT = Path("outputs/quickstart")
LOG = OUTPUT / "quickstart.log"

STAGES = {
    "sample traces": "data/sample_traces.py --config data/configs/arithmetic_traces.yaml",
    "label their steps": "data/label_steps.py --config data/configs/arithmetic_labels.yaml",
    "train the PRM": "recipes/train_prm.py --overwrite_output_dir --config recipes/configs/prm_arithmetic.yaml",
    "train the ORM": "recipes/train_orm.py --overwrite_output_dir --config recipes/configs/orm_arithmetic.yaml",
    "search": "eval/run_search.py --config eval/configs/arithmetic_search.yaml",
}
REPORT = f"eval/write_report.py --run {OUTPUT}/search --output_dir {OUTPUT}"

BAR = re.compile(r"[\r\n](?:([\w ]+): +)? *(\d+)%\|[^|\r\n]*\|[^\[\r\n]*\[[\d:]+<([\d:?]+), +([^\]\r\n]*)\]")
"""A progress bar of tqdm: its name, percent, time left, and the rate with what follows it."""
ON_TERMINAL = sys.stdout.isatty() and not os.environ.get("CI")


@dataclass
class Arguments:
    """The job has none; its stages have those of their configs."""


def main(args: Arguments) -> None:
    os.chdir(Path(__file__).parent.parent)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    print(f"Six stages on the embedded problem set, about six minutes in all. What they print: {LOG}\n", flush=True)
    seconds = sum(run_stage(f"{i}/6 {name}", command) for i, (name, command) in enumerate(STAGES.items(), 1))
    _, table = run("6/6 write the report", f"{REPORT} --seconds {seconds:.1f}", stdout=subprocess.PIPE)
    print(f"\n{table}", end="")


def run_stage(title: str, command: str) -> float:
    """Run one stage unless it is done already with the same settings; the seconds it takes or took."""
    _, _, config = command.partition("--config ")
    done = OUTPUT / f".{Path(config).stem}.done"
    fingerprint = {"command": command, "config": Path(config).read_text()}
    if done.exists():
        record = json.loads(done.read_text())
        if record["fingerprint"] != fingerprint:
            raise ValueError(
                f"{OUTPUT} holds a run with other settings ({config} changed); delete {OUTPUT} to start over"
            )
        print(f"{title:24}done already, in {record['seconds']:.0f} s", flush=True)
        return record["seconds"]
    seconds, _ = run(title, command)
    done.write_text(json.dumps({"fingerprint": fingerprint, "seconds": seconds}))
    return seconds


def run(title: str, command: str, stdout: int | None = None) -> tuple[float, str]:
    """Run a command to its end: its seconds, and what it printed where `stdout` is a pipe (64 KB at most)."""
    show(title, "starting")
    started = time.monotonic()
    # Models this small gain nothing from a second thread, and lose tenfold where the machine has something else to do.
    env = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONUNBUFFERED": "1"}
    with LOG.open("ab", buffering=0) as log:
        log.write(f"\n$ python {command}\n".encode())
        begin = log.tell()
        arguments = [sys.executable, *shlex.split(command)]
        child = subprocess.Popen(arguments, stdout=stdout or log, stderr=subprocess.PIPE, env=env)
        assert child.stderr is not None
        try:
            for chunk in iter(partial(os.read, child.stderr.fileno(), 65536), b""):
                log.write(chunk)
                for name, percent, left, rate in BAR.findall(chunk.decode(errors="replace"))[-1:]:
                    rest = f"  {left} left  {rate}" if left != "?" else ""
                    show(title, f"{name} {percent}%{rest}".strip())
            printed = child.stdout.read() if child.stdout else b""
            log.write(printed)
            child.wait()
        except KeyboardInterrupt:
            child.terminate()
            child.wait()
            raise
    seconds = time.monotonic() - started
    if child.returncode:
        output = BAR.sub("\n", LOG.read_bytes()[begin:].decode(errors="replace"))
        lines = [line for line in re.split(r"[\r\n]+", output) if line.strip()]
        tail = "\n".join(f"    {line}" for line in lines[-15:])
        raise SystemExit(
            f"\nerror: {title} failed (exit code {child.returncode}). The end of {LOG}:\n\n{tail}\n\n"
            f"To look into it, run it by hand in {Path.cwd()}:\n    {shlex.join(arguments)}"
        )
    show(title, f"{seconds:.0f} s", end="\n")
    return seconds, printed.decode()


def show(title: str, state: str, end: str = "") -> None:
    """On a terminal, the state of a stage replaces its last one; elsewhere, its begin and end are a line each."""
    line = f"{title:24}{state}"
    if ON_TERMINAL:
        print(f"\r\x1b[2K{line[: shutil.get_terminal_size().columns - 1]}", end=end, flush=True)
    elif end or state == "starting":
        print(line, flush=True)


if __name__ == "__main__":
    run_script(main, Arguments)
