"""Checks of arguments: what counts as a whole number and as a number of seconds."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from s3po.checks import described, is_seconds, is_whole, public_names, slot_setters


@pytest.mark.parametrize('value', [0, 1, -1, 10**30])
def test_whole_numbers(value: int) -> None:
    """Every int is a whole number."""
    assert is_whole(value)


@pytest.mark.parametrize('value', [True, False, 1.0, '1', None, math.nan])
def test_other_values(value: Any) -> None:
    """A bool is not a number here, and a float is not a whole one."""
    assert not is_whole(value)
    assert not is_whole(value, 0, 1)


def test_limits() -> None:
    """Both limits are included."""
    assert [value for value in range(5) if is_whole(value, 1, 3)] == [1, 2, 3]
    assert [value for value in range(5) if is_whole(value, 3)] == [3, 4]


@pytest.mark.parametrize(('value', 'expected'), [(1, True), (0.1, True), (math.inf, True), (0, False), (-1.0, False)])
def test_seconds(value: float, expected: bool) -> None:
    """Seconds must be above 0."""
    assert is_seconds(value) is expected


@pytest.mark.parametrize('value', [math.nan, True, '1', None])
def test_no_seconds(value: Any) -> None:
    """NaN, bools and other types are not numbers of seconds."""
    assert not is_seconds(value)


def test_slot_setters() -> None:
    """slot_setters() set the fields of a frozen value, in order."""

    @dataclasses.dataclass(frozen=True, slots=True)
    class Pair:
        one: int
        two: int

    pair = Pair(1, 2)
    for set_slot, value in zip(slot_setters(Pair), (3, 4), strict=True):
        set_slot(pair, value)

    assert (pair.one, pair.two) == (3, 4)


def test_described() -> None:
    """described() also works for an exception whose repr() fails."""

    class Broken(Exception):
        def __repr__(self) -> str:
            raise ValueError

    assert described(KeyError('a')) == "KeyError('a')"
    assert described(Broken()) == 'Broken (its repr() failed)'


def test_public_names() -> None:
    """public_names() omits private names and those that are passed as internal."""

    class Thing:
        def __init__(self) -> None:
            self.seen = self._hidden = 1

        def call(self) -> None: ...

        def inner(self) -> None: ...

    assert public_names(Thing(), {'inner'}) == ['call', 'seen']
