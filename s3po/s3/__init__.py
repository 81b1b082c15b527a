"""S3's language, without I/O.

- `protocol`: the Transport protocol and its values. Everything above calls S3 through it.
- `parameters`, `headers`: which request takes which parameter and header.
- `status`: from an HTTP status and an S3 error code to one of s3po's errors.
- `expected`: checks of length, range and ETag of a response.
- `xml`, `xml_listings`, `xml_trees`, `xml_requests`, `xml_characters`: XML documents.
- `listing_scanner`: a fast reader of pages of keys.
- `deletions`, `pages`: what DeleteObjects confirms; listings that go in circles.
- `sigv4`: Signature Version 4.
"""

from s3po.s3.protocol import (
    CHECKSUM_ALGORITHMS,
    ID_HEADER,
    Answer,
    Extra,
    Headers,
    ListedUpload,
    Listing,
    Stored,
    Transport,
)

__all__ = [
    'CHECKSUM_ALGORITHMS',
    'ID_HEADER',
    'Answer',
    'Extra',
    'Headers',
    'ListedUpload',
    'Listing',
    'Stored',
    'Transport',
]
