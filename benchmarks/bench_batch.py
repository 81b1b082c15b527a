"""Batches: whole directories, a slow store, and many keys: `python benchmarks/bench_batch.py --help`."""

from __future__ import annotations

import suite
from objects import KIB
from sink import Contents
from works import Bench, Work

# With a delay, the rate is that of the store.
_FLOORS = frozenset({'floor/gevent', 'floor/c'})


def bench(options: suite.Options) -> Bench:
    """The works and the contents of their store."""
    count = options.count or (2_000 if options.quick else 10_000)
    delayed = min(count, 2_500)
    listed = 10_000 if options.quick else 100_000
    small = {'size_bytes': 4 * KIB}
    return Bench(
        name='batch',
        contents=Contents(small=count, small_bytes=4 * KIB, listed=listed),
        works=(
            Work(
                name='directory-up',
                title=f'A directory of {count:,} files of 4 KiB up',
                verb='put_directory',
                bucket='put',
                count=count,
                **small,
            ),
            Work(
                name='directory-down',
                title=f'{count:,} objects of 4 KiB down into a directory',
                verb='get_directory',
                bucket='small',
                count=count,
                **small,
            ),
            Work(
                name='delayed-put',
                title=f'{delayed:,} PUTs of 4 KiB, 20 ms of delay',
                verb='put',
                bucket='put',
                endpoint='delayed',
                without=_FLOORS,
                count=delayed,
                **small,
            ),
            Work(
                name='delayed-get',
                title=f'{delayed:,} GETs of 4 KiB, 20 ms of delay',
                verb='get',
                bucket='small',
                endpoint='delayed',
                without=_FLOORS,
                count=delayed,
                **small,
            ),
            Work(name='list', title=f'{listed:,} keys listed', verb='list', bucket='listed', count=listed),
            Work(name='delete', title=f'{listed:,} keys deleted', verb='delete', bucket='listed', count=listed),
        ),
    )


if __name__ == '__main__':
    suite.main([bench], __doc__)
