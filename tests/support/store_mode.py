"""The mode of the store: how it handles checksums and computes ETags, as stores other than S3 do.

S3's own rules are in store_checksums.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support import store_checksums as s3
from tests.support.store_values import COMPOSITE, FULL_OBJECT, Checksum, Part, StoredObject, StoreError, Upload, md5

__all__ = ['Mode']

_CHOICES = {
    'checksums': ('verify', 'ignore', 'refuse', 'blind'),
    'etags': ('md5', 'opaque'),
    'default_checksum': ('none', 'crc64nvme'),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """The kind of store. Every kind verifies Content-MD5 and x-amz-content-sha256.

    Attributes:
        checksums: 'verify', as S3 does; 'ignore', as old stores do; 'refuse': respond with 501 to every request with a checksum
            or an algorithm, as some stores do (x-amz-checksum-mode is ignored); 'blind': store and return the value unverified,
            as Ceph's gateway does.
        etags: 'md5'; 'opaque': ETags look like MD5s, as on S3 with KMS encryption.
        default_checksum: The checksum of an object without one: 'none'; 'crc64nvme', as on S3 since 2025. It has no effect
            unless checksums are verified.
    """

    checksums: str = 'verify'
    etags: str = 'md5'
    default_checksum: str = 'none'

    def changed(self, given: Mapping[str, Any]) -> Mode:
        """This mode with some fields changed.

        Raises:
            ValueError: There is no such field, or no such choice for it.
        """
        for name, value in given.items():
            if name not in _CHOICES:
                raise ValueError(f'a mode has no {name}')
            if value not in _CHOICES[name]:
                raise ValueError(f'{name} cannot be {value}; it is one of {", ".join(_CHOICES[name])}')
        return dataclasses.replace(self, **given)

    # ------------------------------------------------------------------ one body

    def check_headers(self, headers: Mapping[str, str]) -> None:
        """Raise NotImplemented for checksum headers if the store refuses them."""
        if self.checksums == 'refuse' and any(map(_is_of_checksums, headers.items())):
            message = 'A header you provided implies functionality that is not implemented'
            raise StoreError(501, 'NotImplemented', message)

    def body_checksum(self, body: bytes, headers: Mapping[str, str]) -> Checksum | None:
        """The checksum of a request that the store accepts.

        Raises:
            StoreError: See store_checksums.verified_checksum().
        """
        if self.checksums == 'verify':
            return s3.verified_checksum(body, headers)
        found = s3.given_value(headers) if self.checksums == 'blind' else None
        return None if found is None else Checksum(*found)

    def object_checksum(self, body: bytes, given: Checksum | None) -> Checksum | None:
        """The checksum with which an object is stored: that of the request, or the store's own."""
        if given is None and self.checksums == 'verify' and self.default_checksum != 'none':
            algorithm = self.default_checksum.upper()
            return Checksum(algorithm, s3.checksum_of(algorithm, body))
        return given

    def copied_checksum(self, source: StoredObject, headers: Mapping[str, str]) -> Checksum | None:
        """The checksum of a copy: the source's; computed if that is of parts, or if another algorithm is requested.

        Raises:
            StoreError: InvalidRequest for an algorithm that S3 does not support.
        """
        if self.checksums not in ('verify', 'blind'):
            return None
        found = source.checksum
        algorithm, _ = s3.upload_kind({name: headers[name] for name in headers if name == 'x-amz-checksum-algorithm'})
        if found is not None and found.kind == FULL_OBJECT and algorithm in ('', found.algorithm):
            return found
        algorithm = algorithm or ('' if found is None else found.algorithm)
        if algorithm:
            return Checksum(algorithm, s3.checksum_of(algorithm, source.body))
        return self.object_checksum(source.body, None)

    def etag(self, body: bytes) -> str:
        """The ETag of an object stored with one request, without quotes."""
        return md5(body) if self.etags == 'md5' else secrets.token_hex(16)

    # ------------------------------------------------------------------ multipart uploads

    def upload_kind(self, headers: Mapping[str, str]) -> tuple[str, str]:
        """Algorithm and type with which an upload is created; empty if the store ignores them.

        Raises:
            StoreError: See store_checksums.upload_kind().
        """
        if self.checksums == 'verify':
            return s3.upload_kind(headers)
        if self.checksums == 'blind':
            return headers.get('x-amz-checksum-algorithm', ''), headers.get('x-amz-checksum-type', '')
        return '', ''

    def part_checksum(self, upload: Upload, body: bytes, given: Checksum | None) -> Checksum | None:
        """The checksum with which a part is stored.

        Raises:
            StoreError: See store_checksums.part_checksum().
        """
        return s3.part_checksum(upload.algorithm, upload.kind, body, given) if self.checksums == 'verify' else given

    def copied_part_checksum(self, upload: Upload, body: bytes) -> Checksum | None:
        """The checksum of a copied part, which the store computes."""
        if self.checksums != 'verify' or not upload.algorithm:
            return None
        return Checksum(upload.algorithm, s3.checksum_of(upload.algorithm, body))

    def completed(
        self,
        upload: Upload,
        assembled: StoredObject,
        wanted: Sequence[tuple[int, Mapping[str, str]]],
        parts: Mapping[int, Part],
        headers: Mapping[str, str],
    ) -> StoredObject:
        """An assembled object with its checksum, and with an ETag of this kind of store.

        Args:
            upload: The upload that is completed.
            assembled: The object that its parts make.
            wanted: Number and checksums of each part in the client's list.
            parts: All parts by number.
            headers: The headers of the request.

        Raises:
            StoreError: See store_checksums.check_part_list(), check_size() and whole_checksum().
        """
        if self.etags != 'md5':
            assembled = dataclasses.replace(assembled, etag=f'{secrets.token_hex(16)}-{len(wanted)}')
        s3.check_size(len(assembled.body), headers)
        if self.checksums == 'verify':
            s3.check_part_list(upload.algorithm, upload.kind, wanted, parts)
            listed = [parts[number] for number, _ in wanted]
            found = s3.whole_checksum(upload.algorithm, upload.kind, assembled.body, listed, headers)
            return dataclasses.replace(assembled, checksum=self.object_checksum(assembled.body, found))
        said = s3.given_value(headers) if self.checksums == 'blind' else None
        if said is None:
            return assembled
        kind = headers.get('x-amz-checksum-type') or (COMPOSITE if '-' in said[1] else FULL_OBJECT)
        return dataclasses.replace(assembled, checksum=Checksum(*said, kind))


def _is_of_checksums(header: tuple[str, str]) -> bool:
    name, value = header
    is_announced = name == 'x-amz-trailer' and 'x-amz-checksum-' in value.lower()
    is_named = name == 'x-amz-sdk-checksum-algorithm' or name.startswith('x-amz-checksum-')
    return is_announced or (is_named and name != 'x-amz-checksum-mode')
