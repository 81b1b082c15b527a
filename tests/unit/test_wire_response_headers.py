"""Responses of the wire transport: headers become values, and bodies are read completely."""

from __future__ import annotations

import datetime
import email.utils
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3po.errors import NetworkError
from s3po.s3.expected import placed, version_to_read
from s3po.transport.wire.response_headers import Operation, WireAnswer, moment_of
from tests.support.both import STORES, Both, Call
from tests.support.wire import Canned, FakeClient, requester

DOING: Final = Operation('GetObject', 'bucket', 'key')
GET: Final[Call] = lambda t: t.get_object('bucket', 'key', byte_range=(2, 5), extra={})  # noqa: E731
HEAD: Final[Call] = lambda t: t.head_object('bucket', 'key', extra={})  # noqa: E731
GREENWICH: Final = datetime.UTC


@pytest.fixture(scope='module')
def both() -> Both:
    return Both(**STORES['path'])


# A store's response has an ETag.
ETAG = {'ETag': '"e"'}


def answer_to(canned: Canned) -> tuple[WireAnswer, FakeClient]:
    client = FakeClient(canned)
    return WireAnswer(requester(client).send(DOING, 'GET'), 'key', DOING, is_range=True), client


printable: Final = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=8)
told: Final = st.fixed_dictionaries(
    {},
    optional={
        'ETag': st.one_of(printable, printable.map(lambda text: f'"{text}"')),
        'Content-Type': printable,
        'Last-Modified': st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2200, 1, 1)).map(  # noqa: DTZ001
            lambda moment: email.utils.format_datetime(moment.replace(tzinfo=GREENWICH, microsecond=0), usegmt=True)
        ),
        'x-amz-storage-class': printable,
        'x-amz-version-id': printable,
        'x-amz-checksum-crc32': printable,
        'x-amz-checksum-sha1': printable,
        'x-amz-checksum-crc64nvme': printable,
        'x-amz-checksum-type': printable,
        'x-amz-meta-a': printable,
        'x-amz-meta-': printable,
        'x-amz-expiration': printable,
        'Content-Encoding': printable,
        'Cache-Control': printable,
        'Date': printable,
    },
)


@given(headers=told, body=st.binary(max_size=9))
def test_headers_as_boto(both: Both, headers: dict[str, str], body: bytes) -> None:
    """Every header, also an empty one, has the same effect as over the reference transport."""
    for call in (GET, HEAD):
        canned = Canned(headers=headers, body=body)

        assert both.by_wire(call, canned)[1] == both.by_reference(call, canned)[1]


@pytest.mark.parametrize(
    'text',
    [
        'bytes 2-4/9',
        'bytes 0-2/3',
        'bytes 2-4/*',
        'bytes 2-5/9',
        'bytes 4-2/9',
        'bytes */9',
        'bytes 2-4',
        'bytes  2-4/9',
        'pages 2-4/9',
        'bytes -2-4/9',
        'Bytes 2-4/9',
        'bytes 2-4/9 ',
        '²',
        '',
        None,
    ],
)
def test_ranges_as_boto(both: Both, text: str | None) -> None:
    """Content-Range is parsed as by the reference transport, also if it is invalid."""
    canned = Canned(status=206, headers={'Content-Range': text}, body=b'abc')

    assert both.by_wire(GET, canned)[1] == both.by_reference(GET, canned)[1]


@given(text=st.one_of(st.text(), st.text('bytes 0123456789-/*²').map('bytes '.__add__)), size_bytes=st.integers(0, 99))
def test_any_range(text: str, size_bytes: int) -> None:
    """A Content-Range that is accepted fits the body."""
    try:
        offset, length, whole = placed(206, text, size_bytes, is_range=True)
    except ValueError:
        return

    assert text.startswith('bytes ')
    assert length == size_bytes
    assert 0 <= offset < offset + size_bytes <= whole


