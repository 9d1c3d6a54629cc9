"""The flags of a generator: what can be no generator is refused at once."""

import pytest

from prm.generators.arguments import GeneratorArguments


def test_a_mistyped_generator_is_refused_before_anything_is_loaded_or_compared():
    with pytest.raises(FileNotFoundError, match=r"arithmetik does not exist, did you mean arithmetic\?"):
        GeneratorArguments(generator="arithmetik")
    for generator in ("arithmetic", "someone/model"):
        assert GeneratorArguments(generator=generator).generator == generator
    GeneratorArguments(generator="http://127.0.0.1:8000/v1", engine="openai")
