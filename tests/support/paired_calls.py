"""The same call twice: through a Connection (over the wire), and as a program that uses boto3 alone.

Each returns the values that its caller reads. Both are run against a real store to record its responses
(tests.support.recording), and then with these responses to compare the values (tests/functional/test_as_botocore.py).
"""

from __future__ import annotations

import contextlib
import datetime
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

import s3po
from s3po.body import BytesChunk
from s3po.config import MIB
from s3po.transport import boto_responses as read
from tests.support.canaries import SECRET_ACCESS_KEY

__all__ = ['CALLS', 'DATA', 'LARGE', 'Lacking', 'Pair', 'client_for', 'connection_for', 'fill']

BUCKET, VERSIONED, MISSING = 'bucket', 'versioned', 'no-such-bucket'
REGION: Final = 'us-east-1'
ODD_KEY: Final = 'odd/a b+c&d<e>%41é~.txt'
# All objects have slices of it.
DATA: Final = bytes(number * 7 % 251 for number in range(5 * MIB + 100))
BODY: Final = DATA[:300]
CONFIG: Final = s3po.TransferConfig(
    multipart_threshold=5 * MIB,
    multipart_chunksize=5 * MIB,
    multipart_copy_threshold=5 * MIB,
    multipart_copy_chunksize=5 * MIB,
    max_concurrency=2,
)
LISTED: Final = ('list/a', 'list/b c+d', 'list/é&<>', 'list/sub/1', 'list/sub/2', 'list/tub x/1', 'list/z')
# The calls that move megabytes.
LARGE: Final = ('download in ranges', 'upload in parts', 'copy in parts')


class Lacking(Exception):
    """The response has not all fields that the call returns."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One call.

    Attributes:
        ours: Makes it through a Connection.
        theirs: Makes it with a boto3 client.
    """

    ours: Callable[[s3po.Connection], Any]
    theirs: Callable[[Any], Any]


def connection_for(endpoint_url: str, access_key_id: str = 'key', secret: str = SECRET_ACCESS_KEY) -> s3po.Connection:
    """A connection over the wire that retries nothing."""
    return s3po.Connection(
        endpoint_url=endpoint_url,
        region=REGION,
        access_key_id=access_key_id,
        secret_access_key=secret,
        transport='wire',
        config=CONFIG,
        retry=s3po.RetryPolicy(retries=0),
    )


def client_for(endpoint_url: str, access_key_id: str = 'key', secret: str = SECRET_ACCESS_KEY) -> Any:
    """A boto3 client that retries nothing, and adds and verifies no checksums."""
    config = Config(
        retries={'total_max_attempts': 1},
        s3={'addressing_style': 'path'},
        request_checksum_calculation='when_required',
        response_checksum_validation='when_required',
    )
    return boto3.client(
        's3',
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret,
        config=config,
    )


def fill(client: Any) -> None:
    """Create the buckets and objects."""
    client.create_bucket(Bucket=BUCKET)
    put = client.put_object
    described = {'ContentType': 'text/plain', 'CacheControl': 'max-age=60', 'Metadata': {'colour': 'dark red', 'Size': 'XL'}}
    put(Bucket=BUCKET, Key='key', Body=BODY, **described)
    put(Bucket=BUCKET, Key='empty', Body=b'')
    put(Bucket=BUCKET, Key=ODD_KEY, Body=BODY)
    put(Bucket=BUCKET, Key='coded', Body=BODY, ContentEncoding='gzip', Tagging='a=1&b=x%20y')
    put(Bucket=BUCKET, Key='large', Body=DATA)
    for key in (*LISTED, 'delete/1', 'delete/2', 'delete/3', 'delete/4'):
        put(Bucket=BUCKET, Key=key, Body=BODY)
    client.create_bucket(Bucket=VERSIONED)
    # Not every store has versions.
    with contextlib.suppress(ClientError):
        client.put_bucket_versioning(Bucket=VERSIONED, VersioningConfiguration={'Status': 'Enabled'})
    for key in ('key', 'delete/1', 'delete/2', 'delete/3'):
        put(Bucket=VERSIONED, Key=key, Body=BODY)


