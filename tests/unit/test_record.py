"""All files of jobs have one form, whose fields are either of the call or of the report; failed jobs of s3po 0 still load."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from s3po.errors import JobError, NotFound, S3poError, UploadError
from s3po.jobs import LOST, Call, JobRecord
from s3po.jobs.record import CALL_FIELDS, REPORT_FIELDS, plain_endpoint
from s3po.model import BucketRef, ObjectRef

REF = ObjectRef(bucket='bucket', key='key', version_id='1')


def record(operation: str = 'upload_file', **options: Any) -> JobRecord:
    return JobRecord(call=Call(operation, REF, options))


def round_trip(one: JobRecord) -> JobRecord:
    return JobRecord.from_json(json.loads(json.dumps(one.to_json())))


def test_all_fields() -> None:
    """A record has the fields of the schema, in this order; those without a value are left out."""
    one = JobRecord(
        call=Call(
            'copy', REF, {'to_bucket': 'other', 'to_key': 'new', 'metadata': {'a': '1'}, 'extra': {'SSECustomerKey': 'x'}}
        ),
        endpoint='https://user:secret@s3.test/',
        to_endpoint='https://s3.other.test',
        uid='7',
        batch='night',
        state='failed',
        result={'etag': 'e'},
        error=UploadError('reset', bucket='bucket', key='key', attempts=4),
    )

    said = one.to_json()

    assert list(said) == [name for name in CALL_FIELDS + REPORT_FIELDS if name != 'path']
    assert said['to'] == {'endpoint': 'https://s3.other.test', 'bucket': 'other', 'key': 'new'}
    assert said['opts'] == {'metadata': {'a': '1'}}
    assert said['lost'] == ['extra']
    assert 'secret' not in json.dumps(said)
    assert list(record('head').to_json()) == ['v', 'op', 'bucket', 'key', 'version_id']


@pytest.mark.parametrize(
    ('operation', 'options'),
    [
        ('upload', {'source': pathlib.Path('/a/b')}),
        ('upload_file', {'path': pathlib.Path('/a/b'), 'retries': 2}),
        ('download', {'target': pathlib.Path('/a/b'), 'byte_range': (1, None)}),
        ('download', {'target': '/a/b/'}),
        ('download', {}),
        ('download_file', {'path': pathlib.Path('/a/caf\udce9')}),
        ('copy', {'to_bucket': 'other', 'to_key': 'caf\u00e9'}),
        ('move', {'to_bucket': 'other', 'to_key': 'new', 'if_match': 'e'}),
        ('delete', {'missing_ok': False}),
    ],
)
def test_comes_back(operation: str, options: dict[str, Any]) -> None:
    """The call is restored, and the report too."""
    one = JobRecord(call=Call(operation, REF, options), uid='1', batch='b', is_silent=True, state='done', result={'parts': 1})

    assert round_trip(one) == one


def test_what_is_lost() -> None:
    """Data in memory are lost, and the restored call says so."""
    found = round_trip(record('upload', source=b'data'))

    assert found.call.options == {'source': LOST}


def test_written_by_hand() -> None:
    """A person needs to write only the fields of the call."""
    found = JobRecord.from_json({'op': 'upload_file', 'bucket': 'bucket', 'key': 'key', 'path': '/a', 'opts': {'silent': True}})
    listing = JobRecord.from_json({'op': 'list', 'bucket': 'bucket'})

    assert found.call == Call('upload_file', ObjectRef(bucket='bucket', key='key'), {'path': pathlib.Path('/a')})
    assert (found.is_silent, found.state, found.error) == (True, None, None)
    assert listing.call.ref == BucketRef(bucket='bucket')


@pytest.mark.parametrize(
    ('said', 'text'),
    [
        ([], 'not a record of a job, but list'),
        ({}, 'op is missing'),
        ({'op': 'head', 'v': 2}, 'version 2, and this s3po reads versions up to 1'),
        ({'op': 'head', 'v': 'x'}, "v must be a whole number from 1, not 'x'"),
        ({'op': 'head', 'opt': {}}, "there is no field 'opt'; the fields are v, op, endpoint"),
        ({'op': 'head', 'opts': 7}, 'opts must be an object, not 7'),
        ({'op': 'head', 'endpoint': 7}, 'endpoint must be text, not 7'),
        ({'op': 'copy', 'to': {'endpoint': 7}}, 'endpoint of "to" must be text'),
        ({'op': 'head', 'lost': 7}, 'lost must be a list'),
        ({'op': 'head', 'path': '/a'}, 'head has no path'),
        ({'op': ['head'], 'path': '/a'}, 'has no path'),
        ({'op': 'remove', 'bucket': 'b', 'key': 'k'}, "there is no operation 'remove'"),
        ({'op': 'head', 'bucket': 'bucket', 'key': 'k', 'error': {}}, 'not a valid error of a job'),
        (
            {'op': 'head', 'bucket': 'bucket', 'key': 'k', 'error': {'class': 1, 'message': '', 'fields': {}}},
            'not a valid error',
        ),
    ],
)
def test_something_else(said: Any, text: str) -> None:
    """A value that is no record is refused, with the field and the fix."""
    with pytest.raises(JobError, match=text):
        JobRecord.from_json(said)


def test_first_form() -> None:
    """Lines that s3po wrote before this form load."""
    said = {
        'operation': 'upload_file',
        'bucket': 'bucket',
        'key': 'key',
        'version_id': None,
        'options': {'path': {'path': '/a'}},
        'lost': ['extra'],
        'silent': True,
        'cancelled': False,
        'error': {
            'class': 'NotFound',
            'message': 'gone',
            'fields': {'status': 404},
            'cause': {'class': 'ValueError', 'message': '', 'fields': {}},
        },
    }

    found = JobRecord.from_json(said)

    assert found.call.options == {'path': pathlib.Path('/a'), 'extra': LOST}
    assert (found.is_silent, found.state) == (True, 'failed')
    assert isinstance(found.error, NotFound)
    assert type(found.error.__cause__) is S3poError
    assert round_trip(found).to_json() == found.to_json()
    del said['silent']
    with pytest.raises(JobError, match='not a valid failed job'):
        JobRecord.from_json(said)


def test_plain_endpoint() -> None:
    """An endpoint is kept without user name, password, query and trailing slash."""
    assert plain_endpoint('https://u:p@host:9000/path/?x=1#y') == 'https://host:9000/path'
    assert plain_endpoint(None) is None
