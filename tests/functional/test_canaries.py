"""The check for secrets: a functional test that logs or prints a secret fails."""

from __future__ import annotations

import logging
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import s3po
from s3po.errors import TransferError
from s3po.secrecy import HIDDEN, REDACTING
from tests.support.canaries import KEYS, SSE_C, Watch
from tests.support.kinds import KINDS, Kind
from tests.support.servers import CHECKOUT, Store

LIMIT_S = 60

SUITE = """
    import logging, sys
    from tests.support.canaries import SECRET_ACCESS_KEY

    def test_logs():
        logging.getLogger('any.logger').debug('it is %s', SECRET_ACCESS_KEY)

    def test_prints():
        print(SECRET_ACCESS_KEY)

    def test_prints_errors():
        print(SECRET_ACCESS_KEY, file=sys.stderr)

    def test_prints_and_reads(capsys):
        print(SECRET_ACCESS_KEY)
        capsys.readouterr()

    def test_innocent(caplog, capsys):
        logging.getLogger('any.logger').debug('hello')
        logging.getLogger('any.logger').warning('hello')
        assert [record.levelname for record in caplog.records] == ['WARNING']
        with caplog.at_level(logging.DEBUG):
            logging.getLogger('any.logger').debug('hello')
        assert [record.levelname for record in caplog.records] == ['WARNING', 'DEBUG']
        print('hello')
        assert capsys.readouterr().out == 'hello\\n'
"""


@pytest.mark.slow
def test_a_leak_fails_its_test(tmp_path: pathlib.Path) -> None:
    """A test that leaks a secret fails, and the failure names it; other tests pass."""
    (tmp_path / 'test_it.py').write_text('\n'.join(line[4:] for line in SUITE.splitlines()))
    command = [sys.executable, '-m', 'pytest', '-p', 'tests.support.canaries', '-p', 'no:cacheprovider', '-rA', 'test_it.py']
    done = subprocess.run(
        command,
        check=False,
        cwd=tmp_path,
        env={'PYTHONPATH': str(CHECKOUT), 'PYTHONDONTWRITEBYTECODE': '1'},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    lines = done.stdout.splitlines()
    told = {each.partition('::')[2].partition(' ')[0] for each in lines if each.startswith(('FAILED', 'ERROR'))}

    assert done.returncode == 1, done.stdout + done.stderr
    assert told == {'test_logs', 'test_prints', 'test_prints_errors', 'test_prints_and_reads'}
    assert 'PASSED test_it.py::test_innocent' in lines


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture
def run(store: Store, connect: Callable[..., s3po.Connection]) -> Callable[[], None]:
    """Makes a connection with a session token and SSE-C keys, and uses it for calls that succeed and calls that fail."""

    def do() -> None:
        conn = connect(store.endpoint_url, **KEYS, default_extra=SSE_C)
        conn.create_bucket('bucket')
        conn.upload('bucket', 'key', b'data')
        store.script({'operation': 'GetObject', 'times': 1, 'action': {'status': 503}})
        assert conn.download('bucket', 'key') == b'data'
        conn.presign('PUT', 'bucket', 'key')
        conn.copy('bucket', 'key', 'bucket', 'other', extra={f'CopySource{name}': value for name, value in SSE_C.items()})
        store.script({'operation': 'PutObject', 'action': {'reset': True}})
        with pytest.raises(TransferError) as caught:
            conn.upload('bucket', 'key', b'data', retries=1)
        logging.getLogger(__name__).warning('%s', conn, exc_info=caught.value)

    return do


@pytest.mark.security('S01')
@pytest.mark.security('S02')
def test_nothing_leaks(run: Callable[[], None], store: Store, caplog: pytest.LogCaptureFixture, kind: Kind) -> None:
    """A run with temporary keys and SSE-C keys logs no secret at DEBUG."""
    with caplog.at_level(logging.DEBUG):
        run()

    sent = [seen['headers'] for seen in store.log('PutObject')]
    assert all(each['x-amz-security-token'] == KEYS['session_token'] for each in sent)
    assert all('x-amz-server-side-encryption-customer-key' in each for each in sent)
    assert (HIDDEN in caplog.text) == (kind.name == 'boto' or 'botocore' in caplog.text)


@pytest.mark.security('S02')
@pytest.mark.parametrize('kind', [KINDS['boto']])
def test_without_the_filter_it_would(run: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the filter the check finds secrets in botocore's log: the filter works, and so does the check."""

    def let_pass(record: Any) -> bool:
        watch.handle(record)
        # Hidden from all other handlers, including the check of this test itself.
        return False

    watch = Watch()
    monkeypatch.setattr(REDACTING, 'filter', let_pass)
    run()

    assert 'botocore.endpoint:' in {line.split()[1] for line in watch.found}
