# The engine of tools/compose-test, which sources this: finds the one that runs, or starts one and takes it away again.
#
# What a machine may lack (an engine and the right to start one, packages, cgroups, networks of containers) is a reason to skip, and is
# found within $patience_s seconds; what fails after that is a failure. The script gives root, note, skip, work, short, patience_s and
# its arguments.

# The rest of the time that the machine has to show that containers run here, for a command that may hang.
in_time() {
    local left=$((patience_s - SECONDS))
    timeout --kill-after=5 $((left > 5 ? left : 5)) "$@"
}

# Debian's packages, without starting a service that comes with them. The download may hang, and is ended then; unpacking is not.
install() {
    [ "$(id -u)" -eq 0 ] || return 1
    command -v apt-get >/dev/null || return 1
    note "installing $*"
    local policy=/usr/sbin/policy-rc.d made=false rc=0
    local get=(apt-get -q -y --no-install-recommends -o Acquire::Retries=0 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=20)
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made=true
    fi
    { in_time "${get[@]}" update && in_time "${get[@]}" --download-only install "$@" &&
        DEBIAN_FRONTEND=noninteractive "${get[@]}" install "$@"; } >"$work/apt.log" 2>&1 </dev/null || rc=1
    if $made; then rm -f $policy; fi
    if [ $rc -ne 0 ]; then note "it cannot be installed; the end of $work/apt.log: $(tail -n 1 "$work/apt.log" | cut -c1-300)"; fi
    return $rc
}

engine_pid=""
rules=""
# The last thing that happens, whatever went before.
stop_engine() {
    local rc=$?
    trap - EXIT
    trap '' INT TERM
    if [ -n "$engine_pid" ]; then
        timeout 60 docker image prune -f >/dev/null 2>&1 || true
        kill -TERM "$engine_pid" 2>/dev/null || true
        for _ in $(seq 300); do
            kill -0 "$engine_pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$engine_pid" 2>/dev/null || true
        if [ -n "$rules" ]; then
            iptables-restore <"$rules" 2>/dev/null || true
            ip link del docker0 2>/dev/null || true
        fi
    fi
    if [ $rc -ne 0 ]; then note "failed" >&2; fi
    exit $rc
}

# Runs this script once more where all that an engine does to a machine, its processes, networks and mounts, ends with the script, even
# when the script is killed. There is no way out to a registry from there, so it is for the short form only.
go_apart() {
    if [ -n "${SLOTCORE_COMPOSE_APART:-}" ]; then return; fi
    note "starts an engine in namespaces of its own"
    local space=(unshare --net --mount --pid --fork --kill-child --mount-proc)
    command -v unshare >/dev/null && "${space[@]}" true 2>/dev/null ||
        skip "no engine runs, and one cannot be started apart from this machine (unshare)"
    export SLOTCORE_COMPOSE_APART=yes
    trap - EXIT
    exec "${space[@]}" "$root/tools/compose-test" "${arguments[@]}"
}

# An engine of our own: nothing of it lies where another would look. What it adds to the machine's packet filter goes with it.
start_engine() {
    if $short; then go_apart; fi
    export DOCKER_HOST=unix://$work/docker.sock
    exec {lock}>"$work/lock"
    flock -n $lock || skip "another run uses $work"
    if $short; then
        ip link set lo up || skip "the network of containers cannot be made: 'ip link set lo up' fails"
    elif ! ip link show docker0 >/dev/null 2>&1 && ! iptables-save 2>/dev/null | grep -q DOCKER; then
        rules=$work/iptables
        iptables-save >"$rules" 2>/dev/null || rules=""
    fi
    rm -f "$work/dockerd.pid" "$work/docker.sock"
    dockerd --data-root "$work/engine" --exec-root "$work/exec" --pidfile "$work/dockerd.pid" --host "$DOCKER_HOST" \
        >"$work/dockerd.log" 2>&1 {lock}>&- &
    engine_pid=$!
    for _ in $(seq 300); do
        if timeout 20 docker info >/dev/null 2>&1; then break; fi
        kill -0 "$engine_pid" 2>/dev/null || break
        sleep 0.1
    done
    timeout 20 docker info >/dev/null 2>&1 ||
        skip "the engine does not start here; the end of $work/dockerd.log: $(tail -n 1 "$work/dockerd.log" | cut -c1-300)"
    # Of a run that was killed: they would start again, all of them.
    local left
    left=$(docker ps -aq)
    if [ -n "$left" ]; then
        # shellcheck disable=SC2086
        docker rm -f -v $left >/dev/null
    fi
    { docker network prune -f && docker volume prune -f; } >/dev/null
}

has_compose() {
    docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null
}

# Finds out whether there is an engine, or may be one. Installs what one takes.
find_engine() {
    [ "$(uname -s)" = Linux ] || skip "the tests reach containers at their addresses, which takes Linux"
    [[ ${DOCKER_HOST:-unix://} == unix://* ]] || skip "the tests reach containers at their addresses, and the engine is elsewhere"
    local missing=()
    engine_runs=false
    if command -v docker >/dev/null && timeout 20 docker info >/dev/null 2>&1; then
        engine_runs=true
        has_compose || install docker-compose || skip "there is no docker compose, and it cannot be installed"
    elif [ "$(id -u)" -ne 0 ]; then
        skip "no engine runs that this user may use, and only root can start one"
    else
        command -v dockerd >/dev/null && command -v docker >/dev/null || missing+=(docker.io)
        command -v iptables >/dev/null || missing+=(iptables)
        command -v ip >/dev/null || missing+=(iproute2)
        has_compose || missing+=(docker-compose)
        [ ${#missing[@]} -eq 0 ] || install "${missing[@]}" ||
            skip "no engine runs, and what one takes cannot be installed: ${missing[*]}"
    fi
}

# From here on there is an engine, and the compose command is known.
take_engine() {
    local how="uses the engine that runs"
    if ! $engine_runs; then
        start_engine
        how="started an engine"
    fi
    note "$how: $(docker version --format '{{.Server.Version}}')"
    if docker compose version >/dev/null 2>&1; then export COMPOSE="docker compose"; else export COMPOSE=docker-compose; fi
    note "compose is '$COMPOSE' $(timeout 20 $COMPOSE version --short 2>/dev/null || true)"
}
