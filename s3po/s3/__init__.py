"""S3's language, without I/O.

- `protocol`: the Transport protocol and its values. All higher rooms call S3 through it.
- `parameters`, `headers`: which request takes which parameter and header.
- `status`: converts HTTP statuses and S3 error codes to s3po's errors.
- `expected`: checks of length, range and ETag of a response.
- `xml`, `xml_listings`, `xml_trees`, `xml_requests`, `xml_characters`: XML documents.
- `listing_scanner`: a fast reader of pages of keys.
- `deletions`, `pages`: what DeleteObjects confirms; listings that repeat pages.
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
