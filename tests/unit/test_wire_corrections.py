"""Requests with a wrong region or date are corrected, sent once more, and the correction is remembered; expired keys."""

from __future__ import annotations

import datetime
import email.utils
import logging
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import pytest

from s3po.body import BytesChunk
from s3po.credentials.keys import Keys
from s3po.endpoints.resolver import NotServable, Place
from s3po.errors import AccessDenied, CredentialsExpired, InvalidRequest, ResponseError
from s3po.http import Origin
from s3po.transport.wire import requests
from s3po.transport.wire.requests import Requester
from s3po.transport.wire.response_headers import Operation
from tests.support.wire import KEYS, PLACE, Canned, FakeClient, FakeKeys, FakePlaces, Sent, requester

NOW: Final = 1_369_353_600.0
GET: Final = Operation('GetObject', 'bucket', 'key')
FINE: Final = Canned()
OTHER_KEYS: Final = Keys(access_key_id='other', secret_access_key='secret')


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A fake clock of this machine."""
    clock = SimpleNamespace(now=NOW)
    monkeypatch.setattr(requests, 'time', SimpleNamespace(time=lambda: clock.now))
    return clock


def refusal(status: int, code: str = '', *, region: str = '', date: str | None = None, **headers: str) -> Canned:
    told = ''.join(f'<{name}>{value}</{name}>' for name, value in (('Code', code), ('Region', region)) if value)
    named: dict[str, str | None] = {name.replace('_', '-'): value for name, value in headers.items()}
    return Canned(status=status, headers={**named, 'Date': date}, body=f'<Error>{told}</Error>'.encode() if told else b'')


def region_of(sent: Sent) -> str:
    return str(sent['authorization']).partition('Credential=')[2].split('/')[2]


# All responses with which stores report that the bucket is in another region.
ASTRAY: Final = {
    '301, in the head': ('GET', refusal(301, x_amz_bucket_region='eu-west-3')),
    '301, in the body': ('GET', refusal(301, 'PermanentRedirect', region='eu-west-3')),
    '301, to a HEAD': ('HEAD', refusal(301, x_amz_bucket_region='eu-west-3')),
    '302': ('GET', refusal(302, x_amz_bucket_region='eu-west-3')),
    '307': ('PUT', refusal(307, 'TemporaryRedirect', x_amz_bucket_region='eu-west-3')),
    '400': ('GET', refusal(400, 'AuthorizationHeaderMalformed', region='eu-west-3')),
    '400, to a HEAD': ('HEAD', refusal(400, x_amz_bucket_region='eu-west-3')),
    '400, both': ('GET', refusal(400, 'AuthorizationHeaderMalformed', region='eu-west-1', x_amz_bucket_region='eu-west-3')),
    'a constraint': ('PUT', refusal(400, 'IllegalLocationConstraintException', x_amz_bucket_region='eu-west-3')),
    '403': ('GET', refusal(403, 'AuthorizationHeaderMalformed', region='eu-west-3')),
}


@pytest.mark.parametrize('how', ASTRAY)
def test_other_regions(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """The request is sent again for the other region, later requests use it at once, and it is logged once."""
    caplog.set_level(logging.INFO, 's3po')
    method, answer = ASTRAY[how]
    client, places = FakeClient(answer, FINE), FakePlaces()
    sender = requester(client, places=places)
    for body in (b'a', b'b'):
        sender.send(GET, method, body=body).close()

    assert [(each.body, region_of(each)) for each in client.sent] == [
        (b'a', 'us-east-1'),
        (b'a', 'eu-west-3'),
        (b'b', 'eu-west-3'),
    ]
    assert places.relearned == [('bucket', 'eu-west-3')]
    assert [each.getMessage() for each in caplog.records] == ['s3://bucket is in region eu-west-3; further requests go there']
    assert {each.state for each in client.connections} == {'given back'}


def test_other_hosts() -> None:
    """If the other region has another host, the request is sent there."""
    moved = replace(PLACE, host='store.eu', host_header='store.eu:9000', path='/', region='eu-west-3')

    class Moving(FakePlaces):
        def relearn(self, bucket: str, region: str) -> Place:
            return moved

    client = FakeClient(refusal(301, x_amz_bucket_region='eu-west-3'), FINE)
    requester(client, places=Moving()).send(GET, 'GET').close()

    assert client.origins == [Origin('http', 'store', 9000), Origin('http', 'store.eu', 9000)]
    assert [(each['host'], each.target) for each in client.sent] == [('store:9000', '/bucket/key'), ('store.eu:9000', '/key')]


def test_bodies_are_read_again() -> None:
    """The body is read and sent again."""
    client = FakeClient(refusal(307, x_amz_bucket_region='eu-west-3'), FINE)
    requester(client).send(GET, 'PUT', body=BytesChunk(b'data'), headers={'x-amz-acl': 'private'}, query={'a': 'b'}).close()

    assert [(each.target, each['x-amz-acl'], each.body) for each in client.sent] == [
        ('/bucket/key?a=b', 'private', b'data')
    ] * 2


@pytest.mark.parametrize(
    'answer',
    [
        refusal(301),
        refusal(301, 'PermanentRedirect', region='us-east-1'),
        refusal(301, x_amz_bucket_region='us-east-1'),
        refusal(301, 'PermanentRedirect', region='elsewhere.example.com/'),
        refusal(301, x_amz_bucket_region='é'),
        refusal(400, 'InvalidArgument'),
        refusal(400, 'InvalidArgument', x_amz_bucket_region='us-east-1'),
        refusal(403, 'AccessDenied', x_amz_bucket_region='eu-west-3'),
        refusal(404, 'NoSuchKey', region='eu-west-3', x_amz_bucket_region='eu-west-3'),
        refusal(500, x_amz_bucket_region='eu-west-3'),
    ],
)
def test_no_other_region(answer: Canned) -> None:
    """Without a region, with the same or an invalid one, or with another code, the request is not repeated."""
    client = FakeClient(answer)
    with pytest.raises(ResponseError) as caught:
        requester(client).send(GET, 'GET')

    assert caught.value.status == answer.status
    assert len(client.sent) == 1


def test_redirects_never_loop() -> None:
    """A second redirect is an error; the next request starts with the last region."""
    to, back = refusal(301, x_amz_bucket_region='eu-west-3'), refusal(301, x_amz_bucket_region='us-east-1')
    client = FakeClient(to, back, back)
    sender = requester(client)
    with pytest.raises(InvalidRequest):
        sender.send(GET, 'GET')
    assert [region_of(each) for each in client.sent] == ['us-east-1', 'eu-west-3']
    with pytest.raises(InvalidRequest, match='GetObject s3://bucket/key: 301.*region'):
        sender.send(GET, 'GET')

    assert [region_of(each) for each in client.sent] == ['us-east-1', 'eu-west-3', 'eu-west-3', 'us-east-1']


def test_other_regions_that_need_botocore() -> None:
    """If the other region needs botocore, NotServable is raised, and the connection is released."""

    class Moving(FakePlaces):
        def relearn(self, bucket: str, region: str) -> Place:
            raise NotServable('it is signed with version 4a')

    client = FakeClient(refusal(301, x_amz_bucket_region='eu-west-3'))
    with pytest.raises(NotServable):
        requester(client, places=Moving()).send(GET, 'GET')

    assert [each.state for each in client.connections] == ['given back']


# --- the clock


def date_at(seconds: float) -> str:
    return email.utils.formatdate(seconds, usegmt=True)


def timestamp(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime('%Y%m%dT%H%M%SZ')


@pytest.mark.parametrize('off_s', [-86_400 * 400, -3600, 3600, 86_400 * 400])
@pytest.mark.parametrize(
    ('method', 'code'), [('GET', 'RequestTimeTooSkewed'), ('PUT', 'RequestTimeTooSkewed'), ('HEAD', ''), ('GET', '')]
)
def test_clocks_that_are_off(
    off_s: float, method: str, code: str, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    """The request is sent again with the store's time, later requests use the offset at once, and it is logged once."""
    client = FakeClient(refusal(403, code, date=date_at(NOW + off_s)), FINE)
    sender = requester(client)
    with caplog.at_level(logging.WARNING):
        sender.send(GET, method).close()
        clock.now += 60
        sender.send(GET, method).close()

    dates = [NOW, NOW + off_s, NOW + 60 + off_s]
    assert [each['x-amz-date'] for each in client.sent] == [timestamp(each) for each in dates]
    # The signature contains the day.
    assert [f'/{timestamp(each)[:8]}/' in str(sent['authorization']) for sent, each in zip(client.sent, dates, strict=True)]
    assert [each.getMessage() for each in caplog.records] == [
        f"this machine's clock is {-off_s:.0f} s off the store's; requests use the store's time from now on"
    ]


