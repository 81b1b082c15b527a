"""APScheduler: `schedulers POOL` runs jobs in threads or processes. The jobs and the main thread transfer objects."""

from tests.neighbours.programs.shared import import_s3po, transfer

import_s3po('first')

import queue
import sys

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED
from apscheduler.executors.pool import ProcessPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

import_s3po('second')

ended = queue.Queue()


def note(event):
    ended.put(event.exception or event.retval)


def wait(count=1):
    return {ended.get(timeout=20) for _ in range(count)}


def main(kind):
    executors = {'default': ProcessPoolExecutor(2)} if kind == 'processes' else {}
    # A job may start late on a busy machine.
    scheduler = BackgroundScheduler(executors=executors, job_defaults={'misfire_grace_time': None}, timezone='UTC')
    scheduler.add_listener(note, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
    scheduler.start()
    scheduler.add_job(len, args=['ab'])
    assert wait() == {2}
    for name in ('a', 'b', 'c'):
        scheduler.add_job(transfer, args=[name], id=name)
    transfer('main', is_large=True)
    assert wait(3) == {'a', 'b', 'c'}
    scheduler.add_job(transfer, 'interval', args=['every'], seconds=0.2, id='every')
    assert wait(2) == {'every'}
    scheduler.remove_job('every')
    scheduler.shutdown()
    assert not scheduler.running


if __name__ == '__main__':
    main(sys.argv[1])
    print('done', flush=True)
