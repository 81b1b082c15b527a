"""One large object, from a path and to a path, in parts: `python benchmarks/bench_large.py --help`."""

from __future__ import annotations

import suite
from objects import GIB, MIB
from peers import S3PO
from sink import Contents
from works import Bench, Work

_PARTS = '8 MiB parts, 8 wide'
# They do not sign payloads, and have no option for that.
_NEVER_SIGNS = frozenset({'awscrt', 'opendal/file'})
# The caller has to choose the sizes of ranges or parts: there are no defaults.
_NO_DEFAULT = frozenset({'obstore/ranges', 'opendal/ranges', 'opendal/file'})
# After a multipart upload of this size it looks for the object; the measuring store has only the parts.
_LOOKS_BACK = frozenset({'rclone'})


def bench(options: suite.Options) -> Bench:
    """The works and the contents of their store."""
    size_bytes = options.mib * MIB if options.mib else 128 * MIB if options.quick else GIB
    size = f'{size_bytes // GIB} GiB' if size_bytes % GIB == 0 else f'{size_bytes // MIB} MiB'

    def work(name: str, title: str, verb: str, **settings: object) -> Work:
        bucket = 'large' if verb == 'get_file' else 'put'
        return Work(name=name, title=f'{size} {title}', verb=verb, bucket=bucket, size_bytes=size_bytes, width=8, **settings)

    def default(name: str, title: str, verb: str, endpoint: str, only: str = '') -> Work:
        title = f'{title}, all defaults'
        without = _NO_DEFAULT | (_LOOKS_BACK if verb == 'put_file' else frozenset())
        return work(name, title, verb, endpoint=endpoint, part_bytes=None, without=without, only=only)

    return Bench(
        name='large',
        rounds=2,
        contents=Contents(large_bytes=size_bytes),
        works=(
            work('large-down', f'down, {_PARTS}', 'get_file'),
            work('large-up', f'up, {_PARTS}, payload unsigned', 'put_file', payload='unsigned'),
            work('large-up-signed', f'up, {_PARTS}, payload signed', 'put_file', payload='signed', without=_NEVER_SIGNS),
            work('large-down-tls', f'down over TLS, {_PARTS}', 'get_file', endpoint='https'),
            work('large-up-tls', f'up over TLS, {_PARTS}, payload unsigned', 'put_file', endpoint='https', payload='unsigned'),
            default('default-down', 'down', 'get_file', 'http'),
            default('default-up', 'up', 'put_file', 'http'),
            default('default-down-tls', 'down over TLS', 'get_file', 'https', S3PO),
            default('default-up-tls', 'up over TLS', 'put_file', 'https', S3PO),
        ),
    )


if __name__ == '__main__':
    suite.main([bench], __doc__)
