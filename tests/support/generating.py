"""A store whose objects exist only while they are sent: for tests with more data than there is memory.

    python -m tests.support.generating

Each key that ends with a number is an object of that many zero bytes ('object-3/1000'). Uploads are counted and discarded. It
has no checksums and no listings.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Final

BLOCK: Final = bytes(1 << 20)
ETAG: Final = 'ETag: "0123456789abcdef0123456789abcdef-1"\r\n'
CREATED: Final = b'<InitiateMultipartUploadResult><UploadId>upload</UploadId></InitiateMultipartUploadResult>'
COMPLETED: Final = (
    b'<CompleteMultipartUploadResult><ETag>"0123456789abcdef0123456789abcdef-1"</ETag></CompleteMultipartUploadResult>'
)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    try:
        while True:
            head = (await reader.readuntil(b'\r\n\r\n')).decode('latin-1')
            method, target = head.split(' ', 2)[:2]
            headers = dict(re.findall(r'(?im)^([a-z0-9-]+):[ \t]*(.*?)\r$', head.lower()))
            if 'expect' in headers:
                writer.write(b'HTTP/1.1 100 Continue\r\n\r\n')
            left = int(headers.get('content-length', 0))
            while left:
                data = await reader.read(min(left, len(BLOCK)))
                if not data:
                    return
                left -= len(data)
            await answer(writer, method, target, headers)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def answer(writer: asyncio.StreamWriter, method: str, target: str, headers: dict[str, str]) -> None:
    """Answer one request."""
    path, _, query = target.partition('?')
    if method == 'POST':
        body = CREATED if 'uploads' in query else COMPLETED
        writer.write(f'HTTP/1.1 200 OK\r\n{ETAG}Content-Length: {len(body)}\r\n\r\n'.encode() + body)
    elif 'uploadId' in query and method == 'GET':
        # After an abort, nothing is left.
        body = b'<Error><Code>NoSuchUpload</Code></Error>'
        writer.write(f'HTTP/1.1 404 Not Found\r\nContent-Length: {len(body)}\r\n\r\n'.encode() + body)
    elif method in ('PUT', 'DELETE'):
        writer.write(f'HTTP/1.1 200 OK\r\n{ETAG}Content-Length: 0\r\n\r\n'.encode())
    else:
        size = int(path.rpartition('/')[2])
        wanted = re.fullmatch(r'bytes=(\d+)-(\d+)', headers.get('range', ''))
        start, stop = (int(wanted[1]), min(size, int(wanted[2]) + 1)) if wanted else (0, size)
        status = f'206 Partial Content\r\nContent-Range: bytes {start}-{stop - 1}/{size}' if wanted else '200 OK'
        writer.write(f'HTTP/1.1 {status}\r\n{ETAG}Content-Length: {stop - start}\r\n\r\n'.encode())
        if method == 'GET':
            for offset in range(start, stop, len(BLOCK)):
                writer.write(memoryview(BLOCK)[: stop - offset])
                await writer.drain()
    await writer.drain()


async def main() -> None:
    """Serve until the standard input is closed."""
    server = await asyncio.start_server(serve, '127.0.0.1', 0, limit=1 << 20, backlog=1024)
    print('listening on', server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


if __name__ == '__main__':
    asyncio.run(main())
