"""The list of mistakes that `make mutants` makes is up to date: each can still be made, and its tests exist."""

import pytest

from tools import mistakes
from tools.notebook_rules import ROOT, committed


@pytest.mark.parametrize("line", mistakes.TEXT, ids=lambda line: f"{line[0]} {line[1][:30].strip()!r}")
def test_the_text_that_a_mistake_replaces_is_there(line):
    name, old, new, tests = line
    # A notebook as it is committed: a reader may be working in it.
    text = committed(ROOT / name)
    assert old in text and text.replace(old, new, 1) != text
    assert all((ROOT / test).exists() for test in tests.split() if "/" in test)


def test_there_are_at_least_sixty_and_none_twice():
    lines = [line[:3] for line in mistakes.TEXT]
    assert len(lines) >= 60 and len(set(lines)) == len(lines)
