"""Small objects, one call each, bodies in memory and results kept: `python benchmarks/bench_small.py --help`."""

from __future__ import annotations

import suite
from objects import KIB
from sink import Contents
from works import Bench, Work


def bench(options: suite.Options) -> Bench:
    """The works, and the store that they need."""
    count = options.count or (2_000 if options.quick else 20_000)
    size_bytes = 4 * KIB
    return Bench(
        name='small',
        contents=Contents(small=count, small_bytes=size_bytes),
        works=(
            Work(name='put', title=f'{count:,} PUTs of 4 KiB', verb='put', bucket='put', count=count, size_bytes=size_bytes),
            Work(name='get', title=f'{count:,} GETs of 4 KiB', verb='get', bucket='small', count=count, size_bytes=size_bytes),
        ),
    )


if __name__ == '__main__':
    suite.main([bench], __doc__)
