r"""The main job on the embedded problem set, from nothing to a report.

Every stage is a command that you can run by hand; this script prints it, runs it, and remembers that it is done. Killed
and started again, it goes on where it stopped; finished and started again, it says so and prints the table.

Reads   nothing          the problems and the generator are part of the project
Writes  outputs/quickstart/   traces.jsonl, labeled.jsonl, prm/, orm/, search/, report.md, report.html, summary.json

    python recipes/quickstart.py
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

OUTPUT = Path("outputs/quickstart")

STAGES = {
    "sample": "data/sample_traces.py --config data/configs/arithmetic_traces.yaml",
    "label": "data/label_steps.py --config data/configs/arithmetic_labels.yaml",
    "train the PRM": "recipes/train_prm.py --config recipes/configs/prm_arithmetic.yaml",
    "train the ORM": "recipes/train_orm.py --config recipes/configs/orm_arithmetic.yaml",
    "search": "eval/run_search.py --config eval/configs/arithmetic_search.yaml",
}
REPORT = f"eval/write_report.py --run {OUTPUT}/search --output_dir {OUTPUT}"


def main() -> None:
    os.chdir(Path(__file__).parent.parent)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    seconds = 0.0
    for number, (name, command) in enumerate(STAGES.items(), 1):
        seconds += run_stage(f"{number}/{len(STAGES) + 1} {name}", command)
    print(f"\n== {len(STAGES) + 1}/{len(STAGES) + 1} report\n$ python {REPORT}", flush=True)
    run(f"{REPORT} --seconds {seconds:.1f}")


def run_stage(title: str, command: str) -> float:
    """Run one stage unless it is done already with the same settings; the seconds it takes or took."""
    _, _, config = command.partition("--config ")
    done = OUTPUT / f".{Path(config).stem}.done"
    fingerprint = {"command": command, "config": Path(config).read_text()}
    print(f"\n== {title}\n$ python {command}", flush=True)
    if done.exists():
        record = json.loads(done.read_text())
        if record["fingerprint"] == fingerprint:
            print(f"done already, in {record['seconds']:.0f} s")
            return record["seconds"]
        raise SystemExit(f"{OUTPUT} holds a run with other settings ({config} changed); delete {OUTPUT} to start over")
    started = time.monotonic()
    run(command)
    seconds = time.monotonic() - started
    done.write_text(json.dumps({"fingerprint": fingerprint, "seconds": seconds}))
    return seconds


def run(command: str) -> None:
    # Models this small gain nothing from a second thread, and lose tenfold where the machine has something else to do.
    result = subprocess.run([sys.executable, *shlex.split(command)], env={"OMP_NUM_THREADS": "1", **os.environ})
    if result.returncode:
        raise SystemExit(f"stage failed (exit code {result.returncode}); to look into it, run it by hand:\n{command}")


if __name__ == "__main__":
    main()
