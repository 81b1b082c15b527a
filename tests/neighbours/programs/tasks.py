"""Celery: `tasks ask` sends tasks to a worker and waits for their results; `tasks inside` runs the worker in a thread.

The broker is a directory, or memory for `tasks inside`.
"""

from tests.neighbours.programs.shared import import_s3po, transfer

if __name__ == '__main__':
    import_s3po('first')

import json
import os
import sys
import time
import uuid

import celery
from kombu.transport import filesystem

import_s3po('second')

HERE = os.getcwd()
for folder in ('queue', 'control', 'results'):
    os.makedirs(folder, exist_ok=True)
app = celery.Celery('tasks')
app.conf.update(
    broker_url='filesystem://',
    broker_transport_options={name: os.path.join(HERE, 'queue') for name in ('data_folder_in', 'data_folder_out')}
    | {'control_folder': os.path.join(HERE, 'control'), 'polling_interval': 0.05},
    result_backend=f'file://{HERE}/results',
    broker_connection_retry_on_startup=False,
    worker_redirect_stdouts=False,
)


def put(self, queue, payload, **_):
    """Queue a message as a file that appears complete.

    kombu's own method creates the file before it writes it, and a worker that reads it in between loses the message: without
    s3po, 37 of 20,000.
    """
    name = os.path.join(self.data_folder_out, f'{time.monotonic_ns():020}_{uuid.uuid4()}.{queue}')
    with open(f'{name}.new', 'w') as file:
        json.dump(payload, file)
    os.rename(f'{name}.new', f'{name}.msg')


filesystem.Channel._put = put


@app.task(name='square')
def square(number):
    return number * number


@app.task(name='move')
def move(name):
    return transfer(name)


def use_ask():
    results = [square.delay(number) for number in range(4)]
    assert [result.get(timeout=20) for result in results] == [0, 1, 4, 9]
    results = [move.delay(f'task/{number}') for number in range(4)]
    transfer('client', is_large=True)
    assert [result.get(timeout=20) for result in results] == [f'task/{number}' for number in range(4)]
    assert square.delay(5).get(timeout=20) == 25


def use_inside():
    from celery.contrib.testing.worker import start_worker

    app.conf.update(broker_url='memory://', broker_transport_options={}, result_backend='cache+memory://')
    with start_worker(app, pool='solo', perform_ping_check=False):
        use_ask()


if __name__ == '__main__':
    command, *arguments = sys.argv[1:]
    globals()[f'use_{command}'](*arguments)
    print('done', flush=True)
