r"""Answers that look like the gold one and differ: none may be called equal.

Each family makes a gold answer, another way to write it, and near misses with one sign, digit, kink, unit or name changed.
The other way to write it must be equal, which shows that the gold answer is understood and not just equal to nothing.
"""

import random
from collections.abc import Iterator

import pytest

from prm.answers import check

Family = tuple[str, str, list[str]]


def polynomials(rng: random.Random) -> Family:
    a, b, c = rng.randint(2, 9), rng.randint(2, 9), rng.randint(1, 9)
    x, y = rng.sample("xyztp", 2)
    gold = f"{a}{x}^2-{b}{x}+{c}"
    misses = [f"{a}{x}^2+{b}{x}+{c}", f"{a}{x}^2-{b}{x}-{c}", f"{a}{x}^2-{b}{x}+{c + 1}", f"{a}{x}^3-{b}{x}+{c}"]
    return (
        gold,
        f"{c} - {b}{x} + {a}{x}^{{2}}",
        [*misses, gold.replace(x, y), f"{a}{x}^2-{b}{y}+{c}", f"{a + 10}{x}^2-{b}{x}+{c}"],
    )


def radicals(rng: random.Random) -> Family:
    a, b = rng.randint(2, 9), rng.choice([2, 3, 5, 6, 7, 10])
    gold = rf"{a}\sqrt{{{b}}}"
    misses = [
        rf"-{a}\sqrt{{{b}}}",
        rf"{a}\sqrt{{{b + 1}}}",
        rf"{a + 1}\sqrt{{{b}}}",
        rf"{a}+\sqrt{{{b}}}",
        rf"\sqrt{{{a * b}}}",
    ]
    return (
        gold,
        rf"\sqrt{{{a * a * b}}}",
        [*misses, rf"{a}\sqrt[3]{{{b}}}", f"{a}.{b}", rf"{a}\sqrt{{{b}}}+10^{{-400}}"],
    )


def fractions(rng: random.Random) -> Family:
    a, b = rng.choice([(3, 4), (5, 6), (7, 9), (11, 8), (2, 15), (13, 12)])
    misses = [
        rf"-\frac{{{a}}}{{{b}}}",
        rf"\frac{{{b}}}{{{a}}}",
        rf"\frac{{{a + 1}}}{{{b}}}",
        rf"{a}\frac{{1}}{{{b}}}",
        f"{a / b:.7f}1",
    ]
    return rf"\frac{{{a}}}{{{b}}}", rf"\dfrac {{{2 * a}}}{{{2 * b}}}", [*misses, f"{a}{b}", f"{a}:{b + 1}", f"{a}, {b}"]


def steps(rng: random.Random) -> Family:
    b, c = rng.randint(2, 7), rng.randint(1, 5)
    gold = rf"\lfloor \frac{{n}}{{{b}}} \rfloor + {c}"
    misses = [
        rf"\lceil \frac{{n}}{{{b}}} \rceil + {c - 1}", rf"\lceil \frac{{n}}{{{b}}} \rceil + {c}",
        rf"\lfloor \frac{{n}}{{{b}}} \rfloor + {c + 1}", rf"\lfloor \frac{{n}}{{{b + 1}}} \rfloor + {c}",
        rf"\frac{{n}}{{{b}}} + {c}", rf"\lfloor \frac{{m}}{{{b}}} \rfloor + {c}",
        rf"\lfloor \frac{{n+1}}{{{b}}} \rfloor + {c}",
    ]  # fmt: skip
    return gold, rf"\lceil \frac{{n-{b - 1}}}{{{b}}} \rceil + {c}", misses


def absolutes(rng: random.Random) -> Family:
    a = rng.choice([3, 8, 25, 140, 9_999])
    misses = [
        f"x-{a}",
        f"{a}-x",
        f"|x+{a}|",
        f"|x-{a + 1}|",
        f"|x|-{a}",
        f"-|x-{a}|",
        f"|y-{a}|",
        rf"\sqrt{{(x-{a})^3}}",
    ]
    return f"|x-{a}|", rf"\sqrt{{({a}-x)^2}}", misses


def extremes(rng: random.Random) -> Family:
    a = rng.choice([4, 17, 90, 650, 123_456])
    misses = [
        rf"\min(x, {a})",
        rf"\max(x, {a + 1})",
        str(a),
        "x",
        rf"\max(x, -{a})",
        rf"\max(y, {a})",
        f"x+{a}",
        f"|x|+{a}",
    ]
    return rf"\max(x, {a})", rf"\max\{{{a}, x\}}", misses


