"""Two thousand transfers, killed at random moments: nothing is left, and later transfers work."""

from __future__ import annotations

import gc
import hashlib
import http.client
import os
import random
import re
import time
from collections import Counter

import gevent
import pytest
from greenlet import greenlet

import s3po
from s3po.config import MIB
from tests.conftest import BUCKET
from tests.support.servers import Store

pytestmark = pytest.mark.slow

SEED = 6
KILLS = 2000
WIDTH = 40
OBJECTS = 50
PART = 5 * MIB
# As many requests at once as transfers: a transfer that waits for a slot has sent nothing, so killing it would test nothing.
SLOTS = 2 * WIDTH
CONFIG = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=2, max_requests=SLOTS)
LONGEST_S = 120.0


def body(number: int) -> bytes:
    """A body that identifies its object: it starts with the number."""
    return f'{number:08d}'.encode() + random.Random(number).randbytes(1000 + 997 * number)


def open_uploads(store: Store) -> list[str]:
    connection = http.client.HTTPConnection('127.0.0.1', store.port, timeout=10)
    connection.request('GET', f'/{BUCKET}?uploads')
    text = connection.getresponse().read().decode()
    connection.close()
    return re.findall('<Upload><Key>([^<]*)', text)


def test_many_kills(store: Store, conn: s3po.Connection) -> None:
    """No response is read by another transfer, and no descriptor, greenlet or multipart upload is left."""
    connection = s3po.Connection(
        endpoint_url=store.endpoint_url, region='us-east-1', access_key_id='key', secret_access_key='secret', config=CONFIG
    )
    chance, large = random.Random(SEED), os.urandom(PART + 1)
    for number in range(OBJECTS):
        connection.upload(BUCKET, f'{number}', body(number))
    connection.close()
    gc.collect()
    descriptors = len(os.listdir('/proc/self/fd'))

    def transfer(kind: str, number: int) -> None:
        if kind == 'parts':
            connection.upload(BUCKET, f'up{number % 4}', large)
        elif kind == 'up':
            connection.upload(BUCKET, f'up{number}', body(number))
        else:
            assert connection.download(BUCKET, f'{number}') == body(number)
        ended[kind] += 1
        lasts_s[kind] = 0.8 * lasts_s[kind] + 0.2 * (time.monotonic() - began[gevent.getcurrent()])

    # The measured duration of each kind of transfer: kills come at any moment of it, or a little later.
    killed, ended = Counter[str](), Counter[str]()
    lasts_s = {'parts': 1.0, 'up': 0.2, 'down': 0.2}
    began: dict[greenlet, float] = {}
    living: dict[gevent.Greenlet[..., None], tuple[str, float]] = {}
    deadline = time.monotonic() + LONGEST_S
    while killed.total() < KILLS:
        assert time.monotonic() < deadline, (killed, ended)
        while len(living) < WIDTH:
            kind = chance.choice(('parts', 'up', 'down', 'down'))
            running = gevent.spawn(transfer, kind, chance.randrange(OBJECTS))
            began[running] = time.monotonic()
            living[running] = kind, began[running] + chance.uniform(0, 1.2 * lasts_s[kind])
        gevent.sleep(0.0005)
        for each, (kind, end) in living.items():
            if end < time.monotonic():
                each.kill(block=False)
                # Killed once.
                living[each] = kind, deadline
        gevent.sleep(0)
        for each in [each for each in living if each.dead]:
            kind, _ = living.pop(each)
            del began[each]
            assert each.exception is None, each.exception
            killed[kind] += isinstance(each.value, gevent.GreenletExit)
    gevent.killall(list(living))
    seen = Counter(each['operation'] for each in store.log())
    print(f'killed: {killed}, ended: {ended}, requests: {seen}')
    # These were killed in the middle of the transfer.
    assert min(killed.values()) >= KILLS // 8
    assert seen['UploadPart'] >= KILLS // 8
    assert min(ended.values()) >= 10

    for number in [chance.randrange(OBJECTS) for _ in range(200)]:
        found = connection.download(BUCKET, f'{number}')
        assert hashlib.sha256(found).digest() == hashlib.sha256(body(number)).digest()
    assert open_uploads(store) == []
    assert repr(connection._wiring.governor()) == f'<Governor width={SLOTS} free={SLOTS}>'
    connection.close()
    deadline = time.monotonic() + 10
    while len(os.listdir('/proc/self/fd')) > descriptors and time.monotonic() < deadline:
        gc.collect()
        gevent.sleep(0.05)
    assert len(os.listdir('/proc/self/fd')) <= descriptors
