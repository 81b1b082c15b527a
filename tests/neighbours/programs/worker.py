"""Celery's own command: `worker POOL` is a worker for the tasks of `tasks`, which may import s3po second."""

from tests.neighbours.programs.shared import import_s3po

import_s3po('first')

import sys

from celery.__main__ import main

if __name__ == '__main__':
    # With the pool gevent, celery patches everything before it imports the tasks.
    sys.argv = ['celery', '-A', 'tests.neighbours.programs.tasks', 'worker', '--pool', sys.argv[1]]
    sys.argv += ['--concurrency', '2', '--loglevel', 'INFO', '--without-gossip', '--without-mingle']
    main()