# --- values of boto3's responses


def utc(value: Any) -> Any:
    """A ListEntry or ObjectInfo whose time has a zone. botocore leaves a time without one as it is; s3po reads UTC."""
    moment = value.last_modified
    if moment is None or moment.tzinfo:
        return value
    return replace(value, last_modified=moment.replace(tzinfo=datetime.UTC))


def field(response: Mapping[str, Any], name: str) -> Any:
    """A field of a response; raises Lacking if it is missing."""
    if name not in response:
        raise Lacking(name)
    return response[name]


def stored(response: Mapping[str, Any]) -> tuple[object, ...]:
    """The ETag and version of a response."""
    if not read.etag_of(response):
        raise Lacking('ETag')
    return read.etag_of(response), response.get('VersionId')


def result(found: s3po.TransferResult) -> tuple[object, ...]:
    """The same of a result."""
    return found.etag, found.version_id


# --- the calls


def head(key: str, bucket: str = BUCKET) -> Pair:
    def theirs(client: Any) -> object:
        response = client.head_object(Bucket=bucket, Key=key, ChecksumMode='ENABLED')
        return utc(read.info_of(response, key, field(response, 'ContentLength')))

    return Pair(lambda conn: conn.head(bucket, key), theirs)


def download(key: str, bucket: str = BUCKET) -> Pair:
    def ours(conn: s3po.Connection) -> object:
        target = io.BytesIO()
        found = conn.download(bucket, key, target, decompress=False)
        return target.getvalue(), *result(found)

    def theirs(client: Any) -> object:
        response = client.get_object(Bucket=bucket, Key=key)
        return response['Body'].read(), *stored(response)

    return Pair(ours, theirs)


def in_memory(key: str) -> Pair:
    return Pair(
        lambda conn: conn.download(BUCKET, key), lambda client: client.get_object(Bucket=BUCKET, Key=key)['Body'].read()
    )


def byte_range(start: int, stop: int | None) -> Pair:
    text = f'bytes={start}-' + ('' if stop is None else str(stop - 1))
    return Pair(
        lambda conn: conn.download(BUCKET, 'key', byte_range=(start, stop)),
        lambda client: client.get_object(Bucket=BUCKET, Key='key', Range=text)['Body'].read(),
    )


def opened(conn: s3po.Connection) -> object:
    with conn.open(BUCKET, 'key') as file:
        return file.read()


def upload(key: str, body: bytes, bucket: str = BUCKET, extra: Mapping[str, Any] | None = None) -> Pair:
    return Pair(
        lambda conn: result(conn.upload(bucket, key, body, extra=extra)),
        lambda client: stored(client.put_object(Bucket=bucket, Key=key, Body=body, **(extra or {}))),
    )


def upload_in_parts(client: Any) -> object:
    named = {'Bucket': BUCKET, 'Key': 'parts'}
    named['UploadId'] = field(client.create_multipart_upload(**named), 'UploadId')
    parts = []
    # The recorded responses do not depend on the data.
    for number, body in ((1, DATA[: 5 * MIB]), (2, DATA[5 * MIB :])):
        response = client.upload_part(**named, PartNumber=number, Body=body)
        parts.append({'PartNumber': number, 'ETag': field(response, 'ETag')})
    return completed(client, named, parts)


def completed(client: Any, named: Mapping[str, str], parts: Sequence[Mapping[str, Any]]) -> object:
    response = client.complete_multipart_upload(**named, MultipartUpload={'Parts': parts})
    # A Connection looks at the object if the response proves nothing.
    client.head_object(Bucket=BUCKET, Key=named['Key'])
    return stored(response)


def copy(key: str, to_key: str, **options: Any) -> Pair:
    replaced = {'MetadataDirective': 'REPLACE', 'Metadata': options['metadata']} if options else {}

    def theirs(client: Any) -> object:
        source = client.head_object(Bucket=BUCKET, Key=key)
        response = client.copy_object(
            Bucket=BUCKET,
            Key=to_key,
            CopySource={'Bucket': BUCKET, 'Key': key},
            CopySourceIfMatch=field(source, 'ETag'),
            **replaced,
        )
        return stored({**response, **field(response, 'CopyObjectResult')})

    return Pair(lambda conn: result(conn.copy(BUCKET, key, BUCKET, to_key, **options)), theirs)


