"""Where a text of a server ends, by what servers say of it: each test is a dialogue with a server that knows text only."""

from collections import Counter
from contextlib import nullcontext

import pytest

from prm.encoding.prompts import PromptTemplate
from prm.generators.chat import ChatCritic, Question
from prm.generators.endpoint import Endpoint, EndpointError, MalformedAnswer, TooLong
from prm.generators.openai import OpenAIGenerator

STOP = {"finish_reason": "stop"}
VLLM = STOP | {"stop_reason": "\n"}, STOP | {"stop_reason": None}
SGLANG = STOP | {"matched_stop": "\n"}, STOP | {"matched_stop": 1}
TGI = {"finish_reason": "stop_sequence"}, {"finish_reason": "eos_token"}
"""What a server says of a text that stopped at the separator, and of one that stopped at the end token."""


class Dialogue:
    """An endpoint that answers the requests of one sample from a list."""

    url = "http://server/v1"
    unfit = EndpointError  # until it has answered as it should

    def __init__(self, *answers, used=3):
        self.ledger, self.prompts = Counter(), []
        self._answers, self._used = iter(answers), used

    def client(self, connections):
        return nullcontext()

    async def ask(self, client, path, body, read):
        if path == "models":
            return read({"data": [{"id": "served"}]})
        self.prompts.append(body["prompt"])
        text, ended = next(self._answers)
        return read({"choices": [{"text": text} | ended], "usage": {"completion_tokens": self._used}})


@pytest.fixture
def sample(plain_tokenizer):
    """`sample(dialogue)` -> the continuation of "Q:", of which the server allows 64 tokens."""

    def one(dialogue, **settings):
        generator = OpenAIGenerator(dialogue, plain_tokenizer, token_ids=False, max_new_tokens=64, **settings)
        (found,) = generator.generate([plain_tokenizer("Q:\n")["input_ids"]], [0])
        return found

    return one


@pytest.mark.parametrize(("at_separator", "at_end"), [VLLM, SGLANG, TGI], ids=["vllm", "sglang", "tgi"])
def test_a_server_that_says_what_stopped_it_is_believed(sample, at_separator, at_end):
    """A blank line goes on, and a trace without a final step ends, with one request for each line."""
    dialogue = Dialogue(("x = 4", at_separator), ("", at_separator), ("x + 3 = 7", at_end))
    found = sample(dialogue)
    assert (found.text, found.stop) == ("x = 4\n\nx + 3 = 7", "eos")
    assert dialogue.prompts == ["Q:\n", "Q:\nx = 4\n", "Q:\nx = 4\n\n"]
    assert sample(Dialogue(("", at_end))).stop == "eos"


@pytest.mark.parametrize(
    ("name", "length", "refused"),
    [
        *(("served", length, False) for length in (None, 1, 64)),
        *(("served", length, True) for length in (0, -1, True, 9.5)),
        (7, 64, True),
    ],
)
def test_a_model_without_a_name_or_whose_context_is_no_number_of_tokens_is_refused(
    name, length, refused, plain_tokenizer
):
    class Server(Dialogue):
        async def ask(self, client, path, body, read):
            return read({"data": [{"id": name, "max_model_len": length}]})

    message = f"a model {name!r} with a context of {length} tokens"
    with pytest.raises(MalformedAnswer, match=message) if refused else nullcontext():
        OpenAIGenerator(Server(), plain_tokenizer)


@pytest.mark.parametrize("reason", ["eos", "eos_token"])
def test_other_names_of_the_end_token(sample, reason):
    found = sample(Dialogue(("x = 4", {"finish_reason": reason})))
    assert (found.text, found.stop) == ("x = 4", "eos")


def test_a_server_without_any_sign_is_asked_again_after_a_blank_line(sample):
    dialogue = Dialogue(("x = 4", STOP), ("", STOP), ("x + 3 = 7", STOP), (" ", STOP), ("#### 7", STOP))
    found = sample(dialogue)
    assert (found.text, found.stop) == ("x = 4\n\nx + 3 = 7\n \n#### 7\n", "answer")
    assert dialogue.prompts[2] == "Q:\nx = 4\n\n"


def test_a_server_without_any_sign_has_ended_if_it_writes_nothing_twice(sample, plain_tokenizer):
    dialogue = Dialogue(("x = 4", STOP), ("", STOP), ("", STOP))
    found = sample(dialogue)
    assert (found.text.strip(), found.stop) == ("x = 4", "eos")
    assert found.token_ids[-1] == plain_tokenizer.eos_token_id
    assert len(dialogue.prompts) == 3


