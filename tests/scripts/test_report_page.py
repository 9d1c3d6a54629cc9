"""The page of a report in Chromium without a window: clicked through and gone through by keyboard, as wide as a phone and in
the dark, without a complaint and without asking anyone for anything."""

import runpy

import pytest
from browser import CHROMIUM, Browser
from search_run import META, candidate, cost, rows, write_run

from prm.datasets import arithmetic

if CHROMIUM is None:
    pytest.skip("chromium is not installed (Debian: apt-get install chromium)", allow_module_level=True)

BEAM = {
    "parents": [None, None, 0, 0, 1, 2],
    "steps": ["a", "<b>b</b>", "c", "d", "e", "#### 10"],
    "scores": [0.9, 0.2, 0.8, 0.1, None, 0.7],
    "tokens": [40, 8, 12, 8, 6, 6],
}
"""Of beam search: a, c and the answer are chosen; d and e are pruned, b was expanded in vain."""


def embedded_rows():
    """Four problems of the embedded set: candidates 0 and 1 are right, 2 is wrong in its last step, 3 in all."""
    found = []
    for i, problem in enumerate(arithmetic.load("test", 4)):
        row = rows()[0]
        right = list(arithmetic.solution(problem.prompt))
        texts = [right, right, [*right[:-1], "#### 0"], ["no"] * len(right)]
        for k, (its, steps) in enumerate(zip(row["candidates"], texts, strict=False)):
            its.update(completions=steps, answer=steps[-1].removeprefix("#### "), correct=k < 2)
        row["candidates"][4] = candidate(0, True) | {"completions": ["a", "c", "#### 10"], "answer": problem.answer}
        beam = row["results"][-1]
        beam.update(tree=BEAM, scores=[[0.9, 0.8, 0.7]], trace_scores=[0.7], cost=cost(generated_tokens=80, flops=7e4))
        for result in row["results"][:-1]:
            # The PRM errs most in problem 2: it is sure of what is wrong throughout.
            sure = 0.99 if i == 2 and result["verifier"] == "prm" else 0.2
            values = [0.9, 0.8, 0.6, sure]
            result["scores"] = [result["verifier"] and [value] * len(right) for value in values]
            result["trace_scores"] = [result["verifier"] and value for value in values]
            result["chosen"] = 0
        found.append(row | {"problem_id": problem.id, "prompt": problem.prompt, "gold": problem.answer, "level": i})
    return found


