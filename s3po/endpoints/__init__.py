"""The address of each bucket, and the keys that its requests are signed with.

- `settings`: the arguments of a Connection: keys, region, endpoint, configuration.
- `addressing`: host and path of a bucket at a custom endpoint. No I/O.
- `resolver`: host, path, region and signature of any bucket; AWS's endpoints come from botocore.
- `routes`: the resolved buckets of one hub, with their connections and signers.
- `signing_keys`: the keys that requests are signed with.
- `boto_client`: makes the boto3 client.
- `boto_keys`: keys that botocore refreshes, without blocking other greenlets.
- `boto_errors`: translates botocore's errors.
"""
