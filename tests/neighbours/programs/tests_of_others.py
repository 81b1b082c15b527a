"""pytest-xdist: tests of another project, run by two workers. They import s3po in conftest.py, in the module or in a test."""

from tests.neighbours.programs.shared import import_s3po

import_s3po('first')

from pathlib import Path

import pytest

CONFTEST = """
from tests.neighbours.programs.shared import import_s3po
import_s3po('first')
"""
MODULE = """
import queue, subprocess, sys, threading
import pytest
from tests.neighbours.programs.shared import import_s3po, transfer
import_s3po('second')

@pytest.mark.parametrize('number', range(8))
def test_transfer(number):
    transfer(f'test/{number}', is_large=number == 0)

@pytest.mark.parametrize('number', range(8))
def test_own(number):
    answers = queue.Queue()
    thread = threading.Thread(target=answers.put, args=[number])
    thread.start()
    assert answers.get(timeout=20) == number
    thread.join()
    subprocess.run([sys.executable, '-c', ''], check=True)
"""


def main():
    Path('conftest.py').write_text(CONFTEST)
    Path('test_others.py').write_text(MODULE)
    Path('pytest.ini').write_text('[pytest]\nfilterwarnings = error\n')
    code = pytest.main(['-n', '2', '-p', 'no:cacheprovider', 'test_others.py'])
    assert code == 0, code


if __name__ == '__main__':
    main()
    print('done', flush=True)
