"""Signatures equal botocore's for every kind of request, and AWS's documented examples."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import string
import time
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from s3po.s3.sigv4 import (
    EMPTY_SHA256,
    UNSIGNED_HEADERS,
    UNSIGNED_PAYLOAD,
    Signer,
    canonical_headers,
    canonical_query,
    quoted_key,
)


class Asked(NamedTuple):
    """A request to be signed."""

    method: str
    host: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    moment: datetime.datetime

    @property
    def path(self) -> str:
        return '/bucket/' + quoted_key(self.key)

    def url(self, query: str) -> str:
        return f'https://{self.host}{self.path}?{query}'


class Secret(NamedTuple):
    """Keys, and the region for which they sign."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None
    region: str
    service: str

    @property
    def theirs(self) -> tuple[Credentials, str, str]:
        return Credentials(*self[:3]), self.service, self.region


# Characters that are difficult in a key or a query, more often than by chance.
difficult = st.sampled_from(
    ['/', '//', '.', '..', '/../', '/./', '%', '%2F', '%25', '+', ' ', '  ', '~', '*', "'", '?', '#', '&', '=', ';', ':', '@']
)
controls = st.sampled_from('\x00\x01\t\n\r\x1f\x7f\x85\xa0é€\u2028😀')
characters = st.one_of(difficult, controls, st.characters(exclude_categories=['Cs']))
texts = st.lists(characters, max_size=12).map(''.join)

# Set by the signer; botocore replaces the caller's.
OWN_HEADERS = frozenset({'host', 'date', 'authorization', 'x-amz-date', 'x-amz-content-sha256', 'x-amz-security-token'})
header_names = st.one_of(
    st.sampled_from(sorted(UNSIGNED_HEADERS)),
    st.sampled_from(['Content-Type', 'x-amz-meta-a', 'X-Amz-Meta-B', 'x-amz-acl', 'Range', 'If-Match', 'a_b', 'a-b', 'ab']),
    st.text("!#$%&'*+-.^_`|~" + string.ascii_letters + string.digits, min_size=1, max_size=8),
).filter(lambda name: name.lower() not in OWN_HEADERS)
header_values = st.lists(
    st.one_of(
        st.sampled_from([' ', '  ', '\t', ',', '"', 'a', 'é', '€', '\xa0']),
        st.characters(min_codepoint=32, exclude_categories=['Cs']),
    ),
    max_size=12,
).map(''.join)

requests = st.builds(
    Asked,
    method=st.sampled_from(['GET', 'HEAD', 'PUT', 'POST', 'DELETE']),
    host=st.sampled_from(['s3.example.com', 'bucket.s3.eu-central-1.amazonaws.com', '127.0.0.1:9000', '[::1]:9000']),
    key=st.lists(characters, min_size=1, max_size=12).map(''.join),
    query=st.dictionaries(st.one_of(texts, st.sampled_from(['uploads', 'versionId', 'prefix', 'Prefix'])), texts, max_size=5),
    headers=st.lists(st.tuples(header_names, header_values), max_size=6, unique_by=lambda pair: pair[0].lower()).map(dict),
    moment=st.datetimes(
        datetime.datetime(1970, 1, 1),  # noqa: DTZ001 - made aware by what follows
        datetime.datetime(2200, 1, 1),  # noqa: DTZ001
        timezones=st.just(datetime.UTC),
    ),
)
secrets = st.builds(
    Secret,
    access_key_id=st.text('ABC012', min_size=1),
    secret_access_key=st.text('ab/+=é', min_size=1),
    session_token=st.one_of(st.none(), st.text('ab/+=%', min_size=1)),
    region=st.sampled_from(['us-east-1', 'eu-central-1', 'default', '']),
    service=st.sampled_from(['s3', 's3-object-lambda', 's3-outposts']),
)

