"""What a critic on a server is asked and how its answers are read; the protocol itself is in test_endpoint.py."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from prm.generators.chat import Answer, ChatCritic, Question
from prm.generators.endpoint import Endpoint, EndpointError, TooLong

QUESTION = Question("p/1#0", "key", 2, 7, "Is it right?")


def answer(content="Yes", reason="stop", prompt=5, completion=3):
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return {"choices": [{"message": {"content": content}, "finish_reason": reason}], "usage": usage}


class Server(Endpoint):
    """Gives these answers, one for each question; an error is raised."""

    def __init__(self, *answers):
        super().__init__("http://host")
        self.answers, self.bodies = list(answers), []

    @asynccontextmanager
    async def client(self, connections):
        yield self.bodies.append(connections)

    async def ask(self, client, path, body, read):
        assert path == "chat/completions"
        self.bodies.append(body)
        found = self.answers.pop(0)
        await asyncio.sleep(0)
        if isinstance(found, Exception):
            raise found
        self.answered += 1
        return read(found)


def ask(server, questions=1, **settings):
    critic, found = ChatCritic(server, "org/m", max_new_tokens=10, **settings), []
    critic.ask([QUESTION] * questions, found.extend)
    return found


def test_a_question_is_sent_with_its_seed_and_the_settings():
    server = Server(answer())
    assert ask(server, temperature=0.5, top_p=0.9, batch_size=3) == [Answer("key", 2, 7, "Yes", True, 5, 3)]
    assert server.bodies == [
        3,
        {
            "model": "org/m",
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 10,
            "messages": [{"role": "user", "content": "Is it right?"}],
            "seed": 7,
        },
    ]


def test_a_name_has_the_model_and_what_changes_its_answers():
    names = [
        ChatCritic(Endpoint("http://host"), model, **settings).name
        for model, settings in (("a/m", {}), ("m", {}), ("m", {"temperature": 0}), ("m", {"batch_size": 1}))
    ]
    assert all(name.startswith("m-chat-") for name in names)
    assert len(set(names)) == 3
    assert names[1] == names[3]


@pytest.mark.parametrize(
    ("its", "finished"),
    [
        (answer(completion=9), True),
        (answer(completion=10), False),  # some servers say `stop` of a text that was cut
        (answer(completion=11), False),
        (answer(reason="length"), False),
        (answer(content=None, completion=0, prompt=0), True),
    ],
)
def test_an_answer_that_was_cut_is_not_finished(its, finished):
    (found,) = ask(Server(its))
    assert (found.finished, found.text) == (finished, its["choices"][0]["message"]["content"] or "")


@pytest.mark.parametrize(
    "its",
    [
        answer(completion=12),
        answer(content="x" * 2561),
        answer(prompt=-1),
        answer(completion=True),
        answer(prompt=5.0),
        answer(content=4),
        answer() | {"choices": []},
    ],
)
def test_what_cannot_be_an_answer_is_malformed(its):
    with pytest.raises(ValueError, match=r"."):
        ask(Server(its))
    ask(Server(answer(content="x" * 2560)))


def test_an_error_names_the_trace():
    for kind in (EndpointError, TooLong):
        with pytest.raises(kind, match=r"^judging p/1#0: no"):
            ask(Server(kind("no")))


def test_a_question_that_is_too_long_is_left_out_where_others_are_answered():
    cut = Answer("key", 2, 7, "", False, 0, 0)
    found = ask(Server(TooLong("long"), answer(), TooLong("long")), questions=3, batch_size=1)
    assert found == [Answer("key", 2, 7, "Yes", True, 5, 3), cut, cut]