@pytest.fixture(scope="module")
def report(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    script = runpy.run_path(str(root / "eval/write_report.py"))
    run = write_run(folder / "run", embedded_rows(), META)
    script["main"](script["Arguments"](run=[run], output_dir=folder / "out"))
    return folder / "out/report.html"


@pytest.fixture(scope="module")
def chromium():
    with Browser() as browser:
        yield browser


@pytest.fixture
def page(chromium, report):
    chromium.problems.clear()
    chromium.look(1280, dark=False)
    chromium.open(report)
    yield chromium
    assert chromium.problems == []


def cards(page):
    return page.run("[...document.querySelectorAll('.candidate header')].map((card) => card.textContent)")


def test_clicks_through_the_inspector(page):
    listed = "[...document.querySelectorAll('#list [data-id]')].map((button) => button.dataset.id)"
    assert page.run(listed) == [f"arithmetic/test/{i}" for i in range(4)]
    assert page.run("document.getElementById('count').textContent") == (
        "20 traces of 4 problems; 4 of the 4 problems of the run are in this page"
    )
    first = page.run("document.getElementById('prompt').textContent")
    page.click("#list button:nth-child(2)")
    assert page.run("document.getElementById('prompt').textContent") != first
    assert page.run("document.querySelector('[aria-current=true]').dataset.id") == "arithmetic/test/1"
    assert len(cards(page)) == 4
    assert any("✓ right2 alike" in card for card in cards(page))  # candidates 0 and 1
    # Steps of two verifiers, the gold labels beside them: all but the last step of candidate 2 are right.
    wrong = "[...document.querySelectorAll('.candidate')].find((card) => card.textContent.includes('answer 0'))"
    assert page.run(f"[...{wrong}.querySelectorAll('th')].map((cell) => cell.textContent)") == [
        "gold", "PRM", "ORM", "step"
    ]  # fmt: skip
    marks = page.run(f"[...{wrong}.querySelectorAll('.truth')].map((cell) => cell.textContent)")
    assert marks == ["✓"] * (len(marks) - 1) + ["✗ ≠"]  # 0.6 for a wrong step
    assert page.run(f"{wrong}.querySelector('.score').textContent") == "0.60"

    page.choose("kind", "wrong")
    assert len(cards(page)) == 2
    assert all("✗ wrong" in card for card in cards(page))
    page.choose("kind", "chosen")
    assert len(cards(page)) == 2
    assert "chosen by majority vote, ORM best-of-N, PRM best-of-N, PRM weighted vote" in cards(page)[0]
    page.choose("kind", "all")
    page.choose("order", "where verifier and label disagree most")
    assert page.run(listed)[0] == "arithmetic/test/2"
    assert "label and PRM 0.99 apart" in cards(page)[0]
    page.choose("verifier", "orm")  # which is asked about the whole trace only: 0.6 for a wrong one
    assert page.run(listed) == [f"arithmetic/test/{i}" for i in range(4)]
    assert "label and ORM 0.60 apart" in cards(page)[0]
    page.choose("level", "3")
    assert page.run(listed) == ["arithmetic/test/3"]
    page.choose("outcome", "PRM best-of-N wrong")
    assert page.run(listed) == []
    assert page.run("document.getElementById('problem').hidden")


def test_clicks_through_the_tree(page):
    page.click("#trees summary")
    page.wait("document.getElementById('tree').childElementCount > 0")
    items = "[...document.querySelectorAll('#tree li')]"
    assert page.run(f"{items}.map((node) => node.getAttribute('aria-label'))") == [
        "a; score 0.90; 40 tokens; chosen",
        "c; score 0.80; 12 tokens; chosen",
        "#### 10; score 0.70; 6 tokens; chosen",
        "d; score 0.10; 8 tokens; pruned",
        "<b>b</b>; score 0.20; 8 tokens; expanded",
        "e; score –; 6 tokens; pruned",
    ]
    costs = page.run("[...document.querySelectorAll('#costs li')].map((item) => item.textContent)")
    assert costs[:3] == [
        "★ chosen: 3 steps, 58 tokens", "○ expanded: 1 step, 8 tokens", "✕ pruned: 2 steps, 14 tokens"
    ]  # fmt: skip
    assert costs[3].startswith("in all: 80 tokens generated")
    assert costs[3].endswith("7.00e+4 FLOPs")
    visible = f"{items}.filter((node) => node.offsetParent !== null).length"
    focused = "document.activeElement.getAttribute('aria-label')"
    page.click("#tree > li:nth-child(2) > .node")
    assert (page.run(visible), page.run(focused)[:8]) == (5, "<b>b</b>")
    for key, place in (
        ("ArrowRight", "<b>b</b>; score"),  # opens
        ("ArrowRight", "e; score"),
        ("ArrowLeft", "<b>b</b>; score"),
        ("ArrowUp", "d; score"),
        ("Home", "a; score"),
        ("ArrowDown", "c; score"),
        ("ArrowLeft", "c; score"),  # closes
        ("ArrowLeft", "a; score"),
        ("End", "e; score"),
    ):
        page.press(key)
        assert page.run(focused).startswith(place), key
        assert page.run("getComputedStyle(document.activeElement.firstChild).outlineStyle") == "solid", key
    assert page.run(visible) == 5  # the answer is below c


def test_keys_go_through_the_page(page):
    page.press("Tab")
    assert page.run("document.activeElement.className") == "skip"
    page.press("Enter")
    for _ in range(20):
        page.press("Tab")
        assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        if page.run("document.activeElement.closest('#list') !== null"):
            break
    for key, place in (("ArrowDown", 1), ("End", 3), ("ArrowUp", 2), ("Home", 0)):
        page.press(key)
        assert page.run("document.activeElement.dataset.id") == f"arithmetic/test/{place}"
        assert page.run("document.querySelector('[aria-current=true]').dataset.id") == f"arithmetic/test/{place}"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_as_wide_as_the_screen_and_dark_where_that_is_asked_for(page, width, dark):
    page.look(width, dark)
    page.click("#trees summary")
    assert page.run("document.documentElement.scrollWidth") == width
    brightness = page.run("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
    assert (brightness < 64) == dark


def test_the_page_of_step_scores_opens(chromium, root, tmp_path):
    """Of judged traces, which have labels and no methods."""
    (tmp_path / "halves.py").write_text(
        "from prm.types import Scores\n\n\nclass Halves:\n    name, kind, num_parameters = 'halves', 'prm', 0\n\n"
        "    def score_batch(self, prompts, steps_N):\n"
        "        return [Scores((0.75,) * len(steps), 0.75) for steps in steps_N]\n"
    )
    script = runpy.run_path(str(root / "eval/score_steps.py"))
    values = {"benchmark": "arithmetic", "verifier": f"{tmp_path}/halves.py:Halves", "limit": 16}
    script["main"](script["Arguments"](output_dir=str(tmp_path / "out"), **values))
    chromium.problems.clear()
    chromium.open(tmp_path / "out/steps.html")
    assert chromium.run("document.getElementById('count').textContent").startswith("16 traces of 2 problems")
    chromium.choose("order", "where verifier and label disagree most")
    assert "label and Halves 0.75 apart" in cards(chromium)[0]  # 0.75 for a wrong step
    assert chromium.run("document.getElementById('trees').hidden")
    assert chromium.problems == []
