"""uvicorn: `asynchronous_web DESCRIPTOR` imports boto3, then runs it. The response to `/NAME` is NAME, after a transfer."""

from tests.neighbours.programs.shared import import_s3po, transfer

import_s3po('first')

import asyncio
import signal
import sys

import boto3  # noqa: F401 - so that s3po is imported late
import uvicorn

import_s3po('second')


async def application(scope, receive, send):
    if scope['type'] == 'lifespan':
        await lifespan(receive, send)
        return
    name = scope['path'].lstrip('/')
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, len, name) == len(name)
    if name == 'inside':
        # In the thread of the event loop, which a transfer blocks, but must not break.
        transfer(name)
    body = (await loop.run_in_executor(None, transfer, name)).encode()
    await asyncio.sleep(0.01)
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'%d' % len(body))]})
    await send({'type': 'http.response.body', 'body': body})


async def lifespan(receive, send):
    assert (await receive())['type'] == 'lifespan.startup'
    await send({'type': 'lifespan.startup.complete'})
    assert (await receive())['type'] == 'lifespan.shutdown'
    await send({'type': 'lifespan.shutdown.complete'})


if __name__ == '__main__':
    # uvicorn raises KeyboardInterrupt again when it has ended.
    signal.signal(signal.SIGTERM, lambda *_: None)
    uvicorn.run(application, fd=int(sys.argv[1]), log_level='warning')
    print('done', flush=True)
