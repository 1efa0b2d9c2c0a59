"""Records wait in the ledger and are handed on in batches."""

from __future__ import annotations

from switchboard.telemetry.ledger import BATCH, Ledger
from switchboard.telemetry.records import Record


def record(n: int) -> Record:
    return Record(0.0, f"r{n}", "GET", "/", 200, "complete", 0.1)


def test_every_reader_gets_every_record_once_and_in_order() -> None:
    ledger = Ledger()
    first: list[Record] = []
    second: list[list[Record]] = []
    ledger.read_by(first.extend)
    ledger.read_by(second.append)
    for n in range(3):
        ledger.put(record(n))
    assert first == []  # nothing happens in a request's way
    ledger.flush()
    ledger.put(record(3))
    ledger.flush()
    ledger.flush()
    assert [r.request_id for r in first] == ["r0", "r1", "r2", "r3"]
    assert [len(batch) for batch in second] == [3, 1]


def test_beyond_its_size_the_oldest_are_lost_and_counted() -> None:
    ledger = Ledger(size=3)
    read: list[Record] = []
    ledger.read_by(read.extend)
    for n in range(5):
        ledger.put(record(n))
    ledger.flush()
    assert [r.request_id for r in read] == ["r2", "r3", "r4"]
    assert ledger.lost == 2


def test_what_a_reader_puts_waits_for_the_next_batch() -> None:
    ledger = Ledger()
    batches: list[int] = []

    def read(batch: list[Record]) -> None:
        batches.append(len(batch))
        if len(batches) == 1:
            ledger.put(record(9))

    ledger.read_by(read)
    ledger.put(record(1))
    ledger.flush()
    ledger.flush()
    assert batches == [1, 1]


def test_a_full_batch_does_not_wait_for_the_clock() -> None:
    ledger = Ledger()
    batches: list[int] = []
    ledger.read_by(lambda batch: batches.append(len(batch)))
    for n in range(2 * BATCH + 1):
        ledger.put(record(n))
    assert batches == [BATCH, BATCH]


def test_a_reader_that_puts_into_a_full_batch_does_not_call_itself() -> None:
    ledger = Ledger()
    batches: list[int] = []

    def read(batch: list[Record]) -> None:
        batches.append(len(batch))
        ledger.put(record(0))

    ledger.read_by(read)
    for n in range(BATCH):
        ledger.put(record(n))
    assert batches == [BATCH]
