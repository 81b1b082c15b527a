"""The names of handtruck.credentials; see s3po.credentials."""

from s3po.credentials import (
    ConfigCredentials,
    EnvironmentCredentials,
    MetadataCredentials,
    StaticCredentials,
    URLCredentials,
    merge_credentials,
)
from s3po.credentials import Credentials as AbstractCredentials

__all__ = [
    'AbstractCredentials',
    'ConfigCredentials',
    'EnvironmentCredentials',
    'MetadataCredentials',
    'StaticCredentials',
    'URLCredentials',
    'merge_credentials',
]