def test_a_continuation_has_no_token_that_begins_texts(trimming_tokenizer):
    """The tokenizer puts one before every text that it is given."""
    dialogue = Dialogue(("x = 4", VLLM[0]), ("y = 4", TGI[1]))
    generator = OpenAIGenerator(dialogue, trimming_tokenizer, token_ids=False, max_new_tokens=64)
    (found,) = generator.generate([trimming_tokenizer("Q:\n")["input_ids"]], [0])
    assert dialogue.prompts == ["Q:\n", "Q:\nx = 4\n"]  # the server adds one itself
    assert trimming_tokenizer.decode(found.token_ids) == "x = 4\ny = 4<eos>"
    assert found.text == "x = 4\ny = 4"


def test_a_server_that_returns_its_stop_strings_has_written_a_blank_line(sample):
    found = sample(Dialogue(("x = 4\n", STOP), ("\n", STOP), ("\n", STOP), ("#### 4\n", STOP)))
    assert (found.text, found.stop) == ("x = 4\n\n\n#### 4\n", "answer")


def test_stop_at_the_token_limit_is_a_cut(sample):
    assert sample(Dialogue(("x = 4, so", STOP), used=64)).stop == "length"
    assert sample(Dialogue(("x = 4, so", STOP | {"stop_reason": None}), used=64)).stop == "length"
    assert sample(Dialogue(("x = 4, so", {"finish_reason": "length"}))).stop == "length"
    assert sample(Dialogue(("\nx = 4, so", STOP), used=64)).stop == "length"
    # A server that returns the stop string has stopped at it.
    assert sample(Dialogue(("#### 4\n", STOP), used=64)).stop == "answer"
    # A server that names what stopped it is believed.
    assert sample(Dialogue(("#### 4", VLLM[0]), used=64)).stop == "answer"
    assert sample(Dialogue(("x = 4", SGLANG[1]), used=64)).stop == "eos"
    assert sample(Dialogue(("x = 4", TGI[1]), used=64)).stop == "eos"


@pytest.mark.parametrize("reason", ["abort", "tool_calls", None, ["stop"]])
def test_an_unknown_reason_is_named_at_once(sample, reason):
    dialogue = Dialogue(("x = 4", {"finish_reason": reason}))
    with pytest.raises(
        EndpointError, match=r"^http://server/v1 ends a text with finish_reason .* none of stop, eos, "
    ) as e:
        sample(dialogue)
    assert repr(reason) in str(e.value)
    assert len(dialogue.prompts) == 1


def test_stop_at_the_token_limit_is_a_cut_where_ids_come_back(plain_tokenizer):
    """A limit of 4 tokens: the text is cut, unless its last token is the separator or the end token."""

    class Ids(Dialogue):
        async def ask(self, client, path, body, read):
            if path == "models":
                return await super().ask(client, path, body, read)
            text, ids = next(self._answers)
            return read({"choices": [{"text": text, "token_ids": ids} | STOP]})

    def stop(text):
        ids = plain_tokenizer(text, add_special_tokens=False)["input_ids"]
        dialogue = Ids((plain_tokenizer.decode(ids, skip_special_tokens=True), ids))
        generator = OpenAIGenerator(dialogue, plain_tokenizer, max_new_tokens=len(ids))
        (found,) = generator.generate([plain_tokenizer("Q:\n")["input_ids"]], [0])
        return found.stop

    assert stop("x = 4, so") == "length"
    assert stop("x = 4, so<eos>") == "eos"
    assert stop("#### 4\n") == "answer"


class Completions(Dialogue):
    """A server that returns token ids: each answer is a text, up to and with one of the stop strings it was given."""

    def __init__(self, tokenizer, *texts):
        super().__init__(*texts)
        self.tokenizer, self.stops = tokenizer, []

    async def ask(self, client, path, body, read):
        if path == "models":
            return await super().ask(client, path, body, read)
        self.stops.append(body["stop"])
        text = next(self._answers)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return read({"choices": [{"text": text, "token_ids": ids} | STOP], "usage": {"completion_tokens": len(ids)}})


def test_a_server_stops_where_another_problem_begins(plain_tokenizer):
    """It does so within a line, too, and then the next request goes on."""
    server = Completions(plain_tokenizer, " See FAQ:", " x is 4\n", "\n", "FAQ:")
    generator = OpenAIGenerator(server, plain_tokenizer, template=PromptTemplate("FAQ: {prompt}\nA:"))
    (found,) = generator.generate([plain_tokenizer("FAQ: x\nA:")["input_ids"]], [0])
    assert (found.text, found.stop) == (" See FAQ: x is 4\n\n", "eos")
    assert plain_tokenizer.decode(found.token_ids) == " See FAQ: x is 4\n\nFAQ:"
    assert server.stops == [["\n", "FAQ:"]] * 4
    assert generator.ledger["tokens after the end"] == 0