def test_metadata_in_lower_case() -> None:
    """Names of metadata are in lower case; botocore returns them as the store sends them."""
    answer, _ = answer_to(Canned(headers={**ETAG, 'X-Amz-Meta-Colour': 'Red', 'x-amz-META-Size': 'XL'}))

    assert answer.info.metadata == {'colour': 'Red', 'size': 'XL'}
    answer.close()


def test_headers_that_are_not_ascii() -> None:
    """Headers are decoded as UTF-8; botocore uses Latin-1. Other bytes are replaced."""
    answer, _ = answer_to(Canned(headers={'x-amz-meta-a': 'é€', 'ETag': '"ü"', 'x-amz-version-id': 'ö'}))

    assert (answer.info.metadata, answer.etag, answer.version_id) == ({'a': 'é€'}, 'ü', 'ö')
    answer.close()


@pytest.mark.parametrize(('version_id', 'read'), [('v', 'v'), ('null', None), (None, None)])
def test_version_to_read(version_id: str | None, read: str | None) -> None:
    """What was written as version 'null' is read as the current version."""
    assert version_to_read(version_id) == read


DATE: Final = datetime.datetime(1994, 11, 6, 8, 49, 37, tzinfo=GREENWICH)


@pytest.mark.parametrize(
    ('text', 'moment'),
    [
        ('Sun, 06 Nov 1994 08:49:37 GMT', DATE),
        ('Sunday, 06-Nov-94 08:49:37 GMT', DATE),
        ('Sun Nov  6 08:49:37 1994', DATE),
        ('Sun, 06 Nov 1994 09:49:37 +0100', DATE),
        ('Sun, 06 Nov 1994 08:49:37 -0000', DATE),
        ('Thu, 29 Feb 2024 00:00:00 GMT', datetime.datetime(2024, 2, 29, tzinfo=GREENWICH)),
        # What some stores send, and botocore reads.
        ('1994-11-06T08:49:37Z', DATE),
        ('1994-11-06T10:49:37.000+02:00', DATE),
        ('1994-11-06 08:49:37', DATE),
        ('784111777', DATE),
        ('784111777.0', DATE),
        ('9' * 400, None),
        ('²', None),
        # The day of the week is ignored.
        ('Mon, 06 Nov 1994 08:49:37 GMT', DATE),
        ('', None),
        ('yesterday', None),
        ('Sun, 31 Nov 1994 08:49:37 GMT', None),
        ('Sun, 06 Nov 1994 25:49:37 GMT', None),
        ('Sun, ²6 Nov 1994 08:49:37 GMT', None),
        ('Sun, 06 Xyz 1994 08:49:37 GMT', None),
        ('Sun, 06 Nov 99999999999999999999 08:49:37 GMT', None),
        ('Sun, 06 Nov 1994 08:49:37 +9999', None),
    ],
)
def test_moments(text: str, moment: datetime.datetime | None) -> None:
    """All date formats of HTTP are parsed, and those of XML, with a time zone."""
    found = moment_of(text)

    assert found == moment
    assert found is None or found.tzinfo is not None


@given(
    st.one_of(
        st.text(), st.text('SunNovGMT0123456789,: +-', min_size=29, max_size=29), st.text().map('Sun, 06 Nov 1994 '.__add__)
    )
)
def test_any_moment(text: str) -> None:
    """An invalid date is None, a valid one has a time zone."""
    found = moment_of(text)

    assert found is None or found.tzinfo is not None


@given(st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)))  # noqa: DTZ001
def test_moments_that_are_read_fast(moment: datetime.datetime) -> None:
    """The common format is parsed like email.utils does it."""
    moment = moment.replace(microsecond=0, tzinfo=GREENWICH)

    assert moment_of(email.utils.format_datetime(moment, usegmt=True)) == moment


