"""Two thousand transfers, killed at random moments: what is left behind is nothing, and what comes next is unharmed."""

from __future__ import annotations

import gc
import hashlib
import http.client
import os
import random
import re
import time

import gevent

import s3po
from s3po.config import MIB
from tests.conftest import BUCKET
from tests.support.servers import Store

SEED = 6
KILLS = 2000
WIDTH = 40
OBJECTS = 50
PART = 5 * MIB
CONFIG = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=2)


def body(number: int) -> bytes:
    """Known to whoever reads it: its first bytes tell its number."""
    return f'{number:08d}'.encode() + random.Random(number).randbytes(1000 + 997 * number)


def open_uploads(store: Store) -> list[str]:
    connection = http.client.HTTPConnection('127.0.0.1', store.port, timeout=10)
    connection.request('GET', f'/{BUCKET}?uploads')
    text = connection.getresponse().read().decode()
    connection.close()
    return re.findall('<Upload><Key>([^<]*)', text)


def test_many_kills(store: Store, conn: s3po.Connection) -> None:
    """No answer is taken for another's, and no descriptor, greenlet or multipart upload is left."""
    connection = s3po.Connection(
        endpoint_url=store.endpoint_url, region='us-east-1', access_key_id='key', secret_access_key='secret', config=CONFIG
    )
    chance, large = random.Random(SEED), os.urandom(PART + 1)
    for number in range(OBJECTS):
        connection.upload(BUCKET, f'{number}', body(number))
    connection.close()
    gc.collect()
    descriptors = len(os.listdir('/proc/self/fd'))

    def transfer() -> None:
        kind, number = chance.randrange(10), chance.randrange(OBJECTS)
        if kind == 0:
            connection.upload(BUCKET, f'up{number % 4}', large)
        elif kind < 5:
            connection.upload(BUCKET, f'up{number}', body(number))
        else:
            assert connection.download(BUCKET, f'{number}') == body(number)

    killed = ended = 0
    running: list[gevent.Greenlet[..., None]] = []
    while killed < KILLS:
        while len(running) < WIDTH:
            running.append(gevent.spawn(transfer))
        gevent.sleep(chance.choice((0, 0, 0.0005, 0.002, 0.005)))
        for victim in chance.sample(running, 12):
            victim.kill(block=False)
        gevent.sleep(0)
        for each in [each for each in running if each.dead]:
            running.remove(each)
            assert each.exception is None or isinstance(each.exception, gevent.GreenletExit), each.exception
            killed += isinstance(each.value, gevent.GreenletExit)
            ended += not isinstance(each.value, gevent.GreenletExit)
    gevent.killall(running)

    for number in [chance.randrange(OBJECTS) for _ in range(200)]:
        found = connection.download(BUCKET, f'{number}')
        assert hashlib.sha256(found).digest() == hashlib.sha256(body(number)).digest()
    assert open_uploads(store) == []
    assert repr(connection._wiring.governor()) == '<Governor width=2 free=2>'
    connection.close()
    deadline = time.monotonic() + 10
    while len(os.listdir('/proc/self/fd')) > descriptors and time.monotonic() < deadline:
        gc.collect()
        gevent.sleep(0.05)
    assert len(os.listdir('/proc/self/fd')) <= descriptors
    # Some had come to their end before they were hit.
    print(f'{killed} killed, {ended} ended')
