#!/usr/bin/env bash
# A real S3 store for the integration tests: a Ceph RADOS Gateway with one monitor and one OSD, on loopback, in memory.
#
#   rgw.sh start DIR   makes a new, empty cluster below DIR (which must be absent, empty or of this script's making),
#                      over HTTP and HTTPS; prints where it is as shell assignments, which DIR/env holds too
#   rgw.sh stop DIR    ends it; DIR stays
#   rgw.sh again DIR   ends the gateway alone and starts it again; what it stored stays
#
# Missing Debian packages are installed, which needs root. Only daemons are ended that were started from DIR/ceph.conf.
set -euo pipefail

command=${1:?usage: rgw.sh start|stop|again DIR}
dir=$(realpath -m -- "${2:?usage: rgw.sh start|stop|again DIR}")
conf=$dir/ceph.conf
mark=$dir/.made-by-rgw.sh # never is a directory removed without it
access_key=s3po-access
secret_key=s3po-secret-key
store_bytes=$((4 * 1024 * 1024 * 1024))
start_timeout_s=90
stop_timeout_s=30 # the gateway has been seen to take more than 5 s

# The ceph command is a Python script of the distribution's, and must not see another Python's paths.
unset PYTHONPATH PYTHONHOME LD_LIBRARY_PATH CEPH_CONF CEPH_ARGS
export LC_ALL=C.UTF-8

