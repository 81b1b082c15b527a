"""The addresses of buckets equal botocore's: s3po computes them in plain cases, and botocore in all others."""

from __future__ import annotations

import itertools
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3.session
import botocore.session
import gevent
import gevent.event
import pytest
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.handlers import disable_signing

from s3po.endpoints import resolver as room
from s3po.endpoints.boto_client import build_client
from s3po.endpoints.resolver import NotServable, Places
from s3po.endpoints.settings import ClientSettings
from s3po.errors import ConfigurationError
from tests.support.addresses import (
    CUSTOM,
    ENDPOINTS,
    KEYS,
    PLAIN,
    STYLES,
    asking_places,
    by_botocore,
    by_places,
    forget_environment,
    no_client,
    places,
    plain_places,
    sent,
    told,
)
from tests.support.prepared import prepare

REGIONS = ['us-east-1', 'eu-central-1', 'cn-north-1']
ACCESS_POINT = 'arn:aws:s3:eu-west-1:123456789012:accesspoint/point'
OUTPOST = 'arn:aws:s3-outposts:eu-west-1:123456789012:outpost/op-1/accesspoint/point'
OBJECT_LAMBDA = 'arn:aws:s3-object-lambda:eu-west-1:123456789012:accesspoint/point'
DIRECTORY = 'bucket--use1-az4--x-s3'
MULTI_REGION = 'arn:aws:s3::123456789012:accesspoint/point.mrap'


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    forget_environment(monkeypatch, tmp_path)


@pytest.mark.parametrize('region', REGIONS)
@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('endpoint', ENDPOINTS)
@pytest.mark.sampled(18)
def test_as_botocore(endpoint: str | None, style: str, region: str) -> None:
    """In every way of resolving, requests have the address and signature scope of botocore's requests."""
    given = {'endpoint_url': endpoint, 'addressing_style': style, 'region': region, **KEYS}
    buckets = [*PLAIN, ACCESS_POINT, OBJECT_LAMBDA, OUTPOST, 'no/bucket', 'nö']
    if endpoint and '[' in endpoint:
        # botocore would put the bucket in front of the brackets, which is not a valid host.
        buckets = [bucket for bucket in PLAIN if '.' not in bucket]
    client = build_client(ClientSettings(**given))
    expected = by_botocore(buckets, client)

    assert by_places(Places(ClientSettings(**given), lambda: client), buckets) == expected
    assert by_places(Places(ClientSettings(**given, client_config=Config()), lambda: client), buckets) == expected


@pytest.mark.parametrize(
    'given',
    [
        {'endpoint_url': 'https://s3.eu-west-1.amazonaws.com'},
        {'endpoint_url': 'https://s3-accelerate.amazonaws.com'},
        {'endpoint_url': 'https://s3.example.com/a//b'},
        {'endpoint_url': 'https://s3.example.com/a/../b'},
        {'endpoint_url': 'https://s3.example.com/a%20b', 'addressing_style': 'virtual'},
        {'endpoint_url': 'https://s3.example.com/a b', 'addressing_style': 'auto'},
        {'endpoint_url': 'https://s3.example.com.', 'addressing_style': 'virtual'},
        {'endpoint_url': 'https://under_score.example.com'},
        {'endpoint_url': 'https://-dash.example.com'},
        {'endpoint_url': 'http://[fe80::1%25eth0]:9000'},
        {'endpoint_url': 'http://[v1.future:address]:9000'},
        {'endpoint_url': 'https://s3.example.com', 'region': 'aws-global'},
        {'endpoint_url': 'https://s3.example.com', 'region': 'fips-us-gov-west-1'},
        {'endpoint_url': 'https://s3.example.com', 'region': 'no region'},
        {'endpoint_url': 'https://s3.example.com', 'client_config': Config(s3={'addressing_style': 'virtual'})},
        {'client_config': Config(s3={'use_accelerate_endpoint': True})},
        {'client_config': Config(s3={'use_accelerate_endpoint': True, 'use_dualstack_endpoint': True})},
        {'client_config': Config(s3={'us_east_1_regional_endpoint': 'regional'})},
        {'client_config': Config(use_dualstack_endpoint=True)},
        {'client_config': Config(use_fips_endpoint=True)},
        {'client_config': Config(use_fips_endpoint=True, use_dualstack_endpoint=True), 'region': 'us-gov-west-1'},
        {'client_config': Config(signature_version='v4')},
        {'client_config': Config(signature_version=UNSIGNED)},
    ],
)
def test_cases_for_botocore(given: dict[str, Any]) -> None:
    """In these cases botocore is called, and its errors are raised."""
    given = {'region': 'us-east-1', **KEYS, **given}
    buckets = ['bucket', 'my.dotted.bucket', *([] if '[' in given.get('endpoint_url', '') else [ACCESS_POINT])]
    try:
        expected = by_botocore(buckets, build_client(ClientSettings(**given)))
    except ConfigurationError:
        expected = dict.fromkeys(buckets, 'refused')

    assert by_places(places(**given), buckets) == expected


