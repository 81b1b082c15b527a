"""The record of a job: one JSON object, which is one line of a file.

Failed jobs, receipts, reports and lists of jobs to run are files of such lines. Some fields describe the call; a person or a
program may write them. The others are the report of s3po, and are ignored when the job is submitted again.

    v           the version of the form: 1
    op          the method of Connection: 'upload_file', 'download', 'copy', …
    endpoint    the URL of the store; none for AWS, and in records of any store
    bucket      the bucket
    key         the key; of a listing the prefix, and '' for other operations on a bucket
    version_id  the version of the object; none for the current one
    path        the absolute path of the source or target; none for data in memory
    to          the destination of a copy or move: endpoint, bucket, key
    opts        the other arguments
    lost        the names of arguments that are not kept: data in memory, open files, secrets
    uid         the submitter's id of the job
    batch       the submitter's id of a group of jobs

    state       'failed', 'cancelled', 'not_started', 'skipped' or 'done'
    result      what the store confirmed: size_bytes, etag, version_id, checksum, …
    error       why the job failed: class, message, fields, cause

Fields without a value are left out. Secrets are never in a record: arguments that contain keys are lost, and user names and
passwords in URLs are removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from s3po.errors import JobError
from s3po.jobs.call import Call
from s3po.jobs.durable import plain_endpoint
from s3po.jobs.failures import error_from_json, error_to_json

__all__ = ['CALL_FIELDS', 'REPORT_FIELDS', 'JobRecord', 'plain_endpoint']

VERSION: Final = 1
CALL_FIELDS: Final = (
    'v',
    'op',
    'endpoint',
    'bucket',
    'key',
    'version_id',
    'path',
    'to',
    'opts',
    'lost',
    'uid',
    'batch',
)
REPORT_FIELDS: Final = ('state', 'result', 'error')
_FIELDS: Final = frozenset(CALL_FIELDS + REPORT_FIELDS)
# The option that is the local path of an operation.
_PLACE_OF: Final[Mapping[str, str]] = {'upload': 'source', 'upload_file': 'path', 'download': 'target', 'download_file': 'path'}
_HAS_DESTINATION: Final = frozenset({'copy', 'move'})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job, and how it ended.

    Attributes:
        call: The call. Arguments that are not durable are LOST.
        endpoint: The URL of the store; None for AWS, or for any.
        to_endpoint: The URL of the store of a copy's destination; None for the same store.
        uid: The submitter's id of the job; None for none.
        batch: The submitter's id of a group of jobs; None for none.
        is_silent: Whether a failure raises nothing.
        state: 'failed', 'cancelled', 'not_started', 'skipped' or 'done'; None for a job that was not run.
        result: What the store confirmed, as JSON values; None for none.
        error: Why the job failed; None for none.
    """

    call: Call
    endpoint: str | None = None
    to_endpoint: str | None = None
    uid: str | None = None
    batch: str | None = None
    is_silent: bool = False
    state: str | None = None
    result: Mapping[str, Any] | None = None
    error: BaseException | None = None

    def to_json(self) -> dict[str, Any]:
        """The record in JSON values."""
        said = self.call.to_json()
        opts = said['options']
        place = opts.pop(_PLACE_OF.get(self.call.operation), None)
        to = {name: opts.pop(f'to_{name}') for name in ('bucket', 'key') if f'to_{name}' in opts}
        lost = said['lost']
        to_endpoint = plain_endpoint(self.to_endpoint)
        if 'to' in opts:
            to_endpoint = opts.pop('to')['endpoint'] or to_endpoint
            if to_endpoint is None:
                # AWS has no endpoint; without this the copy would stay within the store.
                lost = [*lost, 'to']
        fields = {
            'v': VERSION,
            'op': said['operation'],
            'endpoint': plain_endpoint(self.endpoint),
            'bucket': said['bucket'],
            'key': said['key'],
            'version_id': said['version_id'],
            'path': None if place is None else place['path'],
            'to': ({'endpoint': to_endpoint} if to_endpoint else {}) | to or None,
            'opts': opts | ({'silent': True} if self.is_silent else {}) or None,
            'lost': lost or None,
            'uid': self.uid,
            'batch': self.batch,
            'state': self.state,
            'result': None if self.result is None else dict(self.result),
            'error': None if self.error is None else error_to_json(self.error),
        }
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def from_json(cls, said: Any) -> JobRecord:
        """The inverse of to_json(). Reads the files of failed jobs of s3po before 1.0 too.

        Raises:
            JobError: The value is not a record, or of a newer version.
        """
        if not isinstance(said, Mapping):
            raise JobError(f'not a record of a job, but {type(said).__name__}')
        if 'op' not in said and 'operation' in said:
            return _of_first_form(said)
        _check_fields(said)
        options = dict(said.get('opts') or {})
        is_silent = bool(options.pop('silent', False))
        to = said.get('to') or {}
        options |= {f'to_{name}': to[name] for name in ('bucket', 'key') if name in to}
        if said.get('path') is not None:
            options[_place_of(said['op'])] = {'path': said['path']}
        call = Call.from_json(
            {
                'operation': said['op'],
                'bucket': said.get('bucket'),
                'key': said.get('key') or '',
                'version_id': said.get('version_id'),
                'options': options,
                # The connection of the other store is not in a record.
                'lost': [*(said.get('lost') or ()), *(['to'] if to.get('endpoint') is not None else [])],
            }
        )
        error = said.get('error')
        return cls(
            call=call,
            endpoint=plain_endpoint(said.get('endpoint')),
            to_endpoint=plain_endpoint(to.get('endpoint')),
            uid=said.get('uid'),
            batch=said.get('batch'),
            is_silent=is_silent,
            state=said.get('state'),
            result=said.get('result'),
            error=None if error is None else error_from_json(error),
        )


