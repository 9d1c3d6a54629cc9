r"""Killable worker processes for what has no exact values (`prm.answers.algebra`), the last layer of `prm.answers`.

    POOL.ask(r"\sqrt{8}", r"2\sqrt{2}", deadline=5.0)   ->  "correct"
    POOL.ask("1", r"9^{9^{9^9}}+1", deadline=5.0)        ->  "wrong", "timeout" or "error", never a hang

Computer algebra on text that a model wrote may take forever or use up the memory, and math-verify's own timeouts are
signals, which work in the main thread only. So algebra runs in processes that end at the deadline. It counts processor
time, by a timer of the kernel, because a verdict must not depend on what else the machine does: a paused or crowded one
takes longer and finds the same. A worker whose child gets no processor time at all, such as a stopped one, is killed after
`IDLE_LOOKS`; that is an `error`.

They are started as `python -c` and not with `multiprocessing`, which would import the caller's `__main__` again and so start
a script without a `__main__` guard a second time. Importing takes time, so a worker does it once and forks a
child that computes; a child that is killed or dies is replaced in milliseconds. Neither imports torch. Requests are
answered one at a time over a pipe.

    this process  --pipe-->  child   computes; ended by the kernel at the deadline
                             worker  has imported mpmath; forks the next child

Left out: Windows (file descriptors are passed to the child), and a memory limit outside Linux.
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
import time
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from prm.answers.algebra import CHECKERS, check_algebra
from prm.answers.fingerprints import fingerprint

MEMORY_BYTES = 2 * 1024**3
"""How much a child may allocate in addition to what the worker holds after its imports."""
WORKERS = min(16, len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1)
"""Most worker processes, one for each core; each is started when it is needed. Set it before the first check."""
START_SECONDS = 120.0
NEXT_SECONDS = 10.0
"""In which a worker forks the next child; it takes milliseconds, unless the worker is stopped."""
LOOK_SECONDS = 2.0
"""How long a verdict is waited for before the child is looked at. A pause of the whole machine is one look."""
IDLE_LOOKS = 4
"""So many in a row at a child that has had no processor time since the one before, and it is given up."""

_CHILD = "import sys; sys.path[:] = {path!r}; from prm.answers.workers import serve; serve({pipe}, {life})"


class Worker:
    """One worker process and the parent's end of its pipe."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        # Nothing is ever written to this pipe: the kernel closes our end when this process ends, and that stops the child.
        their_life, self._life = os.pipe()
        self._process = subprocess.Popen(
            # -P keeps the working directory off the path; the child then takes over the parent's path as it is.
            [sys.executable, "-P", "-c", _CHILD.format(path=sys.path, pipe=theirs.fileno(), life=their_life)],
            pass_fds=[theirs.fileno(), their_life],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": "0"},  # math-verify depends on it: the same verdict in every run
        )
        theirs.close()
        os.close(their_life)
        self._child = self._next_child(START_SECONDS)
        if self._child is None:
            self.kill()
            raise RuntimeError(
                f"the answer worker did not start (exit code {self._process.returncode}); "
                f"`{sys.executable} -c 'import mpmath'` shows why"
            )

    @property
    def alive(self) -> bool:
        return self._child is not None and self._process.poll() is None

    def ask(self, gold: str, pred: str, deadline: float, checker: str) -> tuple[str, float]:
        """The child's verdict and the seconds it computed: `timeout` after `deadline` of them, `error` if it failed, died or
        was stopped. Then it is replaced."""
        started = time.monotonic()
        try:
            self._pipe.send((checker, gold, pred, deadline))
            idle, before = 0, -1.0
            while idle < IDLE_LOOKS and not self._pipe.poll(LOOK_SECONDS):
                now = _processor_seconds(self._child)
                idle, before = (idle + 1 if now == before else 0), now
            if idle == IDLE_LOOKS:  # the next child would find the pair still in the pipe, so the worker goes, too
                self._child = None
                return "error", time.monotonic() - started
            reply = self._pipe.recv_bytes()
        except (EOFError, OSError):  # the worker itself was killed
            self._child = None
            return "error", time.monotonic() - started
        # No verdict but the greeting of the next child: this one died (memory, stack).
        if reply.startswith(b"ready"):
            self._child = int(reply.split()[1])
            return "error", time.monotonic() - started
        outcome, _, seconds = reply.decode().partition(" ")
        # After an error, too, because the child may hold a lot of memory. Its worker has not yet waited for it, so its
        # process number cannot belong to another process.
        if outcome == "error" and self._child is not None:
            with suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
        if outcome in ("error", "timeout"):
            self._child = self._next_child(NEXT_SECONDS)
        return outcome, deadline if outcome == "timeout" else float(seconds or time.monotonic() - started)

    def _next_child(self, seconds: float) -> int | None:
        """Wait until the next child is ready and return its number; None if there is none. Late replies are dropped."""
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
    """At most `WORKERS` workers, each started when first needed and replaced if it was killed. Thread-safe."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all workers without killing them: a forked process must not use its parent's pipes."""
        self._slots: queue.LifoQueue[Worker | None] = queue.LifoQueue()  # last in, first out: reuse the warm one
        for _ in range(WORKERS):
            self._slots.put(None)

    def ask(self, gold: str, pred: str, deadline: float, checker: str = "ours") -> str:
        """`correct`, `wrong`, `timeout` or `error` for two answers; of one expression, its `fingerprint` or the last two.

        Args:
            gold, pred: normalized for the checker `ours`, as written for the other (see `CHECKERS`). For `fingerprint` its
                two arguments.
            deadline: in seconds of processor time.
        """
        return self.timed(gold, pred, deadline, checker)[0]

    def timed(self, gold: str, pred: str, deadline: float, checker: str = "ours") -> tuple[str, float]:
        """As `ask`, with the seconds that it took."""
        worker = self._slots.get()
        answered = False
        try:
            if worker is not None and not worker.alive:  # e.g. taken by the kernel's out-of-memory killer while idle
                worker.kill()
                worker = None
            worker = worker or Worker()
            verdict = worker.ask(gold, pred, deadline, checker)
            answered = True
            return verdict
        finally:
            # After an interrupt here (KeyboardInterrupt), its late reply would be taken for the verdict on the next pair.
            if worker is not None and not answered:
                worker.kill()
                worker = None
            self._slots.put(worker)

    def close(self) -> None:
        """Kill the idle workers; a later `ask` starts new ones. A busy one goes on, and ends with this process."""
        for _ in range(self._slots.qsize()):
            worker = self._slots.get()
            if worker is not None:
                worker.kill()
            self._slots.put(None)