def copy_in_parts(client: Any) -> object:
    source = client.head_object(Bucket=BUCKET, Key='large')
    named = {'Bucket': BUCKET, 'Key': 'large copy'}
    named['UploadId'] = field(client.create_multipart_upload(**named), 'UploadId')
    parts = []
    for number, span in ((1, f'0-{5 * MIB - 1}'), (2, f'{5 * MIB}-{len(DATA) - 1}')):
        response = client.upload_part_copy(
            **named,
            PartNumber=number,
            CopySource={'Bucket': BUCKET, 'Key': 'large'},
            CopySourceRange=f'bytes={span}',
            CopySourceIfMatch=field(source, 'ETag'),
        )
        parts.append({'PartNumber': number, 'ETag': field(field(response, 'CopyPartResult'), 'ETag')})
    return completed(client, named, parts)


def delete(key: str, bucket: str = BUCKET) -> Pair:
    return Pair(lambda conn: conn.delete(bucket, key), lambda client: client.delete_object(Bucket=bucket, Key=key) and None)


def delete_many(keys: Sequence[str], bucket: str = BUCKET) -> Pair:
    def ours(conn: s3po.Connection) -> object:
        report = conn.delete_many(bucket, keys)
        return {each.key: each.error.code for each in report.failed if isinstance(each.error, s3po.ResponseError)}

    def theirs(client: Any) -> object:
        response = client.delete_objects(Bucket=bucket, Delete={'Objects': [{'Key': key} for key in keys]})
        found = read.deletion_of(response)
        failed = {each.key: each.code for each in found.failures}
        if {key for key, _ in found.deleted} | failed.keys() != set(keys):
            raise Lacking('Deleted')
        return failed

    return Pair(ours, theirs)


def listing(prefix: str, *, delimiter: str | None = None, bucket: str = BUCKET, page_size: int = 1000) -> Pair:
    def theirs(client: Any) -> list[object]:
        options: dict[str, Any] = {'Bucket': bucket, 'Prefix': prefix, 'MaxKeys': page_size}
        if delimiter is not None:
            options['Delimiter'] = delimiter
        return sorted(pages(client, options), key=str)

    def pages(client: Any, options: dict[str, Any]) -> Iterator[object]:
        while True:
            response = client.list_objects_v2(**options)
            yield from (utc(read.entry_of(item)) for item in response.get('Contents', ()))
            yield from (s3po.Prefix(prefix=item['Prefix']) for item in response.get('CommonPrefixes', ()))
            if not response.get('IsTruncated', response.get('NextContinuationToken')):
                return
            options['ContinuationToken'] = field(response, 'NextContinuationToken')

    def ours(conn: s3po.Connection) -> list[object]:
        return sorted(conn.list(bucket, prefix, delimiter=delimiter, page_size=page_size), key=str)

    return Pair(ours, theirs)


def uploads(conn: s3po.Connection) -> object:
    """The values of the calls that only the transport has."""
    transport = conn._wiring.resolve(BUCKET)[0]
    upload_id = transport.create_multipart_upload(BUCKET, 'open', headers={}, extra={})
    part = transport.upload_part(BUCKET, 'open', BytesChunk(BODY), upload_id=upload_id, part_number=1, extra={})
    parts = transport.list_parts(BUCKET, 'open', upload_id=upload_id, extra={})
    found = transport.list_multipart_uploads(BUCKET, prefix='open', extra={})
    transport.abort_multipart_upload(BUCKET, 'open', upload_id=upload_id, extra={})
    times = [each.initiated for each in found]
    return (
        upload_id,
        part.etag,
        [(each.number, each.etag) for each in parts],
        [(each.key, each.upload_id) for each in found],
        times,
    )


