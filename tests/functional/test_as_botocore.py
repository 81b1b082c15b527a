"""What boto3 reads in the response of any store, a Connection reads to the same values.

The responses are recorded from real stores, and changed in form: roots, namespaces, order and case of names, optional parts,
forms of dates and quotes, framing. boto3 and a Connection read the same bytes. A Connection is strict about what proves bytes:
with such a change (SPOILS) it may fail where boto3 succeeds, but only as DIFFERENCES describes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Self

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from s3po.errors import ResponseError, S3poError
from tests.support.answer_changes import SPOILS, draft_of, reformed, reply_of
from tests.support.answering import Answering, Reply
from tests.support.paired_calls import CALLS, LARGE, Lacking, client_for, connection_for
from tests.support.recording import STORES, Player, Recorded, recorded

ANSWERS: Final = functools.cache(recorded)
MANY: Final = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # A smaller seed is no simpler example: failures are not shrunk, and the notes show the bytes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)

# What boto3 reads and a Connection does not, or not to the same value. The spoil; a pattern of the
# Connection's error, or '' for another value; the reason.
DIFFERENCES: Final[Mapping[str, tuple[str, str]]] = {
    'status 202': (r'the status is 202', 'S3 never sends it: a proxy has only queued the request'),
    'status 206': (r'status (is )?206', 'a part of the object is not the object'),
    'weak ETag': (r'no valid ETag', 'web frameworks add weak ETags to any response: no proof that the data are stored'),
    'weak ETag in the document': (r'no valid ETag|does not prove|^$', 'as above; a completion is then proved by a HEAD'),
    'other ETag': (r'does not prove', 'the ETag of the object is not made of those of its parts'),
    'no Content-Range': (r'Content-Range: \'\'|the store sent', 'nothing proves that it is the requested range'),
    'other Content-Range': (r'Content-Range: |asked for', 'it contradicts the length, or is not the requested range'),
    'other ETag of a range': (r'was replaced 3 times', 'the object was replaced between two ranges'),
    'Content-Range without a size': (r'Content-Range: ', 'without the size, an object that was cut off is not noticed'),
    'no length': (
        r'no Content-Length|501',
        "a truncated body could not be detected; without a HEAD's length, a GET has to tell the size",
    ),
    'length with a sign': (r'Content-Length', 'RFC 9110, section 8.6 allows digits only; a proxy may read another length'),
    'no sign of a store': (r'none of the headers', 'a web page, for example of a login'),
    'other checksum': (r'not the stored ones', 'the bytes are not those that were stored'),
    'page after an upload': (r'is a web page', 'S3 sends no body'),
    'root of another operation': (r'but the response is \'ListPartsResult\'', 'a late response to another request'),
    'DOCTYPE': (r'has a DOCTYPE', 'no entities are expanded'),
    'too many tags': (r'too long', 'memory is limited'),
    'key outside of the prefix': (r'does not begin with the prefix', 'the store has ignored the prefix'),
    'IsTruncated in capitals': ('', 'botocore takes it for false, and the rest of the listing is lost'),
    'time in words': (r'instead of a time|^$', 'dateutil guesses, also if a part of the date is missing'),
    'time that is none': ('', 'the time of a copy is not used; botocore fails'),
    'error in the document': ('', 'delete_many() reports the error for each key'),
    'nothing in the document': (r'not XML', 'a lost body is not an empty bucket'),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error, with the status and code of the response, if it is a store's."""

    text: str
    code: str = ''
    status: int = 0
    # Whether it is boto3's, and not a store's error: then the Connection may fail with any error.
    is_foreign: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Failure) and (self.code, self.status) == (other.code, other.status)

    def __hash__(self) -> int:
        return hash((self.code, self.status))


def outcome(call: Callable[[Any], Any], client: Any) -> Any:
    """The value of a call, or its Failure; Lacking if a response has not the fields of the value."""
    try:
        return call(client)
    except Lacking:
        return Lacking
    except ClientError as error:
        code, status = error.response['Error'].get('Code', ''), error.response['ResponseMetadata']['HTTPStatusCode']
        # botocore takes a 200 whose document is an error, or none, for a 500.
        return Failure(str(error), code, 200 if status == 500 else status, is_foreign=code == '500')
    except S3poError as error:
        cause = error if isinstance(error, ResponseError) else error.__cause__
        if isinstance(cause, ResponseError):
            return Failure(str(error), cause.code, cause.status)
        return Failure(str(error))
    except (BotoCoreError, ResponseParserError, ValueError, TypeError, AttributeError, KeyError) as error:
        return Failure(repr(error), is_foreign=True)


