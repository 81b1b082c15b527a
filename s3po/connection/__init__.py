"""The facade that wires the rooms together.

What may live here: which transport, credentials and bound a call gets (`wiring`), what each call does with them (`operations`),
and the public signatures with their documentation (`facade`).
"""

from s3po.connection.facade import Connection

__all__ = ['Connection']
