r"""Matrices and sums of multiples of them, entry by entry (see `prm.answers`).

    matrix(r"3\begin{pmatrix}1\\2\end{pmatrix}")  ->  Matrix(shape="1 1", entries=("(3)*(1)", "(3)*(2)"))

Left out: products, powers and transposes, which equal only themselves.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from prm.answers.text import normalize, split


class Matrix(NamedTuple):
    shape: str
    """Length of each row."""
    entries: tuple[str, ...]
    """Row by row."""


_MATRIX = re.compile(r"\\begin\{pmatrix\}(.*?)\\end\{pmatrix\}", re.DOTALL)


def matrix(text: str) -> Matrix | None:
    """The matrix that a normalized text is; None if it is anything else."""
    coefficients = _MATRIX.sub("#", text).split("#")
    if len(coefficients) < 2 or coefficients[-1]:
        return None
    read = [_plain(inside) for inside in _MATRIX.findall(text)]
    # Between two matrices there must be a sign: two side by side are a product.
    if (
        len({m.shape for m in read}) > 1
        or not all(c[0] in "+-" for c in coefficients[1:-1] if c)
        or "" in coefficients[1:-1]
    ):
        return None
    factors = [_factor(coefficient) for coefficient in coefficients[:-1]]
    if factors == ["1"]:
        return read[0]
    if not all(factors):
        return None
    columns = zip(*(m.entries for m in read), strict=True)
    entries = ["+".join(f"({f})*({e})" for f, e in zip(factors, column, strict=True)) for column in columns]
    return Matrix(read[0].shape, tuple(entries))


def _plain(inside: str) -> Matrix:
    rows = [row.split("&") for row in inside.removesuffix(r"\\").split(r"\\")]
    return Matrix(" ".join(str(len(row)) for row in rows), tuple(normalize(entry) for row in rows for entry in row))


def _factor(coefficient: str) -> str:
    r"""`-2\cdot` as "-2", `+` as "1"; "" if it is not one product."""
    sign = "-" if coefficient.startswith("-") else ""
    rest = re.sub(r"(?:\*|\\cdot|\\times) ?$", "", coefficient.lstrip("+-"))
    return sign + (rest or "1") if len(split(rest, r"[-+]")) == 1 else ""
