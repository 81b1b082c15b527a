"""zarr and xarray over `s3po://`: `arrays zarr` and `arrays xarray`."""

from tests.neighbours.programs.shared import BUCKET, import_s3po, storage_options, transfer

import_s3po('first')

import sys

import numpy
import xarray
import zarr

import_s3po('second')

DATA = numpy.arange(60_000, dtype='int32').reshape(200, 300)


def use_zarr():
    group = zarr.create_group('memory://local')
    group.create_array('numbers', data=DATA)
    assert (group['numbers'][:] == DATA).all()
    address = f's3po://{BUCKET}/zarr'
    group = zarr.open_group(address, mode='w', storage_options=storage_options())
    group.create_array('numbers', data=DATA, chunks=(50, 100))
    group['numbers'][:10] = 7
    transfer('between', is_large=True)
    again = zarr.open_group(address, mode='r', storage_options=storage_options())
    assert (again['numbers'][10:] == DATA[10:]).all()
    assert (again['numbers'][:10] == 7).all()


def use_xarray():
    rows = xarray.DataArray(DATA, dims=('row', 'column'), name='numbers')
    assert int(rows.sum()) == DATA.sum()
    rows.to_dataset().to_zarr('memory://rows', consolidated=False)
    address = f's3po://{BUCKET}/xarray'
    rows.chunk({'row': 50}).to_dataset().to_zarr(address, storage_options=storage_options(), consolidated=False)
    transfer('between', is_large=True)
    with xarray.open_zarr(address, storage_options=storage_options(), consolidated=False) as found:
        # Chunks are read by dask's threads.
        assert (found['numbers'].mean('row').values == DATA.mean(0)).all()


if __name__ == '__main__':
    globals()[f'use_{sys.argv[1]}']()
    print('done', flush=True)
