"""The name by which pickles of earlier versions find `made_again`."""

from s3po.connection.pickling import made_again

__all__ = ['made_again']
