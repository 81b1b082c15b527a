"""The fast transport: S3 through s3po's own HTTP client.

- `verbs`: the methods of Transport as HTTP requests.
- `requests`: resolves the endpoint, signs the request and sends it; corrects region and date after a refusal.
- `response_headers`: values from the headers of responses.

See s3po/s3/protocol.py for the rules of all transports.
"""

from s3po.transport.wire.requests import Requester
from s3po.transport.wire.response_headers import Operation, headers_of
from s3po.transport.wire.verbs import WireTransport

__all__ = ['Operation', 'Requester', 'WireTransport', 'headers_of']
