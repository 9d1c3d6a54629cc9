"""Pages: sections of tables and pictures, and an inspector of traces, as one HTML file that asks for nothing else.

`page.html` is the frame, with its styles and the program of the inspector; here its places are filled. Everything is
embedded, so that a page can be mailed or opened from a file. Model output is text in it, never markup.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prm.evaluation.tables import Table, as_html, marked
from prm.evaluation.trace_browser import as_json

TEMPLATE = Path(__file__).with_name("page.html")
NOTHING = {"problems": [], "names": {"methods": {}, "verifiers": {}, "leading": None, "total": 0}}


def page(
    title: str,
    lead: Sequence[str],
    sections: Sequence[tuple[str, Table, str]],
    pictures: Mapping[str, Sequence[tuple[Path, str]]],
    closing: Sequence[tuple[str, Sequence[str]]],
    inspector: Mapping[str, Any] = NOTHING,
    warnings: Sequence[str] = (),
    links: Mapping[str, str] = {},
) -> str:
    """
    Args:
        lead: paragraphs.
        sections: (heading, table, note) of each; a table without rows is a heading.
        pictures: PNG files and what they show in words, by the heading of their section.
        closing: (heading, lines) of what comes after the traces.
        inspector: "problems", as `prm.evaluation.trace_browser.traces_to_show` returns them, and "names": titles of
            "methods" and "verifiers", the "leading" method, and the "total" of problems; by default there is none.
        links: other pages in folders beside this one: where they are -> what they are called.
    """
    parts = [
        *(f"<p class=warning>Warning: {marked(text)}</p>" for text in warnings),
        *(f"<p>{marked(text)}</p>" for text in lead),
        *(f'<p><a href="{html.escape(to)}">{html.escape(text)}</a></p>' for to, text in links.items()),
    ]
    fields = {
        "title": html.escape(title),
        "lead": "\n".join(parts),
        "sections": "\n".join(_section(*its, pictures.get(its[0], ())) for its in sections),
        "closing": "\n".join(
            f"<h2>{html.escape(heading)}</h2>\n<ul>{''.join(f'<li>{marked(line)}</li>' for line in lines)}</ul>"
            for heading, lines in closing
        ),
        "traces": as_json(inspector["problems"]),
        "names": as_json(inspector["names"]),
    }
    head, *pieces = TEMPLATE.read_text(encoding="utf-8").split("{{")
    return head + "".join(fields[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces))


def _section(heading: str, table: Table, note: str, pictures: Sequence[tuple[Path, str]]) -> str:
    parts = [f"<h2>{html.escape(heading)}</h2>"]
    if len(table) > 1:
        parts.append(_scrolled(heading, as_html(table)))
    if note:
        parts.append(f"<p class=note>{marked(note)}</p>")
    for path, words in pictures:
        data = base64.b64encode(path.read_bytes()).decode()
        image = f'<img class="picture" alt="{html.escape(words)}" src="data:image/png;base64,{data}">'
        parts.append(_scrolled(words, image))
    return "\n".join(parts)


def _scrolled(label: str, inside: str) -> str:
    """What may be wider than the page scrolls sideways, by keyboard, too."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(label)}">{inside}</div>'