fail() {
    echo "rgw.sh: $*" >&2
    [ ! -d "$dir/log" ] || tail -n 5 "$dir"/log/*.out >&2 || true
    exit 1
}

# ---------------------------------------------------------------- daemons

# The kernel may have given a daemon's number to somebody else; ours names our configuration.
is_running() {
    local pid
    pid=$(cat "$dir/run/$1.pid" 2>/dev/null) || return 1
    { tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qxF -- "$conf"
}

launch() { # NAME COMMAND...: away from the terminal, so that its Ctrl-C is not for the daemons
    local name=$1
    shift
    setsid "$@" </dev/null >>"$dir/log/$name.out" 2>&1 &
    echo $! >"$dir/run/$name.pid"
}

wait_until() { # DAEMON COMMAND...: until the command succeeds
    local daemon=$1 deadline=$((SECONDS + start_timeout_s))
    shift
    until "$@" >/dev/null 2>&1; do
        is_running "$daemon" || fail "$daemon ended while it was starting"
        [ "$SECONDS" -lt "$deadline" ] || fail "$daemon was not ready after $start_timeout_s s"
        sleep 0.1
    done
}

end_daemon() {
    local deadline=$((SECONDS + stop_timeout_s))
    if is_running "$1"; then
        kill -TERM "$(cat "$dir/run/$1.pid")" || true
        while is_running "$1" && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.1; done
    fi
    if is_running "$1"; then
        kill -KILL "$(cat "$dir/run/$1.pid")" || true
    fi
    rm -f -- "$dir/run/$1.pid"
}

stop() {
    local daemon
    for daemon in rgw osd mon; do end_daemon "$daemon"; done
}

# ---------------------------------------------------------------- the cluster

missing_program() {
    local program
    for program in radosgw radosgw-admin ceph ceph-authtool ceph-mon ceph-osd monmaptool openssl; do
        command -v "$program" >/dev/null || { echo "$program"; return; }
    done
}

install_missing() {
    local program
    program=$(missing_program)
    [ -n "$program" ] || return 0
    [ "$(id -u)" = 0 ] || fail "$program is missing, and only root can install it"
    export DEBIAN_FRONTEND=noninteractive
    {
        apt-get -o DPkg::Lock::Timeout=600 update || true # the lists at hand may do
        apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends \
            radosgw ceph-mon ceph-osd ceph-common openssl
    } >"$dir/log/apt.out" 2>&1 || fail "the packages could not be installed"
}

free_ports() {
    python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(each.getsockname()[1] for each in sockets))'
}

make_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=127.0.0.1 \
        -addext subjectAltName=IP:127.0.0.1,DNS:localhost -keyout "$dir/tls.key" -out "$dir/tls.crt" \
        >"$dir/log/openssl.out" 2>&1 || fail "openssl made no certificate"
    cat "$dir/tls.key" "$dir/tls.crt" >"$dir/tls.pem"
}

write_conf() { # FSID MON_PORT HTTP_PORT HTTPS_PORT
    cat >"$conf" <<CONF
[global]
fsid = $1
mon_host = [v2:127.0.0.1:$2]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv4 = true
ms_bind_ipv6 = false
# Nobody else can reach it: no cephx, and so none of the encryption that radosgw asks of the monitor by default.
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
keyring = $dir/keyring
run_dir = $dir/run
crash_dir = $dir/crash
log_file = $dir/log/\$name.log
mon_cluster_log_file = $dir/log/cluster.log
admin_socket =
# One copy of everything is enough.
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 2000
# What the daemons else keep in memory of every message.
debug_ms = 0/0
debug_osd = 0/0
debug_objecter = 0/0
debug_rados = 0/0
debug_monc = 0/0
debug_rgw = 0/0

[mon]
mon_data = $dir/mon
# A full disk of the host is no matter to a store in memory.
mon_data_avail_warn = 1
mon_data_avail_crit = 1
# Changes of the maps are else gathered for a second.
paxos_propose_interval = 0.05
paxos_min_wait = 0.01

[osd]
osd_data = $dir/osd
osd_objectstore = memstore
memstore_device_bytes = $store_bytes
memstore_page_set = false
# A key of 1,024 bytes is longer once it is escaped.
osd_max_object_name_len = 2048
osd_class_load_list = *
osd_class_default_list = *
# Logs to recover from another copy, of which there is none.
osd_min_pg_log_entries = 100
osd_max_pg_log_entries = 200
osd_pg_log_dups_tracked = 100

[client.rgw]
rgw_data = $dir/rgw
# Without tcp_nodelay a GET on a kept connection waits 40 ms for the client's delayed ACK.
rgw_frontends = beast endpoint=127.0.0.1:$3 ssl_endpoint=127.0.0.1:$4 ssl_certificate=$dir/tls.pem tcp_nodelay=1
rgw_thread_pool_size = 16
rgw_crypt_require_ssl = false
rgw_enable_usage_log = false
rgw_dynamic_resharding = false
# Deleted data are given back after seconds, not hours.
rgw_gc_obj_min_wait = 5
rgw_gc_processor_period = 10
rgw_gc_processor_max_time = 10
CONF
}

make_monitor() { # FSID MON_PORT
    {
        ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *' &&
            ceph-authtool "$dir/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' &&
            ceph-authtool "$dir/keyring" --gen-key -n client.rgw --cap mon 'allow *' --cap osd 'allow *' &&
            monmaptool --create --fsid "$1" --addv a "[v2:127.0.0.1:$2]" "$dir/monmap" &&
            ceph-mon -c "$conf" -i a --mkfs --monmap "$dir/monmap" --keyring "$dir/keyring"
    } >"$dir/log/make-mon.out" 2>&1 || fail "the monitor could not be made"
}

make_osd() {
    local uuid
    uuid=$(cat /proc/sys/kernel/random/uuid)
    {
        on_cluster osd new "$uuid" &&
            ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$uuid"
    } >"$dir/log/make-osd.out" 2>&1 || fail "the OSD could not be made"
}

on_cluster() { timeout 30 ceph -c "$conf" --connect-timeout 10 "$@"; }

is_osd_up() { on_cluster osd stat -f json | grep -q '"num_up_osds":1'; }

answers_http() { # PORT, in a subshell, for the sake of the descriptor
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1"
        printf 'GET / HTTP/1.0\r\n\r\n' >&3
        read -r -t 5 line <&3
        [[ $line == HTTP/1.* ]]
    )
}

make_user() {
    timeout 60 radosgw-admin -c "$conf" user create --uid=s3po --display-name=s3po --max-buckets=0 \
        --access-key="$access_key" --secret-key="$secret_key" >"$dir/log/make-user.out" 2>&1 ||
        fail "the user could not be made"
}

prepare_dir() {
    if [ -e "$mark" ]; then
        stop
        rm -rf -- "$dir"
    fi
    mkdir -p -- "$dir"
    [ -z "$(ls -A -- "$dir")" ] || fail "$dir is not empty, and not of this script's making"
    chmod 700 -- "$dir"
    touch -- "$mark"
    mkdir -- "$dir"/{run,log,mon,osd,rgw,crash}
}

start() {
    local fsid mon_port http_port https_port
    prepare_dir
    trap stop EXIT # of a half-started cluster nothing stays
    install_missing
    fsid=$(cat /proc/sys/kernel/random/uuid)
    read -r mon_port http_port https_port < <(free_ports)
    make_certificate
    write_conf "$fsid" "$mon_port" "$http_port" "$https_port"
    make_monitor "$fsid" "$mon_port"
    launch mon ceph-mon -f -c "$conf" -i a
    wait_until mon on_cluster mon stat
    make_osd
    launch osd ceph-osd -f -c "$conf" -i 0
    wait_until osd is_osd_up
    launch rgw radosgw -f -c "$conf" -n client.rgw
    wait_until rgw answers_http "$http_port"
    make_user
    cat >"$dir/env" <<ENV
S3PO_TEST_ENDPOINT=http://127.0.0.1:$http_port
S3PO_TEST_ENDPOINT_TLS=https://127.0.0.1:$https_port
S3PO_TEST_CA=$dir/tls.crt
S3PO_TEST_ACCESS_KEY=$access_key
S3PO_TEST_SECRET_KEY=$secret_key
ENV
    trap - EXIT
    cat -- "$dir/env"
}

again() {
    end_daemon rgw
    launch rgw radosgw -f -c "$conf" -n client.rgw
    wait_until rgw answers_http "$(sed -n 's|^S3PO_TEST_ENDPOINT=.*:||p' "$dir/env")"
}

case $command in
    start) start ;;
    again) again ;;
    stop) stop ;;
    *) fail "usage: rgw.sh start|stop|again DIR" ;;
esac
