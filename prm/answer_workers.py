r"""Killable worker processes that decide whether two expressions are equal: the last layer of `prm.answers`.

    POOL.ask(r"\sqrt{8}", r"2\sqrt{2}", deadline=5.0)   ->  "correct"
    POOL.ask("1", r"9^{9^{9^9}}+1", deadline=5.0)        ->  "wrong", "timeout" or "error", never a hang

Computer algebra on text that a model wrote may take forever or all the memory, and math-verify's own timeouts are
signals, which work in the main thread only. So algebra runs in processes that the parent kills at the deadline. They
are started as `python -c`, not with `multiprocessing`: that would import the caller's `__main__` again, which starts a
script without a `__main__` guard a second time. Importing sympy takes a second, so a worker does it once and lets a child
that it forks compute; a child that is killed, or dies, is replaced in milliseconds. Neither imports torch. Requests are
answered one at a time over a pipe.

Expressions are compared by their values at fixed random points, which takes no simplification and has none of
math-verify's known false positives (1/2^99 = 1/2^98; two different lines); math-verify decides what has no such
values: matrices, sets, undefined functions.

Left out: Windows (file descriptors are handed to the child), and a memory limit outside Linux.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import queue
import random
import re
import signal
import subprocess
import sys
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from prm.answer_forms import compare

MEMORY_BYTES = 2 * 1024**3
"""What a worker may allocate beyond what it holds after its imports."""
WORKERS = min(2, os.cpu_count() or 1)
"""Number of worker processes. Set it before the first check."""
START_SECONDS = 120.0

DECIMAL_TOLERANCE = 1e-6
"""Relative tolerance where one side is a decimal and the other is no rational number: 3.14159 is pi, 3.14 is not."""
_DIGITS = 200
_EXACT_TOLERANCE = 1e-150
"""sqrt(10^40) and sqrt(10^40 + 1) agree to 40 digits."""
_NUM_POINTS = 8

_CHILD = "import sys; sys.path[:] = {path!r}; from prm.answer_workers import serve; serve({fd})"
_SCALAR_WORDS = (
    "sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|log|ln|exp|pi|theta|alpha|beta|gamma|lambda|phi"
)
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?|(?<!\\)\b[a-z])\^(?:\{\\circ\}|\\circ)")
# What the parser reads as something else: it drops the prime of y', the T of x^T, the n of 2_n, dots, what is before
# \approx or \equiv; it adds "2 3" up, multiplies 1.2.3 out and takes mod for three letters.
_MISREAD = re.compile(
    r"'|\\prime|\^\{?T|\d_\{?[a-zA-Z]|\\[lcv]?dots|\\(?:approx|equiv|[a-z]?mod(?![a-z]))|\bmod\b|\d\.\d+\."
    r"|(?<![_\d])\d+ \d(?!\d*/)|\\circ\}?\d|\d_\{?\d+\}? ?\d"
)
# 5/2 x is half of 5x.
_PLAIN_FRACTION = re.compile(r"(?<![\d.^_}/])(\d+)/(\d+)(?![\d.^!])")
_CUT_DECIMAL = re.compile(r"(?P<digits>\d\.\d+)\\dots ?$")
_RELATION = re.compile(r"(\\(?:le|ge|ne)(?![a-zA-Z])|<|>|=)")


class Worker:
    """One child process and the parent's end of its pipe."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        fd = theirs.fileno()
        self._process = subprocess.Popen(
            # -P keeps the working directory off the path; the child then takes over the parent's path as it is.
            [sys.executable, "-P", "-c", _CHILD.format(path=sys.path, fd=fd)],
            pass_fds=[fd],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": "0"},  # sympy orders terms by hash: the same verdict in every run
        )
        theirs.close()
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


