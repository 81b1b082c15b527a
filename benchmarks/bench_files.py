"""Objects as file objects, and fsspec's file systems: `python benchmarks/bench_files.py --help`."""

from __future__ import annotations

import suite
from objects import GIB, KIB, MIB
from sink import Contents
from works import Bench, Work


def bench(options: suite.Options) -> Bench:
    """The works and the contents of their store."""
    size_bytes = options.mib * MIB if options.mib else 128 * MIB if options.quick else GIB
    size = f'{size_bytes // GIB} GiB' if size_bytes % GIB == 0 else f'{size_bytes // MIB} MiB'
    count = options.count or (2_000 if options.quick else 10_000)
    small = {'count': count, 'size_bytes': 4 * KIB}
    return Bench(
        name='files',
        rounds=2,
        contents=Contents(small=count, small_bytes=4 * KIB, large_bytes=size_bytes),
        works=(
            Work(
                name='open-read',
                title=f'{size} read through an open file, 1 MiB at a time',
                verb='read_file',
                bucket='large',
                size_bytes=size_bytes,
                width=8,
            ),
            Work(
                name='open-write',
                title=f'{size} written through an open file, 1 MiB at a time',
                verb='write_file',
                bucket='put',
                size_bytes=size_bytes,
                width=8,
            ),
            Work(name='fs-get', title=f'fs.get of {count:,} files of 4 KiB', verb='get_tree', bucket='small', **small),
            Work(name='fs-put', title=f'fs.put of {count:,} files of 4 KiB', verb='put_tree', bucket='put', **small),
        ),
    )


if __name__ == '__main__':
    suite.main([bench], __doc__)
