"""The recipes of docs/recipes.md run as they stand there and print what the page says; those of other libraries in
`make test-long`, where the Makefile runs page.py."""

import page
import pytest

HERE = ("PPO", "DQN", "MaskablePPO", "RecurrentPPO", "CleanRL")
ELSEWHERE = ("rl_zoo3", "TorchRL", "RLlib", "Tianshou", "Minari", "skrl", "d3rlpy")


@pytest.mark.parametrize("name", [page.SCORE, *HERE])
def test_a_recipe_prints_what_the_page_says(name):
    page.check(name)


def test_every_recipe_is_run_somewhere():
    assert tuple(page.sections()) == (page.SCORE, *HERE, *ELSEWHERE)


def test_another_number_is_told(monkeypatch):
    text = "Prints -1 to 2.5.\n```python\nprint(1, 3)\n```"
    monkeypatch.setattr(page, "sections", lambda: {page.SCORE: "", "A": text})
    with pytest.raises(AssertionError, match=r"A: 3.0 is not from -1.0 to 2.5"):
        page.check("A")
