"""The measuring server: nginx with S3's responses, which stores objects in memory. It takes less time than the clients.

It has one worker, path style, on 127.0.0.1: over HTTP, over TLS, and over HTTP with a delay. It checks no signatures. Its files
are in a directory of its own on a memory file system. It ends with the process that started it. In Python:

    with Sink(Contents(small=20_000)) as sink:
        client = boto3.client('s3', endpoint_url=sink.http, …)

and on the command line, until Ctrl-C:

    python benchmarks/sink.py --small 1000 --large-mib 64
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import objects

_TEMPLATES = Path(__file__).parent / 'nginx'
_PACKAGES = ('nginx', 'libnginx-mod-http-lua', 'openssl')
_MODULES = Path('/usr/lib/nginx/modules')
NGINX = '/usr/sbin/nginx'
# Decides whether the installation of a package starts its service (Debian's invoke-rc.d(8)).
_POLICY = Path('/usr/sbin/policy-rc.d')
_START_TIMEOUT_S = 10
_STOP_TIMEOUT_S = 10


class SinkError(Exception):
    """The server cannot be started; the message has the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The initial contents of the store.

    Attributes:
        small: The number of objects in the bucket `small`.
        small_bytes: The size (bytes) of each of them.
        large_bytes: The size (bytes) of `large/object`; 0 for none.
        listed: The number of keys in the listing of the bucket `listed`.
    """

    small: int = 0
    small_bytes: int = 4 * objects.KIB
    large_bytes: int = 0
    listed: int = 0


class Sink:
    """The server, for the duration of a `with`.

    Attributes:
        http: The endpoint over HTTP.
        https: The endpoint over TLS; `ca` is the authority to trust.
        delayed: The endpoint over HTTP that waits for `delay_s` before each response.
        directory: The directory with all files of the server; `large` in it is the file of the large object.
    """

    def __init__(self, contents: Contents, *, parent: str = '/dev/shm', delay_s: float = 0.02) -> None:
        """Stores the arguments; `with` starts the server.

        Args:
            contents: The initial contents.
            parent: The parent of the directory; a memory file system, because otherwise the disk would be measured.
            delay_s: The delay of the delayed endpoint, in seconds.
        """
        self.delay_s = delay_s
        self._contents = contents
        self._parent = parent
        self._nginx: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        install()
        self._check_room()
        self.directory = Path(tempfile.mkdtemp(prefix='s3po-sink-', dir=self._parent))
        try:
            self._make()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._nginx:
            self._nginx.terminate()
            try:
                self._nginx.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._nginx.kill()
                self._nginx.wait()
            self._nginx = None
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def ca(self) -> Path:
        """The certificate of the authority that signed the TLS endpoint's certificate."""
        return self.directory / 'ca.crt'

    @property
    def ballast(self) -> Path:
        """A file that occupies memory until a measurement begins (see `fill_ballast`)."""
        return self.directory / 'ballast'

    def fill_ballast(self, size_bytes: int) -> None:
        """Writes a file of this size, which is removed just before the measurement, so that the memory is free then.

        A virtual machine may return free memory to its host. The first write to a page gets it back, which takes four times as
        long as everything else that a download does with the page. The ballast gets the memory back before the measurement.
        """
        block = bytes(objects.MIB)
        with self.ballast.open('wb', buffering=0) as file:
            for _ in range(-(-size_bytes // objects.MIB)):
                file.write(block)

    @property
    def large(self) -> Path:
        """The file of `large/object`."""
        return self.directory / 'large'

    def stored(self, bucket: str) -> tuple[int, int]:
        """The number of files in the bucket, which includes parts, and the number of their bytes."""
        files = [path for path in (self.directory / 'store' / bucket).rglob('*') if path.is_file()]
        return len(files), sum(path.stat().st_size for path in files)

    def clear(self, bucket: str) -> None:
        """Removes all objects of the bucket."""
        shutil.rmtree(self.directory / 'store' / bucket, ignore_errors=True)

    def _check_room(self) -> None:
        """Raises SinkError if the store, the uploads and the downloads do not fit on the file system together."""
        contents = self._contents
        needed = 4 * (contents.large_bytes + contents.small * contents.small_bytes)
        if not os.path.isdir(self._parent) or shutil.disk_usage(self._parent).free < needed:
            raise SinkError(
                f'{self._parent} has no room for {needed / objects.MIB:,.0f} MiB; name another directory with --dir'
            )

    def _make(self) -> None:
        contents, store, pages = self._contents, self.directory / 'store', self.directory / 'pages'
        self.directory.chmod(0o755)
        for directory in (store, pages, self.directory / 'incoming'):
            directory.mkdir()
        checksum = ''
        if contents.large_bytes:
            checksum = objects.write_large(self.large, contents.large_bytes)
            (store / 'large').mkdir()
            (store / 'large' / objects.LARGE_KEY).hardlink_to(self.large)
        if contents.small:
            objects.write_small(store / 'small', contents.small, contents.small_bytes)
            objects.write_pages(pages, 'small', contents.small, contents.small_bytes)
        if contents.listed:
            objects.write_pages(pages, 'listed', contents.listed, contents.small_bytes)
        self._make_certificate()
        self._write_conf(checksum)

    def _make_certificate(self) -> None:
        """Makes an authority and a certificate signed by it: some clients do not trust a self-signed certificate."""
        make = 'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30'
        authority, ca_key = str(self.ca), str(self.directory / 'ca.key')
        _run(
            *make.split(),
            *('-subj', '/CN=s3po benchmarks', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'),
            *('-keyout', ca_key, '-out', authority),
        )
        _run(
            *make.split(),
            *('-subj', '/CN=127.0.0.1', '-CA', authority, '-CAkey', ca_key),
            *('-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-addext', 'basicConstraints=critical,CA:FALSE'),
            *('-keyout', str(self.directory / 'tls.key'), '-out', str(self.directory / 'tls.crt')),
        )

    def _write_conf(self, checksum: str) -> None:
        http, https, delayed, status = _free_ports(4)
        self.http = f'http://127.0.0.1:{http}'
        self.https = f'https://127.0.0.1:{https}'
        self.delayed = f'http://127.0.0.1:{delayed}'
        self.status = ('127.0.0.1', status)
        values = {
            'DIR': self.directory,
            'MODULES': _MODULES,
            'USER': 'user root;' if os.getuid() == 0 else '',
            'CHECKSUM': checksum,
            'DELAY_S': self.delay_s,
            'HTTP': http,
            'HTTPS': https,
            'DELAYED': delayed,
            'STATUS': status,
        }
        for template in _TEMPLATES.iterdir():
            text = template.read_text()
            for name, value in values.items():
                text = text.replace(f'@{name}@', str(value))
            (self.directory / template.name).write_text(text)

    def _start(self) -> None:
        # A new session, so that Ctrl-C in the terminal does not stop the server before the measurement ends.
        with (self.directory / 'nginx.out').open('wb') as out:
            self._nginx = subprocess.Popen(
                [NGINX, '-p', str(self.directory), '-c', str(self.directory / 'nginx.conf')],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _answers(self.status):
            if self._nginx.poll() is not None or time.monotonic() > deadline:
                said = (self.directory / 'nginx.out').read_text() + _text(self.directory / 'error.log')
                raise SinkError(f'nginx did not start: {said}')
            time.sleep(0.02)


def install() -> None:
    """Installs missing Debian packages, which needs root, without starting nginx as a service.

    Raises:
        SinkError: Packages are missing and cannot be installed.
    """
    if os.path.exists(NGINX) and (_MODULES / 'ngx_http_lua_module.so').exists() and shutil.which('openssl'):
        return
    if os.getuid() != 0 or not shutil.which('apt-get'):
        raise SinkError(f'the measuring server needs the Debian packages {", ".join(_PACKAGES)}; only root can install them')
    with _no_services():
        _run('apt-get', '-o', 'DPkg::Lock::Timeout=600', 'update', check=False)  # the present lists may be sufficient
        _run('apt-get', '-o', 'DPkg::Lock::Timeout=600', 'install', '-y', '--no-install-recommends', *_PACKAGES)


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text('#!/bin/sh\nexit 101\n')
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _run(*command: str, check: bool = True) -> None:
    environment = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if check and done.returncode:
        raise SinkError(f'{command[0]} failed: {done.stderr.strip()[-2000:]}')


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(('127.0.0.1', 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def _answers(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=1):
            return True
    except OSError:
        return False


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ''


def main() -> None:
    """Runs the server until Ctrl-C and prints its endpoints."""
    parser = argparse.ArgumentParser(description='The measuring server, until Ctrl-C.')
    parser.add_argument('--small', type=int, default=1000, metavar='N', help='objects in the bucket `small`')
    parser.add_argument('--small-bytes', type=int, default=4 * objects.KIB, metavar='BYTES', help='the size of each')
    parser.add_argument('--large-mib', type=int, default=64, metavar='MIB', help='the size of large/object')
    parser.add_argument('--listed', type=int, default=100_000, metavar='N', help='keys in the listing of `listed`')
    parser.add_argument('--delay', type=float, default=0.02, metavar='S', help='seconds that the third endpoint waits')
    parser.add_argument('--dir', default='/dev/shm', help='a memory file system to work in')
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    contents = Contents(
        small=options.small,
        small_bytes=options.small_bytes,
        large_bytes=options.large_mib * objects.MIB,
        listed=options.listed,
    )
    with contextlib.suppress(KeyboardInterrupt), Sink(contents, parent=options.dir, delay_s=options.delay) as sink:
        print(f'{sink.http}\n{sink.https}  (trust {sink.ca})\n{sink.delayed}  (waits {sink.delay_s} s)', flush=True)
        while True:
            time.sleep(3600)


if __name__ == '__main__':
    main()
