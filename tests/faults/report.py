"""`make faults`: prints the fault catalogue as a table. A pytest plugin: -p tests.faults.report

For each entry: the transport, the outcome, the number of requests that the store received, and the test. An entry without a
test must be in tests/faults.rst with the reason; otherwise the run fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TABLE = Path(__file__).parent.parent / 'faults.rst'
ENTRIES = [
    *(f'F{number:02}' for number in range(1, 65)),
    'F65',
    'F66',
    'F67',
    'F68',
    'F69',
    'F70',
    'F71',
    'F72',
    'F73',
    'F74',
    'F75',
    'F76',
    'F77',
    'F78',
    'F79',
    'F80',
    'F81',
    'F82',
    'F83',
    'F84',
]

_requests = pytest.StashKey[int]()


def explained() -> dict[str, str]:
    """The text of each entry that tests/faults.rst explains completely, and not only in one case."""
    lines = re.finditer(r'^:(F\d\d): (.*(?:\n    .*)*)', TABLE.read_text(), re.MULTILINE)
    return {found[1]: found[2].strip() for found in lines}


class Report:
    """Collects the outcomes of the marked tests."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str, str]] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
        report: pytest.TestReport = yield
        ids = [mark.args[0] for mark in item.iter_markers('fault')]
        if ids and (report.when == 'call' or report.outcome != 'passed'):
            if report.outcome == 'skipped' and not hasattr(report, 'wasxfail'):
                return report
            outcome = 'expected failure' if hasattr(report, 'wasxfail') else report.outcome
            transport = next((name for name in ('wire', 'boto') if re.search(rf'[\[-]{name}\b', item.name)), '-')
            requests = item.stash.get(_requests, None)
            for each in ids:
                self.rows.append((each, transport, outcome, '-' if requests is None else str(requests), item.nodeid))
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        try:
            return (yield)
        finally:
            store = getattr(item, 'funcargs', {}).get('store')
            if store is not None:
                item.stash[_requests] = len(store.log())

    def missing(self) -> list[str]:
        """The entries that have neither a passed test nor an explanation in tests/faults.rst."""
        tested, told = {row[0] for row in self.rows if row[2] != 'failed'}, explained()
        return [each for each in ENTRIES if each not in tested and each not in told]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        write = terminalreporter.write_line
        terminalreporter.section('the fault catalogue')
        write(f'{"ID":4} {"transport":9} {"outcome":16} {"requests":>8}  test')
        for entry, transport, outcome, requests, name in sorted(self.rows):
            write(f'{entry:4} {transport:9} {outcome:16} {requests:>8}  {name.partition("::")[2]}')
        told, tested = explained(), {row[0] for row in self.rows}
        for entry in ENTRIES:
            if entry not in tested and entry in told:
                write(f'{entry:4} {"-":9} {"see faults.rst":16} {"-":>8}  {" ".join(told[entry].split())[:80]}')
        for entry in self.missing():
            write(f'{entry:4} {"-":9} {"MISSING":16}')

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.missing() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Report(), 's3po-faults')


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select the tests that have the mark `fault`."""
    chosen = [item for item in items if item.get_closest_marker('fault')]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen
