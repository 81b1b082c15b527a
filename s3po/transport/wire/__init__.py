"""S3 over HTTP of our own: the fast transport.

- `verbs`: the Transport's verbs as HTTP requests, and their answers as values.
- `requests`: how a request is addressed, dated, signed, sent, and, where it was refused for one of these, corrected.
- `response_headers`: what an answer's headers say.

See s3po/s3/protocol.py for the rules of all transports.
"""

from s3po.transport.wire.requests import Requester
from s3po.transport.wire.verbs import WireTransport

__all__ = ['Requester', 'WireTransport']
