"""What a strategy has learned on other problems and keeps in a file (calibration, policy) holds for some searches only.

its file was learned of    the search has           check_learned
prm-91ab03fe               prm-91ab03fe             fits
prm-91ab03fe               prm-65463de6             refused: another verifier
arithmetic/test/7          arithmetic/test/7        refused: a forecast of what is known
"""

from __future__ import annotations

from collections.abc import Collection, Mapping


def check_learned(
    path: str,
    models: Mapping[str, tuple[str | None, str | None]],
    learned_from: Collection[str],
    problems: Collection[str],
    again: str,
    known: str,
) -> None:
    """
    Args:
        models: name of a model, such as "verifier" -> fingerprints of the one of the file and of the one of the search.
        learned_from, problems: ids of the problems of the file and of the search.
        again, known: what to do about another model, and what is wrong with the same problems.

    Raises:
        ValueError: it was learned of another model, or of one of these problems.
    """
    for name, (there, here) in models.items():
        if here != there:
            raise ValueError(f"{path} was learned of the {name} {there}, this one is {here}; {again}")
    if both := sorted(set(problems) & set(learned_from)):
        raise ValueError(f"{path} was learned of {len(both)} of these problems, such as {both[0]}; {known}")