def test_paths_of_buckets() -> None:
    """Requests for the bucket itself have botocore's address."""
    for endpoint, style, bucket in itertools.product([None, ENDPOINTS[-1]], ['auto', 'virtual'], ['bucket', 'UPPER_case']):
        given = {'endpoint_url': endpoint, 'addressing_style': style, 'region': 'us-east-1', **KEYS}
        client: Any = build_client(ClientSettings(**given))
        request = prepare(client, lambda client=client, bucket=bucket: client.list_objects_v2(Bucket=bucket))
        place = places(**given).find(bucket)

        assert f'{place.scheme}://{place.host_header}{place.bucket_path}' == sent(request)[0]


def test_parts_of_a_place() -> None:
    """The address of an IPv6 host has no brackets; the Host header has, and omits the default port of the scheme."""
    place = plain_places(**{**CUSTOM, 'endpoint_url': 'http://[::1]'}).find('bucket')
    assert (place.host, place.port, place.host_header, place.path) == ('::1', 80, '[::1]', '/bucket/')

    place = asking_places(**{**CUSTOM, 'endpoint_url': 'https://[::1]:9000'}).find('bucket')
    assert (place.host, place.port, place.host_header, place.path) == ('::1', 9000, '[::1]:9000', '/bucket/')

    place = places(**{**CUSTOM, 'endpoint_url': 'http://[fe80::1%25eth0]:9000'}).find('bucket')
    assert (place.host, place.host_header) == ('fe80::1%eth0', '[fe80::1%25eth0]:9000')

    place = places(region='eu-west-1', **KEYS).find('bucket')
    assert (place.host, place.port, place.path, place.bucket_path) == ('bucket.s3.eu-west-1.amazonaws.com', 443, '/', '/')


def test_botocores_address_for_other_operations() -> None:
    """The address found with HeadObject is valid for all operations: only Express has rules of its own."""
    client: Any = build_client(ClientSettings(region='us-east-1', **KEYS))
    model = client.meta.service_model
    own = {
        parameter.name
        for operation in (
            *('GetObject', 'HeadObject', 'PutObject', 'DeleteObject', 'DeleteObjects', 'ListObjectsV2', 'CopyObject'),
            *('CreateMultipartUpload', 'UploadPart', 'UploadPartCopy', 'CompleteMultipartUpload', 'AbortMultipartUpload'),
            *('ListParts', 'ListMultipartUploads', 'GetObjectTagging'),
        )
        for parameter in model.operation_model(operation).static_context_parameters
    }

    assert own <= {'DisableS3ExpressSessionAuth'}


def test_anonymous() -> None:
    """For an anonymous connection neither resolver signs."""
    given = {'endpoint_url': 'https://s3.example.com', 'region': 'us-east-1', 'anonymous': True}

    assert plain_places(**given).find('bucket') == asking_places(**given).find('bucket')
    assert plain_places(**given).find('bucket').auth == 'none'


