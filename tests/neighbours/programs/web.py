"""gunicorn: `web ARGUMENTS…` runs it with this module's application. It responds to `/NAME` with NAME, after a transfer.

s3po is imported before gunicorn, or second by the application, or lazily by a request.
"""

from tests.neighbours.programs.shared import import_s3po, transfer

if __name__ == '__main__':
    import_s3po('first')

import sys
import time

from gunicorn.app.wsgiapp import run

if __name__ != '__main__':
    import_s3po('second')


def application(environment, start_response):
    name = environment['PATH_INFO'].lstrip('/')
    # The server's own wait: other requests run meanwhile.
    time.sleep(0.01)
    body = transfer(name).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]


if __name__ == '__main__':
    sys.argv[0] = 'gunicorn'
    sys.argv.append('tests.neighbours.programs.web:application')
    run()
