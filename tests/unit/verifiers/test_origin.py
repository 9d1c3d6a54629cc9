"""The card of a model that comes from another one."""

import yaml

from prm.verifiers.origin import read_settings, write_card


def test_a_card_is_readable_in_every_language_and_its_head_in_the_order_it_has(tmp_path):
    write_card(tmp_path, {"license": "mit", "base_model": "größe/中"}, ["# A", "B"])
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == (
        "---\nlicense: mit\nbase_model: größe/中\n---\n\n# A\n\nB\n"
    )


def test_settings_are_those_of_the_run_or_none(tmp_path):
    assert read_settings(tmp_path) == {}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"seed": 1}), encoding="utf-8")
    assert read_settings(tmp_path) == {"seed": 1}
