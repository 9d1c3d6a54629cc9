"""Chat templates, rendered in a process of their own, because a template is a program that comes with a model.

    render("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}", {"messages": [{"role": "user", ...}], ...})

Jinja's sandbox keeps it from files and code, but not from loops without end or texts that fill the memory. So it gets
`CPU_SECONDS` of processor time for a text, `MEMORY_BYTES` and `LONGEST` characters. The process is started when the first
template is rendered (0.2 s) and asked over a pipe (0.1 ms a text); it imports Jinja and nothing else.

What a template can use is what transformers gives it (`transformers.utils.chat_template_utils`), and a test holds the two
against each other. Left out: marks of what the assistant wrote (`{% generation %}` is passed over), tools, documents.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from functools import lru_cache
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from threading import Lock
from typing import Any

CPU_SECONDS = 5.0
MEMORY_BYTES = 512 << 20
"""In addition to what the process holds after its imports."""
LONGEST = 20_000_000

_CHILD = "import sys; sys.path[:] = {path!r}; from prm.encoding.chat_templates import serve; serve({pipe}, {seconds})"


class _Renderer:
    """The process and the parent's end of its pipe."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        # -P keeps the working directory off the path; the child then takes over the parent's path as it is.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD.format(path=sys.path, pipe=theirs.fileno(), seconds=CPU_SECONDS)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()  # so that the end of the process is the end of the pipe

    def render(self, template: str, values: dict[str, Any]) -> str:
        """
        Raises:
            ValueError: the template failed, or took too much of something.
        """
        try:
            # As JSON: what comes back from a hostile template is read, never unpickled.
            self._pipe.send_bytes(json.dumps([template, values], default=str).encode())
            text, error = json.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            self._pipe.close()
            code = self._process.wait()
            if code == -signal.SIGPROF:
                raise ValueError(f"takes more than {CPU_SECONDS:g} s of processor time") from None
            raise ValueError(f"ended the process that renders it (exit code {code})") from None
        if error is not None:
            raise ValueError(error)
        return text

    @property
    def alive(self) -> bool:
        return not self._pipe.closed


_lock = Lock()
_renderers: list[_Renderer] = []
os.register_at_fork(after_in_child=_renderers.clear)  # a forked process must not use its parent's pipe


def render(template: str, values: dict[str, Any]) -> str:
    """What a chat template makes of `messages` and its other values.

    Raises:
        ValueError: it cannot be rendered, or not within the bounds; what is wrong, without a subject.
    """
    with _lock:
        if not _renderers or not _renderers[0].alive:
            _renderers[:] = [_Renderer()]
        try:
            return _renderers[0].render(template, values)
        except KeyboardInterrupt:  # its late answer would be taken for the next one
            _renderers.clear()
            raise


def serve(pipe_fd: int, seconds: float) -> None:
    """The process: render until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    compile_template("")  # everything is imported now, and only what a template takes is limited
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    pipe = Connection(pipe_fd)
    while True:
        try:
            template, values = json.loads(pipe.recv_bytes())
        except EOFError:
            return
        answer: tuple[str | None, str | None]
        signal.setitimer(signal.ITIMER_PROF, seconds)  # its signal ends the process, within a long operation, too
        try:
            text = compile_template(template).render(**values)
            answer = (text, None) if len(text) <= LONGEST else (None, f"makes a text of {len(text):,} characters")
        except MemoryError:
            answer = None, f"takes more than {MEMORY_BYTES >> 20} MiB"
        except Exception as error:
            answer = None, f"cannot be rendered: {str(error)[:500] or type(error).__name__}"
        signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send_bytes(json.dumps(answer).encode())


@lru_cache(maxsize=16)
def compile_template(template: str) -> Any:
    """A template in Jinja's sandbox, with what transformers lets it use."""
    from jinja2 import TemplateError, nodes
    from jinja2.exceptions import SecurityError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(Extension):
        """`{% generation %}...{% endgeneration %}` is its content."""

        tags = {"generation"}  # noqa: RUF012  # Jinja's own form

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    class SafeNamespace(Namespace):
        """Without names such as `__class__`."""

        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise SecurityError(f"a namespace has no {name!r}")
            super().__setitem__(name, value)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(
        x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(form: str) -> str:
        raise TemplateError("it asks for the time")  # `prm.encoding.prompts` has replaced what can be

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    environment.globals |= {"dict": lambda *pairs, **more: dict(*pairs, **more), "namespace": SafeNamespace}
    return environment.from_string(template)
