"""Where a bucket is, and with which keys requests to it are signed.

- `settings`: what a Connection was given: keys, region, endpoint, configuration.
- `addressing`: host and path of a bucket at a custom endpoint. No I/O.
- `resolver`: host, path, region and signature of any bucket; asks botocore for AWS's endpoints.
- `boto_client`: makes the boto3 client, with credentials that never block other greenlets.
- `boto_errors`: translates botocore's errors.
- `signing_keys`, `refreshable_keys`: the keys that requests are signed with.
"""
