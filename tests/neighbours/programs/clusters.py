"""distributed: `clusters threads`, with workers in this process, and `clusters processes`."""

from tests.neighbours.programs.shared import import_s3po, transfer

import_s3po('first')

import sys

import distributed

import_s3po('second')

COUNT = 6


def main(kind):
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=kind == 'processes',
            protocol='tcp',
            host='127.0.0.1',
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert client.gather(client.map(abs, range(-COUNT, 0))) == list(range(COUNT, 0, -1))
        names = [f'worker/{number}' for number in range(COUNT)]
        assert client.gather(client.map(transfer, names, pure=False)) == names
        transfer('parent', is_large=True)
        assert client.submit(transfer, 'again').result() == 'again'


if __name__ == '__main__':
    main(sys.argv[1])
    print('done', flush=True)