def serve(fd: int) -> None:
    """Body of the worker: import, then keep one child alive that answers, until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    logging.disable(logging.CRITICAL)  # math-verify warns that it runs without a timeout; the parent is the timeout
    if not equal_expressions("x+1", "1+x") or not _math_verify(*2 * [_parse(r"\infty")]):  # imports, before the limits
        raise RuntimeError("1+x is not x+1 to the installed math-verify")
    pipe = Connection(fd)
    while True:
        child = os.fork()
        if child == 0:
            _answer(pipe)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:  # the parent has closed its end
            return


def _answer(pipe: Connection) -> None:
    """Body of the child: (checker, gold, pred, deadline) requests, until the parent closes the pipe."""
    _die_with_worker()
    _limit_memory()
    # The kernel signals when the parent's end is closed, however the parent ended; while this process computes, the
    # signal's default action ends it, even inside of a long operation on integers, where Python code gets no turn.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    fcntl.fcntl(pipe.fileno(), fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe.fileno(), fcntl.F_SETFL, fcntl.fcntl(pipe.fileno(), fcntl.F_GETFL) | os.O_ASYNC)
    try:
        pipe.send_bytes(f"ready {os.getpid()}".encode())
        while True:
            checker, gold, pred, deadline = pipe.recv()
            signal.signal(signal.SIGIO, signal.SIG_DFL)
            signal.alarm(int(deadline) + 10)  # where a forked sibling of the parent keeps the pipe open
            try:
                outcome = "correct" if CHECKERS[checker](gold, pred) else "wrong"
            except Exception:  # memory, recursion, a bug in the algebra: counted as such, never as a wrong answer
                outcome = "error"
            signal.alarm(0)
            signal.signal(signal.SIGIO, signal.SIG_IGN)
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


def equal_expressions(gold: str, pred: str) -> bool:
    """Whether two normalized expressions, or two relations (equations, inequalities), say the same. Worker only."""
    if _RELATION.search(gold) and _RELATION.search(pred):
        return _equal_relations(gold, pred)
    a, b = _parse(gold), _parse(pred)
    if a is None or b is None:
        return False
    same = _equal_values(a, b)
    return _math_verify(a, b) if same is None else same


def _parse(text: str) -> Any:
    """A sympy object, or None where the text is no formula. LaTeX and plain notation (`sqrt(3)/2`, `x**2`) alike."""
    import sympy
    from latex2sympy2_extended import latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig

    latex = _CUT_DECIMAL.sub(r"\g<digits>", text.replace("**", "^"))  # 3.14159\dots
    if _MISREAD.search(latex):
        return None
    latex = _PLAIN_FRACTION.sub(r"\\frac{\1}{\2}", latex)
    if _TRIGONOMETRIC.search(latex):
        latex = _DEGREES.sub(r"(\1\\cdot\\frac{\\pi}{180})", latex)
    latex = re.sub(rf"(?<![\\a-zA-Z])({_SCALAR_WORDS})(?![a-zA-Z])", r"\\\1 ", latex)
    latex = re.sub(r"\^\(([^()]*)\)|\^(-\w)", lambda m: f"^{{{m[1] or m[2]}}}", latex)
    try:
        parsed = latex2sympy(
            latex, is_real=True, convert_degrees=False, conversion_config=ConversionConfig(lowercase_symbols=False)
        )
    except (MemoryError, RecursionError):
        raise
    except Exception:  # the parser raises bare `Exception` for text that is no LaTeX
        return None
    if not isinstance(parsed, sympy.Expr):
        return parsed
    if parsed.has(sympy.zoo, sympy.nan):  # 1/0
        return None
    # The cube root of -8 is -2 to whoever writes answers, and as a symbol, i would not square to -1.
    parsed = parsed.replace(
        lambda e: e.is_Pow and e.base.is_negative and e.exp.is_Rational and e.exp.q % 2 == 1 and e.exp.q > 1,
        lambda e: (-1) ** e.exp.p * (-e.base) ** e.exp,
    )
    return parsed.subs(sympy.Symbol("i", real=True), sympy.I)


def _equal_values(a: Any, b: Any) -> bool | None:
    """Compare two scalar expressions by value; None if they have no values to compare."""
    import sympy

    if not (isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr)):
        return None
    symbols = a.free_symbols | b.free_symbols
    pairs = _values(a, b, symbols)
    if not pairs:
        return None
    tolerance = DECIMAL_TOLERANCE if a.has(sympy.Float) or b.has(sympy.Float) else _EXACT_TOLERANCE
    if not all(_close(x, y, tolerance) for x, y in pairs):
        return False
    if not symbols:  # 10^40 and 10^40 + 1 agree to 30 digits
        x, y = (e.xreplace({f: sympy.Rational(str(f)) for f in e.atoms(sympy.Float)}).doit() for e in (a, b))
        if x.is_Rational and y.is_Rational:
            return bool(x == y)
    return True


def _equal_relations(gold: str, pred: str) -> bool:
    """Whether each link `left - right` of one is a nonzero multiple of the other's, positive for an inequality."""
    gold_parts, pred_parts = _ascending(gold), _ascending(pred)
    if len(gold_parts) != len(pred_parts):
        return False
    return all(
        _equal_links(gold_parts[i : i + 3], pred_parts[i : i + 3]) for i in range(0, len(gold_parts) - 2, 2)
    )  # "0 < x < 5" splits into 0, <, x, <, 5: the links are 0 < x and x < 5


