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
    pid = os.fork()
    if pid == 0:
        for descriptor, path in ((1, job["stdout"]), (2, job["stderr"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        sys.argv = job["arguments"]
        runpy.run_path(sys.argv[0], run_name="__main__")
        sys.exit()
    print(pid, file=answers, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=answers, flush=True)
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
    """Runs scripts of the repository, one at a time."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._output = {name: folder / name for name in ("stdout", "stderr")}
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._server.stdout.readline() == "ready\n"

    def start(self, script: str, **flags) -> int:
        """Begin a run in the root of the repository; its process id. Flags are those of the command line."""
        arguments = [script, *(str(part) for name, value in flags.items() for part in (f"--{name}", value))]
        job = {"arguments": arguments} | {name: str(path) for name, path in self._output.items()}
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def wait(self) -> Finished:
        code = int(self._server.stdout.readline())
        return Finished(code, *(path.read_text(encoding="utf-8") for path in self._output.values()))

    def run(self, script: str, **flags) -> Finished:
        self.start(script, **flags)
        return self.wait()

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait(timeout=60)


@pytest.fixture(scope="session")
def scripts(root, tmp_path_factory):
    """`scripts.run("data/label_steps.py", traces=..., rollouts=3)`; see `Scripts`."""
    runner = Scripts(root, tmp_path_factory.mktemp("scripts"))
    yield runner
    runner.close()
