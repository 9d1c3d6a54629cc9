"""Scripts as processes of their own, without eight seconds of imports each: one process imports what all of them need,
then forks for every run. A run has its own arguments, environment, exit code and output, and can be killed."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pytest

_SERVER = """
import atexit, gc, json, os, runpy, select, signal, socket, sys, tempfile, threading, weakref

listener = socket.socket(fileno=int(sys.argv[1]))
import datasets, matplotlib.pyplot, trl
from tqdm import tqdm
from trl import SFTTrainer
from prm.generators import load_generator
from prm.verifiers.step_verifier import StepVerifier

load_generator("arithmetic")
folders = [thing for thing in gc.get_objects() if type(thing) is tempfile.TemporaryDirectory]
gc.freeze()  # else every child walks through, and so copies, all of its parent's objects when it ends
keepers = set()
while True:
    if 0 in select.select([0, listener], [], [])[0]:  # the tests are over
        sys.exit()
    client, _ = listener.accept()
    keepers -= {keeper for keeper in keepers if os.waitpid(keeper, os.WNOHANG)[0]}
    keeper = os.fork()
    if keeper == 0:
        break
    keepers.add(keeper)
    client.close()

# The keeper of one run.
listener.close()
text, descriptors, *_ = socket.recv_fds(client, 2**20, 3)
while not text.endswith(b"\\n"):
    text += client.recv(2**20)
run = os.fork()
if run:
    client.sendall(b"%d\\n" % run)
    ended = os.pidfd_open(run)
    if ended not in select.select([client, ended], [], [])[0]:  # the client ended before the run
        os.kill(run, signal.SIGKILL)
    client.sendall(b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(run, 0)[1]))
    os._exit(0)

client.close()
# tqdm's own lock is shared by all processes of one origin: a run killed while it holds it would stop the others.
tqdm.set_lock(threading.RLock())
for folder in folders:  # what libraries have made so far is taken away when the server ends, not when a run does
    atexit.unregister(folder.cleanup)
for finalizer in weakref.finalize._registry:
    finalizer.atexit = False
for place, descriptor in enumerate(descriptors):
    os.dup2(descriptor, place)
    os.close(descriptor)
job = json.loads(text)
os.environ.clear()
os.environ.update(job["environment"])
os.chdir(job["folder"])
sys.argv = job["arguments"]
try:
    if sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    code = end.code
except BaseException:
    sys.excepthook(*sys.exc_info())
    code = 1
else:
    code = 0
if job["teardown"]:
    sys.exit(code)
# As Python ends, but for taking apart half a million objects, which takes longer than most runs.
threading._shutdown()
atexit._run_exitfuncs()
if isinstance(code, str):
    print(code, file=sys.stderr)
    code = 1
sys.stdout.flush()
sys.stderr.flush()
os._exit(code or 0)
"""

_RANK = """
import json, os, socket, sys

_, server, *arguments = sys.argv
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(server)
    job = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd(), "teardown": True}
    socket.send_fds(connection, [json.dumps(job).encode() + b"\\n"], [0, 1, 2])
    sys.exit(int(connection.makefile().read().split()[1]))
"""
"""What a launcher starts as its script: it has the script proper run by the server and ends as the run does."""


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


@dataclass(frozen=True)
class _Run:
    answers: TextIO
    """The number of the process, and later its exit code, a line each."""
    stdout: Path
    stderr: Path


class Scripts:
    """Runs scripts of the repository, in its root unless told otherwise."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder
        self._runs: dict[int, _Run] = {}
        self._started = 0
        # The path of a socket has some hundred characters at most, so it is not in `folder`.
        self._sockets = tempfile.TemporaryDirectory(prefix="prm-")
        self._address = f"{self._sockets.name}/server"
        (folder / "rank.py").write_text(_RANK, encoding="utf-8")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._address)
            listener.listen()
            self._server = subprocess.Popen(
                [sys.executable, "-c", _SERVER, str(listener.fileno())],
                cwd=root,
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
            )

    def run(self, script: str, **flags) -> Finished:
        """Flags are those of the command line."""
        return self.wait(self.start(script, **flags))

    def start(self, script: str, **flags) -> int:
        """Begin a run; its process id."""
        return self.start_words([script, *words(**flags)])

    def wait(self, pid: int) -> Finished:
        run = self._runs.pop(pid)
        with run.answers:
            code = int(run.answers.readline())
        return Finished(code, run.stdout.read_text(encoding="utf-8"), run.stderr.read_text(encoding="utf-8"))

    def launch(
        self, launcher: Sequence[str], script: str, arguments: Sequence[object], folder: Path | None = None
    ) -> Finished:
        """`python -m launcher... script arguments...`, for launchers that start processes."""
        rank = [str(self._folder / "rank.py"), self._address]
        return self.wait(self.start_words(["-m", *launcher, *rank, script, *map(str, arguments)], folder=folder))

    def start_words(
        self, words: Sequence[str], environment: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> int:
        """Begin a run of `python words...`, with these variables beside those of this process; its process id."""
        paths = [self._folder / f"{self._started}.{name}" for name in ("stdout", "stderr")]
        self._started += 1
        job = {
            "arguments": list(words),
            "environment": os.environ | dict(environment or {}),
            "folder": str(folder or self._root),
            "teardown": False,
        }
        with (
            socket.socket(socket.AF_UNIX) as connection,
            open(os.devnull) as nothing,
            paths[0].open("wb") as stdout,
            paths[1].open("wb") as stderr,
        ):
            connection.connect(self._address)
            descriptors = [nothing.fileno(), stdout.fileno(), stderr.fileno()]
            socket.send_fds(connection, [json.dumps(job).encode() + b"\n"], descriptors)
            answers = connection.makefile()
        pid = int(answers.readline())
        self._runs[pid] = _Run(answers, *paths)
        return pid

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait(timeout=60)
        self._sockets.cleanup()


def words(**flags) -> list[str]:
    """Flags as words of a command line; a list is several words."""
    return [
        word
        for name, value in flags.items()
        for word in (f"--{name}", *map(str, value if isinstance(value, list) else [value]))
    ]


@pytest.fixture(scope="session")
def scripts(root, tmp_path_factory):
    """`scripts.run("data/label_steps.py", traces=..., rollouts=3)`; see `Scripts`."""
    runner = Scripts(root, tmp_path_factory.mktemp("scripts"))
    yield runner
    runner.close()


@pytest.fixture
def load(root, scripts, monkeypatch):
    """`load("study_labeling")`: a script of eval/, or another folder, as a module. What it runs is run by `scripts`."""

    def run(*commands):
        for pid in [scripts.start_words(shlex.split(command)) for command in commands]:
            done = scripts.wait(pid)
            assert done.code == 0, done.stderr[-3000:]
        return 1.0 / len(commands)

    def load(name, folder="eval"):
        spec = importlib.util.spec_from_file_location(name, root / folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        for runs in ("run", "run_quietly"):
            monkeypatch.setattr(module, runs, run, raising=False)  # some run no others
        return module

    monkeypatch.chdir(root)
    return load
