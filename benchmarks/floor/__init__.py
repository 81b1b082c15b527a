"""The floor: the least CPU time that a request can take, without signatures, checksums, retries and parsing.

Two clients do `put` and `get` as the peers do: one in Python on gevent sockets, one in C. Both send prepared requests over
`width` connections and read only the length of a response.
"""