def test_sessions_and_clients() -> None:
    """The caller's sessions and clients are respected, including their event handlers."""
    core = botocore.session.get_session()
    core.set_credentials('key', 'secret')
    core.register('choose-signer.s3.*', disable_signing)
    session = boto3.session.Session(botocore_session=core, region_name='eu-west-1')
    assert places(session=session).find('bucket').auth == 'none'

    client = build_client(ClientSettings(**{**CUSTOM, 'addressing_style': 'virtual', 'endpoint_url': 'https://s3.example.com'}))
    assert places(client=client).find('bucket').host == 'bucket.s3.example.com'


def test_region_and_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Region and keys from the environment are found by botocore."""
    monkeypatch.setenv('AWS_DEFAULT_REGION', 'eu-north-1')
    assert places(**KEYS).find('bucket').host == 'bucket.s3.eu-north-1.amazonaws.com'

    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'key')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'secret')
    given = {'endpoint_url': 'https://s3.example.com', 'region': 'eu-west-1'}
    assert places(**given).find('bucket') == plain_places(**given, **KEYS).find('bucket')


@pytest.mark.parametrize(
    ('bucket', 'given', 'reason'),
    [
        (DIRECTORY, {}, 'it is signed with sigv4-s3express'),
        (DIRECTORY, {'client_config': Config(signature_version='v4-s3express')}, 'it is signed with v4-s3express'),
        (DIRECTORY, CUSTOM, 'it is signed with sigv4-s3express'),
        (MULTI_REGION, {}, 'it is signed with sigv4a'),
        (MULTI_REGION, {'client_config': Config(signature_version='s3v4a')}, 'it is signed with s3v4a'),
        ('bucket', {'client_config': Config(signature_version='s3')}, 'it is signed with s3'),
    ],
)
def test_not_servable(bucket: str, given: dict[str, Any], reason: str) -> None:
    """Buckets with other signature versions are not servable; botocore is called once for each."""
    found = places(**{'region': 'us-east-1', **KEYS, **given})
    for _ in range(2):
        with pytest.raises(NotServable) as caught:
            found.find(bucket)
        assert caught.value.reason == str(caught.value) == reason
        found._client = no_client


def test_name_in_front_of_brackets() -> None:
    """An access point at an IPv6 address is rejected, by s3po or by later versions of Python."""
    with pytest.raises((NotServable, ConfigurationError)):
        places(**{**CUSTOM, 'endpoint_url': 'http://[::1]:9000'}).find(ACCESS_POINT)


def test_directory_bucket_without_sessions() -> None:
    """Without sessions, a directory bucket is signed like others, with its own service name."""
    found = places(region='us-east-1', client_config=Config(s3={'disable_s3_express_session_auth': True}), **KEYS)

    assert (found.find(DIRECTORY).service, found.find(DIRECTORY).auth) == ('s3express', 'v4')


def test_handler_that_answers_itself() -> None:
    """A client with an event handler that returns a response is not servable."""
    found = asking_places(**CUSTOM)
    answer = (AWSResponse('http://127.0.0.1', 200, {}, None), {'ResponseMetadata': {}})
    found._client().meta.events.register('before-call.s3.HeadObject', lambda **_: answer)

    with pytest.raises(NotServable, match='a handler of the client responds'):
        found.find('bucket')


def test_resolving_during_requests() -> None:
    """While one greenlet resolves, requests of other greenlets continue; the client is called once per bucket."""
    found = asking_places(**CUSTOM)
    client: Any = found._client()
    passed: list[str] = []

    def head() -> None:
        passed.append(prepare(client, lambda: client.head_object(Bucket='other', Key='key')).url)

    def beside(**_: Any) -> None:
        client.meta.events.unregister('before-sign.s3.HeadObject', beside)
        gevent.spawn(head).get()

    client.meta.events.register_first('before-sign.s3.HeadObject', beside)
    first = found.find('bucket')
    head()
    found._client = no_client

    assert first.path == '/bucket/'
    assert passed == ['http://127.0.0.1:9000/other/key'] * 2
    assert found.find('bucket') is first


def test_questions_at_once() -> None:
    """If many greenlets start with the same bucket, one of them resolves it."""
    client = build_client(ClientSettings(**CUSTOM))
    asked: list[str] = []
    client.meta.events.register('before-parameter-build.s3', lambda params, **_: asked.append(params['Bucket']))

    is_made = gevent.event.Event()

    def first_client() -> Any:
        is_made.wait()
        return client

    found = Places(ClientSettings(**CUSTOM, client_config=Config()), first_client)
    finding = [gevent.spawn(found.find, 'bucket') for _ in range(20)]
    gevent.spawn(is_made.set)
    gevent.joinall(finding, raise_error=True)

    assert asked == ['bucket']
    assert len({id(greenlet.value) for greenlet in finding}) == 1


def test_no_credentials_are_needed() -> None:
    """Resolving needs no credentials."""
    found = asking_places(**CUSTOM)
    found._client()._request_signer._credentials = None

    assert found.find('bucket').region == 'us-east-1'


class Raw:
    """The body of a response, as botocore reads it."""

    def stream(self) -> Iterator[bytes]:
        yield b'<Error><Code>PermanentRedirect</Code></Error>'


def redirected(bucket: str, to_region: str, **given: Any) -> tuple[str, object]:
    """The address of botocore's second request, after the store has named another region."""
    client: Any = build_client(ClientSettings(**given))
    moved = AWSResponse('https://s3.example.com', 301, {'x-amz-bucket-region': to_region}, Raw())
    return sent(prepare(client, lambda: client.get_object(Bucket=bucket, Key='key'), moved))


