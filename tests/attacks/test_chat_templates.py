"""Chat templates that loop, fill the memory or reach for more than texts: refused, and the next one renders."""

import os
import resource
import signal

import pytest

from prm.encoding import chat_templates
from prm.encoding.chat_templates import render
from prm.encoding.prompts import PromptTemplate

CHAT = PromptTemplate("{prompt}", chat=True)
MESSAGES = {"messages": [{"role": "user", "content": "1 + 1?"}], "add_generation_prompt": True}

ENDLESS = "takes more than 0.1 s of processor time"
LARGE = "takes more than 512 MiB|ended the process|makes a text of|cannot be rendered"
HOSTILE = {
    "loops": ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", ENDLESS),
    "a power": ("{{ 7 ** (9 ** 9) }}", ENDLESS),
    "a long text": ("{{ 'a' * 9000000000 }}", LARGE),
    "doubling": (
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
        f"{LARGE}|{ENDLESS}",
    ),
    "a wide field": ("{{ '%999999999d' % 1 }}", LARGE),
    "padding": ("{{ 'a' | center(999999999) }}", f"{LARGE}|{ENDLESS}"),
    "a text of 20 MB": ("{{ 'a' * 20000001 }}", f"makes a text of 20,000,001 characters|{ENDLESS}"),
    "recursion": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "cannot be rendered"),
    "deep nesting": ("{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}", "cannot be rendered|ended the process"),
    "files": ("{{ cycler.__init__.__globals__.os.getcwd() }}", "cannot be rendered: .*unsafe"),
    "classes": ("{{ ''.__class__.__mro__ }}", "cannot be rendered: .*unsafe"),
    "a namespace": ("{% set n = namespace() %}{% set n.__class__ = 1 %}", "cannot be rendered"),
    "another file": ("{% include '/etc/passwd' %}", "cannot be rendered"),
    "import": ("{% import 'os' as os %}", "cannot be rendered"),
}


@pytest.fixture(autouse=True, scope="module")
def little_time():
    """A renderer of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat_templates, "CPU_SECONDS", 0.1)
        chat_templates._renderers.clear()
        yield
    chat_templates._renderers.clear()


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_template_is_refused_and_the_next_one_renders(attack):
    template, message = HOSTILE[attack]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with pytest.raises(ValueError, match=message):
        render(template, MESSAGES)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 1  # not in this process
    assert render("{{ messages[0].content }}", MESSAGES) == "1 + 1?"


def test_the_model_is_named(plain_tokenizer, monkeypatch):
    monkeypatch.setattr(plain_tokenizer, "chat_template", HOSTILE["loops"][0])
    monkeypatch.setattr(plain_tokenizer, "name_or_path", "org/hostile")
    with pytest.raises(
        ValueError, match=r"the chat template of org/hostile takes more than 0\.1 s .*; correct it in the"
    ):
        CHAT.encode(plain_tokenizer, "1 + 1?")


def test_a_process_that_was_killed_is_replaced():
    render("a", {})
    os.kill(chat_templates._renderers[0]._process.pid, signal.SIGKILL)
    with pytest.raises(ValueError, match=r"ended the process that renders it \(exit code -9\)"):
        render("b", {})
    assert render("c", {}) == "c"


def test_the_renderer_imports_neither_torch_nor_transformers():
    assert render("a", {}) == "a"
    with open(f"/proc/{chat_templates._renderers[0]._process.pid}/maps") as file:
        loaded = file.read()
    assert "torch" not in loaded
    assert "tokenizers" not in loaded


SAME = {
    "chatml": "{% for m in messages %}{{ '<|im|>' + m['role'] + '\n' + m['content'] + '<|end|>' + '\n' }}{% endfor %}",
    "blocks": "{%- if tools %}\n  {{- 1 }}\n{%- endif %}\n{% for m in messages %}\n  {{- m.content | trim }}\n{% endfor %}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "break": "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "tojson": "{{ messages | tojson(indent=2) }}{{ {'b': 'é<', 'a': 1} | tojson }}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}\n{% endgeneration %}{% endfor %}",
    "tokens": "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ dict(a=1) }}",
    "tests": "{% if documents is defined and not documents and strftime_now is defined %}x{% endif %}{{ missing }}",
    "macro": "{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f(messages[0].content) }}{% if add_generation_prompt %}>{% endif %}",
}


@pytest.mark.parametrize("name", SAME)
def test_templates_give_what_they_give_in_transformers(name, trimming_tokenizer, monkeypatch):
    monkeypatch.setattr(trimming_tokenizer, "chat_template", SAME[name])
    template = PromptTemplate(
        "{prompt}", chat=True, system="Be <brief> & exact.\n", exemplars=(("é 2", "4\n\n#### 4"),)
    )
    messages = [
        {"role": "system", "content": "Be <brief> & exact.\n"},
        {"role": "user", "content": "é 2"},
        {"role": "assistant", "content": "4\n\n#### 4"},
        {"role": "user", "content": "1 + 1?"},
    ]
    expected = trimming_tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert template.encode(trimming_tokenizer, "1 + 1?") == expected
    assert expected
