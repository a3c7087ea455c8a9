"""The hand-over between threads: newest-only with exact counts, or everything in order."""

from __future__ import annotations

import threading
import time

import pytest

from mutualformer.runtime.mailbox import Mailbox


def test_one_slot_keeps_the_newest_and_counts_the_rest() -> None:
    box: Mailbox[int] = Mailbox(lossless=False)
    for item in range(100):
        assert box.put(item)
    assert box.get(0) == 99
    assert box.dropped == 99
    assert box.get(0) is None


def test_lossless_waits_for_room_and_keeps_order() -> None:
    box: Mailbox[int] = Mailbox(lossless=True, capacity=3)
    taken: list[int] = []

    def reader() -> None:
        while not box.finished:
            item = box.get(0.2)
            if item is not None:
                taken.append(item)
                time.sleep(0.0005)

    thread = threading.Thread(target=reader)
    thread.start()
    for item in range(300):
        assert box.put(item)
        assert len(box) <= 3
    box.close()
    thread.join(5)
    assert taken == list(range(300))
    assert box.dropped == 0


def test_put_gives_up_after_its_timeout_when_full() -> None:
    box: Mailbox[int] = Mailbox(lossless=True, capacity=1)
    assert box.put(1)
    began = time.monotonic()
    assert not box.put(2, timeout=0.1)
    assert 0.09 < time.monotonic() - began < 20
    assert box.get(0) == 1


@pytest.mark.parametrize("lossless", [True, False])
def test_close_wakes_a_waiting_reader_and_refuses_new_items(lossless: bool) -> None:
    box: Mailbox[int] = Mailbox(lossless=lossless)
    woken: list[float] = []

    def wait() -> None:
        box.get(10)
        woken.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    closed = time.monotonic()
    box.close()
    thread.join(5)
    assert woken[0] - closed < 1
    assert not box.put(1)
    assert box.finished


def test_close_wakes_a_writer_waiting_for_room() -> None:
    box: Mailbox[int] = Mailbox(lossless=True, capacity=1)
    box.put(1)
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(box.put(2)))
    thread.start()
    time.sleep(0.05)
    box.close()
    thread.join(5)
    assert results == [False]
    assert box.get(0) == 1, "what was inside before closing can still be taken"