def divisors(rng: random.Random) -> Family:
    a = rng.choice([6, 15, 35, 77, 1001, 10_007])
    misses = ["1", "n", str(a), rf"\gcd(n, {2 * a})", rf"\gcd(m, {a})", rf"\text{{lcm}}(n, {a})", rf"\gcd(n+1, {a})"]
    return rf"\gcd(n, {a})", rf"\gcd({a}, n)", misses


def hidden_terms(rng: random.Random) -> Family:
    a, k, c = rng.randint(2, 9), rng.randint(500, 900), rng.randint(1, 9)
    misses = [
        f"{a}^{{{k}}}x",
        f"{a}^{{{k}}}x-{c}",
        f"{a}^{{{k}}}x+{c + 1}",
        f"{a}^{{{k + 1}}}x+{c}",
        f"{a}^{{{k}}}x+{c}+3^{{-{k}}}",
    ]
    return f"{a}^{{{k}}}x+{c}", rf"{c}+x\cdot {a}^{{{k}}}", misses


def functions(rng: random.Random) -> Family:
    a = rng.randint(2, 9)
    f, g = rng.sample([r"\sin", r"\cos", r"\tan"], 2)
    misses = [
        rf"{f} {a}t \cdot t",
        rf"{g} t \cdot {a}t",
        rf"-{a}t {f} t",
        rf"{a + 1}t {f} t",
        rf"{f}({a}t^2)",
        rf"{a}x {f} x",
        rf"{a}t {f} (t^2)",
    ]
    return rf"{a}t {f} t", rf"{f} t \cdot {a} t", misses


def logarithms(rng: random.Random) -> Family:
    a, b = rng.randint(2, 7), rng.randint(2, 9)
    misses = [
        rf"{b}-\ln {a}",
        rf"{b}+\ln {a + 1}",
        rf"{b}+\log {a}",
        rf"\ln {a + b}",
        rf"{b}\ln {a}",
        rf"{b}+\ln \frac{{1}}{{{a}}}",
    ]
    return rf"{b}+\ln {a}", rf"\ln ({a}e^{{{b}}})", misses


def intervals(rng: random.Random) -> Family:
    a, b = rng.randint(-9, 0), rng.randint(1, 9)
    misses = [
        f"({a}, {b})",
        f"[{a}, {b}]",
        f"({a}, {b}]",
        f"[{a}, {b + 1})",
        f"[{a}, -{b})",
        f"{a}, {b}",
        f"{a} < x < {b}",
    ]
    return f"[{a}, {b})", rf"{a} \le x < {b}", [*misses, rf"[{a}, \infty)", rf"\{{{a}, {b}\}}"]


def memberships(rng: random.Random) -> Family:
    a, b = rng.randint(0, 4), rng.randint(5, 9)
    misses = [rf"b \in [{a}, {b}]", rf"a \in ({a}, {b}]", rf"a \in [{a}, {b + 1}]", f"a = {b}", rf"a \notin [{a}, {b}]"]
    return rf"a \in [{a}, {b}]", rf"{a} \le a \le {b}", misses


def tuples(rng: random.Random) -> Family:
    a, b = rng.sample(range(1, 30), 2)
    misses = [
        f"({b}, {a})",
        f"(-{a}, {b})",
        f"({a}, {b + 1})",
        f"{a}, {b}",
        f"({a}, {b}, 0)",
        f"{a}{b}",
        f"[{a}, {b}]",
        f"x = {b}, y = {a}",
    ]
    return f"({a}, {b})", rf"x = {a}, y = \frac{{{2 * b}}}{{2}}", misses


def sets(rng: random.Random) -> Family:
    a, b, c = sorted(rng.sample(range(1, 40), 3))
    misses = [
        f"{a}, {b}",
        f"{a}, {b}, -{c}",
        f"{a}, {b}, {c + 1}",
        f"({a}, {b}, {c})",
        f"${a}$,${b}{c}$",
        f"{a + b}, {c}",
        f"{a}, {b}, {c}, {c}",
    ]
    return f"{a}, {b}, {c}", rf"x_1 = {c}, x_2 = {a}, x_3 = {b}", misses


def matrices(rng: random.Random) -> Family:
    a, b = rng.sample(range(2, 9), 2)
    one = rf"\begin{{pmatrix}} {2 * a} \\ {2 * b} \end{{pmatrix}}"
    misses = [one.replace(r"\\", "&"), one.replace(str(2 * b), str(2 * b + 1)), f"-{one}", f"2{one}"]
    swapped = rf"\begin{{pmatrix}} {2 * b} \\ {2 * a} \end{{pmatrix}}"
    return (
        one,
        rf"2\begin{{bmatrix}} {a} \\ {b} \end{{bmatrix}}",
        [*misses, swapped, f"{one}+{one}", f"({2 * a}, {2 * b}, 0)"],
    )


