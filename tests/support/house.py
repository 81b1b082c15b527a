"""Prints the measurements of the package: `python -m tests.support.house [CHECKOUT]…`.

Lines per room (without blank lines, comments and docstrings), the longest files and functions, the share of public names with a
docstring, and s3po's function calls per PUT and GET of 4 KiB through a batch. Without arguments it measures this checkout.
"""

from __future__ import annotations

import argparse
import ast
import io
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.servers import CHECKOUT, Store

__all__ = ['Room', 'count_calls', 'measure']

IGNORED: Final = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
SHOWN: Final = 8
OBJECTS: Final = 2_000

# Counts the calls of functions of s3po, over all greenlets, after a first round that fills the caches.
PROFILED: Final = f"""
import sys
import s3po
import greenlet

package = s3po.__path__[0]
connection = s3po.Connection(access_key_id='k', secret_access_key='s', region='us-east-1', endpoint_url=sys.argv[1])

connection.create_bucket('bucket')

def work(verb):
    with connection.batch(50) as batch:
        for number in range({OBJECTS}):
            if verb == 'PUT':
                batch.upload('bucket', str(number), bytes(4096))
            else:
                batch.download('bucket', str(number))

calls = 0

def count(frame, event, argument):
    global calls
    calls += event == 'call' and frame.f_code.co_filename.startswith(package)

for verb in ('PUT', 'GET'):
    work(verb)
    calls = 0
    greenlet.settrace(lambda *_: sys.setprofile(count))
    sys.setprofile(count)
    work(verb)
    greenlet.settrace(None)
    sys.setprofile(None)
    print(verb, calls / {OBJECTS})
"""


@dataclass
class Room:
    """A module at the package's top level, or a folder.

    A method without a docstring counts as documented if it implements a documented method of a base class, or of another class
    that the docstring of its class names ("A Transport through …").

    Attributes:
        lines: The lines of code.
        files: The lines of code of each file.
        functions: The lines of each function, docstring included.
        public: The number of public functions, classes, methods and modules.
        documented: The number of these that have a docstring.
    """

    lines: int = 0
    files: dict[str, int] = field(default_factory=dict)
    functions: dict[str, int] = field(default_factory=dict)
    public: int = 0
    documented: int = 0


def measure(package: Path) -> dict[str, Room]:
    """Measure each room of a package."""
    rooms: dict[str, Room] = {}
    texts = {path: path.read_text() for path in sorted(package.rglob('*.py'))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    inherited = _inherited(trees.values())
    for path, text in texts.items():
        name, tree = path.relative_to(package), trees[path]
        room = rooms.setdefault(name.parts[0].removesuffix('.py'), Room())
        room.files[str(name)] = lines = len(set(_code_lines(text, tree)))
        room.lines += lines
        for label, node in _public(tree, ''):
            room.public += 1
            room.documented += ast.get_docstring(node) is not None or label in inherited
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None
                room.functions[f'{name}:{label}'] = node.end_lineno - node.lineno + 1
    return rooms


def _code_lines(text: str, tree: ast.Module) -> Iterator[int]:
    documented = ast.Module, ast.ClassDef, ast.FunctionDef
    docstrings = {
        line
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in IGNORED:
            yield from (line for line in range(token.start[0], token.end[0] + 1) if line not in docstrings)


def _is_further(node: ast.ClassDef | ast.FunctionDef) -> bool:
    """Whether a definition is only an overload, or the setter of a property."""
    names = {ast.unparse(decorator).rpartition('.')[2] for decorator in node.decorator_list}
    return not names.isdisjoint({'overload', 'setter'})


def _inherited(trees: Iterable[ast.Module]) -> set[str]:
    """The methods ('Class.method') whose documentation is that of another class; see Room."""
    classes = {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    methods = {
        name: {child.name: ast.get_docstring(child) for child in node.body if isinstance(child, ast.FunctionDef)}
        for name, node in classes.items()
    }

    def documented(name: str, seen: frozenset[str]) -> set[str]:
        """The documented methods of a class, its bases, and the classes in its docstring."""
        if name not in classes or name in seen:
            return set()
        node = classes[name]
        own = {method for method, docstring in methods[name].items() if docstring is not None}
        bases = [ast.unparse(base).partition('[')[0].rpartition('.')[2] for base in node.bases]
        named = re.findall(r'\b[A-Z]\w+', ast.get_docstring(node) or '')
        return own.union(*(documented(model, seen | {name}) for model in (*bases, *named)))

    return {f'{name}.{method}' for name in classes for method in methods[name] if method in documented(name, frozenset())}


def _public(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef]]:
    """The module itself, and its public functions, classes and their public methods (of protocols and overrides, too)."""
    if isinstance(node, ast.Module):
        yield '', node
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith('_') and not _is_further(child):
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from _public(child, f'{prefix}{child.name}.')


def count_calls(checkout: Path) -> dict[str, float]:
    """Count s3po's function calls per PUT and per GET of 4 KiB, through a batch of 50 at the tests' store."""
    with Store() as store:
        ran = subprocess.run(
            [sys.executable, '-c', PROFILED, store.endpoint_url],
            env={**os.environ, 'PYTHONPATH': str(checkout)},
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
    if ran.returncode:
        raise SystemExit(ran.stderr)
    return {verb: float(calls) for verb, calls in (line.split() for line in ran.stdout.splitlines())}


def report(checkout: Path) -> None:
    """Print all measurements of a checkout."""
    rooms = measure(checkout / 's3po')
    total = sum(room.lines for room in rooms.values())
    print(f'{checkout}: {total:,} lines of code')
    for name, room in sorted(rooms.items(), key=lambda item: -item[1].lines):
        print(f'  {name:15} {room.lines:6,} {room.lines / total:6.1%}')
    for title, kind in (('files', 'files'), ('functions, with their docstrings', 'functions')):
        sizes = {name: lines for room in rooms.values() for name, lines in getattr(room, kind).items()}
        print(f'Longest {title}:')
        for name, lines in sorted(sizes.items(), key=lambda item: -item[1])[:SHOWN]:
            print(f'  {lines:6,} {name}')
    public, documented = (sum(getattr(room, kind) for room in rooms.values()) for kind in ('public', 'documented'))
    print(f'Public names with a docstring: {documented:,} of {public:,} ({documented / public:.1%})')
    for verb, calls in count_calls(checkout).items():
        print(f'Calls per {verb} of 4 KiB: {calls:.1f}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkouts', nargs='*', type=Path, default=[CHECKOUT])
    for checkout in parser.parse_args().checkouts:
        report(checkout.resolve())


if __name__ == '__main__':
    main()
