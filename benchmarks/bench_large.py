"""One large object, path to path, in parts: `python benchmarks/bench_large.py --help`."""

from __future__ import annotations

import suite
from objects import GIB, MIB
from sink import Contents
from works import Bench, Work

_PARTS = '8 MiB parts, 8 wide'
# It signs no payload of several parts, and has no switch for it.
_NEVER_SIGNS = frozenset({'awscrt'})
# Its caller has to choose the ranges: there is no default.
_NO_DEFAULT = frozenset({'obstore/ranges'})


def bench(options: suite.Options) -> Bench:
    """The works, and the store that they need."""
    size_bytes = options.mib * MIB if options.mib else 128 * MIB if options.quick else GIB
    size = f'{size_bytes // GIB} GiB' if size_bytes % GIB == 0 else f'{size_bytes // MIB} MiB'

    def work(name: str, title: str, verb: str, **settings: object) -> Work:
        bucket = 'large' if verb == 'get_file' else 'put'
        return Work(name=name, title=f'{size} {title}', verb=verb, bucket=bucket, size_bytes=size_bytes, width=8, **settings)

    def default(name: str, title: str, verb: str, endpoint: str) -> Work:
        return work(name, f'{title}, all defaults', verb, endpoint=endpoint, part_bytes=None, without=_NO_DEFAULT)

    return Bench(
        name='large',
        contents=Contents(large_bytes=size_bytes),
        works=(
            work('large-down', f'down, {_PARTS}', 'get_file'),
            work('large-up', f'up, {_PARTS}, payload unsigned', 'put_file', payload='unsigned'),
            work('large-up-signed', f'up, {_PARTS}, payload signed', 'put_file', payload='signed', without=_NEVER_SIGNS),
            work('large-down-tls', f'down over TLS, {_PARTS}', 'get_file', endpoint='https'),
            work('large-up-tls', f'up over TLS, {_PARTS}, payload unsigned', 'put_file', endpoint='https', payload='unsigned'),
            default('default-down', 'down', 'get_file', 'http'),
            default('default-up', 'up', 'put_file', 'http'),
            default('default-down-tls', 'down over TLS', 'get_file', 'https'),
            default('default-up-tls', 'up over TLS', 'put_file', 'https'),
        ),
    )


if __name__ == '__main__':
    suite.main([bench], __doc__)