def _ascending(relation: str) -> list[str]:
    """Sides and signs in turn, with < and \\le only: "2 > x" as ["x", "<", "2"]."""
    parts = _RELATION.split(relation)
    if parts[1] in (">", r"\ge"):
        return [{">": "<", r"\ge": r"\le"}.get(part, part) for part in reversed(parts)]
    return parts


def _equal_links(gold: list[str], pred: list[str]) -> bool:
    import sympy

    differences, signs = [], []
    for left, sign, right in (gold, pred):
        sides = _parse(left), _parse(right)
        if not all(isinstance(side, sympy.Expr) for side in sides):
            return False
        differences.append(sides[0] - sides[1])
        signs.append(sign)
    a, b = differences
    if signs[0] != signs[1] or a.free_symbols != b.free_symbols or not a.free_symbols:
        return False
    pairs = _values(a, b, a.free_symbols)
    if not pairs or any(abs(y) < _EXACT_TOLERANCE for _, y in pairs):
        return False
    ratio = pairs[0][0] / pairs[0][1]
    tolerance = DECIMAL_TOLERANCE if a.has(sympy.Float) or b.has(sympy.Float) else _EXACT_TOLERANCE
    if abs(ratio) < _EXACT_TOLERANCE or (signs[0] in ("<", r"\le") and not ratio > 0):
        return False
    return all(_close(x, ratio * y, tolerance) for x, y in pairs)


def _values(a: Any, b: Any, symbols: Any) -> list[tuple[Any, Any]]:
    """Both expressions at the same points, to `_DIGITS` digits; only where both are real, if that leaves any."""
    import sympy

    rng = random.Random(0)
    pairs = []
    for _ in range(_NUM_POINTS if symbols else 1):
        point = {
            s: sympy.Rational(rng.choice((-1, 1)) * rng.randint(300, 3000), 1009) for s in sorted(symbols, key=str)
        }
        x, y = (e.evalf(_DIGITS, subs=point, maxn=5 * _DIGITS) for e in (a, b))
        if all(v.is_number and v.is_finite for v in (x, y)):
            pairs.append((x, y))
    real = [(x, y) for x, y in pairs if x.is_real and y.is_real]
    enough = 3 if symbols else 1  # any two relations are multiples of each other at one point
    return real if len(real) >= enough else pairs if len(pairs) >= enough else []


def _close(x: Any, y: Any, tolerance: float) -> bool:
    scale = max(abs(x), abs(y))
    return bool(scale < 1e-300 or abs(x - y) <= tolerance * scale)  # below: cancellation, as in sqrt(2)^2 - 2


def _plain_math_verify(gold: str, pred: str) -> bool:
    """What math-verify alone says of two answers as they were written, for `data/audit_answers.py`."""
    from math_verify import parse, verify

    gold_parsed, pred_parsed = (
        parse(rf"\boxed{{{text}}}", parsing_timeout=None, raise_on_error=True) for text in (gold, pred)
    )
    return bool(verify(gold_parsed, pred_parsed, timeout_seconds=None, raise_on_error=True))


CHECKERS = {"ours": lambda gold, pred: compare(gold, pred, equal_expressions), "math_verify": _plain_math_verify}
"""What a worker can be asked."""


def _math_verify(a: Any, b: Any) -> bool:
    from math_verify import verify

    # Both ways, because its verdict depends on the order for some pairs.
    return all(verify(x, y, timeout_seconds=None, raise_on_error=True) for x, y in ((a, b), (b, a)))
