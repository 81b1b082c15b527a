"""Small objects, one call each, bodies in memory and results kept: `python benchmarks/bench_small.py --help`."""

from __future__ import annotations

import suite
from objects import KIB
from peers import S3PO
from sink import Contents
from works import Bench, Work

# Requests at once of the works that show what many workers cost.
_MANY = 1_000


def bench(options: suite.Options) -> Bench:
    """The works and the contents of their store."""
    count = options.count or (2_000 if options.quick else 20_000)
    size_bytes = 4 * KIB
    common = {'count': count, 'size_bytes': size_bytes}
    return Bench(
        name='small',
        contents=Contents(small=count, small_bytes=size_bytes),
        works=(
            Work(name='put', title=f'{count:,} PUTs of 4 KiB', verb='put', bucket='put', **common),
            Work(
                name='put-wide',
                title=f'{count:,} PUTs of 4 KiB, {_MANY:,} at once',
                verb='put',
                bucket='put',
                width=_MANY,
                only=S3PO,
                **common,
            ),
            Work(name='get', title=f'{count:,} GETs of 4 KiB', verb='get', bucket='small', **common),
            Work(
                name='get-wide',
                title=f'{count:,} GETs of 4 KiB, {_MANY:,} at once',
                verb='get',
                bucket='small',
                width=_MANY,
                only=S3PO,
                **common,
            ),
        ),
    )


if __name__ == '__main__':
    suite.main([bench], __doc__)
