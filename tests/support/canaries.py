"""The secrets that tests use, and a check for them: a test that logs or prints one fails.

All secrets contain the same distinctive letters. `tests/functional/conftest.py` enables the check for all functional tests: it
covers all records of all loggers, from DEBUG on, and standard output and error, also of the programs that
tests.support.programs runs.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Generator, Iterator
from typing import Any, Final

import pytest

__all__ = ['KEYS', 'PASSWORD', 'SECRET_ACCESS_KEY', 'SESSION_TOKEN', 'SSE_C', 'SSE_C_KEY', 'Watch', 'secrets_in']

STEM: Final = 'CaNaRy'
SECRET_ACCESS_KEY: Final = f'{STEM}/secret+access/key'
SESSION_TOKEN: Final = f'{STEM}//session+token=='
PASSWORD: Final = f'{STEM}password'
SSE_C_KEY: Final = f'{STEM}-the-customers-key-of-32-b'
KEYS: Final[Any] = {'access_key_id': 'key', 'secret_access_key': SECRET_ACCESS_KEY, 'session_token': SESSION_TOKEN}
SSE_C: Final = {'SSECustomerAlgorithm': 'AES256', 'SSECustomerKey': SSE_C_KEY}

# As they are, and in base64, as SSE-C keys are sent. Six bytes are eight letters of base64, whatever follows.
FORMS: Final = (STEM, base64.b64encode(STEM.encode()).decode())


def secrets_in(text: str) -> list[str]:
    """The lines of a text that contain a secret."""
    return [line for line in text.splitlines() if any(form in line for form in FORMS)]


class Watch(logging.Handler):
    """A log handler that searches all records for secrets.

    Attributes:
        found: The lines with secrets.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter('%(levelname)s %(name)s: %(message)s'))
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        if any(form in text for form in FORMS):
            self.found += [f'{record.levelname} {record.name}: {line}' for line in secrets_in(text)]


@pytest.fixture(autouse=True)
def _watched(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sets every logger to DEBUG; only the check sees the additional records."""
    watch, root = Watch(), logging.getLogger()
    plugin: Any = request.config.pluginmanager.getplugin('logging-plugin')
    others = [plugin.caplog_handler, plugin.report_handler]
    kept = [handler.level for handler in others]
    read = pytest.CaptureFixture.readouterr

    def readouterr(self: pytest.CaptureFixture[Any]) -> Any:
        """Check the output that a test reads, since it is not in the report."""
        taken = read(self)
        watch.found += secrets_in(str(taken.out)) + secrets_in(str(taken.err))
        return taken

    level = root.level
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytest.CaptureFixture, 'readouterr', readouterr)
        for handler in others:
            handler.setLevel(max(handler.level, level))
        root.addHandler(watch)
        root.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            root.removeHandler(watch)
            root.setLevel(level)
            for handler, before in zip(others, kept, strict=True):
                handler.setLevel(before)
    if watch.found:
        pytest.fail('secrets were logged or printed:\n' + '\n'.join(watch.found), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Check the captured output of a test, which is in its report."""
    report = yield
    found = [line for title, text in report.sections if 'log' not in title for line in secrets_in(text)]
    if found and report.passed:
        report.outcome = 'failed'
        report.longrepr = f'{item.nodeid}: secrets were printed during {call.when}:\n' + '\n'.join(found)
    return report
