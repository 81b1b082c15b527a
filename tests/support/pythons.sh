#!/usr/bin/env bash
# Makes virtual environments for the other versions of Python: `pythons.sh DIR` makes DIR/python3.12 and so on.
#
# DIR is a virtual environment itself. There is one for each version that s3po supports, besides DIR's own, and that is on the
# PATH or among pyenv's versions. It holds s3po and what it needs. A version that is not on this machine is named; the tests
# that need it fail under CI and skip elsewhere.
set -euo pipefail

dir=${1:?usage: pythons.sh DIR}
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."

own=$("$dir/bin/python" -c 'import sys; print("{}.{}".format(*sys.version_info))')

for version in 3.11 3.12 3.13; do
    [ "$version" != "$own" ] || continue
    # pyenv's commands ask for this variable; all others ignore it.
    if ! python=$(PYENV_VERSION=$version "python$version" -c 'import sys; print(sys.executable)' 2>/dev/null); then
        echo "pythons.sh: no Python $version on this machine" >&2
        continue
    fi
    "$python" -m venv "$dir/python$version"
    "$dir/python$version/bin/pip" --disable-pip-version-check --quiet install --editable .
done
