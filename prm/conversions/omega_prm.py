r"""Trees of OmegaPRM (Luo et al. 2406.06592) as OpenR stores them (MATH-APS), in either of its two forms.

    {"question": "What is 2 + 2 + 1?", "final_answer": "5", "reasoning_steps":
     {"text": "What is 2 + 2 + 1?", "mc_value": 0.5, "children": [
      {"text": "2 + 2 = 4", "mc_value": 0.75, "children": [...]}, {"text": "2 + 2 = 5", "mc_value": 0.0, ...}]}}

    {"question": "What is 2 + 2 + 1?", "final_answer": "5", "reasoning_steps": [
     {"solution_prefix": "What is 2 + 2 + 1?\n\n2 + 2 = 4", "mc_value": 0.75},
     {"solution_prefix": "What is 2 + 2 + 1?\n\n2 + 2 = 4\n\n4 + 1 = 5", "mc_value": 1.0}]}

The flat form lists the nodes, each with all the text before it; a node is a child of the longest node that its text
continues. Every path from the question to a leaf becomes one trace. Labels are values: `mc_value`, the share of right
rollouts, is the soft label; the hard label is good if it is not 0, as everywhere in this project (OpenR's own converter
requires more than a half).

Decisions:

- A node may contain several paragraphs (a right rollout is stored as one node). Each paragraph is a step; the node's value
  belongs to the last one, and the others have no label. The value of the question alone belongs to no step and is left out.
- `branches="once"`: a node on several paths is labeled only on the first of them, so that it counts once. `repeat`
  labels it on all.
- OpenR expands some rollouts more than once, so a prefix may occur twice, with two values. Both nodes stay, as siblings.
- A trace ends with the line of its first box. What models write after it (in MATH-APS, 4 of 10 steps) is no part of it;
  traces from which something was left out have a `note` that says so. Leaves that differ only in this are one trace.
- Whether a leaf is right is not stored, so no trace has an outcome.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Literal

from prm.conversions.rows import RAN_ON, Refused, Row, continues, end_at_answer, fields, labeled_row, question
from prm.encoding.steps import split_steps
from prm.storage.rows import need

Branches = Literal["once", "repeat"]


@dataclass
class Node:
    """Some steps and the value after the last of them."""

    text: str
    value: float | None
    children: list[Node] = field(default_factory=list)


def import_row(where: str, row: Row, branches: Branches = "once") -> Iterator[Row]:
    prompt = question(where, need(where, row, "question", str))
    stored = row.get("reasoning_steps")
    if isinstance(stored, dict):
        root = _tree(where, stored)
    elif isinstance(stored, list):
        root = _grow(where, prompt, stored)
    else:
        raise ValueError(f"{where}: `reasoning_steps` must be a tree or a list of prefixes, it is {stored!r:.200}")
    labeled: set[int] = set()  # ids of the nodes that an earlier trace has labeled
    ended: set[int] = set()  # and of those in which one ended, though others follow
    for path in _paths(root):
        steps: list[str] = []
        values: list[float | None] = []
        labels: list[bool | None] = []
        answered = ran_on = False
        for node in path:
            new, answered, ran_on = end_at_answer(split_steps(node.text, "paragraph"))
            steps += new
            # A value holds for the whole node, so only its last paragraph has one. A node of blank text adds nothing.
            values += [*[None] * (len(new) - 1), node.value][: len(new)]
            good = None if node.value is None else node.value > 0
            # A bad label is repeated in any case: without it, what follows the error would look as if none came before.
            counted = id(node) in labeled and good is not False
            label = None if counted and branches == "once" else good
            labels += [*[None] * (len(new) - 1), label][: len(new)]
            labeled.add(id(node))
            if answered:
                break
        if answered and node is not path[-1]:
            if id(node) in ended:
                continue  # the same trace, with other text after its answer
            ended.add(id(node))
            ran_on = True
        yield labeled_row(
            "omega_prm",
            prompt,
            steps,
            labels,
            values=values,
            semantics="value",
            method="omega_prm",
            gold="" if row.get("final_answer") is None else str(row["final_answer"]),
            finished=answered,
            kept={"note": RAN_ON} if ran_on else None,
        )


def _tree(where: str, stored: Row) -> Node:
    """The nested form, read without recursion because a tree may be deeper than Python's stack."""
    root = Node("", None)
    todo = [(root, child) for child in reversed(need(where, stored, "children", list))]
    while todo:
        parent, child = todo.pop()
        row = fields(where, child)
        node = Node(need(where, row, "text", str), _value(where, row))
        parent.children.append(node)
        todo += [(node, child) for child in reversed(need(where, row, "children", list))]
    return root


def _grow(where: str, prompt: str, stored: list[Row]) -> Node:
    """The flat form. In sorted order, a prefix comes directly before everything that continues it."""
    entries = [fields(where, entry) for entry in stored]
    nodes = [(need(where, entry, "solution_prefix", str).strip(), _value(where, entry)) for entry in entries]
    root = Node("", None)
    path = [(prompt, root)]  # (text so far, node) from the question to the node read last
    for text, value in sorted(nodes, key=itemgetter(0)):
        if text == prompt:
            continue
        if not continues(prompt, text):
            raise ValueError(
                f"{where}: the prefix {text[:80]!r} does not begin with the question and white space; fix or remove the row"
            )
        # Go back to the longest prefix that this text continues: its parent.
        while not continues(path[-1][0], text):
            path.pop()
        before, parent = path[-1]
        node = Node(text[len(before) :], value)
        parent.children.append(node)
        path.append((text, node))
    return root


def _paths(root: Node) -> Iterator[list[Node]]:
    """For each leaf, the nodes from below the root down to it. A root without children has one empty path."""
    todo: list[tuple[Node, list[Node]]] = [(root, [])]
    while todo:
        node, path = todo.pop()
        if not node.children:
            yield path
        todo += [(child, [*path, child]) for child in reversed(node.children)]


def _value(where: str, row: Row) -> float | None:
    value = row.get("mc_value")
    if value is not None and not (type(value) in (int, float) and 0 <= value <= 1):
        raise Refused("bad_label", f"{where}: mc_value is {value!r}; it must be a share in 0..1. Fix or remove the row")
    return value