def test_what_a_server_writes_after_the_end_is_counted_and_left_out(plain_tokenizer):
    server = Completions(plain_tokenizer, "#### 4\nand more", "#### 5\n!")
    generator = OpenAIGenerator(server, plain_tokenizer)
    prefix = plain_tokenizer("Q:\n")["input_ids"]
    assert [found.text for found in generator.generate([prefix, prefix], [0, 1])] == ["#### 4\n", "#### 5\n"]
    after = [len(plain_tokenizer(text, add_special_tokens=False)["input_ids"]) for text in ("and more", "!")]
    assert generator.ledger["tokens after the end"] == sum(after)


class Full(Completions):
    """The context has no room for the requests of these numbers."""

    def __init__(self, tokenizer, *texts, full):
        super().__init__(tokenizer, *texts)
        self.full, self.answered = full, 0

    async def ask(self, client, path, body, read):
        if path != "models" and len(self.stops) in self.full:
            self.stops.append(body["stop"])
            raise TooLong("maximum context length")
        found = await super().ask(client, path, body, read)
        self.answered += path != "models"
        return found


def test_a_prefix_without_room_is_empty_where_others_are_answered(plain_tokenizer):
    prefix = plain_tokenizer("Q:\n")["input_ids"]

    def generate(*texts, full):
        generator = OpenAIGenerator(Full(plain_tokenizer, *texts, full=full), plain_tokenizer, batch_size=1)
        return [(found.text, found.stop) for found in generator.generate([prefix, prefix], [0, 1])]

    assert generate("#### 4\n", full={0}) == [("", "length"), ("#### 4\n", "answer")]
    # One that has begun keeps what it has.
    assert generate("x = 4\n", "#### 4\n", full={1}) == [("x = 4\n", "length"), ("#### 4\n", "answer")]
    with pytest.raises(TooLong, match="maximum context length"):
        generate(full={0, 1})


def test_a_server_without_token_ids_writes_the_line_that_is_left_out(sample):
    dialogue = Dialogue((" x is 4", VLLM[0]), ("Q: Let x be 7.", VLLM[0]))
    found = sample(dialogue, template=PromptTemplate("Q: {prompt}\nA:"))
    assert (found.text, found.stop) == (" x is 4\n", "eos")
    assert len(dialogue.prompts) == 2


@pytest.mark.parametrize(
    ("reason", "used", "finished"),
    [
        ("stop", 99, True),
        ("eos", 99, True),
        ("eos_token", 100, True),
        ("stop_sequence", 100, True),
        ("stop", 100, False),
        ("length", 100, False),
        ("content_filter", 9, False),
    ],
)
def test_a_critic_knows_a_cut_answer(reason, used, finished):
    answers = []
    critic = ChatCritic(Endpoint("http://server/v1"), "critic", max_new_tokens=100)
    usage = {"prompt_tokens": 5, "completion_tokens": used}
    critic.endpoint.ask = _reply(
        {"choices": [{"message": {"content": "Hm."}, "finish_reason": reason}], "usage": usage}
    )
    critic.ask([Question("p#0", "key", 0, 1, "Judge.")], answers.extend)
    assert [answer.finished for answer in answers] == [finished]


@pytest.mark.parametrize(
    ("content", "read", "used"),
    [([{"type": "text", "text": "Hm."}], 5, 1), ("Hm.", 5, None), ("Hm.", 5, "1"), ("Hm.", None, 1)],
)
def test_a_critic_takes_no_answer_of_another_form(content, read, used):
    critic = ChatCritic(Endpoint("http://server/v1"), "critic")
    usage = {"prompt_tokens": read, "completion_tokens": used}
    critic.endpoint.ask = _reply(
        {"choices": [{"message": {"content": content}, "finish_reason": "stop"}], "usage": usage}
    )
    with pytest.raises(MalformedAnswer):
        critic.ask([Question("p#0", "key", 0, 1, "Judge.")], lambda answers: None)


def test_a_critic_names_an_unknown_reason():
    critic = ChatCritic(Endpoint("http://server/v1"), "critic")
    usage = {"prompt_tokens": 5, "completion_tokens": 1}
    critic.endpoint.ask = _reply({"choices": [{"message": {"content": ""}, "finish_reason": "abort"}], "usage": usage})
    with pytest.raises(EndpointError, match=r"judging p#0: http://server/v1 ends a text with finish_reason 'abort'"):
        critic.ask([Question("p#0", "key", 0, 1, "Judge.")], lambda answers: None)


def _reply(answer):
    async def ask(client, path, body, read):
        return read(answer)

    return ask
