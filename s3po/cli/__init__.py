"""The `s3po` command: its arguments, exit codes and error messages.

Each subcommand is a module of its own, imported when the subcommand is called.
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
# A transfer failed, or the downloaded data differs from the original.
EXIT_FAILED = 1
# Wrong arguments (argparse's own code), or something that the command needs is not installed.
EXIT_USAGE = 2
# 128 + SIGINT, as shells report a command that was ended by Ctrl-C.
EXIT_INTERRUPTED = 130

# The demonstration's server refuses the third part of 8 MiB, so there must be three parts.
SMALLEST_LARGE_MIB = 24


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments after the command's name; None reads sys.argv.

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
        _print_error('interrupted')
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has closed it (`s3po demo | head`). At exit Python flushes stdout once more: to /dev/null.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except ConfigurationError as error:
        _print_error(str(error))
        return EXIT_USAGE
    except S3poError as error:
        _print_error(str(error))
        return EXIT_FAILED
    return EXIT_OK


def _demo(options: argparse.Namespace) -> None:
    # Imported here: `python -m s3po.cli.server` imports this package first, and warns if that has imported the module already.
    from s3po.cli.demo import run_demo

    run_demo(size=options.size, objects=options.objects, large_mib=options.large_mib)


@contextlib.contextmanager
def _interrupts_for_this_greenlet() -> Iterator[None]:
    """Make Ctrl-C raise KeyboardInterrupt in the calling greenlet, whose `with` statements clean up.

    By default Python raises it in the greenlet that runs at that moment, and gevent prints a traceback of that greenlet. If
    SIGINT is ignored or handled already, that stays so.
    """
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    waiting, loop = gevent.getcurrent(), gevent.get_hub().loop

    def interrupt(_number: int, _frame: object) -> None:
        if gevent.getcurrent() is waiting:
            raise KeyboardInterrupt
        # A waiting greenlet can only be reached from the hub.
        loop.run_callback(waiting.throw, KeyboardInterrupt)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _print_error(message: str) -> None:
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
        help='move files to a local S3 server and back, and compare them',
        description=(
            "Starts a local S3 server (moto), uploads files of Python's standard library to it in a batch, downloads them\n"
            'again and compares every byte. Then it uploads one large object in parts; the server refuses one part twice.\n'
            "At the end it prints the client's CPU time per object, for s3po and for boto3. It needs no account and reads no\n"
            'configuration.\n\n'
            'Exits with 0 only if all downloaded bytes equal the originals.'
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
