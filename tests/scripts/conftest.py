"""Scripts as processes of their own, without eight seconds of imports each: one process imports what all of them need,
then forks for every run. A run has its own arguments, exit code and output, and can be killed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

_SERVER = """
import gc, json, os, runpy, sys

answers = os.fdopen(os.dup(1), "w")  # some libraries print when they are imported
os.dup2(2, 1)
import datasets, matplotlib.pyplot, trl
from trl import SFTTrainer
from prm.generators import load_generator
from prm.verifiers.step_verifier import StepVerifier

load_generator("arithmetic")
gc.freeze()  # else every child walks through, and so copies, all of its parent's objects when it ends
print("ready", file=answers, flush=True)
for line in sys.stdin:
    job = json.loads(line)
    if "wait" in job:
        print(os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1]), file=answers, flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        for descriptor, path in ((1, job["stdout"]), (2, job["stderr"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        sys.argv = job["arguments"]
        runpy.run_path(sys.argv[0], run_name="__main__")
        sys.exit()
    print(pid, file=answers, flush=True)
"""


@dataclass(frozen=True)
class Finished:
    """How a run ended. A killed one has the negative number of its signal as code."""

    code: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """What a user reads first when a run failed."""
        return self.stderr.rstrip().splitlines()[-1]


class Scripts:
    """Runs scripts of the repository."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._folder = folder
        self._outputs: dict[int, dict[str, Path]] = {}
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._server.stdout.readline() == "ready\n"

    def start(self, script: str, **flags) -> int:
        """Begin a run in the root of the repository; its process id. Flags are those of the command line."""
        arguments = [script]
        for name, value in flags.items():
            arguments += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
        outputs = {name: self._folder / f"{len(self._outputs)}.{name}" for name in ("stdout", "stderr")}
        for path in outputs.values():
            path.touch()  # a run may be killed before it opens them
        pid = self._ask({"arguments": arguments} | {name: str(path) for name, path in outputs.items()})
        self._outputs[pid] = outputs
        return pid

    def wait(self, pid: int) -> Finished:
        code = self._ask({"wait": pid})
        return Finished(code, *(path.read_text(encoding="utf-8") for path in self._outputs[pid].values()))

    def run(self, script: str, **flags) -> Finished:
        return self.wait(self.start(script, **flags))

    def _ask(self, job: dict) -> int:
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait(timeout=60)


@pytest.fixture(scope="session")
def scripts(root, tmp_path_factory):
    """`scripts.run("data/label_steps.py", traces=..., rollouts=3)`; see `Scripts`."""
    runner = Scripts(root, tmp_path_factory.mktemp("scripts"))
    yield runner
    runner.close()
