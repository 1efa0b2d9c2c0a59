"""Several processes write their log into one pipe."""

from __future__ import annotations

import os
import threading
import time

from switchboard.telemetry.output import Output


def test_lines_of_several_writers_stay_whole_though_nobody_reads_fast_enough() -> None:
    reader, writer = os.pipe()
    got = bytearray()

    def read() -> None:
        while data := os.read(reader, 3000):
            got.extend(data)
            time.sleep(0.00005)

    slow = threading.Thread(target=read)
    slow.start()
    outputs = [Output(os.dup(writer)) for _ in range(3)]
    os.close(writer)
    # of all lengths, but for one that is longer than what a pipe takes in one piece
    expected = [[f"{n} {m} ".encode() + b"x" * (m * 7 % 600) for m in range(2000)] for n in range(len(outputs))]
    for batch in range(0, 2000, 100):
        for output, lines in zip(outputs, expected, strict=True):
            output.write(b"\n".join(lines[batch : batch + 100]) + b"\n")
    for output in outputs:
        output.close(20)
        os.close(output._fd)
    slow.join(20)
    os.close(reader)
    said = bytes(got).split(b"\n")
    assert [[x for x in said if x.startswith(b"%d " % n)] for n in range(len(outputs))] == expected
    assert len(said) == 6001 and said[-1] == b""


def test_a_long_line_comes_whole_too() -> None:
    reader, writer = os.pipe()
    output = Output(writer)
    lines = [b"a" * 10, b"b" * 30_000, b"c" * 10, b"d" * 5000]
    output.write(b"\n".join(lines) + b"\n" + b"no end")
    output.close()
    os.close(writer)
    got = b""
    while data := os.read(reader, 65536):
        got += data
    os.close(reader)
    assert got == b"\n".join(lines) + b"\nno end"
