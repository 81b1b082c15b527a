"""The `s3po` command, against the server that it starts itself."""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import gevent
import pytest

from s3po import Connection, S3poError, TransferResult, __version__
from s3po.batch import BatchReport
from s3po.cli import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, demo, main, plain_boto3, server
from s3po.config import MIB
from s3po.jobs import Call
from s3po.model import Outcome

SMALL_DEMO = ['demo', '--objects', '40', '--large-mib', '24']
TINY_DEMO = ['demo', '--objects', '1', '--large-mib', '24']
CLOSING_LINE = 'Part 3 was refused twice, and only that part was sent again: 3 parts, 5 attempts.'
TIMEOUT_S = 60


def table_of(output: str) -> dict[str, dict[str, str]]:
    """The figures of each step in the printed table, by heading."""
    lines = [re.split(r'\s{2,}', line) for line in output.splitlines() if re.match(r'\S.*\s{2,}', line)]
    headings, *rows = lines
    return {row[0]: dict(zip(headings[1:], row[1:], strict=True)) for row in rows}


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[server.DemoServer]:
    """The servers that demonstrations start from now on."""
    found: list[server.DemoServer] = []

    class Recorded(server.DemoServer):
        def __enter__(self) -> Self:
            found.append(self)
            return super().__enter__()

    monkeypatch.setattr(demo, 'DemoServer', Recorded)
    return found


def has_ended(started: server.DemoServer) -> bool:
    """Whether the process of a server has ended and was waited for."""
    return started._process is not None and started._process.returncode is not None


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the package's version and exits with 0."""
    with pytest.raises(SystemExit) as stopped:
        main(['--version'])

    assert stopped.value.code == EXIT_OK
    assert capsys.readouterr().out == f's3po {__version__}\n'