MOVES = [
    ('bucket', 'eu-central-1', {'region': 'us-east-1'}),
    ('bucket', 'us-east-1', {'region': 'eu-central-1'}),
    ('my.dotted.bucket', 'eu-west-3', {'region': 'us-east-1'}),
    ('bucket', 'eu-west-1', {'region': 'us-east-1', 'client_config': Config(use_dualstack_endpoint=True)}),
    ('bucket', 'eu-west-1', CUSTOM),
    ('bucket', 'eu-west-1', {**CUSTOM, 'client_config': Config()}),
]


@pytest.mark.parametrize(('bucket', 'region', 'given'), MOVES)
def test_relearn(bucket: str, region: str, given: dict[str, Any]) -> None:
    """After a region error, a bucket has the address of botocore's redirect, or the same address and another region."""
    given = {**KEYS, **given}
    found = places(**given)
    before = found.find(bucket)
    after = found.relearn(bucket, region)

    assert told(after) == redirected(bucket, region, **given)
    assert after != before
    assert found.find(bucket) is after
    assert found.relearn(bucket, region) is after
    assert found.find('another').region == given['region']


@pytest.mark.parametrize(
    ('bucket', 'region'),
    [('bucket', 'us-east-1'), ('bucket', ''), ('bucket', 'evil.example.com/'), ('bucket', '-'), (ACCESS_POINT, 'eu-west-3')],
)
def test_nothing_to_relearn(bucket: str, region: str) -> None:
    """The region of a response is used only if it is new and valid, and if the bucket is not an ARN."""
    found = places(region='us-east-1', **KEYS)

    assert found.relearn(bucket, region) is found.find(bucket)


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of cached buckets is limited."""
    monkeypatch.setattr(room, 'MAX_PLACES', 3)
    found = plain_places(**CUSTOM)
    for number in range(10):
        found.find(f'bucket{number}')

    assert len(found._places) == 1
    assert repr(found) == '<Places: 1 known, 0 not servable>'


PROGRAM = """
import sys
from s3po.endpoints.signing_keys import key_source
from s3po.endpoints.resolver import Places
from s3po.endpoints.settings import ClientSettings

settings = ClientSettings(endpoint_url='https://s3.example.com', region='us-east-1', access_key_id='a', secret_access_key='b')
places = Places(settings, None)
places.find('bucket'), places.relearn('bucket', 'eu-west-1'), places.http
key_source(settings, None).current
print([name for name in sys.modules if name.partition('.')[0] in ('boto3', 'botocore', 's3transfer')])
"""


def test_without_botocore() -> None:
    """If all settings are passed, botocore is not imported."""
    program = [sys.executable, '-c', PROGRAM]

    assert subprocess.run(program, check=True, capture_output=True, text=True).stdout == '[]\n'