def money(rng: random.Random) -> Family:
    a, cents = rng.randint(2, 90), rng.randint(10, 99)
    gold = rf"\${a}.{cents}"
    misses = [
        f"-{gold}",
        rf"\${a + 1}.{cents}",
        f"€{a}.{cents}",
        f"£{a}.{cents}",
        f"{a}.{cents} cents",
        rf"{a}.{cents}^\circ",
        f"{a}{cents}",
    ]
    return (
        gold,
        f"{a}.{cents}0 dollars",
        [*misses, f"{gold} million", rf"{gold}\%", f"{a}.{cents} kg", rf"\${a}{cents}"],
    )


def units(rng: random.Random) -> Family:
    a = rng.randint(2, 99)
    unit, name, others = rng.choice(
        [("cm", "centimeters", ["m", "mm", "cm^2"]), ("km/h", "kilometers per hour", ["km", "m/s"]),
         ("hours", "hrs", ["minutes", "days"]), ("kg", "kilograms", ["g", "mg"]),
         ("apples", "apple", ["pears", "dozen apples"]), ("liters", "L", ["milliliters", "gallons"])]
    )  # fmt: skip
    misses = [f"{a} {other}" for other in others]
    return (
        rf"{a} \text{{ {unit}}}",
        f"{a} {name}",
        [*misses, f"-{a} {unit}", f"{a + 1} {unit}", f"{a} million {unit}", rf"{a}\%", rf"{a}^\circ"],
    )


def scaled(rng: random.Random) -> Family:
    a = rng.randint(2, 60)
    words = ["ninths", "thirds", "millions", "dozen", "thousand", "squared", "below zero", "hundredths", "less than x"]
    return (
        str(a),
        f"{a}.0 boxes",
        [*(rf"{a} \text{{ {word}}}" for word in words), f"{a}M", f"{a}K", f"{a}x", f"{a}!", f"{a}'"],
    )


def percents(rng: random.Random) -> Family:
    a = rng.randint(11, 89)
    misses = [
        rf"-{a}\%",
        rf"{a + 1}\%",
        rf"{a}^\circ",
        rf"\${a}",
        f"{a / 1000:.4f}",
        rf"{a}.5\%",
        rf"0.{a}\%",
        f"{a} cm",
    ]
    return rf"{a}\%", f"{a} pct", misses


def scientific(rng: random.Random) -> Family:
    a, k = rng.randint(11, 99), rng.randint(3, 30)
    gold = rf"{a / 10} \times 10^{{-{k}}}"
    misses = [
        gold.replace("{-", "{"),
        rf"{a / 10} \times 10^{{-{k + 1}}}",
        rf"-{gold}",
        rf"{(a + 1) / 10} \times 10^{{-{k}}}",
        "0",
        f"{a / 10}",
    ]
    return gold, f"{a / 10}e-{k:02d}", misses


def ratios(rng: random.Random) -> Family:
    a, b = rng.choice([(3, 4), (2, 5), (1, 4), (2, 3)])
    misses = [
        f"{b}:{a}",
        f"{a}:{b + 1}",
        f"{a}, {b}",
        f"{a}:{b}:1",
        rf"\frac{{{b}}}{{{a}}}",
        f"-{a}:{b}",
        f"{a}{b}",
        f"{a}-{b}",
    ]
    return f"{a}:{b}", f"S_1:S_2 = {2 * a}:{2 * b}", misses


def equations(rng: random.Random) -> Family:
    a, b = rng.randint(2, 9), rng.randint(1, 9)
    misses = [
        f"y = -{a}x + {b}",
        f"y = {a}x - {b}",
        f"y = {a}x + {b + 1}",
        f"x = {a}y + {b}",
        rf"y \ge {a}x + {b}",
        f"z = {a}x + {b}",
        f"y^2 = {a}x + {b}",
    ]
    return f"y = {a}x + {b}", f"{2 * a}x - 2y + {2 * b} = 0", misses


def definitions(rng: random.Random) -> Family:
    a, b = rng.randint(2, 9), rng.randint(1, 9)
    misses = [
        f"f(x) = {a}x - {b}",
        f"g(x) = {a}x + {b}",
        f"f(x) = {a}x + {b + 1}",
        f"f(2x) = {a}x + {b}",
        f"f'(x) = {a}x + {b}",
        f"f(x) = {a}^x + {b}",
    ]
    return f"f(x) = {a}x + {b}", f"f(x)={b}+{a}x", misses


