"""The `s3po` command.

What may live here: arguments, exit codes, and how errors are told. What a command does stands in a module of its own, which is
imported when it is called.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import gevent

from s3po.config import __version__
from s3po.errors import ConfigurationError, S3poError

__all__ = ['EXIT_FAILED', 'EXIT_INTERRUPTED', 'EXIT_OK', 'EXIT_USAGE', 'main']

EXIT_OK = 0
# Something could not be moved, or came back different.
EXIT_FAILED = 1
# Wrong arguments (argparse's own code), or something that the command needs is not installed.
EXIT_USAGE = 2
# What shells report of a command that Ctrl-C ended: 128 + SIGINT.
EXIT_INTERRUPTED = 130

# The demonstration has the third of the large object's parts of 8 MiB refused, so there must be three.
SMALLEST_LARGE_MIB = 24


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments behind the command's name; None for those of the process.

    Returns:
        The exit code.

    Raises:
        SystemExit: After --help and --version, and for wrong arguments, as argparse does.
    """
    options = _parser().parse_args(argv)
    try:
        with _interrupts_for_this_greenlet():
            _demo(options)
    except KeyboardInterrupt:
        _complain('interrupted')
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone (`s3po demo | head`). Python flushes stdout once more at its end: into nothing, then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except ConfigurationError as error:
        _complain(str(error))
        return EXIT_USAGE
    except S3poError as error:
        _complain(str(error))
        return EXIT_FAILED
    return EXIT_OK


def _demo(options: argparse.Namespace) -> None:
    # Imported late: the demonstration's server is run as a module of this package, which must not be imported by then.
    from s3po.cli.demo import run_demo

    run_demo(size=options.size, objects=options.objects, large_mib=options.large_mib)


@contextlib.contextmanager
def _interrupts_for_this_greenlet() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt in the calling greenlet, whose `with` statements clean up.

    Python raises it in whichever greenlet runs at that moment, and gevent then prints that one's traceback. A process that was
    told to ignore Ctrl-C goes on ignoring it.
    """
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    waiting, loop = gevent.getcurrent(), gevent.get_hub().loop

    def interrupt(_number: int, _frame: object) -> None:
        if gevent.getcurrent() is waiting:
            raise KeyboardInterrupt
        # Thrown by the hub, which is where a greenlet that waits can be reached from.
        loop.run_callback(waiting.throw, KeyboardInterrupt)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _complain(message: str) -> None:
    sys.stderr.write(f's3po: {" ".join(message.split())}\n')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='s3po',
        description='Moves very many objects, or very large ones, between this machine and an S3-compatible store.',
        epilog='example:\n  s3po demo --objects 200 --large-mib 32',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f's3po {__version__}')
    commands = parser.add_subparsers(title='commands', required=True, metavar='COMMAND')
    _add_demo(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        'demo',
        help='show s3po at work against an S3 server of its own, on this machine',
        description=(
            "Starts an S3 server (moto's) on this machine, uploads files of Python's standard library to it in a batch,\n"
            'downloads them again, compares every byte, and sends one large object in parts while the server refuses one\n'
            'of the parts twice. Needs no account and no configuration, and reads none.\n\n'
            'Exits with 0 only if every byte came back.'
        ),
        epilog="example:\n  s3po demo --size 20 --objects 200 --large-mib 32\n\nneeds:\n  pip install 's3po[cli]'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument('--size', type=_at_least(1), default=50, metavar='N', help='calls made at once (default: %(default)s)')
    demo.add_argument(
        '--objects', type=_at_least(1), default=1500, metavar='N', help='small objects to move (default: %(default)s)'
    )
    demo.add_argument(
        '--large-mib',
        type=_at_least(SMALLEST_LARGE_MIB),
        default=64,
        metavar='MIB',
        help=f'size of the large object, at least {SMALLEST_LARGE_MIB} MiB (default: %(default)s)',
    )


def _at_least(lowest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if number < lowest:
            raise argparse.ArgumentTypeError(f'must be a whole number from {lowest}, not {text!r}')
        return number

    return parse
