"""The bytes of objects on this machine: sources for uploads, sinks for downloads.

This room reads and writes local data. It knows nothing of S3, requests or retries.
"""

from s3po.body.chunks import BytesChunk, Chunk
from s3po.body.compressing import compressed
from s3po.body.decompressing import DecompressingSink
from s3po.body.kept import KeptSink, remove_kept
from s3po.body.keypaths import LocalPaths, local_path
from s3po.body.sink_kinds import open_sink
from s3po.body.sinks import UNWAITING_BYTES, Sink
from s3po.body.source_kinds import open_path, open_source
from s3po.body.sources import NO_SOURCE, SizedSource, Source
from s3po.body.streams import StreamSource
from s3po.body.temporary import sweep_stale

__all__ = [
    'NO_SOURCE',
    'UNWAITING_BYTES',
    'BytesChunk',
    'Chunk',
    'DecompressingSink',
    'KeptSink',
    'LocalPaths',
    'Sink',
    'SizedSource',
    'Source',
    'StreamSource',
    'compressed',
    'local_path',
    'open_path',
    'open_sink',
    'open_source',
    'remove_kept',
    'sweep_stale',
]