@pytest.mark.parametrize(('value', 'text'), [(b'\xc3\xa9', 'é'), (b'\xe9', 'é'), (b'\xc3\xa9 \xe9', 'Ã© é')])
def test_text_of_headers(value: bytes, text: str) -> None:
    """A header's value is UTF-8, or else Latin-1; no character is lost."""
    answer, _ = answer_to(Canned(headers=ETAG))
    answer._response.headers[b'x-amz-meta-name'] = value

    assert answer.info.metadata == {'name': text}
    assert answer.header('x-amz-meta-name') == answer.info.headers['x-amz-meta-name'] == text
    answer.close()


def test_bodies() -> None:
    """A body is read in pieces of any size, into a buffer or not; at its end the connection is released."""
    answer, client = answer_to(Canned(headers=ETAG, body=b'0123456789'))
    buffer = memoryview(bytearray(3))

    assert answer.read(4) == b'0123'
    assert answer.read_into(buffer) == 3
    assert bytes(buffer) == b'456'
    assert answer.read(0) == b''
    assert answer.read(99) == b'789'
    assert (answer.read(99), answer.read_into(buffer)) == (b'', 0)
    answer.close()
    answer.close()
    assert client.connections[0].state == 'given back'


def test_bodies_that_are_not_read() -> None:
    """If the body is not read completely, the connection is closed."""
    answer, client = answer_to(Canned(headers=ETAG, body=b'0123456789'))
    answer.read(9)
    answer.close()

    assert client.connections[0].state == 'closed'


@pytest.mark.parametrize('how', ['read', 'read_into'])
def test_bodies_that_are_cut(how: str) -> None:
    """The message contains the request and the number of bytes that arrived."""
    answer, client = answer_to(Canned(headers=ETAG, body=b'0123456789', cut_bytes=4))
    with pytest.raises(NetworkError, match='^GetObject s3://bucket/key: the body ended after 6 of 10 bytes$'):
        while answer.read(10) if how == 'read' else answer.read_into(memoryview(bytearray(10))):
            pass
    answer.close()

    assert client.connections[0].state == 'closed'


CHUNKED: Final = {'Content-Length': None, 'Transfer-Encoding': 'chunked'}


@pytest.mark.parametrize(
    ('canned', 'said'),
    [
        (Canned(headers={**ETAG, 'Content-Length': None}, body=b'data'), 'no Content-Length'),
        (Canned(status=206, headers=ETAG, body=b'data'), "Content-Range: ''"),
        (Canned(status=206, headers={**ETAG, 'Content-Range': 'bytes 0-9/10'}, body=b'data'), 'for a body of 4 bytes'),
    ],
)
def test_bodies_of_unknown_length(canned: Canned, said: str) -> None:
    """A response without a known end or offset is an error, and its connection is closed."""
    client = FakeClient(canned)
    response = requester(client).send(DOING, 'GET')
    with pytest.raises(NetworkError, match=f'^GetObject s3://bucket/key: the response .*{said}'):
        WireAnswer(response, 'key', DOING, is_range=True)

    assert client.connections[0].state == 'closed'


def test_facts_before_the_body() -> None:
    """The values for a small download are available at once; the others are computed on first use."""
    answer, _ = answer_to(Canned(status=206, headers={'ETag': '"e"', 'Content-Range': 'bytes 3-6/10'}, body=b'data'))

    assert (answer.status, answer.offset, answer.size_bytes, answer.etag) == (206, 3, 4, 'e')
    assert (answer.version_id, answer.checksum) == (None, None)
    assert answer.info.size_bytes == 10
    assert answer.info is answer.info
    answer.close()


@pytest.mark.parametrize(
    ('operation', 'text'),
    [
        (DOING, 'GetObject s3://bucket/key'),
        (Operation('ListObjectsV2', 'bucket'), 'ListObjectsV2 s3://bucket'),
        (Operation('UploadPart', 'bucket', 'a b', 3), 'UploadPart 3 of s3://bucket/a b'),
    ],
)
def test_what_is_done(operation: Any, text: str) -> None:
    """The text of an operation, for messages."""
    assert str(operation) == text
