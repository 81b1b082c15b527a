"""The two transports for tests against real stores, and their intended differences.

Each difference is here with its reason, and tests look it up. Everything else holds for both: a test file with a fixture `kind`
over KINDS runs its tests over both.

One more difference is the connection's: create_bucket() and delete_bucket() always use boto3, so over the wire they open an
additional connection. Tests that count connections create the bucket with another Connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ['AUTO', 'BOTO', 'KINDS', 'WIRE', 'Kind']


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A transport.

    Attributes:
        name: The value of Connection's argument `transport`.
        resends: A request on a reused connection that ends without a byte of a response is sent again on a new one, within the
            same attempt: stores close idle connections at any time, and a retry would cost a wait and one of the caller's
            retries. urllib3 only checks before the request whether the connection has ended.
        corrects_clock: A request that is refused with RequestTimeTooSkewed is sent again with the store's time, and so are all
            later ones, so that machines with a wrong clock can be used. botocore does not do this.
        renews_at_once: If keys have expired twice for one request, the next request uses new ones. Over boto3 it is refused
            first, since it is unknown which keys signed the refused request.
        resumes: A truncated part of a download continues at the next byte. botocore reads one mebibyte at a time here, and
            returns nothing of a truncated one.
        certificate_error: The error for a certificate of an untrusted authority.
    """

    name: str
    resends: bool
    corrects_clock: bool
    renews_at_once: bool
    resumes: bool
    certificate_error: str

    def attempts(self, requests: int, *, lost: int) -> range:
        """The possible numbers of attempts for a number of requests.

        Args:
            requests: The number of requests that the store received.
            lost: The number of these that ended without a byte of a response; each may have been sent on a reused connection.
        """
        return range(requests - lost * self.resends, requests + 1)


BOTO: Final = Kind(
    name='boto',
    resends=False,
    corrects_clock=False,
    renews_at_once=False,
    resumes=False,
    certificate_error='certificate verify failed: unable to get local issuer certificate',
)
WIRE: Final = Kind(
    name='wire',
    resends=True,
    corrects_clock=True,
    renews_at_once=True,
    resumes=True,
    certificate_error='the certificate of .* cannot be trusted: unable to get local issuer certificate',
)
# The transport of a connection without the argument: the wire transport, if keys, region and endpoint are passed.
AUTO: Final = Kind(
    name='auto', resends=True, corrects_clock=True, renews_at_once=True, resumes=True, certificate_error=WIRE.certificate_error
)
KINDS: Final = {kind.name: kind for kind in (BOTO, WIRE)}
