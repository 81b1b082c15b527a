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
        name: What Connection takes as `transport`.
        resends: A request that died on a connection that had been used before, without a byte of an answer, goes out once more
            on a new one, within the same attempt. Stores close what is idle whenever they like, and a retry would cost a wait,
            and one of the caller's retries. urllib3 looks whether a kept connection has ended, but not beyond that.
        corrects_clock: What is refused with RequestTimeTooSkewed goes out once more, dated by the store's clock, and so does
            all that follows. Machines whose clock is off would otherwise be of no use. botocore does not.
        renews_at_once: Keys that expired twice for one request are new for the next one; over boto3 that one is refused first,
            since it is not told which of the keys its request went out with.
        resumes: A part of a download that is cut short goes on at the very byte. botocore reads a mebibyte at a time here, and
            gives nothing of one that is cut.
        certificate_error: The error for a certificate of an untrusted authority.
    """

    name: str
    resends: bool
    corrects_clock: bool
    renews_at_once: bool
    resumes: bool
    certificate_error: str

    def attempts(self, requests: int, *, lost: int) -> range:
        """How many attempts so many requests may have been.

        Args:
            requests: What the store saw.
            lost: How many of them ended without a byte of an answer; each may have gone out on a used connection.
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
    certificate_error='the certificate of .* is not to be trusted: unable to get local issuer certificate',
)
# What a connection has that says nothing of it: wherever there are keys, region and endpoint, the wire.
AUTO: Final = Kind(
    name='auto', resends=True, corrects_clock=True, renews_at_once=True, resumes=True, certificate_error=WIRE.certificate_error
)
KINDS: Final = {kind.name: kind for kind in (BOTO, WIRE)}
