"""Whether containers can do here what the tests need: a sandbox may allow an engine and forbid what it does. `probe.py IMAGE` prints what is
lacking and ends with 1, or prints nothing and ends with 0.

Nothing of slotcore takes part: what it cannot do in a container is for the tests to find.
"""

import os
import socket
import subprocess
import sys

from engine import Failed, address_of, docker, wait_for

LIMIT_S = 40
REFUSED_PORT = 9


def probe(image, name):
    """Raises Failed at the first thing that is lacking."""
    if "name=seccomp" not in docker("info", "-f", "{{.SecurityOptions}}", limit_s=LIMIT_S):
        raise Failed("the kernel or the engine has no seccomp")
    docker("network", "create", name, limit_s=LIMIT_S)
    docker("run", "-d", "--name", name, "--network", name, "--network-alias", f"{name}-alias", "-p", "127.0.0.1::6379", "-p", "16379",
           "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--ulimit", "memlock=8388608",
           "--ulimit", "nofile=16384", "--user", "10001:10001", "-v", "/data", "--tmpfs", "/tmp", "--entrypoint", "sleep", image, "60",
           limit_s=LIMIT_S)
    docker("exec", name, "getent", "hosts", f"{name}-alias", limit_s=LIMIT_S)
    address = wait_for(5, "the container has an address", lambda: address_of(name))
    try:
        # Nobody listens there, and only the container itself can say so.
        socket.create_connection((address, REFUSED_PORT), timeout=5).close()
    except ConnectionRefusedError:
        return
    except OSError as error:
        raise Failed(f"this machine does not reach a container at {address}: {error}") from error
    raise Failed(f"something else than the container answers at {address}")


def main():
    name = f"slotcore-test-{os.getpid()}-probe"
    try:
        probe(sys.argv[1], name)
    except (Failed, subprocess.TimeoutExpired) as lacking:
        print(" ".join(str(lacking).split())[:300])
        sys.exit(1)
    finally:
        for words in (("rm", "-f", "-v", name), ("network", "rm", name)):
            docker(*words, may_fail=True, limit_s=LIMIT_S)


if __name__ == "__main__":
    main()
