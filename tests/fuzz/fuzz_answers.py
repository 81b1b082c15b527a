"""Answers made up by atheris, which keeps and changes those that reached something new: `make fuzz`.

By hand: `python -m tests.fuzz.fuzz_answers runs=1000000`, with any further options of libFuzzer, in the root of the checkout.
What is found worth keeping goes to build/fuzz/corpus and is where the next run begins; a case that fails goes to build/fuzz,
and is played again when its file is named: `python -m tests.fuzz.fuzz_answers build/fuzz/crash-…`.

The bytes of a case: how the answer is asked for and ends, how long its pieces are, and the answer.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=['s3po.http', 'tests.fuzz.answers']):
    from tests.fuzz.answers import ASKS, Case, check

PLACE: Final = Path('build', 'fuzz')
RUNS: Final = 1_000_000
OK: Final = b'HTTP/1.1 200 OK\r\n'
SEEDS: Final = [
    OK + b'Content-Length: 5\r\n\r\nhello',
    OK + b'Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n',
    OK + b'Connection: close\r\nETag: "x"\r\n\r\nhello',
    b'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n',
    b'HTTP/1.1 204 No Content\r\n\r\n',
    b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n',
    b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n' + OK + b'Content-Length: 2\r\n\r\nhi',
    b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n',
    b'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno',
    b'HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n',
    b'HTTP/1.1 503 Slow Down\r\nConnection: close\r\n\r\nno',
]


def encoded(case: Case) -> bytes:
    """The bytes of a case whose pieces are of one length."""
    return bytes([ASKS.index(case.ask) + 128 * case.is_reset, len(case.pieces[0]) % 256]) + case.data


def decoded(data: bytes) -> Case:
    """Any bytes are a case."""
    data = data.ljust(2, b'\0')
    how, step, data = data[0], data[1] or len(data), data[2:]
    pieces = [data[offset : offset + step] for offset in range(0, len(data), step)]
    return Case(pieces=pieces, is_reset=how >= 128, ask=ASKS[how % 128 % len(ASKS)])


def fuzz(data: bytes) -> None:
    check(decoded(data))


def main(arguments: list[str]) -> None:
    corpus = PLACE / 'corpus'
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS):
        for ask in ASKS:
            corpus.joinpath(f'seed-{number}-{ask}').write_bytes(encoded(Case(pieces=[seed], ask=ask)))
    # A hang, and memory without bounds, end a run like any other failure.
    options = [f'-runs={RUNS}', '-max_len=4096', '-timeout=10', '-rss_limit_mb=512', f'-artifact_prefix={PLACE}/']
    given = [f'-{each}' if each.startswith('runs=') else each for each in arguments]
    is_replayed = any(not each.startswith('-') for each in given)
    atheris.Setup(['fuzz_answers', *options, *given, *([] if is_replayed else [str(corpus)])], fuzz)
    atheris.Fuzz()


if __name__ == '__main__':
    main(sys.argv[1:])