def test_clocks_that_are_set_right(clock: SimpleNamespace) -> None:
    """If the machine's clock is corrected, the offset is corrected, too."""
    client = FakeClient(refusal(403, 'RequestTimeTooSkewed', date=date_at(NOW + 7200)), FINE)
    sender = requester(client)
    sender.send(GET, 'GET').close()
    clock.now += 7200
    client.answer(refusal(403, 'RequestTimeTooSkewed', date=date_at(NOW + 7200)), FINE)
    sender.send(GET, 'GET').close()

    assert [each['x-amz-date'] for each in client.sent] == [timestamp(NOW + s) for s in (0, 7200, 14_400, 7200)]


@pytest.mark.parametrize(
    'date',
    [
        None,
        '',
        'garbage',
        'Sun, 99 Nov 1994 08:49:37 GMT',
        '²²²²²',
        # So close to this machine's time that the time is not the reason for the refusal.
        date_at(NOW),
        date_at(NOW + 440),
        date_at(NOW - 440),
    ],
)
@pytest.mark.parametrize('code', ['RequestTimeTooSkewed', ''])
def test_clock_without_a_known_error(date: str | None, code: str) -> None:
    """Without a valid date in the response, or with this machine's time, the request is not repeated."""
    client = FakeClient(refusal(403, code, date=date))
    with pytest.raises(AccessDenied):
        requester(client).send(GET, 'GET')

    assert len(client.sent) == 1


