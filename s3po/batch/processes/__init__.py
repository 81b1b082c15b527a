"""Worker processes of a batch: `conn.batch(50, processes=4)`.

The batch and its callbacks, results, journal and failed set stay in the parent. Its jobs wait there for the answers of the
worker processes (`python -m s3po.worker`), each with an event loop and connections of its own.

- `pool`: sends each call to the worker with the fewest jobs, and again to another one if that worker is lost.
- `child`: starts a worker process, and ends it.
- `messages`: calls, outcomes and errors as plain values.
- `channel`: messages over a socket, many in one system call.
- `serving`: the other side, in the worker process.
- `relays`: notes and events of observers, from the worker to the parent.

Invariants: nothing forks. A worker process ends when its parent does. No key is on a command line or in an environment.
"""

from s3po.batch.processes.pool import ProcessPool

__all__ = ['ProcessPool']
