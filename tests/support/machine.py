"""A state machine for hypothesis that compares a store with a dictionary. The tests supply the store."""

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
# Few, since hypothesis would spend its time on generating them.
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
    """The possible values of each key: one value, or several after an interrupted transfer. None means that there is no object.

    Attributes:
        connect: Makes a connection with these arguments.
        begin: Returns the name of an empty bucket.
        script: Makes the next requests fail; accepts a rule of the tests' store. None if the store has no rules.
        open_uploads: Returns the open multipart uploads of a bucket.
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
        """Start with an empty bucket and a connection without waits."""
        self.bucket = type(self).begin()
        self.conn = type(self).connect(
            config=s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART),
            retry=s3po.RetryPolicy(retries=8, wait=tenacity.wait_none()),
        )

    def values(self, key: str) -> Values:
        return self.model.get(key, {None})

    @rule(key=KEYS, data=SMALL)
    def upload(self, key: str, data: bytes) -> None:
        """Upload an object, which may replace another one."""
        self.conn.upload(self.bucket, key, data)
        self.model[key] = {data}

    @rule(key=KEYS, number=st.sampled_from(sorted(LARGE)))
    def upload_in_parts(self, key: str, number: int) -> None:
        """Upload an object in parts."""
        result = self.conn.upload(self.bucket, key, LARGE[number])
        self.orphans += any('may keep an incomplete upload' in warning for warning in result.warnings)
        self.model[key] = {LARGE[number]}

    @rule(key=KEYS, data=SMALL)
    def upload_once(self, key: str, data: bytes) -> None:
        """Upload an object if there is none."""
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
        """A download returns one of the possible values, which is then the only possible one."""
        try:
            found: Any = self.conn.download(self.bucket, key)
        except NotFound:
            found = None
        assert found in self.values(key), (key, None if found is None else hashlib.sha256(found).hexdigest())
        self.model[key] = {found}

    @rule(key=KEYS)
    def head(self, key: str) -> None:
        """The size is that of a possible value."""
        try:
            size_bytes: int | None = self.conn.head(self.bucket, key).size_bytes
        except NotFound:
            size_bytes = None
        assert size_bytes in {None if value is None else len(value) for value in self.values(key)}

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        """Delete an object, which may be missing."""
        self.conn.delete(self.bucket, key)
        self.model[key] = {None}

    @rule(key=KEYS, to=KEYS, is_move=st.booleans())
    def copy(self, key: str, to: str, *, is_move: bool) -> None:
        """Copy or move an object."""
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
        """A listing contains all keys that must exist, and none that cannot exist."""
        found = {entry.key for entry in self.conn.list(self.bucket)}
        assert {key for key, values in self.model.items() if None not in values} <= found
        assert found <= {key for key, values in self.model.items() if values != {None}}

    @rule(key=KEYS, number=st.sampled_from([0, *sorted(LARGE)]), turns=st.integers(0, 40))
    def killed_upload(self, key: str, number: int, turns: int) -> None:
        """A killed upload has stored the object or not."""
        data = LARGE.get(number, b'killed')
        transfer = gevent.spawn(self.conn.upload, self.bucket, key, data)
        for _ in range(turns):
            gevent.sleep(0.0002)
        transfer.kill()
        is_done = isinstance(transfer.value, s3po.TransferResult)
        self.model[key] = {data} if is_done else self.values(key) | {data}

    @rule(key=KEYS, turns=st.integers(0, 20))
    def killed_download(self, key: str, turns: int) -> None:
        """A killed download changes nothing, and returns a possible value or nothing."""

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
        """Make the next requests of one operation fail."""
        script = type(self).script
        if script is not None:
            self.orphans += operation == 'CreateMultipartUpload' and bool(fault.get('work')) and times
            script({'operation': operation, 'times': times, 'action': fault})

    @invariant()
    def nothing_is_left(self) -> None:
        """No upload is open except those whose CreateMultipartUpload had no response."""
        if hasattr(self, 'bucket'):
            assert len(type(self).open_uploads(self.bucket)) <= self.orphans

    def teardown(self) -> None:
        """Read everything once more."""
        if hasattr(self, 'conn'):
            for key in list(self.model):
                self.download(key)
            self.conn.close()
