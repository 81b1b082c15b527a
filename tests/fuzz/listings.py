"""One case: a page of a listing, read by the scanner and by expat. Both must return the same page or raise the same error.

hypothesis (tests/unit/test_listing_scanner.py) and atheris (fuzz_listings.py) generate the pages.
"""

from __future__ import annotations

from typing import Final

from s3po.s3 import Listing
from s3po.s3.xml_listings import listing_of, parsed_listing_of
from s3po.s3.xml_trees import ErrorInBody, MalformedAnswer

__all__ = ['FRAGMENTS', 'PAGES', 'check']

_START: Final = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
_MODIFIED: Final = '<LastModified>2026-11-21T03:05:40.000Z</LastModified>'
_END: Final = '</ListBucketResult>'
# Pages of stores, each with the optional elements in another order.
PAGES: Final = {
    'AWS': f'{_START}<Name>bucket</Name><Prefix></Prefix><NextContinuationToken>1+/=</NextContinuationToken>'
    '<KeyCount>3</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>'
    f'<Contents><Key>a%2Bb+c</Key>{_MODIFIED}<ETag>&quot;e-2&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>'
    '<ChecksumType>FULL_OBJECT</ChecksumType><Size>7</Size><StorageClass>STANDARD</StorageClass></Contents>'
    f'<Contents><Key>d</Key>{_MODIFIED}<ETag>&quot;f&quot;</ETag><Size>0</Size><Owner><ID>x</ID></Owner>'
    '<StorageClass>GLACIER</StorageClass></Contents>'
    f'<CommonPrefixes><Prefix>p%2F</Prefix></CommonPrefixes>{_END}',
    'Ceph': f'{_START}<Name>bucket</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>'
    f'<Contents><Key>ä</Key>{_MODIFIED}<ETag>&quot;e&quot;</ETag><Size>7</Size><StorageClass>STANDARD</StorageClass>'
    f'<Owner><ID>x</ID><DisplayName>A B</DisplayName></Owner><Type>Normal</Type></Contents><KeyCount>1</KeyCount>{_END}',
    'MinIO': f'{_START}<Name>bucket</Name><Prefix/><KeyCount>1</KeyCount><IsTruncated>false</IsTruncated>'
    f'<Contents><Key>a</Key>{_MODIFIED}<ETag>&#34;e&#34;</ETag><Size>7</Size><Owner><ID></ID><DisplayName></DisplayName></Owner>'
    f'<StorageClass>STANDARD</StorageClass></Contents>{_END}',
    'GCS': f"<?xml version='1.0' encoding='UTF-8'?><ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>"
    f'<Contents><Key>a</Key><Generation>1</Generation><MetaGeneration>1</MetaGeneration>{_MODIFIED}<ETag>"e"</ETag>'
    f'<Size>7</Size></Contents>{_END}',
    'moto': '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult>\n    <IsTruncated>false</IsTruncated>\n'
    f'  <Contents>\n    <Key>a</Key>\n    {_MODIFIED}\n    <ETag>"e"</ETag>\n    <Size>7</Size>\n'
    f'    <StorageClass>STANDARD</StorageClass>\n  </Contents>\n  <Contents>\n    <Key>b</Key>\n    {_MODIFIED}\n'
    f'    <ETag>"f"</ETag>\n    <Size>8</Size>\n  </Contents>\n{_END}',
}
# Text that is inserted into pages: markup that hides or moves entries, and text that XML or the scanner treats specially.
_WORDS: Final = r"""
<!-- --> <![CDATA[ ]]> <?a ?> <Contents> </Contents> <Contents/> "> <a> </a> <x:Contents> xmlns:x="u" <ScannedContents/>
<x:ScannedContents/> ScannedContents <Error> </Error> <Error/> <Code>c</Code> <Key> </Key> <Key/> <Key>k</Key> <ETag/>
<ETag>x</ETag> <Size>1</Size> <Size/> <LastModified/> <StorageClass/> <StorageClass></StorageClass> <Owner> </Owner>
<Owner/> <Type> <LastModified>2026-11-21</LastModified> 2026-13-41T99:99:99Z 2026-11-21T03:05:40+01:00 -1 1_0
99999999999999999999 <EncodingType>url</EncodingType> <EncodingType> <CommonPrefixes> </CommonPrefixes>
<Prefix>q</Prefix> <IsTruncated>1</IsTruncated> <ListBucketResult> </ListBucketResult> <ListPartsResult>
</ListPartsResult> UTF-8 latin-1 cp864 utf-16 us-ascii nonsense 1.1 &amp; &lt; &quot; &#34; &#x22; &#13; &c; " ' % %2
%C3%A4 + & < > text
"""
_CHARACTERS: Final = '\r\n\t \x00\x01\x7f\x85\ufeff\ufffd\ufffe\uffff\U0001fffe\xe4\u2028\u0663'
_TAGS: Final = (
    '<!DOCTYPE x>',
    '<!DOCTYPE x [<!ENTITY c "d">]>',
    '<?xml version="1.0"?>',
    '<Contents a="',
    '<a b="',
    '<Size> 1</Size>',
)
FRAGMENTS: Final = (*_WORDS.split(), *_CHARACTERS, *_TAGS, _START, '\r\n', '')


def _outcome(read: object, body: bytes) -> Listing | tuple[type, str, object]:
    assert callable(read)
    try:
        listing: Listing = read(body)
    except MalformedAnswer as error:
        return type(error), str(error), None
    except ErrorInBody as error:
        return type(error), str(error), error.error
    return listing


def check(body: bytes) -> None:
    """Read a page both ways.

    Raises:
        AssertionError: The results differ.
    """
    expected = _outcome(parsed_listing_of, body)
    assert _outcome(listing_of, body) == expected, 'the scanner reads a page otherwise than expat'
