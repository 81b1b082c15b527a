"""Pages of listings made up by atheris, read by the scanner and by expat: part of `make fuzz`.

By hand: `python -m tests.fuzz.fuzz_listings runs=1000000`, with any further options of libFuzzer, in the root of the checkout.
The corpus is build/fuzz/listings; a page that fails goes to build/fuzz, and is read again when its file is named.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import atheris

# atheris then makes up text that comes nearer to what the scanner's expression matches.
atheris.enabled_hooks.add('RegEx')
with atheris.instrument_imports(include=['s3po.s3', 'tests.fuzz.listings']):
    from tests.fuzz.listings import FRAGMENTS, PAGES, check

PLACE: Final = Path('build', 'fuzz')
RUNS: Final = 1_000_000


def main(arguments: list[str]) -> None:
    corpus = PLACE / 'listings'
    corpus.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        corpus.joinpath(f'seed-{name}').write_text(page)
    words = PLACE / 'listings.dict'
    words.write_text(''.join(f'"{_quoted(fragment)}"\n' for fragment in FRAGMENTS if fragment))
    options = [f'-runs={RUNS}', '-max_len=4096', '-timeout=10', '-rss_limit_mb=512', f'-artifact_prefix={PLACE}/']
    given = [f'-{each}' if each.startswith('runs=') else each for each in arguments]
    is_replayed = any(not each.startswith('-') for each in given)
    atheris.Setup(['fuzz_listings', *options, f'-dict={words}', *given, *([] if is_replayed else [str(corpus)])], check)
    atheris.Fuzz()


def _quoted(text: str) -> str:
    """A word as libFuzzer's dictionaries hold it."""
    return ''.join(f'\\x{byte:02x}' for byte in text.encode())


if __name__ == '__main__':
    main(sys.argv[1:])
