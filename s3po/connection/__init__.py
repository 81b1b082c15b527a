"""The connection: the public class Connection and its parts.

`wiring` selects the transport, credentials and governor of a call, and `operations` carries it out. `objects` and `facade`
contain the public methods and their documentation. The interfaces import what they need of lower rooms from here.
"""

from s3po.batch import Batch, FailedJob, FailedJobs
from s3po.body.pipes import Data, Pipe, joined
from s3po.connection.awaiting import LoopPieces, pieces_of
from s3po.connection.background import Background, Queued
from s3po.connection.facade import Connection
from s3po.connection.native import NativeWorker, Work, running_loop
from s3po.connection.old_names import OldCalls, OldTransfers
from s3po.connection.raw import Headers, check_sha256, send_raw, sign_url
from s3po.connection.request_headers import get_call, only_version, reading
from s3po.connection.verifying import Difference, VerifyReport
from s3po.observer import Progress
from s3po.retry import RetryPolicy
from s3po.runtime import Captured, has_greenlets, wait_until

__all__ = [
    'Background',
    'Batch',
    'Captured',
    'Connection',
    'Data',
    'Difference',
    'FailedJob',
    'FailedJobs',
    'Headers',
    'LoopPieces',
    'NativeWorker',
    'OldCalls',
    'OldTransfers',
    'Pipe',
    'Progress',
    'Queued',
    'RetryPolicy',
    'VerifyReport',
    'Work',
    'check_sha256',
    'get_call',
    'has_greenlets',
    'joined',
    'only_version',
    'pieces_of',
    'reading',
    'running_loop',
    'send_raw',
    'sign_url',
    'wait_until',
]