POOL = Pool()
atexit.register(POOL.close)
os.register_at_fork(after_in_child=POOL.reset)


def serve(pipe_fd: int, life_fd: int) -> None:
    """The worker: import, then keep one answering child alive until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    logging.disable(logging.CRITICAL)  # math-verify warns that it has no timeout; the parent enforces one
    check_algebra()  # imports everything, so that children start at once and only their own memory is limited
    pipe = Connection(pipe_fd)
    while True:
        child = os.fork()
        if child == 0:
            _answer(pipe, life_fd)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:  # the parent has closed its end
            return
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF:  # the timer of `_answer`
            try:
                pipe.send_bytes(b"timeout")
            except OSError:
                return


def _answer(pipe: Connection, life_fd: int) -> None:
    """The child: answer (checker, gold, pred, deadline) requests until the parent closes the pipe."""
    _die_with_worker()
    _limit_memory()
    # The kernel sends a signal when the parent's end is closed, however the parent ended. Its default action ends this
    # process even within a long operation on integers, where no Python code gets to run.
    fcntl.fcntl(life_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life_fd, fcntl.F_SETFL, fcntl.fcntl(life_fd, fcntl.F_GETFL) | os.O_ASYNC)
    try:
        pipe.send_bytes(f"ready {os.getpid()}".encode())
        while True:
            checker, gold, pred, deadline = pipe.recv()
            signal.alarm(int(60 * deadline) + 60)  # in case a process forked by the parent keeps the pipe open
            before = time.process_time()
            signal.setitimer(
                signal.ITIMER_PROF, deadline
            )  # its signal ends this process even within one long operation
            try:
                if checker == "fingerprint":
                    outcome = fingerprint(gold, pred)
                else:
                    outcome = "correct" if CHECKERS[checker](gold, pred) else "wrong"
            except Exception:  # memory, recursion, a bug in the algebra: counted as an error, never as a wrong answer
                outcome = "error"
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            pipe.send_bytes(f"{outcome} {time.process_time() - before:.3f}".encode())
    except (EOFError, OSError):
        return


def _processor_seconds(process: int | None) -> float:
    """Those that it has had so far. Outside Linux those of the clock, as if it were never idle."""
    stat = Path(f"/proc/{process}/stat")
    if not stat.exists():
        return time.monotonic()
    fields = stat.read_text().rpartition(")")[2].split()  # the name before may hold anything
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
