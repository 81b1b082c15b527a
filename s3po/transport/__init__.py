"""The two transports: `wire` (s3po's own HTTP client) and `boto` (a boto3 client).

Both implement s3po.s3.Transport. A transport never retries and never waits between attempts.

- `wire`: the fast transport.
- `boto`, `boto_hooks`, `boto_responses`: the reference transport, and the one that moto can mock.
- `time_limits`: time limits of whole responses.
- `memory`, `memory_store`: a transport whose store is in this process, for Connection.memory().
"""
