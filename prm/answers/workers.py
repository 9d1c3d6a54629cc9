r"""Killable worker processes in which computer algebra (`prm.answers.algebra`) runs: the last layer of `prm.answers`.

    POOL.ask(r"\sqrt{8}", r"2\sqrt{2}", deadline=5.0)   ->  "correct"
    POOL.ask("1", r"9^{9^{9^9}}+1", deadline=5.0)        ->  "wrong", "timeout" or "error", never a hang

Computer algebra on text that a model wrote may take forever or all the memory, and math-verify's own timeouts are
signals, which work in the main thread only. So algebra runs in processes that the parent kills at the deadline. They
are started as `python -c`, not with `multiprocessing`: that would import the caller's `__main__` again, which starts a
script without a `__main__` guard a second time. Importing sympy takes a second, so a worker does it once and lets a child
that it forks compute; a child that is killed, or dies, is replaced in milliseconds. Neither imports torch. Requests are
answered one at a time over a pipe.

Left out: Windows (file descriptors are handed to the child), and a memory limit outside Linux.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import queue
import signal
import subprocess
import sys
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from prm.answers.algebra import CHECKERS, check_algebra

MEMORY_BYTES = 2 * 1024**3
"""What a worker may allocate beyond what it holds after its imports."""
WORKERS = min(2, os.cpu_count() or 1)
"""Number of worker processes. Set it before the first check."""
START_SECONDS = 120.0

_CHILD = "import sys; sys.path[:] = {path!r}; from prm.answers.workers import serve; serve({pipe}, {life})"


class Worker:
    """One child process and the parent's end of its pipe."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        their_life, self._life = os.pipe()  # nothing is ever written to it; the kernel closes it when this process ends
        self._process = subprocess.Popen(
            # -P keeps the working directory off the path; the child then takes over the parent's path as it is.
            [sys.executable, "-P", "-c", _CHILD.format(path=sys.path, pipe=theirs.fileno(), life=their_life)],
            pass_fds=[theirs.fileno(), their_life],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": "0"},  # sympy orders terms by hash: the same verdict in every run
        )
        theirs.close()
        os.close(their_life)
        self._child = self._next_child(START_SECONDS)
        if self._child is None:
            self.kill()
            raise RuntimeError(
                f"the answer worker did not start (exit code {self._process.returncode}); "
                f"`{sys.executable} -c 'import math_verify'` shows why"
            )

    @property
    def alive(self) -> bool:
        return self._child is not None and self._process.poll() is None

    def ask(self, gold: str, pred: str, deadline: float, checker: str) -> str:
        """The child's verdict; `timeout` after `deadline` seconds, `error` if it failed or died; it is replaced then."""
        try:
            self._pipe.send((checker, gold, pred, deadline))
            reply = self._pipe.recv_bytes() if self._pipe.poll(deadline) else b"timeout"
        except (EOFError, OSError):  # the worker itself was killed
            self._child = None
            return "error"
        if reply.startswith(b"ready"):  # the child died (memory, stack), and this is the next one
            self._child = int(reply.split()[1])
            return "error"
        if reply in (b"timeout", b"error") and self._child is not None:
            os.kill(self._child, signal.SIGKILL)  # its worker has not waited for it, so the number is still its own
            self._child = self._next_child(START_SECONDS)
        return reply.decode()

    def _next_child(self, seconds: float) -> int | None:
        """Wait until a child is ready, past late replies of the one before; None if there is none."""
        try:
            while self._pipe.poll(seconds):
                reply = self._pipe.recv_bytes()
                if reply.startswith(b"ready"):
                    return int(reply.split()[1])
        except (EOFError, OSError):
            pass
        return None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._pipe.close()
        os.close(self._life)


class Pool:
    """At most `WORKERS` processes, each started when first needed and replaced after it was killed. Thread-safe."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all workers without killing them: a forked child must not talk over its parent's pipes."""
        self._slots: queue.LifoQueue[Worker | None] = queue.LifoQueue()  # last in, first out: reuse the warm one
        for _ in range(WORKERS):
            self._slots.put(None)

    def ask(self, gold: str, pred: str, deadline: float, checker: str = "ours") -> str:
        """`correct`, `wrong`, `timeout` or `error` for two answers: normalized ones for `ours` (see `CHECKERS`).

        `deadline` is in seconds and counts from the moment a worker takes the pair, not from this call.
        """
        worker = self._slots.get()
        answered = False
        try:
            if worker is not None and not worker.alive:  # e.g. taken by the kernel's out-of-memory killer while idle
                worker.kill()
                worker = None
            worker = worker or Worker()
            outcome = worker.ask(gold, pred, deadline, checker)
            answered = True
            return outcome
        finally:
            # After an interrupt (KeyboardInterrupt here) its late reply would be taken for that of the next pair.
            if worker is not None and not answered:
                worker.kill()
                worker = None
            self._slots.put(worker)

    def close(self) -> None:
        """Kill the idle workers; a later `ask` starts new ones. A busy one ends with its pair or with the parent."""
        for _ in range(self._slots.qsize()):
            worker = self._slots.get()
            if worker is not None:
                worker.kill()
            self._slots.put(None)


POOL = Pool()
atexit.register(POOL.close)
os.register_at_fork(after_in_child=POOL.reset)


def serve(pipe_fd: int, life_fd: int) -> None:
    """Body of the worker: import, then keep one child alive that answers, until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    logging.disable(logging.CRITICAL)  # math-verify warns that it runs without a timeout; the parent is the timeout
    check_algebra()  # imports, before the limits
    pipe = Connection(pipe_fd)
    while True:
        child = os.fork()
        if child == 0:
            _answer(pipe, life_fd)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:  # the parent has closed its end
            return


def _answer(pipe: Connection, life_fd: int) -> None:
    """Body of the child: (checker, gold, pred, deadline) requests, until the parent closes the pipe."""
    _die_with_worker()
    _limit_memory()
    # The kernel signals when the parent's end is closed, however the parent ended. The signal's default action ends this
    # process, even inside of a long operation on integers, where Python code gets no turn.
    fcntl.fcntl(life_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life_fd, fcntl.F_SETFL, fcntl.fcntl(life_fd, fcntl.F_GETFL) | os.O_ASYNC)
    try:
        pipe.send_bytes(f"ready {os.getpid()}".encode())
        while True:
            checker, gold, pred, deadline = pipe.recv()
            signal.alarm(int(deadline) + 10)  # where a forked sibling of the parent keeps the pipe open
            try:
                outcome = "correct" if CHECKERS[checker](gold, pred) else "wrong"
            except Exception:  # memory, recursion, a bug in the algebra: counted as such, never as a wrong answer
                outcome = "error"
            signal.alarm(0)
            pipe.send_bytes(outcome.encode())
    except (EOFError, OSError):
        return


def _die_with_worker() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _limit_memory() -> None:
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