@pytest.mark.parametrize('date', ['Fri May 24 01:00:00 2013', 'Friday, 24-May-13 01:00:00 GMT', '24 May 2013 03:00:00 +0200'])
def test_dates_in_other_forms(date: str) -> None:
    """Dates in old formats are UTC, whatever the time zone of this machine is."""
    client = FakeClient(refusal(403, 'RequestTimeTooSkewed', date=date), FINE)
    requester(client).send(GET, 'GET').close()

    assert client.sent[-1]['x-amz-date'] == '20130524T010000Z'


@pytest.mark.parametrize(
    'answer',
    [
        refusal(403, 'AccessDenied', date=date_at(NOW + 3600)),
        refusal(403, 'SignatureDoesNotMatch', date=date_at(NOW + 3600)),
        refusal(404, date=date_at(NOW + 3600)),
        refusal(503, date=date_at(NOW + 3600)),
    ],
)
def test_clocks_that_do_not_matter(answer: Canned) -> None:
    """The date of a response matters only if the request was refused for its time."""
    client = FakeClient(answer)
    with pytest.raises(ResponseError):
        requester(client).send(GET, 'GET')

    assert len(client.sent) == 1


def test_corrected_clocks_never_loop(clock: SimpleNamespace) -> None:
    """If the store's clock changes again, the second refusal is raised."""
    client = FakeClient(*(refusal(403, 'RequestTimeTooSkewed', date=date_at(NOW + hours * 3600)) for hours in (1, 2, 3)))
    with pytest.raises(AccessDenied, match='RequestTimeTooSkewed'):
        requester(client).send(GET, 'GET')

    assert len(client.sent) == 2


