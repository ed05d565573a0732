"""The image alone: its size, how soon it answers, as whom and with what it runs, how it is configured, what it says when the
engine forbids what it needs."""

import json
import pathlib
import tempfile
import time

import redis

from cluster import connect, must
from engine import PATIENCE, address_of, docker, inspect, wait_for

SIZE_MAX_MB = 40
START_MAX_S = 1.0
USER = "10001"


def check(image, base, profile, prefix):
    """All checks; returns lines for the report."""
    made = []

    def start(name, *words, arguments=()):
        made.append(f"{prefix}-{name}")
        return docker("run", "-d", "--name", made[-1], "--security-opt", f"seccomp={profile}", "--cap-drop", "ALL",
                      "--read-only", "--ulimit", "memlock=8388608", *words, image, *arguments)

    try:
        return [size(image, base), *start_up(start), configuration(start), refusal(image, profile, made, prefix)]
    finally:
        for name in made:
            docker("rm", "-f", "-v", name, may_fail=True)


def size(image, base):
    above = (inspect(image)["Size"] - inspect(base)["Size"]) / 1e6
    must(above <= SIZE_MAX_MB, f"the image has {above:.1f} MB over its base, more than {SIZE_MAX_MB}")
    return f"image: {above:.1f} MB over its base (at most {SIZE_MAX_MB})"


def answers(container, password=None):
    try:
        with connect((address_of(container), 6379), password, 0.2) as client:
            return client.ping()
    except (redis.RedisError, OSError, TypeError):
        return False


def start_up(start):
    container = start("start", "-e", "SLOTCORE_PROTECTED_MODE=no")
    wait_for(10, "the node answers", lambda: answers(container), 0.005)
    answered = time.time()
    state = inspect(container)["State"]
    # The engine's clock is this machine's.
    began = state["StartedAt"]
    seconds = answered - stamp(began)
    must(seconds < START_MAX_S * PATIENCE, f"the node answers {seconds:.2f} s after its container started, not within {START_MAX_S} s")
    status = pathlib.Path(f"/proc/{state['Pid']}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    capabilities = {int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    must(capabilities == {0}, f"the node has capabilities: {capabilities}")
    must(fields["Uid"].split() == [USER] * 4, f"the node runs as {fields['Uid']}")
    with connect((address_of(container), 6379), None) as client:
        client.set("key", "value")
        client.save()
    wait_for(15, "the container is healthy", lambda: inspect(container)["State"]["Health"]["Status"] == "healthy")
    begun = time.monotonic()
    docker("stop", "-t", "10", container)
    ended = time.monotonic() - begun
    must(inspect(container)["State"]["ExitCode"] == 0 and ended < 5 * PATIENCE, f"SIGTERM: exit code and time {ended:.1f} s")
    docker("start", container)
    wait_for(10, "the node answers again", lambda: answers(container), 0.005)
    with connect((address_of(container), 6379), None) as client:
        must(client.get("key") == "value", "the volume does not keep the data")
    yield f"start: answers {seconds:.2f} s after its container started (at most {START_MAX_S}), ends {ended:.1f} s after docker stop"
    yield f"confinement: user {USER}, no capabilities, read-only root file system, data kept in the volume"


def stamp(text):
    """Seconds of `2026-11-28T03:32:32.527332314Z`."""
    whole, fraction = text.rstrip("Z").split(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - time.timezone + float(f"0.{fraction}")


def configuration(start):
    """A file, variables, arguments: what is named later wins. The password comes from a file. The command is that of Redis's image."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        (folder / "node.conf").write_text("timeout 1\nmaxclients 100\ntcp-keepalive 10\n")
        (folder / "password").write_text("from a file\n")
        container = start("configured", "-v", f"{folder}:/etc/slotcore:ro", "-e", "SLOTCORE_TIMEOUT=2",
                          "-e", "SLOTCORE_MAXCLIENTS=200", "-e", "SLOTCORE_PASSWORD_FILE=/etc/slotcore/password",
                          arguments=("redis-server", "/etc/slotcore/node.conf", "--timeout", "3"))
        wait_for(10, "the configured node answers", lambda: answers(container, "from a file"))
        must(not answers(container), "the node asks for no password")
        with connect((address_of(container), 6379), "from a file") as client:
            found = {name: client.config_get(name)[name] for name in ("timeout", "maxclients", "tcp-keepalive", "masterauth")}
        wanted = {"timeout": "3", "maxclients": "200", "tcp-keepalive": "10", "masterauth": "from a file"}
        must(found == wanted, f"the configuration is {found}, not {wanted}")
        must("is ready" in docker("exec", container, "slotcore", "health"), "slotcore health with a password")
        must("is alive" in docker("exec", container, "slotcore", "health", "--live"), "slotcore health --live")
    return "configuration: file, variables, arguments and SLOTCORE_PASSWORD_FILE"


def refusal(image, profile, made, prefix):
    """Without io_uring the container ends with the one line that says what to add."""
    text = json.loads(pathlib.Path(profile).read_text())
    text["syscalls"] = [row for row in text["syscalls"] if "io_uring_setup" not in row["names"]]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(text, file)
        file.flush()
        made.append(f"{prefix}-refused")
        docker("run", "--name", made[-1], "--security-opt", f"seccomp={file.name}", image, may_fail=True)
    code = inspect(made[-1])["State"]["ExitCode"]
    said = docker("logs", made[-1])
    errors = [line for line in said.splitlines() if "io_uring" in line]
    must(code == 1 and errors and "seccomp profile" in errors[-1], f"without io_uring: exit code {code}, says {said}")
    return f"without io_uring: exit code 1, '{errors[-1].strip()[:100]}...'"
