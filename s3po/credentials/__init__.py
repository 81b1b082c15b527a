"""Credentials that the caller chooses: `Connection(credentials=…)`.

Nothing here signs a request. Requests to metadata services are sent by botocore's fetchers.

- `keys`: the value that all sources return, and how it is read from the result of a function or service.
- `base`: the base class.
- `fixed`: from arguments, a URL, the environment or files.
- `files`: reads AWS's credentials and config files.
- `metadata`: from a metadata service, refreshed before they expire.
- `services`: requests to metadata services.
- `merging`: the first source that has keys.

botocore is imported only to read a file or to send a request to a service.
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
