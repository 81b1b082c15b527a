"""Ctrl-C between any two lines of a batch's own code: the block ends soon, and every job has ended."""

from __future__ import annotations

from pathlib import Path

import pytest

import s3po
from tests.support.programs import Runner
from tests.support.servers import CHECKOUT, Authority, Store

# Raises KeyboardInterrupt at each line of s3po/batch in turn, in whichever greenlet runs it; prints the failures.
PROGRAM = """
    import itertools
    import os
    import sys

    import gevent
    import greenlet
    import s3po

    conn = s3po.Connection(
        endpoint_url=os.environ['ENDPOINT'], region='us-east-1', access_key_id='a', secret_access_key=os.environ['SECRET']
    )
    package = os.path.join(s3po.__path__[0], 'batch', '')
    # Python drops what is raised here, and the start of __exit__ is before anything that could be done about it.
    left_out = {'Batch.__del__', 'Batch.unread', 'Batch.pending', 'Unread.message', 'warn', 'Batch.__exit__', 'Home.is_here'}
    left_out |= {'Home.is_own_process', 'Unread.message.<locals>.<listcomp>'}
    gevent.get_hub().exception_stream = None


    class Interrupter:
        def __init__(self, step):
            self.left = step
            self.where = None

        def trace(self, frame, event, argument):
            code = frame.f_code
            if self.where is None and code.co_filename.startswith(package) and code.co_qualname not in left_out:
                return self.trace_line
            return None

        def trace_line(self, frame, event, argument):
            if event == 'line' and self.where is None:
                self.left -= 1
                if not self.left:
                    self.where = f'{frame.f_code.co_qualname}:{frame.f_lineno}'
                    raise KeyboardInterrupt
            return self.trace_line

        def __enter__(self):
            # Each greenlet has a trace function of its own.
            greenlet.settrace(lambda *_: sys.settrace(self.trace))
            sys.settrace(self.trace)

        def __exit__(self, *_):
            greenlet.settrace(None)
            sys.settrace(None)


    batches = []
"""

WORK = """
    def work():
        with conn.batch(4) as batch:
            batches.append(batch)
            for number in range(12):
                batch.upload('bucket', f'key-{number}', b'data', callback=len if number % 3 else None, errback=str)
"""

# Jobs that have last turns, a bucket that the breaker stops, failed jobs in a temporary file, and a map.
FAILING_WORK = """
    import logging
    from s3po.batch import Batch, breaker, failed
    from s3po.errors import NetworkError, NoSuchBucket, UploadError
    from tests.support.performer import Performer

    logging.disable(logging.CRITICAL)
    breaker.PAUSE_S = 0.002
    failed.MAX_IN_MEMORY = 3


    class Failing(Performer):
        tries = 0

        def perform(self, call):
            self.tries += 1
            gevent.sleep(0)
            if call.ref.key.startswith('out') and self.tries % 3:
                raise UploadError('failed', attempts=4) from NetworkError('reset')
            if call.ref.bucket == 'missing':
                raise NoSuchBucket('missing')
            return super().perform(call)


    def work():
        with Batch(Failing(), 3, on_error='collect') as batch:
            batches.append(batch)
            for number in range(10):
                batch.upload('bucket', f'out{number}', b'', callback=len if number % 3 else None, errback=str)
                batch.upload('missing', f'key{number}', b'')
            batch.map_upload(('bucket', f'key{number}', b'') for number in range(4))
"""

LOOP = """
    for step in itertools.count(int(os.environ['FIRST']), int(os.environ['STEPS'])):
        interrupter, outcome = Interrupter(step), 'no interrupt'
        timeout = gevent.Timeout(10)
        timeout.start()
        try:
            with interrupter:
                work()
        except KeyboardInterrupt:
            outcome = 'interrupt'
        except gevent.Timeout:
            outcome = 'hang'
        except BaseException as error:
            outcome = repr(error)
        timeout.close()
        if interrupter.where is None:
            break
        if not batches:
            continue
        report = batches[-1].report()
        counted = report.succeeded + report.failed + report.cancelled + report.not_started
        is_right = report.submitted == counted and not report.pending
        unended = [job for job in batches[-1]._counting.jobs if not job.has_ended]
        if outcome != 'interrupt' or not is_right or unended:
            print(interrupter.where, outcome, report, unended)
    print('steps', step)
"""


@pytest.mark.parametrize('work', [WORK, FAILING_WORK], ids=['work', 'failing work'])
@pytest.mark.parametrize('first', [1, 5, 9])
@pytest.mark.sampled(2)
def test_every_step(store: Store, authority: Authority, tmp_path: Path, first: int, work: str) -> None:
    """Ctrl-C at any step of queueing, taking, ending and counting a job does not make the batch wait forever."""
    run = Runner(authority, store.endpoint_url, tmp_path)
    with s3po.Connection(endpoint_url=store.endpoint_url, region='us-east-1', access_key_id='a', secret_access_key='b') as conn:
        conn.create_bucket('bucket')

    # Coverage traces, too, and each greenlet has only one trace function.
    steps = {'FIRST': str(first), 'STEPS': '23' if work is WORK else '31'}
    program = run(PROGRAM, work, LOOP, **steps, COVERAGE_PROCESS_START='', PYTHONPATH=str(CHECKOUT))

    *wrong, line = program.out.splitlines()
    assert wrong == []
    assert line.startswith('steps ')
    assert int(line.split()[1]) > 500