class Server:
    """Plays responses to both clients."""

    def __init__(self) -> None:
        self._answering = Answering(lambda _: Reply())
        self._client = client_for(self._answering.endpoint_url)

    def __enter__(self) -> Self:
        self._answering.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()
        self._answering.__exit__(None, None, None)

    def both(self, name: str, answers: Sequence[Recorded], served: Callable[[Recorded], Reply]) -> tuple[Any, Any]:
        """The outcome of a call by s3po, and by boto3."""
        pair = CALLS[name]
        self._answering.answer = Player(answers, served)
        # A new connection: an old one remembers, for example, which store refuses checksums.
        with connection_for(self._answering.endpoint_url) as connection:
            ours = outcome(pair.ours, connection)
        self._answering.answer = Player(answers, served)
        return ours, outcome(pair.theirs, self._client)


@pytest.fixture(scope='module')
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def difference(ours: Any, theirs: Any, *names: str) -> str | None:
    """The name of the difference of two outcomes; None if there is none.

    Args:
        ours: The outcome of the Connection.
        theirs: That of boto3.
        names: The possible names.

    Raises:
        AssertionError: The outcomes differ in another way.
    """
    is_same = (
        ours == theirs or theirs is Lacking or (isinstance(theirs, Failure) and theirs.is_foreign and isinstance(ours, Failure))
    )
    if is_same:
        return None
    for name in names:
        pattern, _ = DIFFERENCES.get(name, ('^\b$', ''))
        if re.search(pattern, ours.text) if isinstance(ours, Failure) else pattern == '' or pattern.endswith('|^$'):
            return name
    assert ours == theirs
    return None


def groups() -> dict[str, list[str]]:
    """The names of the calls, for each kind of call."""
    found: dict[str, list[str]] = {}
    for name in CALLS:
        found.setdefault('in parts' if name in LARGE else name.partition(' ')[0], []).append(name)
    return found


@pytest.mark.parametrize('store', STORES)
def test_as_recorded(server: Server, store: str) -> None:
    """The values are the same for all responses as they were recorded."""
    for name in CALLS.keys() - set(LARGE):
        difference(*server.both(name, ANSWERS(store)[name], lambda answer: reply_of(draft_of(answer))))


@pytest.mark.sampled(len(groups()))
@pytest.mark.parametrize(('kind', 'names'), groups().items(), ids=groups())
def test_as_botocore(server: Server, kind: str, names: list[str]) -> None:
    """The values are the same whatever the form of the responses, and differ only as DIFFERENCES describes."""
    count = MANY.max_examples // 4 if kind == 'in parts' else MANY.max_examples * min(len(names), 2)

    @settings(MANY, max_examples=count)
    @given(
        store=st.sampled_from(STORES),
        name=st.sampled_from(names),
        spoil=st.one_of(st.none(), st.sampled_from([*SPOILS])),
        seed=st.integers(0, 2**64),
    )
    def check(store: str, name: str, spoil: str | None, seed: int) -> None:
        random, drafts = Random(seed), {}
        for answer in ANSWERS(store)[name]:
            draft = reformed(draft_of(answer), random)
            drafts[id(answer)] = (SPOILS[spoil](draft) if spoil else None) or draft
        replies = {number: reply_of(draft) for number, draft in drafts.items()}
        ours, theirs = server.both(name, ANSWERS(store)[name], lambda answer: replies[id(answer)])
        try:
            difference(ours, theirs, *([spoil] if spoil else []))
        except AssertionError:
            for draft in drafts.values():
                note(f'{draft}'[:5000])
            raise

    check()


@pytest.mark.slow
def test_every_difference_occurs(server: Server) -> None:
    """Each of DIFFERENCES occurs: one that was repaired must leave the list."""
    found = set()
    for store in STORES:
        for name in LARGE:
            found.add(difference(*server.both(name, ANSWERS(store)[name], lambda answer: reply_of(draft_of(answer)))))
    # rclone's ETags of objects in parts are not made of the parts'.
    for store, name in [*(('rgw', name) for name in CALLS), ('rclone-memory', 'upload in parts')]:
        answers = ANSWERS(store)[name]
        for spoil, change in SPOILS.items():
            changed = [change(draft_of(answer)) for answer in answers]
            if not any(changed) or spoil in found:
                continue
            replies = {id(answer): reply_of(draft or draft_of(answer)) for answer, draft in zip(answers, changed, strict=True)}
            found.add(difference(*server.both(name, answers, lambda answer: replies[id(answer)]), spoil))  # noqa: B023

    assert found - {None} == set(DIFFERENCES)