def uploads_by_boto(client: Any) -> object:
    named = {'Bucket': BUCKET, 'Key': 'open'}
    named['UploadId'] = field(client.create_multipart_upload(**named), 'UploadId')
    part = client.upload_part(**named, PartNumber=1, Body=BODY)
    parts = client.list_parts(**named).get('Parts', ())
    found = client.list_multipart_uploads(Bucket=BUCKET, Prefix='open').get('Uploads', ())
    client.abort_multipart_upload(**named)
    numbers = [(each['PartNumber'], read.etag_of(each)) for each in parts]
    times = [each.get('Initiated') for each in found]
    aware = [each if each is None or each.tzinfo else each.replace(tzinfo=datetime.UTC) for each in times]
    return named['UploadId'], stored(part)[0], numbers, [(each['Key'], each['UploadId']) for each in found], aware


def tags_by_boto(client: Any) -> str:
    response = client.get_object_tagging(Bucket=BUCKET, Key='coded')
    return urlencode([(field(tag, 'Key'), field(tag, 'Value')) for tag in field(response, 'TagSet')])


CALLS: Final[Mapping[str, Pair]] = {
    'head': head('key'),
    'head of an empty object': head('empty'),
    'head of an odd key': head(ODD_KEY),
    'head of a large object': head('large'),
    'head of a coded object': head('coded'),
    'head of a version': head('key', VERSIONED),
    'head of a missing object': head('missing'),
    'head in a missing bucket': head('key', MISSING),
    'download': download('key'),
    'download into memory': in_memory('key'),
    'download of an empty object': in_memory('empty'),
    'download of an odd key': download(ODD_KEY),
    'download of a coded object': download('coded'),
    'download of a version': download('key', VERSIONED),
    'download of a missing object': download('missing'),
    'download in a missing bucket': download('key', MISSING),
    'download in ranges': download('large'),
    'open': Pair(opened, in_memory('key').theirs),
    'range inside': byte_range(2, 5),
    'range at the start': byte_range(0, 10),
    'range to the end': byte_range(290, None),
    'range beyond the end': byte_range(290, 1000),
    'range after the end': byte_range(1000, 2000),
    'upload': upload('put', BODY),
    'upload of nothing': upload('put', b''),
    'upload with metadata': upload('odd/ü put', BODY, extra={'Metadata': {'a': 'b'}}),
    'upload of a version': upload('put', BODY, VERSIONED),
    'upload under a condition': upload('key', BODY, extra={'IfNoneMatch': '*'}),
    'upload to a missing bucket': upload('key', BODY, MISSING),
    'upload in parts': Pair(lambda conn: result(conn.upload(BUCKET, 'parts', DATA)), upload_in_parts),
    'copy': copy('key', 'copy'),
    'copy of an odd key': copy(ODD_KEY, ODD_KEY + '.copy'),
    'copy with other metadata': copy('key', 'copy', metadata={'x': 'y'}),
    'copy of a missing object': copy('missing', 'copy'),
    'copy in parts': Pair(lambda conn: result(conn.copy(BUCKET, 'large', BUCKET, 'large copy')), copy_in_parts),
    'delete': delete('delete/1'),
    'delete of a missing object': delete('missing'),
    'delete of a version': delete('delete/1', VERSIONED),
    'delete in a missing bucket': delete('key', MISSING),
    'delete many': delete_many(['delete/2', 'delete/3', 'missing']),
    'delete one of many': delete_many(['delete/4']),
    'delete many versions': delete_many(['delete/2', 'delete/3'], VERSIONED),
    'delete many in a missing bucket': delete_many(['a', 'b'], MISSING),
    'list': listing('list/'),
    'list in pages': listing('list/', page_size=3),
    'list with a delimiter': listing('list/', delimiter='/'),
    'list with a delimiter in pages': listing('list/', delimiter='/', page_size=2),
    'list of nothing': listing('nothing/'),
    'list of an odd prefix': listing('list/é&'),
    'list of a missing bucket': listing('', bucket=MISSING),
    'uploads': Pair(uploads, uploads_by_boto),
    'tags': Pair(lambda conn: conn._wiring.resolve(BUCKET)[0].get_object_tagging(BUCKET, 'coded', extra={}), tags_by_boto),
}