def _place_of(operation: Any) -> str:
    try:
        return _PLACE_OF[operation]
    except (KeyError, TypeError):
        raise JobError(f'{operation} has no path; uploads and downloads have one') from None


def _check_fields(said: Mapping[str, Any]) -> None:
    """Check the version, the names of the fields, and their types (but those of the call, which Call checks)."""
    version = said.get('v', VERSION)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise JobError(f'v must be a whole number from 1, not {version!r}')
    if version > VERSION:
        raise JobError(f'the record has version {version}, and this s3po reads versions up to {VERSION}; use a newer s3po')
    if 'op' not in said:
        raise JobError('op is missing: the method of Connection, such as "upload_file"')
    if unknown := said.keys() - _FIELDS:
        raise JobError(f'there is no field {min(unknown)!r}; the fields are {", ".join(CALL_FIELDS + REPORT_FIELDS)}')
    for names, kind, kind_name in (
        (('endpoint', 'path', 'uid', 'batch', 'state'), str, 'text'),
        (('to', 'opts', 'result', 'error'), Mapping, 'an object'),
        (('lost',), list, 'a list'),
    ):
        for name in names:
            value = said.get(name)
            if value is not None and not isinstance(value, kind):
                raise JobError(f'{name} must be {kind_name}, not {value!r}')
    endpoint = (said.get('to') or {}).get('endpoint')
    if endpoint is not None and not isinstance(endpoint, str):
        raise JobError(f'endpoint of "to" must be text, not {endpoint!r}')


def _of_first_form(said: Mapping[str, Any]) -> JobRecord:
    """A line of a file of failed jobs that s3po wrote before this form existed."""
    call = Call.from_json(said)
    try:
        is_cancelled = bool(said.get('cancelled'))
        return JobRecord(
            call=call,
            is_silent=bool(said['silent']),
            state='cancelled' if is_cancelled else 'failed',
            error=error_from_json(said['error']),
        )
    except KeyError as error:
        raise JobError(f'not a valid failed job: {error!r}') from error
