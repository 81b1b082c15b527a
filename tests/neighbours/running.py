"""Runs one program in its own process, with a time limit and a clean environment.

If it fails, its output and that of its children is shown. A program that does not end prints the stack of each thread, and is
killed with all its children.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from tests.support.servers import CHECKOUT, Store

__all__ = ['ORDERS', 'Process', 'Runner']

# Where a program imports s3po, relative to the import and use of the other library.
ORDERS = ('first', 'second', 'lazily')
LIMIT_S = 60.0
# How long a program that has to be killed may take to print its stacks.
STACKS_S = 2.0
KEPT = ('PATH', 'LANG', 'TMPDIR', 'LD_LIBRARY_PATH')


class Process:
    """A process with its children, and their output.

    Args:
        command: The program and its arguments.
        environment: Its complete environment.
        directory: Its working directory, which also gets its output.
        descriptors: Descriptors that it inherits.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], directory: Path, *descriptors: int) -> None:
        self._output = directory / f'output{len(list(directory.glob("output*")))}'
        with self._output.open('wb') as output:
            self._process = subprocess.Popen(
                command,
                env=environment,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=descriptors,
                # A process group of its own, so that a kill reaches all of it.
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """The output so far."""
        return self._output.read_text(errors='replace')

    def wait(self, limit_s: float = LIMIT_S) -> str:
        """Wait until it ends with exit code 0, and return its output; otherwise the test fails."""
        try:
            code = self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            # faulthandler prints the stacks.
            self._process.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STACKS_S)
            pytest.fail(f'no end after {limit_s} s\n{self.output}')
        finally:
            self.kill()
        if code:
            pytest.fail(f'exit code {code}\n{self.output}')
        return self.output

    def end(self) -> str:
        """Send SIGTERM, and wait as above."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Kill the process and its children; can be called again."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Runs the programs of tests.neighbours.programs against a store.

    Attributes:
        store: The store for their transfers.
        directory: Their working directory.
        ignored: Warnings of the other library that are not errors, in the form of `-W`.
        processes: The processes that may still run.
    """

    store: Store
    directory: Path
    processes: list[Process] = field(default_factory=list)

    def start(
        self,
        command: str,
        order: str,
        *,
        python: str = sys.executable,
        ignored: Sequence[str] = (),
        descriptors: Sequence[int] = (),
        **environment: str,
    ) -> Process:
        """Start a program.

        Args:
            command: The program's name and its arguments, separated by spaces.
            order: One of ORDERS.
            python: The interpreter.
            ignored: Messages of the other library's warnings that are not errors. All other warnings are.
            descriptors: Open descriptors that it inherits.
            **environment: Additional variables.
        """
        name, *arguments = command.split()
        # Python loses an exception that is raised by its warning about forks with threads, so that warning is printed instead.
        filters = ','.join(['error', 'always:This process', *(f'ignore:{message}' for message in ignored)])
        variables = {
            **{name: value for name, value in os.environ.items() if name in KEPT},
            'HOME': str(self.directory),
            'PYTHONPATH': str(CHECKOUT),
            'PYTHONFAULTHANDLER': '1',
            # The program's own child processes get them, too.
            'PYTHONWARNINGS': filters,
            'AWS_EC2_METADATA_DISABLED': 'true',
            'ENDPOINT': f'http://localhost:{self.store.port}',
            'ORDER': order,
            **environment,
        }
        process = Process(
            [python, '-m', f'tests.neighbours.programs.{name}', *arguments], variables, self.directory, *descriptors
        )
        self.processes.append(process)
        return process

    def __call__(self, command: str, order: str, **options: object) -> str:
        """Run a program to its end; it must print `done`, and have transferred objects."""
        printed = self.start(command, order, **options).wait()
        assert printed.splitlines()[-1:] == ['done'], printed
        self.check_transfers()
        return printed

    def check_transfers(self) -> None:
        """Assert that objects were uploaded and downloaded."""
        operations = {seen['operation'] for seen in self.store.log()}
        assert {'PutObject', 'GetObject'} <= operations

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
