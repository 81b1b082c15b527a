"""Runs one program as a process of its own, under a hard limit of time, with a clean environment.

On failure, what the program and its children printed is shown. A program that does not end prints where each thread stands,
and is killed with all its children.
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

# Where a program imports s3po, among the other library's imports and its work.
ORDERS = ('first', 'second', 'lazily')
LIMIT_S = 60.0
# How long a program that has to be killed may take to print where it stands.
STACKS_S = 2.0
KEPT = ('PATH', 'LANG', 'TMPDIR', 'LD_LIBRARY_PATH')


class Process:
    """A process with its children, and what they print.

    Args:
        command: The program and its arguments.
        environment: All of its environment.
        directory: Its working directory, where its output is kept too.
        descriptors: What it inherits.
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
                # A process group of its own, which a kill reaches as a whole.
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What was printed so far."""
        return self._output.read_text(errors='replace')

    def wait(self, limit_s: float = LIMIT_S) -> str:
        """Wait until it ends with exit code 0, and give what it printed; else the test fails."""
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
        """Ask it to end (SIGTERM), and wait as above."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Kill what is left of it and its children; may be called again."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Runs the programs of tests.neighbours.programs against a store.

    Attributes:
        store: Where their transfers go.
        directory: Their working directory.
        ignored: Warnings of the other library that are no errors, as `-W` takes them.
        processes: What was started and may still run.
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
        """Start a program: its name, and its arguments.

        Args:
            command: The program's name and its arguments, separated by spaces.
            order: One of ORDERS.
            python: The interpreter.
            ignored: Messages of warnings of the other library's own that are no errors. All other warnings are.
            descriptors: Open descriptors that it inherits.
            **environment: More variables.
        """
        name, *arguments = command.split()
        # Python loses what is raised while it warns of a fork beside threads; that warning is printed.
        filters = ','.join(['error', 'always:This process', *(f'ignore:{message}' for message in ignored)])
        variables = {
            **{name: value for name, value in os.environ.items() if name in KEPT},
            'HOME': str(self.directory),
            'PYTHONPATH': str(CHECKOUT),
            'PYTHONFAULTHANDLER': '1',
            # The processes that the program starts have them too.
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
        """Run a program, as start() does, to its end; it must say that it is done, and have moved objects."""
        printed = self.start(command, order, **options).wait()
        assert printed.splitlines()[-1:] == ['done'], printed
        self.check_transfers()
        return printed

    def check_transfers(self) -> None:
        """Objects were uploaded and downloaded."""
        operations = {seen['operation'] for seen in self.store.log()}
        assert {'PutObject', 'GetObject'} <= operations

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