@pytest.mark.parametrize('command', [[], ['demo']])
def test_help_shows_an_example_that_parses(command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """Each help text has an example that works as it is."""
    asked: list[dict[str, int]] = []
    monkeypatch.setattr(demo, 'run_demo', lambda **options: asked.append(options))
    with pytest.raises(SystemExit) as stopped:
        main([*command, '--help'])
    example = re.search(r'example:\n  s3po (.+)', capsys.readouterr().out)

    assert stopped.value.code == EXIT_OK
    assert example is not None
    assert main(example[1].split()) == EXIT_OK
    assert asked[0]['objects'] == 200


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        ([], 'COMMAND'),
        (['sing'], 'sing'),
        (['demo', '--size', '0'], '--size'),
        (['demo', '--objects', 'many'], '--objects'),
        (['demo', '--large-mib', '23'], '--large-mib'),
    ],
)
def test_wrong_arguments(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong argument is named on stderr, and the exit code is the one for wrong usage."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)

    assert stopped.value.code == EXIT_USAGE
    assert named in capsys.readouterr().err


@pytest.mark.slow
def test_demo_moves_everything_and_repeats_one_part(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, servers: list[server.DemoServer]
) -> None:
    """The demonstration moves the requested number of files, finds no difference, retries one part twice, and cleans up."""
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    environment, interrupt = dict(os.environ), signal.getsignal(signal.SIGINT)
    exit_code = main(SMALL_DEMO)
    output = capsys.readouterr()
    table = table_of(output.out)

    assert exit_code == EXIT_OK
    assert output.err == ''
    assert list(table) == ['upload', 'download', 'large upload', 'large download']
    assert [row['objects'] for row in table.values()] == ['40', '40', '1', '1']
    assert [row['retries'] for row in table.values()] == ['0', '0', '2', '0']
    assert [row['mismatches'] for row in table.values()] == ['-', '0', '-', '0']
    assert table['large upload']['bytes'] == table['large download']['bytes'] == f'{24 * MIB:,}'
    assert table['upload']['bytes'] == table['download']['bytes'] != '0'
    assert output.out.count('  UploadPart 3 of s3://demo/large: attempt') == 2
    assert "limited by the demo's own server" in output.out
    for step in ('upload', 'download'):
        found = re.search(rf'^  {step}: s3po (\d+\.\d\d) ms, boto3 (\d+\.\d\d) ms$', output.out, re.MULTILINE)
        assert found is not None
        assert float(found[1]) > 0
        assert float(found[2]) > 0
    assert output.out.splitlines()[-1].endswith(CLOSING_LINE)
    assert dict(os.environ) == environment
    assert signal.getsignal(signal.SIGINT) is interrupt
    assert not list(tmp_path.iterdir())
    assert [has_ended(started) for started in servers] == [True]


@pytest.mark.slow
def test_installed_command_needs_nothing_of_the_environment() -> None:
    """The console script works with any AWS settings, proxies and certificates in the environment."""
    environment = {
        **os.environ,
        'AWS_PROFILE': 'nonsense',
        'AWS_CONFIG_FILE': '/nonexistent',
        'AWS_ENDPOINT_URL': 'http://127.0.0.1:9',
        'AWS_USE_DUALSTACK_ENDPOINT': 'true',
        'AWS_CA_BUNDLE': '/nonexistent',
        'AWS_MAX_ATTEMPTS': 'many',
        'http_proxy': 'http://127.0.0.1:9',
    }
    script = Path(sys.executable).with_name('s3po')
    done = subprocess.run(
        [script, *SMALL_DEMO], check=False, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )

    assert (done.returncode, done.stderr) == (EXIT_OK, '')
    assert table_of(done.stdout)['large upload']['retries'] == '2'
    assert done.stdout.splitlines()[-1].endswith(CLOSING_LINE)


@pytest.mark.slow
def test_large_object_that_is_refused_for_ever(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, servers: list[server.DemoServer]
) -> None:
    """A failure is one line on stderr, and the exit code shows it."""
    monkeypatch.setattr(demo, 'REFUSALS', 1_000_000)
    monkeypatch.setattr(demo, 'Connection', functools.partial(Connection, retries=0))

    assert main(TINY_DEMO) == EXIT_FAILED
    output = capsys.readouterr()
    assert re.fullmatch(r's3po: UploadPart 3 of s3://demo/large: 500 InternalError.*gave up after 1 attempt.*\n', output.err)
    assert 'sent again' not in output.out
    assert [has_ended(started) for started in servers] == [True]


class Corrupting(Connection):
    """Appends a byte to each object that is downloaded to memory."""

    def perform(self, call: Call) -> Outcome:
        outcome = super().perform(call)
        if call.operation == 'download':
            return dataclasses.replace(outcome, value=bytes(outcome.value) + b'!')
        return outcome


@pytest.mark.slow
def test_difference_is_found(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that differs after the download is counted and named, and the command fails."""
    monkeypatch.setattr(demo, 'Connection', Corrupting)

    assert main(TINY_DEMO) == EXIT_FAILED
    output = capsys.readouterr()
    assert table_of(output.out)['download']['mismatches'] == '1'
    assert output.err == "s3po: downloaded objects that differ from the original: 1, the first is '__future__.py'\n"


def test_part_that_was_not_refused() -> None:
    """If nothing was retried, the demonstration fails: it has not shown a retry."""
    sent = TransferResult(
        bucket='demo', key='large', size_bytes=1, etag='', version_id=None, checksum=None, parts=3, attempts=3, seconds=1.0
    )

    with pytest.raises(S3poError, match='3 parts took 3 attempts'):
        demo._conclude(sent, [])


def test_boto3_that_cannot_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the process that measures boto3 fails, an S3poError is raised."""
    monkeypatch.setattr(sys, 'executable', shutil.which('false'))

    with pytest.raises(S3poError, match='measurement of boto3 failed'):
        plain_boto3.measure_boto3('http://127.0.0.1:9', 'demo', {})


def test_sample_is_spread_over_the_files() -> None:
    """boto3 is measured with a limited number of the files, evenly spaced."""
    files = {str(number): Path(str(number)) for number in range(10)}

    assert list(demo._sample(files, 4)) == ['0', '3', '6', '9']
    assert demo._sample(files, 10) == files


def test_library_without_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If Python's library has no *.py files, the demonstration fails."""
    monkeypatch.setattr('sysconfig.get_path', lambda name: str(tmp_path))

    with pytest.raises(S3poError, match=r'no \*.py files'):
        demo._library_files(10)


def test_library_files_are_those_of_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Installed packages, caches and dead links are left out; the files are sorted by path."""
    for name in ('b.py', 'a/z.py', 'a/__pycache__/z.py', 'site-packages/moto.py', 'c.txt'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'dead.py').symlink_to(tmp_path / 'nowhere')
    monkeypatch.setattr('sysconfig.get_path', lambda name: str(tmp_path))

    assert list(demo._library_files(10)) == ['a/z.py', 'b.py']
    assert list(demo._library_files(1)) == ['a/z.py']


class Hidden:
    """An import hook that hides flask."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == 'flask':
            raise ModuleNotFoundError(name)


@pytest.fixture(params=['moto', 'flask'])
def missing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes a module unavailable, in one of the two ways in which that happens."""
    if request.param == 'moto':
        monkeypatch.setitem(sys.modules, 'moto', None)
    else:
        monkeypatch.delitem(sys.modules, 'flask', raising=False)
        monkeypatch.setattr(sys, 'meta_path', [Hidden(), *sys.meta_path])
    return str(request.param)


def test_missing_server_names_the_extra(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without moto's server, one line on stderr names the missing module and how to install it."""
    assert main(['demo']) == EXIT_USAGE
    output = capsys.readouterr()
    assert output.out == ''
    assert output.err.count('\n') == 1
    assert missing in output.err
    assert "pip install 's3po[cli]'" in output.err


def test_server_that_does_not_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, servers: list[server.DemoServer]
) -> None:
    """A server that ends before it listens is an error; the command does not wait for it forever."""
    monkeypatch.setattr(sys, 'executable', shutil.which('false'))

    assert main(['demo']) == EXIT_FAILED
    assert 'did not start' in capsys.readouterr().err
    assert [has_ended(started) for started in servers] == [True]


def test_server_that_does_not_stop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server that ignores the end of its standard input is killed."""
    script = tmp_path / 'python'
    script.write_text('#!/bin/sh\necho listening on 1\nexec sleep 600\n')
    script.chmod(0o700)
    monkeypatch.setattr(sys, 'executable', str(script))
    monkeypatch.setattr(server, 'STOP_TIMEOUT_S', 0.1)
    with server.DemoServer(refuse_part=1, refuse_times=0) as started:
        port = started.port

    assert port == 1
    assert has_ended(started)


@pytest.mark.slow
def test_interrupted_command(tmp_path: Path) -> None:
    """Ctrl-C ends the command with one line and the conventional exit code, and no files are left."""
    # A shell that runs the tests in the background makes their children ignore Ctrl-C.
    heed = 'import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)'
    # Without coverage: its tracer loses exceptions that are raised while it looks up the greenlet.
    environment = {name: value for name, value in os.environ.items() if not name.startswith('COVERAGE_')}
    with subprocess.Popen(
        [sys.executable, '-c', f'{heed}; from s3po.cli import main; sys.exit(main())', 'demo'],
        env={**environment, 'TMPDIR': str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT_S)

    assert (process.returncode, said) == (EXIT_INTERRUPTED, 's3po: interrupted\n')
    assert not list(tmp_path.iterdir())


def interrupt_here() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    raise AssertionError('it goes on after Ctrl-C')


def interrupt_another_greenlet() -> None:
    gevent.spawn(os.kill, os.getpid(), signal.SIGINT)
    gevent.sleep(TIMEOUT_S)
    raise AssertionError('it goes on after Ctrl-C')


@pytest.mark.parametrize('interrupt', [interrupt_here, interrupt_another_greenlet])
def test_interrupt_reaches_the_greenlet_of_the_command(
    interrupt: Callable[[], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends the command and no other greenlet, whichever of them runs at that moment."""
    monkeypatch.setattr(demo, 'run_demo', lambda **options: interrupt())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(['demo']) == EXIT_INTERRUPTED
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == 's3po: interrupted\n'


def test_ignored_interrupt_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the command was started with Ctrl-C ignored (in the background), it keeps ignoring it."""
    monkeypatch.setattr(demo, 'run_demo', lambda **options: os.kill(os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert main(['demo']) == EXIT_OK
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_closed_stdout() -> None:
    """`s3po demo | head -1` ends without a traceback."""
    with subprocess.Popen(
        [Path(sys.executable).with_name('s3po'), *TINY_DEMO], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()

    assert (process.returncode, said) == (EXIT_FAILED, '')


def asked(method: str, query: str, body: bytes = b'') -> dict[str, Any]:
    """The environment of a WSGI request."""
    return {
        'REQUEST_METHOD': method,
        'QUERY_STRING': query,
        'CONTENT_LENGTH': str(len(body)),
        'wsgi.input': io.BytesIO(body + b'the next request'),
    }


def test_refused_part_is_refused_so_often_and_no_other() -> None:
    """Only the part with that number is refused, as often as requested, with S3's error."""
    answered: list[str] = []
    refusing = server.RefusedPart(lambda environ, start: [b'served'], number=3, times=2)

    def ask(method: str, query: str) -> bytes:
        return b''.join(refusing(asked(method, query), lambda status, headers: answered.append(status)))  # type: ignore[arg-type]

    assert ask('PUT', 'partNumber=1&uploadId=x') == b'served'
    assert ask('PUT', 'partNumber=33&uploadId=x') == b'served'
    assert ask('GET', 'partNumber=3&uploadId=x') == b'served'
    assert ask('PUT', 'partNumber=3') == b'served'
    assert answered == []
    assert b'<Code>InternalError</Code>' in ask('PUT', 'uploadId=x&partNumber=3')
    assert b'<Code>InternalError</Code>' in ask('PUT', 'partNumber=3&uploadId=y')
    assert ask('PUT', 'partNumber=3&uploadId=x') == b'served'
    assert answered == ['500 Internal Server Error'] * 2


def test_refused_part_is_read_to_its_end() -> None:
    """The body is read completely, and not beyond its end, before the response, so that the client receives the response."""
    refusing = server.RefusedPart(lambda environ, start: [], number=3, times=1)
    environ = asked('PUT', 'partNumber=3&uploadId=x', b'x' * 200_000)
    refusing(environ, lambda status, headers: None)  # type: ignore[arg-type]

    assert environ['wsgi.input'].read() == b'the next request'


def test_rows_keep_their_columns() -> None:
    """Rows without a duration and rows with large figures are aligned with the headings."""
    heading = demo._aligned(*demo.HEADINGS)
    empty = demo._row('upload', BatchReport())
    large = demo._row('upload', BatchReport(succeeded=10**6, size_bytes=10**9, seconds=1.0, retries=10**5), 10**6)

    assert len(empty) == len(large) == len(heading)
