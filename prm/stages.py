"""Stages: a job that is a chain of commands, each of which can be run by hand.

    stages = Stages(Path("outputs/quickstart"), "quickstart")
    seconds = stages.once("3/6 train the PRM", "recipes/train_prm.py --config ...", "prm")

On a terminal one line per stage is kept up to date, from the progress bars that the command draws; elsewhere its begin and
its end are a line each. What the commands print goes to a log, after their command lines. A stage that ended leaves a mark
(`.prm.done`), so that a job that is started again goes on where it stopped; until then another one says for how long it has
run (`.prm.seconds`). Commands are to go on themselves where they were killed; here nothing is known of what they do.

Left out: stages that run side by side, and several machines.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from prm.files import read_object, write_whole

BAR = re.compile(r"[\r\n](?:([\w ]+): +)? *(\d+)%\|[^|\r\n]*\|[^\[\r\n]*\[[\d:]+<([\d:?]+), +([^\]\r\n]*)\]")
"""A progress bar of tqdm: its name, percent, time left, and the rate with what follows it."""
ON_TERMINAL = sys.stdout.isatty() and not os.environ.get("CI")


def run_quietly(command: str) -> None:
    """Run a command to its end; what it prints is shown only if it fails.

    Raises:
        SystemExit: it failed; the message is the end of what it printed, and the command.
    """
    result = subprocess.run([sys.executable, *shlex.split(command)], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{result.stdout[-1000:]}\n{result.stderr[-3000:]}\nerror: exit code {result.returncode}: {command}")


class Stages:
    """The commands of one job, run in the current folder."""

    def __init__(self, folder: Path, name: str, width: int = 24, root: Path = Path()) -> None:
        """
        Args:
            folder: of the job's outputs; holds the log and the marks.
            name: of the log, without `.log`.
            width: of the titles.
            root: where the scripts of the commands are, if not in the current folder. Marks do not name it: a job goes on
                where the project has moved.

        Raises:
            ValueError: the job runs already: its process, or a stage that outlived it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / f"{name}.log"
        self.width = width
        self.root = root
        # The stages inherit the lock, so that after a kill of this process alone no second job runs beside its last stage.
        self._lock = (folder / ".lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder} is in use by a job that still runs; wait for it, or end it") from None
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the stage, too

    def once(
        self,
        title: str,
        command: str,
        mark: str,
        made_of: Mapping[str, Any] = {},
        changed: str = "",
        limit: str = "",
        complete: Callable[[], bool] = lambda: True,
    ) -> float:
        """Run a stage unless it ended before with the same settings; the seconds it takes or took, in all its starts.

        Args:
            mark: name of the stage in the folder.
            made_of: what the result depends on, besides the command.
            changed: what to name where it is not as it was.
            limit: further words of the command, which do not change the complete result.
            complete: whether the stage, which has ended without an error, was not stopped by its limit. If it was, it is run
                again the next time.

        Raises:
            ValueError: it ended before with other settings.
            SystemExit: it failed; the message is the end of what it printed, and how to run it by hand.
        """
        done = self.folder / f".{mark}.done"
        fingerprint = {"command": command, **made_of}
        if done.exists():
            record = read_object(done, "delete it, and the stage is run again")
            if record.get("fingerprint") != fingerprint:
                raise ValueError(
                    f"{self.folder} holds a run with other settings ({changed or mark} changed); delete {self.folder} to"
                    " start over"
                )
            print(f"{title:{self.width}}done already, in {record['seconds']:.0f} s", flush=True)
            return record["seconds"]
        spent = self.folder / f".{mark}.seconds"
        before = float(spent.read_text() or 0) if spent.exists() else 0.0
        seconds, _ = self.run(title, f"{command} {limit}", alive=lambda now: spent.write_text(f"{before + now:.3f}"))
        seconds += before
        if not complete():
            write_whole(spent, f"{seconds:.3f}")
            return seconds
        spent.unlink(missing_ok=True)
        write_whole(done, json.dumps({"fingerprint": fingerprint, "seconds": seconds}))
        return seconds

    def run(
        self,
        title: str,
        command: str,
        stdout: int | None = None,
        alive: Callable[[float], object] = lambda seconds: None,
    ) -> tuple[float, str]:
        """Run a command to its end: its seconds, and what it printed where `stdout` is a pipe (64 KB at most).

        Args:
            alive: called with the seconds so far, whenever the command has reported progress.

        Raises:
            SystemExit: as `once`.
        """
        self._show(title, "starting")
        started = time.monotonic()
        # Small models gain nothing from a second thread, and lose tenfold where the machine has something else to do.
        env = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONUNBUFFERED": "1"}
        with self.log.open("ab", buffering=0) as log:
            log.write(f"\n$ python {command}\n".encode())
            begin = log.tell()
            script, *words = shlex.split(command)
            arguments = [sys.executable, str(self.root / script), *words]
            child = subprocess.Popen(
                arguments, stdout=stdout or log, stderr=subprocess.PIPE, env=env, pass_fds=(self._lock.fileno(),)
            )
            assert child.stderr is not None
            try:
                for chunk in iter(partial(os.read, child.stderr.fileno(), 65536), b""):
                    log.write(chunk)
                    alive(time.monotonic() - started)
                    for name, percent, left, rate in BAR.findall(chunk.decode(errors="replace"))[-1:]:
                        rest = f"  {left} left  {rate}" if left != "?" else ""
                        self._show(title, f"{name} {percent}%{rest}".strip())
                printed = child.stdout.read() if child.stdout else b""
                log.write(printed)
                child.wait()
            except KeyboardInterrupt:
                child.terminate()
                child.wait()
                raise
        seconds = time.monotonic() - started
        if child.returncode:
            output = BAR.sub("\n", self.log.read_bytes()[begin:].decode(errors="replace"))
            lines = [line for line in re.split(r"[\r\n]+", output) if line.strip()]
            tail = "\n".join(f"    {line}" for line in lines[-15:])
            raise SystemExit(
                f"\nerror: {title} failed (exit code {child.returncode}). The end of {self.log}:\n\n{tail}\n\n"
                f"To look into it, run it by hand in {Path.cwd()}:\n    {shlex.join(arguments)}"
            )
        self._show(title, f"{seconds:.0f} s", end="\n")
        return seconds, printed.decode()

    def _show(self, title: str, state: str, end: str = "") -> None:
        """On a terminal, the state of a stage replaces its last one; elsewhere, its begin and end are a line each."""
        line = f"{title:{self.width}}{state}"
        if ON_TERMINAL:
            # Not by `print`, which shows control characters instead of sending them.
            text = f"\r\x1b[2K{line[: shutil.get_terminal_size().columns - 1]}{end}"
            sys.stdout.flush()
            sys.stdout.buffer.write(text.encode(errors="replace"))
            sys.stdout.flush()
        elif end or state == "starting":
            print(line, flush=True)
