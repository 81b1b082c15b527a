"""The clients that are measured: which there are, and what each can do.

What may live here: the table, without importing any of the libraries. A module of this package has one class for each way
of using its library; `once.py` calls its constructor with the job, then `warm_up`, then the method that the job names:

- `put`, `get`: small objects between memory and the store; returns the results, or the bodies
- `put_directory`, `get_directory`: the files of a directory
- `put_file`, `get_file`: one large object, path to path
- `read_file`, `write_file`: one large object as a file object, by reads and writes of 1 MiB; `read_file` returns 1 if all came
- `put_tree`, `get_tree`: lists of files, by fsspec's put() and get()
- `list`, `delete`: very many keys; returns how many
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_SMALL = ('put', 'get')
_DIRECTORIES = ('put_directory', 'get_directory')
_FILES = ('put_file', 'get_file')
_KEYS = ('list', 'delete')
_OPENED = ('read_file', 'write_file')
_TREES = ('put_tree', 'get_tree')


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A client, used in one way.

    Attributes:
        name: The library, and after a slash the way it is used.
        target: Module and class.
        verbs: What it can do.
        share: Which part of the objects it is given, where there are many: a client whose rate is a tenth takes a tenth.
    """

    name: str
    target: str
    verbs: tuple[str, ...]
    share: float = 1.0

    @property
    def library(self) -> str:
        """The distribution's name, which is also the module's or the program's."""
        return self.name.partition('/')[0]

    def version(self) -> str | None:
        """The installed version, or None."""
        if self.library == 's5cmd':
            return _program_version(s5cmd_path())
        try:
            return importlib.metadata.version(self.library)
        except importlib.metadata.PackageNotFoundError:
            return None


def s5cmd_path() -> str | None:
    """The program that belongs to this Python, or the one on the PATH."""
    return shutil.which('s5cmd', path=str(Path(sys.executable).parent)) or shutil.which('s5cmd')


def _program_version(path: str | None) -> str | None:
    if path is None:
        return None
    said = subprocess.run([path, 'version'], capture_output=True, text=True, check=False).stdout
    return said.strip().partition('-')[0].removeprefix('v') or None


S3PO = 's3po'

PEERS = (
    Peer(name=S3PO, target='peers.s3po_client:S3po', verbs=_SMALL + _DIRECTORIES + _FILES + _OPENED + _TREES + _KEYS),
    Peer(name='obstore/threads', target='peers.obstore_client:Threads', verbs=_SMALL + _DIRECTORIES + _KEYS),
    Peer(name='obstore/bare-threads', target='peers.obstore_client:BareThreads', verbs=_SMALL),
    Peer(name='obstore/async', target='peers.obstore_client:Async', verbs=_SMALL),
    Peer(name='obstore/stream', target='peers.obstore_client:Stream', verbs=_FILES),
    Peer(name='obstore/ranges', target='peers.obstore_client:Ranges', verbs=('get_file',)),
    Peer(name='s5cmd', target='peers.s5cmd_client:S5cmd', verbs=_DIRECTORIES + _FILES),
    Peer(name='awscrt', target='peers.awscrt_client:Crt', verbs=_SMALL + _DIRECTORIES + _FILES),
    Peer(name='boto3/gevent', target='peers.boto3_gevent:Gevent', verbs=_SMALL, share=0.2),
    Peer(name='boto3/threads', target='peers.boto3_client:Threads', verbs=_SMALL + _DIRECTORIES + _FILES + _KEYS, share=0.2),
    Peer(name='aiobotocore', target='peers.aiobotocore_client:Aiobotocore', verbs=(*_SMALL, 'list'), share=0.2),
    Peer(name='s3fs', target='peers.s3fs_client:S3fs', verbs=_DIRECTORIES + _FILES + _OPENED + _TREES, share=0.2),
    Peer(name='smart_open', target='peers.smart_open_client:SmartOpen', verbs=_OPENED),
    Peer(name='minio', target='peers.minio_client:Minio', verbs=_SMALL + _DIRECTORIES + _FILES + _KEYS, share=0.2),
)
