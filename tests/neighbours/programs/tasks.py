"""Celery: `tasks ask` sends tasks to a worker and waits for their results; `tasks inside` is both, with a worker in a thread.

The broker is a directory; inside, it is memory.
"""

from tests.neighbours.programs.shared import import_s3po, transfer

if __name__ == '__main__':
    import_s3po('first')

import os
import sys

import celery

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