# The keys and the request of AWS's examples.
EXAMPLE = Secret('AKIAIOSFODNN7EXAMPLE', 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY', None, 'us-east-1', 's3')
EXAMPLE_HOST = 'examplebucket.s3.amazonaws.com'
EXAMPLE_TIME = '20130524T000000Z'
EXAMPLE_S = 1_369_353_600


def at(moment: datetime.datetime) -> Any:
    """A context in which this moment is botocore's present time."""
    return mock.patch.object(botocore.auth, 'get_current_datetime', return_value=moment)


@given(secret=secrets, asked=requests, body=st.binary(max_size=20), is_body_signed=st.booleans())
def test_headers_as_botocore(secret: Secret, asked: Asked, body: bytes, is_body_signed: bool) -> None:
    """The Authorization header equals botocore's for the same request at the same time."""
    query = canonical_query(asked.query)
    # botocore sorts a query that is not sorted.
    url = asked.url('&'.join(reversed(query.split('&'))))
    theirs = AWSRequest(method=asked.method, url=url, headers=asked.headers, data=body)
    theirs.context['client_config'] = Config(s3={'payload_signing_enabled': is_body_signed})
    with at(asked.moment):
        botocore.auth.S3SigV4Auth(*secret.theirs).add_auth(theirs)

    signer = Signer(*secret).at(asked.moment.timestamp())
    payload = hashlib.sha256(body).hexdigest() if is_body_signed else UNSIGNED_PAYLOAD
    own = {'x-amz-content-sha256': payload, 'x-amz-date': signer.timestamp}
    if secret.session_token is not None:
        own['x-amz-security-token'] = secret.session_token
    lines, names = canonical_headers({'host': asked.host, **own, **asked.headers})
    authorization = signer.authorization(asked.method, asked.path, query, lines, names, payload)

    assert {name: theirs.headers[name] for name in own} == own
    assert authorization == theirs.headers['Authorization']


@given(secret=secrets, asked=requests, expires_s=st.integers(1, 604_800))
def test_presigned_as_botocore(secret: Secret, asked: Asked, expires_s: int) -> None:
    """The presigned URL has botocore's parameters, with the same signature."""
    theirs = AWSRequest(method=asked.method, url=asked.url(''), headers=asked.headers, params=dict(asked.query))
    with at(asked.moment):
        botocore.auth.S3SigV4QueryAuth(*secret.theirs, expires=expires_s).add_auth(theirs)

    signer = Signer(*secret).at(asked.moment.timestamp())
    headers = {'host': asked.host, **asked.headers}
    query = signer.presigned_query(asked.method, asked.path, asked.query, headers, expires_s)

    assert urlsplit(theirs.url).path == asked.path
    assert sorted(query.split('&')) == sorted(urlsplit(theirs.url).query.split('&'))


@given(asked=requests, is_escaped=st.booleans())
def test_queries_as_botocore(asked: Asked, is_escaped: bool) -> None:
    """A query is sent as it is signed, like botocore does for queries in URLs and in parameters."""
    query = canonical_query(asked.query)
    theirs = AWSRequest(
        method='GET', url=asked.url(query if is_escaped else ''), params={} if is_escaped else dict(asked.query)
    )

    assert query == botocore.auth.S3SigV4Auth(None, '', '').canonical_query_string(theirs)
    assert canonical_query(asked.query.items()) == query
    assert dict(parse_qsl(query, keep_blank_values=True)) == asked.query


@pytest.mark.parametrize(
    ('method', 'key', 'query', 'headers', 'body', 'signature'),
    [
        (
            'GET',
            'test.txt',
            {},
            {'Range': 'bytes=0-9'},
            b'',
            'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
        ),
        (
            'PUT',
            'test$file.text',
            {},
            {'date': 'Fri, 24 May 2013 00:00:00 GMT', 'x-amz-storage-class': 'REDUCED_REDUNDANCY'},
            b'Welcome to Amazon S3.',
            '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd',
        ),
        ('GET', '', {'lifecycle': ''}, {}, b'', 'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543'),
        (
            'GET',
            '',
            {'max-keys': '2', 'prefix': 'J'},
            {},
            b'',
            '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
        ),
    ],
)
def test_documented_headers(
    method: str, key: str, query: dict[str, str], headers: dict[str, str], body: bytes, signature: str
) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html"""
    payload = hashlib.sha256(body).hexdigest()
    sent = {'Host': EXAMPLE_HOST, **headers, 'x-amz-content-sha256': payload, 'x-amz-date': EXAMPLE_TIME}
    lines, names = canonical_headers(sent)
    path = '/' + quoted_key(key)
    said = Signer(*EXAMPLE).at(EXAMPLE_S).authorization(method, path, canonical_query(query), lines, names, payload)

    assert said == (
        'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, '
        f'SignedHeaders={";".join(sorted(name.lower() for name in sent))}, Signature={signature}'
    )


def test_documented_url() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html"""
    query = Signer(*EXAMPLE).at(EXAMPLE_S).presigned_query('GET', '/test.txt', {}, {'host': EXAMPLE_HOST}, 86_400)

    assert query == (
        'X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request'
        '&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host'
        '&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404'
    )


@pytest.mark.parametrize(
    ('key', 'quoted'),
    [
        ('a//b/../c/.', 'a//b/../c/.'),
        ('/leading', '/leading'),
        ('a b+c%20', 'a%20b%2Bc%2520'),
        ('-._~', '-._~'),
        ("!*'()@:$,;=&", '%21%2A%27%28%29%40%3A%24%2C%3B%3D%26'),
        ('é\n😀', '%C3%A9%0A%F0%9F%98%80'),
    ],
)
def test_keys_are_escaped_once(key: str, quoted: str) -> None:
    """Keys are escaped once, and their paths are not normalised."""
    assert quoted_key(key) == quoted


@pytest.mark.parametrize('name', sorted(UNSIGNED_HEADERS))
def test_headers_that_are_not_signed(name: str) -> None:
    """These headers are not signed, whatever their case; all others are, sorted, with repeated blanks removed."""
    headers = {'X-B': ' a  b\tc ', name: 'x', name.upper(): 'y', 'x-a': ''}

    assert canonical_headers(headers) == ('x-a:\nx-b:a b c', 'x-a;x-b')


def test_unsigned_headers_are_botocores() -> None:
    """The unsigned headers are those of botocore."""
    assert sorted(botocore.auth.SIGNED_HEADERS_BLACKLIST) == sorted(UNSIGNED_HEADERS)
    assert (UNSIGNED_PAYLOAD, EMPTY_SHA256) == (botocore.auth.UNSIGNED_PAYLOAD, botocore.auth.EMPTY_SHA256_HASH)


def test_the_key_of_the_day() -> None:
    """The signing key is derived once per day, and again if the day changes, also backwards after a clock correction."""
    signer = Signer(*EXAMPLE)
    seconds = [EXAMPLE_S, EXAMPLE_S + 86_399, EXAMPLE_S + 86_400, EXAMPLE_S + 86_399]
    with mock.patch('hmac.digest', wraps=hmac.digest) as digest:
        counted = []
        said = []
        for second in seconds:
            said.append(signer.at(second).authorization('GET', '/', '', '', '', EMPTY_SHA256))
            counted.append(digest.call_count)

    # Four HMACs derive a key.
    assert counted == [4, 4, 8, 12]
    assert said == [Signer(*EXAMPLE).at(second).authorization('GET', '/', '', '', '', EMPTY_SHA256) for second in seconds]
    assert [each.partition('EXAMPLE/')[2][:8] for each in said] == ['20130524', '20130524', '20130525', '20130524']


def test_the_second() -> None:
    """The values of one second are computed once per second, and are always those of the request's second."""
    signer = Signer(*EXAMPLE)
    with mock.patch('time.strftime', wraps=time.strftime) as formatted:
        said = [signer.at(second).timestamp for second in (EXAMPLE_S, EXAMPLE_S + 0.999, EXAMPLE_S + 1.0, EXAMPLE_S + 0.5)]

    assert said == ['20130524T000000Z', '20130524T000000Z', '20130524T000001Z', '20130524T000000Z']
    assert formatted.call_count == 3


def test_nothing_secret_is_shown() -> None:
    """repr() contains neither the secret nor the token."""
    assert repr(Signer('id', 'secret', 'token', 'eu-west-1')) == '<Signer id eu-west-1/s3>'
