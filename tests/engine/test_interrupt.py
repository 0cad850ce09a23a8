from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ctckit.engine.interrupt import Interrupt

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """Signals that reach whoever listened before."""
    numbers: list[int] = []
    earlier = {number: signal.signal(number, lambda got, _: numbers.append(got)) for number in SIGNALS}
    yield numbers
    for number, handler in earlier.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_the_second_acts_at_once(heard: list[int], number: int) -> None:
    with Interrupt() as interrupt:
        assert not interrupt.requested
        os.kill(os.getpid(), number)
        assert interrupt.requested
        assert heard == []
        os.kill(os.getpid(), number)
        assert heard == [number]


def test_whichever_comes_second_acts(heard: list[int]) -> None:
    with Interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]


@pytest.mark.parametrize("failing", [False, True])
def test_afterwards_signals_go_where_they_went_before(heard: list[int], failing: bool) -> None:
    def use() -> None:
        with Interrupt() as interrupt:
            assert signal.getsignal(signal.SIGINT) == interrupt._note
            if failing:
                raise KeyError

    if failing:
        with pytest.raises(KeyError):
            use()
    else:
        use()
    for number in SIGNALS:
        os.kill(os.getpid(), number)
    assert heard == list(SIGNALS)


def test_another_thread_than_the_first_can_use_it_and_changes_nothing(heard: list[int]) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    told: list[Any] = []

    def use() -> None:
        with Interrupt() as interrupt:
            told.append((interrupt.requested, [signal.getsignal(number) for number in SIGNALS]))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert told == [(False, before)]
