#!/usr/bin/env bash
# Runs tests/integration against a real store: `integration.sh PYTHON [pytest arguments]`, as `make integration` does.
#
# Then they run against `rclone serve s3`, on a directory and in memory; S3PO_TEST_RCLONE=0 leaves that out.
#
# Where S3PO_TEST_ENDPOINT is set, the store is there already. Else a Ceph RADOS Gateway is started (rgw.sh) and ended
# again. Where that cannot be, it is an error under CI; elsewhere the tests run all the same, and skip.
#
# The exit code is pytest's, and so are the last lines printed.
set -euo pipefail

python=${1:?usage: integration.sh PYTHON [pytest arguments]}
shift
support=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cd -- "$support/../.."

can_have_rgw() {
    command -v radosgw >/dev/null || { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }
}

start_rgw() {
    dir=$(mktemp -d) || return 1
    trap end_rgw EXIT
    trap 'exit 143' TERM
    trap 'exit 130' INT
    can_have_rgw || { echo 'no radosgw here, and no root with apt-get to install it' >"$dir/log"; return 1; }
    "$support/rgw.sh" start "$dir/rgw" >"$dir/log" 2>&1 || return 1
    set -a
    # shellcheck source=/dev/null
    . "$dir/rgw/env"
    set +a
    # What makes the gateway, and nothing that it stores, end and begin anew.
    export S3PO_TEST_RESTART="$support/rgw.sh again $dir/rgw"
}

# shellcheck disable=SC2329 # the trap calls it
end_rgw() {
    "$support/rgw.sh" stop "$dir/rgw" >>"$dir/log" 2>&1 || true
    rm -rf -- "$dir"
}

if [ -z "${S3PO_TEST_ENDPOINT:-}" ] && ! start_rgw; then
    echo "integration.sh: no store to test against:" >&2
    cat -- "$dir/log" >&2
    [ -z "${CI:-}" ] || exit 1
fi

status=0
if [ "${S3PO_TEST_RUN:-}" = chaos ]; then
    "$python" -m tests.support.chaos "$@" 2>"$dir/chaos.err" || { status=$?; tail -n 50 "$dir/chaos.err" >&2; }
    export S3PO_TEST_STORIES=${S3PO_TEST_STORIES:-500} S3PO_TEST_STEPS=${S3PO_TEST_STEPS:-50}
    "$python" -m pytest -q tests/functional/test_state_machine.py tests/integration/test_state_machine.py || status=$?
else
    "$python" -m pytest tests/integration "$@" || status=$?
    # A second store with other habits, once with files and once in memory. It is not restarted, and knows no conditions.
    if [ "${S3PO_TEST_RCLONE:-1}" = 1 ]; then
        for kind in directory memory; do
            "$python" -m tests.support.rclone "$kind" "$python" -m pytest tests/integration "$@" \
                --ignore tests/integration/test_chaos.py --ignore tests/integration/test_state_machine.py || status=$?
        done
    fi
fi
exit "$status"
