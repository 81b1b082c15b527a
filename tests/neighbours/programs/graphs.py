"""dask: `graphs threads` and `graphs processes`."""

from tests.neighbours.programs.shared import BUCKET, import_s3po, storage_options, transfer

import_s3po('first')

import sys

import dask
import dask.bag

import_s3po('second')

COUNT = 6


def main(scheduler):
    tasks = [dask.delayed(pow)(number, 2) for number in range(COUNT)]
    assert sum(dask.compute(*tasks, scheduler=scheduler)) == 55
    names = [f'{scheduler}/{number}' for number in range(COUNT)]
    assert list(dask.compute(*map(dask.delayed(transfer), names), scheduler=scheduler)) == names
    transfer('parent', is_large=True)
    lines = dask.bag.read_text(f's3po://{BUCKET}/parent/*', storage_options=storage_options())
    assert lines.count().compute(scheduler=scheduler) == 6000


if __name__ == '__main__':
    main(sys.argv[1])
    print('done', flush=True)
