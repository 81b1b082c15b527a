"""A store and a dictionary that must stay equal: a state machine for hypothesis. The tests supply the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, ClassVar

import gevent
import hypothesis.strategies as st
import tenacity
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import s3po
from s3po.config import MIB
from s3po.errors import NotFound, PreconditionFailed

__all__ = ['Game']

KEYS = st.sampled_from(['a', 'b/c', 'd e', 'ü'])
SMALL = st.binary(max_size=50)
PART = 5 * MIB
# Few, since hypothesis would spend its time on making them.
LARGE = {number: bytes([number]) * (PART + number) for number in (1, 2)}
OPERATIONS = (
    'PutObject',
    'GetObject',
    'HeadObject',
    'DeleteObject',
    'CopyObject',
    'ListObjectsV2',
    'CreateMultipartUpload',
    'UploadPart',
    'CompleteMultipartUpload',
)
FAULTS = (
    {'status': 500},
    {'status': 503, 'code': 'SlowDown'},
    {'reset': True},
    {'close': True},
    {'work': True, 'reset': True},
    {'work': True, 'status': 500},
)

Values = set[bytes | None]


class Game(RuleBasedStateMachine):
    """What may be under each key: one value, or several where a transfer was cut off. None is no object.

    Attributes:
        connect: Makes a connection with these arguments.
        begin: Gives the name of an empty bucket.
        script: Has the next requests fail: takes a rule of the tests' store; None where the store takes none.
        open_uploads: The multipart uploads that are open in a bucket.
    """

    connect: ClassVar[Callable[..., s3po.Connection]]
    begin: ClassVar[Callable[[], str]]
    script: ClassVar[Callable[[dict[str, Any]], None] | None] = None
    open_uploads: ClassVar[Callable[[str], list[str]]]

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Values] = {}
        self.orphans = 0

    @initialize()
    def start(self) -> None:
        """An empty bucket, and a connection that is impatient."""
        self.bucket = type(self).begin()
        self.conn = type(self).connect(
            config=s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART),
            retry=s3po.RetryPolicy(retries=8, wait=tenacity.wait_none()),
        )

    def values(self, key: str) -> Values:
        return self.model.get(key, {None})

    @rule(key=KEYS, data=SMALL)
    def upload(self, key: str, data: bytes) -> None:
        """Overwrites as well."""
        self.conn.upload(self.bucket, key, data)
        self.model[key] = {data}

    @rule(key=KEYS, number=st.sampled_from(sorted(LARGE)))
    def upload_in_parts(self, key: str, number: int) -> None:
        """Likewise."""
        result = self.conn.upload(self.bucket, key, LARGE[number])
        self.orphans += any('may keep an incomplete upload' in warning for warning in result.warnings)
        self.model[key] = {LARGE[number]}

    @rule(key=KEYS, data=SMALL)
    def upload_once(self, key: str, data: bytes) -> None:
        """Only where there is nothing yet."""
        try:
            self.conn.upload(self.bucket, key, data, if_none_match='*')
        except PreconditionFailed:
            assert self.values(key) != {None}
            self.model[key] = self.values(key) - {None}
        else:
            assert None in self.values(key)
            self.model[key] = {data}

    @rule(key=KEYS)
    def download(self, key: str) -> None:
        """What comes is one of what may be there, and is there from now on."""
        try:
            found: Any = self.conn.download(self.bucket, key)
        except NotFound:
            found = None
        assert found in self.values(key), (key, None if found is None else hashlib.sha256(found).hexdigest())
        self.model[key] = {found}

    @rule(key=KEYS)
    def head(self, key: str) -> None:
        """The size is that of one of them."""
        try:
            size_bytes: int | None = self.conn.head(self.bucket, key).size_bytes
        except NotFound:
            size_bytes = None
        assert size_bytes in {None if value is None else len(value) for value in self.values(key)}

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        """Also what is not there."""
        self.conn.delete(self.bucket, key)
        self.model[key] = {None}

    @rule(key=KEYS, to=KEYS, is_move=st.booleans())
    def copy(self, key: str, to: str, *, is_move: bool) -> None:
        """Copies and renames."""
        if key == to:
            return
        call = self.conn.move if is_move else self.conn.copy
        try:
            call(self.bucket, key, self.bucket, to)
        except NotFound:
            assert None in self.values(key)
            self.model[key] = {None}
            return
        assert self.values(key) != {None}
        self.model[to] = self.values(key) - {None}
        self.model[key] = {None} if is_move else self.values(key) - {None}

    @rule()
    def list(self) -> None:
        """All that is there for sure, and nothing that cannot be."""
        found = {entry.key for entry in self.conn.list(self.bucket)}
        assert {key for key, values in self.model.items() if None not in values} <= found
        assert found <= {key for key, values in self.model.items() if values != {None}}

    @rule(key=KEYS, number=st.sampled_from([0, *sorted(LARGE)]), turns=st.integers(0, 40))
    def killed_upload(self, key: str, number: int, turns: int) -> None:
        """It is there, or it is not."""
        data = LARGE.get(number, b'killed')
        transfer = gevent.spawn(self.conn.upload, self.bucket, key, data)
        for _ in range(turns):
            gevent.sleep(0.0002)
        transfer.kill()
        is_done = isinstance(transfer.value, s3po.TransferResult)
        self.model[key] = {data} if is_done else self.values(key) | {data}

    @rule(key=KEYS, turns=st.integers(0, 20))
    def killed_download(self, key: str, turns: int) -> None:
        """It changes nothing, and gives what may be there, if anything."""

        def download() -> Any:
            try:
                return self.conn.download(self.bucket, key)
            except NotFound:
                return None

        transfer = gevent.spawn(download)
        for _ in range(turns):
            gevent.sleep(0.0001)
        transfer.kill()
        assert transfer.exception is None
        assert isinstance(transfer.value, gevent.GreenletExit) or transfer.value in self.values(key)

    @rule(operation=st.sampled_from(OPERATIONS), fault=st.sampled_from(FAULTS), times=st.integers(1, 2))
    def fault(self, operation: str, fault: dict[str, Any], times: int) -> None:
        """The next requests of a kind go wrong."""
        script = type(self).script
        if script is not None:
            self.orphans += operation == 'CreateMultipartUpload' and bool(fault.get('work')) and times
            script({'operation': operation, 'times': times, 'action': fault})

    @invariant()
    def nothing_is_left(self) -> None:
        """No upload is open but those whose very creation was lost."""
        if hasattr(self, 'bucket'):
            assert len(type(self).open_uploads(self.bucket)) <= self.orphans

    def teardown(self) -> None:
        """Everything is read once more."""
        if hasattr(self, 'conn'):
            for key in list(self.model):
                self.download(key)
            self.conn.close()
