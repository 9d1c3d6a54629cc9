r"""The main job on the embedded problem set, from nothing to a report.

Every stage is a command that you can run by hand. The terminal shows one line per stage; what the stages print goes to
a log, after their commands. Stopped and started again, the job goes on where it stopped; finished and started
again, it says so and prints the table.

Reads   nothing               the problems and the generator are part of the project
Writes  outputs/quickstart/   traces.jsonl, labeled.jsonl, prm/, orm/, search/, report.md, report.html, summary.json;
                              verifier_report.md in prm/ and orm/; quickstart.log: what the stages print

    python recipes/quickstart.py
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from prm.command_line import run_script
from prm.stages import Stages

OUTPUT = Path("outputs/quickstart")

STAGES = {
    "sample traces": "data/sample_traces.py --config data/configs/arithmetic_traces.yaml",
    "label their steps": "data/label_steps.py --config data/configs/arithmetic_labels.yaml",
    "train the PRM": "recipes/train_prm.py --overwrite_output_dir --config recipes/configs/prm_arithmetic.yaml",
    "train the ORM": "recipes/train_orm.py --overwrite_output_dir --config recipes/configs/orm_arithmetic.yaml",
    "search": "eval/run_search.py --config eval/configs/arithmetic_search.yaml",
    "report on verifiers": "eval/report_verifier.py --config eval/configs/arithmetic_verifiers.yaml",
}
REPORT = f"eval/write_report.py --run {OUTPUT}/search --output_dir {OUTPUT}"


@dataclass
class Arguments:
    """The job has none; its stages have those of their configs."""


def main(args: Arguments) -> None:
    os.chdir(Path(__file__).parent.parent)
    stages = Stages(OUTPUT, "quickstart")
    print(
        f"Seven stages on the embedded problem set, about six minutes in all. What they print: {stages.log}\n",
        flush=True,
    )
    seconds = 0.0
    for i, (name, command) in enumerate(STAGES.items(), 1):
        _, _, config = command.partition("--config ")
        made_of = {"config": Path(config).read_text()}
        seconds += stages.once(f"{i}/7 {name}", command, Path(config).stem, made_of, changed=config)
    _, table = stages.run("7/7 write the report", f"{REPORT} --seconds {seconds:.1f}", stdout=subprocess.PIPE)
    print(f"\n{table}", end="")


if __name__ == "__main__":
    run_script(main, Arguments)
