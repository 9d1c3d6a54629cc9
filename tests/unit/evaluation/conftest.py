"""The menu of a scripted run."""

import pytest
from scripted_run import scripted_run

from prm.evaluation.menus import Probe, menu_of


@pytest.fixture(scope="module")
def menu():
    return menu_of(scripted_run(), "v")


@pytest.fixture(scope="module")
def probed(menu):
    return menu.probed(Probe("lead", 2))
