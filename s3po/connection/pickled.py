"""The module name of `made_again` in pickles of earlier versions."""

from s3po.connection.pickling import made_again

__all__ = ['made_again']
