"""Where keys come from, when it is the caller who says so: `Connection(credentials=…)`.

What may live here: the sources of keys, each a value with the same four attributes, and what a function of the caller's may
return. Nothing here signs or sends a request to a store; the metadata services are asked by botocore's own fetchers.

- `pairs`: a key pair with its token and expiry, and how it is read from what somebody else returned.
- `base`: what all sources have in common.
- `fixed`: given as arguments, in a URL, in the environment, in files.
- `files`: the reading of these files.
- `metadata`: asked for at a metadata service, again and again.
- `services`: how those are asked.
- `merging`: the first that has any.

botocore is imported only where a file is read or a service is asked.
"""

from s3po.credentials.base import Credentials
from s3po.credentials.fixed import ConfigCredentials, EnvironmentCredentials, StaticCredentials, URLCredentials
from s3po.credentials.merging import merge_credentials
from s3po.credentials.metadata import MetadataCredentials

__all__ = [
    'ConfigCredentials',
    'Credentials',
    'EnvironmentCredentials',
    'MetadataCredentials',
    'StaticCredentials',
    'URLCredentials',
    'merge_credentials',
]