def inequalities(rng: random.Random) -> Family:
    a = rng.randint(2, 20)
    misses = [
        f"x < {a}",
        rf"x \ge {a}",
        f"x > -{a}",
        f"x > {a + 1}",
        f"y > {a}",
        rf"[{a}, \infty)",
        rf"(-\infty, {a})",
        f"x = {a}",
        str(a),
    ]
    return f"x > {a}", rf"({a}, \infty)", misses


def names(rng: random.Random) -> Family:
    word = rng.choice(["VII", "CO_2", "LMNOP", "NaCl", "XIV", "PQR", "H_2SO_4"])
    turned = {
        "VII": "IIV",
        "CO_2": "OC_2",
        "LMNOP": "LMONP",
        "NaCl": "ClNa",
        "XIV": "XVI",
        "PQR": "PRQ",
        "H_2SO_4": "H_4SO_2",
    }[word]
    return (
        word,
        rf"\text{{{word}}}",
        [turned, word + "X", word[1:], word.replace(word[0], "B"), f"-{word}", f"2{word}", "no " + word],
    )


def sentences(rng: random.Random) -> Family:
    a = rng.randint(2, 30)
    first, second = rng.choice([("revenue", "cost"), ("speed", "time"), ("length", "width"), ("mass", "volume")])
    misses = [
        f"{first} + {second}",
        f"{first} * {second}",
        f"{first}/{second}",
        f"{second} - {first}",
        f"-{first} - {second}",
        f"{first} {second}",
    ]
    gold = rng.choice([f"{first} - {second}", f"{first} - {second} - {a}"])
    return gold, gold.title(), [miss + gold[len(f"{first} - {second}") :] for miss in misses]


def values(rng: random.Random) -> Family:
    a = rng.randint(2, 50)
    name = rng.choice(
        ["f(2)", "|AB|", r"\cos\theta", r"\frac{PQ}{QR}", "x", "P(A)", r"\text{Area}", r"S_{\triangle ABC}", "a_1"]
    )
    misses = [
        f"{name} = -{a}",
        f"{name} = {a + 1}",
        f"{name} > {a}",
        f"{name} = {a - 1} + 2 = {a}",
        f"x + y = {a}",
        f"{a}x = {a}",
        f"xy = {a}",
    ]
    return str(a), f"{name} = {a - 1} + 1 = {a}", misses


def choices(rng: random.Random) -> Family:
    one, other = rng.sample("ABCDE", 2)
    return (
        rf"\text{{({one})}}",
        f"{one}) 12",
        [other, f"{other}) 12", f"{one}, {other}", one.lower() + "x", f"{one}{other}", "12", f"-{one}"],
    )


def approximations(rng: random.Random) -> Family:
    n, digits = rng.choice([(2, "1.414213"), (3, "1.732050"), (5, "2.236067"), (7, "2.645751"), (11, "3.316624")])
    last = str((int(digits[-1]) + 5) % 10)
    misses = [
        digits[:-1] + last,
        digits[:5],
        f"-{digits}",
        rf"\sqrt{{{n}}}+10^{{-9}}",
        rf"\sqrt{{{n + 1}}} \approx {digits}",
        f"{digits}x",
    ]
    return rf"\sqrt{{{n}}}", rf"x = \sqrt{{{n}}} \approx {digits[:4]}", misses


FAMILIES = [
    polynomials, radicals, fractions, steps, absolutes, extremes, divisors, hidden_terms, functions, logarithms, intervals,
    memberships, tuples, sets, matrices, money, units, scaled, percents, scientific, ratios, equations, definitions,
    inequalities, names, sentences, values, choices, approximations,
]  # fmt: skip
PER_FAMILY = 11


def rounds(family) -> Iterator[Family]:
    rng = random.Random(family.__name__)
    return (family(rng) for _ in range(PER_FAMILY))


def test_there_are_three_hundred_answers():
    assert PER_FAMILY * len(FAMILIES) >= 300


@pytest.mark.parametrize("family", FAMILIES)
def test_no_near_miss_is_equal(family):
    for gold, same, misses in rounds(family):
        assert check(gold=gold, pred=same, deadline=30) == "correct", (gold, same)
        assert check(gold=same, pred=gold, deadline=30) == "correct", (gold, same)
        equal = [(gold, miss) for miss in misses if check(gold=gold, pred=miss, deadline=30) == "correct"]
        equal += [(miss, gold) for miss in misses if check(gold=miss, pred=gold, deadline=30) == "correct"]
        assert equal == []
