"""All benchmarks, one after the other, with one table of results: `python benchmarks --help`."""

from __future__ import annotations

import bench_batch
import bench_files
import bench_large
import bench_small
import suite

if __name__ == '__main__':
    suite.main([bench_small.bench, bench_batch.bench, bench_large.bench, bench_files.bench], __doc__)
