"""The examples of README.rst and of the guides in docs, run as they are."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import s3po
from s3po.cli import demo

pytestmark = pytest.mark.slow

README = Path(__file__).resolve().parents[2] / 'README.rst'
# Each guide begins with the connection and the files that its examples use.
GUIDES = [path for path in sorted((README.parent / 'docs').glob('*.rst')) if path.name not in ('benchmarks.rst', 'faces.rst')]
TIMEOUT_S = 60


def examples(document: Path = README) -> list[tuple[int, str]]:
    """All blocks of Python code, each with the number of its first line."""
    text = document.read_text(encoding='utf-8')
    found = re.finditer(r'^\.\. code-block:: python\n\n((?:(?: {4}.*)?\n)+)', text, re.MULTILINE)
    return [(text.count('\n', 0, block.start(1)) + 1, textwrap.dedent(block[1])) for block in found]


def is_file(code: str) -> bool:
    """Whether a block is the contents of a file, whose name is in its first line."""
    return re.match(r'# \w+\.py\n', code) is not None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment without settings of S3."""
    for name in ('AWS_PROFILE', 'AWS_ENDPOINT_URL', 'AWS_ENDPOINT_URL_S3'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_examples_run_from_top_to_bottom(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every example runs on an empty store, in the order of the text, with the names that earlier examples defined."""
    names: dict[str, Any] = {}
    ran = 0
    with s3po.Connection().mock():
        for line, code in examples():
            if not is_file(code):
                # The line numbers in a traceback are those of README.rst.
                exec(compile('\n' * (line - 1) + code, str(README), 'exec'), names)
                ran += 1
    output = capsys.readouterr().out

    assert ran >= 10
    assert 'crawl/2: 2 bytes' in output
    assert '[5, 5, 5] 5' in output
    assert 'bucket no-such-key' in output
    assert (folder / 'one.txt').read_text() == 'hello'
    assert not (folder / 'two.txt').exists()


@pytest.mark.parametrize('guide', GUIDES, ids=lambda path: path.stem)
def test_guides_run_from_top_to_bottom(folder: Path, guide: Path) -> None:
    """Every example of a guide runs on a store with the bucket 'bucket', in the order of the text."""
    names: dict[str, Any] = {}
    text, ran = guide.read_text(encoding='utf-8'), 0
    with s3po.Connection().mock(buckets=['bucket']):
        for line, code in examples(guide):
            exec(compile('\n' * (line - 1) + code, str(guide), 'exec'), names)
            ran += 1

    assert ran == text.count('.. code-block::')


def test_example_of_the_fixture_passes(folder: Path) -> None:
    """The files of the pytest example pass in a project of their own."""
    written = []
    for _, code in examples():
        if is_file(code):
            written.append(code.splitlines()[0].removeprefix('# '))
            (folder / written[-1]).write_text(code)
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', f'--rootdir={folder}', str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)

    assert written == ['conftest.py', 'test_mine.py']
    assert done.returncode == 0, done.stdout
    assert '1 passed' in done.stdout


@pytest.fixture
def typed_files(tmp_path: Path) -> list[str]:
    """The examples as files: those with a name of their own, and one with all others, with the line numbers of README."""
    text = ''
    for line, code in examples():
        if is_file(code):
            (tmp_path / code.splitlines()[0].removeprefix('# ')).write_text(code)
        else:
            text += '\n' * (line - 1 - text.count('\n')) + code
    (tmp_path / 'readme.py').write_text(text)
    return [str(path) for path in sorted(tmp_path.glob('*.py'))]


def test_examples_pass_mypy(typed_files: list[str], pytestconfig: pytest.Config) -> None:
    """The examples pass `mypy --strict`."""
    # Errors in the modules of s3po are not of interest here.
    options = ['--strict', '--follow-imports=silent', '--config-file=', f'--cache-dir={pytestconfig.cache.mkdir("mypy")}']
    environ = {**os.environ, 'MYPYPATH': str(README.parent)}
    done = subprocess.run(
        [sys.executable, '-m', 'mypy', *options, *typed_files], check=False, capture_output=True, text=True, env=environ
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert f'no issues found in {len(typed_files)} source files' in done.stdout


def test_examples_pass_pyright(typed_files: list[str], tmp_path: Path) -> None:
    """The examples, and the code in tests/typing, pass pyright with its default settings."""
    pytest.importorskip('pyright', reason='pyright is not installed; the extra dev has it')
    of_the_tests = [shutil.copy(path, tmp_path) for path in (README.parent / 'tests' / 'typing').glob('*.py')]
    (tmp_path / 'pyrightconfig.json').write_text(json.dumps({'extraPaths': [str(README.parent)]}))
    command = [sys.executable, '-m', 'pyright', '--outputjson', '--pythonpath', sys.executable, '--project', str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    found = json.loads(done.stdout)

    assert [each for each in found['generalDiagnostics'] if each['severity'] == 'error'] == []
    assert found['summary']['filesAnalyzed'] == len(typed_files) + len(of_the_tests)


def test_every_block_of_code_is_found() -> None:
    """Every block of code is found, whatever its indentation or directive."""
    text = README.read_text(encoding='utf-8')

    assert len(examples()) == text.count('.. code-block::')
    assert '>>>' not in text
    assert all(code.strip() for _, code in examples())


def test_names_in_the_text_exist() -> None:
    """Every name in the text that looks like a class, a call or a parameter exists in s3po or Python."""
    text = README.read_text(encoding='utf-8')
    parameters = {
        name
        for function in (s3po.Connection, s3po.Connection.upload, s3po.Connection.download, s3po.Connection.delete)
        for name in inspect.signature(function).parameters
    }
    parameters |= {*inspect.signature(s3po.Connection.batch).parameters, *inspect.signature(s3po.Batch.upload).parameters}
    parameters |= {*inspect.signature(s3po.TransferConfig).parameters, *inspect.signature(s3po.Batch.cancel).parameters}
    classes = set(re.findall(r'``([A-Z]\w+[a-z]\w*)``', text)) - {
        'ValueError',
        'OSError',
        'False',
        'None',
        'LateImportWarning',
        'ResourceWarning',
    }
    named = set(re.findall(r'``(\w+)=\w*``', text)) - {'S3PO_PATCH'}
    calls = set(re.findall(r'``(\w+)\(\)``', text)) - {'start', 'stop'}

    assert {name for name in classes if not hasattr(s3po, name)} == set()
    assert named - parameters == set()
    assert {name for name in calls if not hasattr(s3po.Batch, name)} == set()


def test_figures_of_the_demonstration() -> None:
    """The text about `make demo` matches the defaults of the command."""
    text = README.read_text(encoding='utf-8')
    options = s3po.cli._parser().parse_args(['demo'])

    assert f'{options.objects:,} real files' in text
    assert demo.REFUSALS == 2
    assert 'one part refused twice' in text