class Interrupted(FakeClient):
    """A client that calls a function while the first request is in flight."""

    def __init__(self, meanwhile: Callable[[Interrupted], object], *answers: Canned) -> None:
        super().__init__(*answers)
        self._meanwhile: Any = meanwhile

    def next_answer(self) -> Canned | Exception:
        answer = super().next_answer()
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile(self)
        return answer


def test_corrections_by_others(caplog: pytest.LogCaptureFixture) -> None:
    """All requests that were in flight with the wrong time are sent again, not only the first one to be refused."""
    refused = refusal(403, 'RequestTimeTooSkewed', date=date_at(NOW + 3600))
    made: list[Requester] = []
    client = Interrupted(lambda _: made[0].send(GET, 'GET').close(), refused, refused, FINE)
    made.append(requester(client))
    with caplog.at_level(logging.WARNING):
        made[0].send(GET, 'GET').close()

    assert [each['x-amz-date'] for each in client.sent] == [timestamp(NOW + s) for s in (0, 0, 3600, 3600)]
    assert len(caplog.records) == 1


def test_redirects_by_others() -> None:
    """All requests that were in flight to the wrong region are sent again."""
    refused = refusal(301, x_amz_bucket_region='eu-west-3')
    made: list[Requester] = []
    client = Interrupted(lambda _: made[0].send(GET, 'GET').close(), refused, refused, FINE)
    made.append(requester(client))
    made[0].send(GET, 'GET').close()

    assert [region_of(each) for each in client.sent] == ['us-east-1', 'us-east-1', 'eu-west-3', 'eu-west-3']


# --- keys


@pytest.mark.parametrize('code', ['ExpiredToken', 'ExpiredTokenException', 'TokenRefreshRequired', 'InvalidToken'])
def test_expired_keys(code: str) -> None:
    """The source of the keys is notified once that they have expired; the retry policy sends the request again."""
    client, keys = FakeClient(refusal(400, code)), FakeKeys(can_refresh=True)
    with pytest.raises(CredentialsExpired, match=f'GetObject s3://bucket/key: 400 {code}'):
        requester(client, keys=keys).send(GET, 'GET')

    assert keys.expired == [KEYS]
    assert len(client.sent) == 1


def test_expired_keys_that_are_all_there_are() -> None:
    """If the keys cannot be refreshed, the error is an AccessDenied."""
    keys = FakeKeys()
    with pytest.raises(AccessDenied, match='get new credentials') as caught:
        requester(FakeClient(refusal(400, 'ExpiredToken')), keys=keys).send(GET, 'GET')

    assert type(caught.value) is AccessDenied
    assert keys.expired == []


def test_other_refusals_expire_nothing() -> None:
    """Other refusals do not expire the keys."""
    keys = FakeKeys(can_refresh=True)
    with pytest.raises(AccessDenied):
        requester(FakeClient(refusal(403, 'AccessDenied')), keys=keys).send(GET, 'GET')

    assert keys.expired == []


def test_keys_that_others_renewed() -> None:
    """A refusal expires the keys that signed its request, not newer ones."""
    keys = FakeKeys(can_refresh=True)
    made: list[Requester] = []

    def renew(client: Interrupted) -> None:
        keys.current = OTHER_KEYS
        made[0].send(GET, 'GET').close()

    client = Interrupted(renew, refusal(400, 'ExpiredToken'), FINE)
    made.append(requester(client, keys=keys))
    with pytest.raises(CredentialsExpired):
        made[0].send(GET, 'GET')

    assert keys.expired == [KEYS]
