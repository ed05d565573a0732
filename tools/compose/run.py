"""What tools/compose-test runs when there are an engine, the base images and the program: `run.py PARTS ROUNDS DRILLS [short]`.

The environment has ROOT (the checkout), WORK (for logs), COMPOSE (the compose command), PATIENCE and what the compose files read.
Everything that is made has a name of this run's own and is taken away at the end, whatever happens.
"""

import ipaddress
import json
import os
import pathlib
import signal
import socket
import sys
import tempfile
import time
import traceback

import clients
import fixed
import image
import scaled
from engine import Failed, docker

PASSWORD = "drill password"


def say(line):
    print(line, flush=True)


def free_network():
    """The first three numbers of a network that no other on this machine overlaps with."""
    taken = []
    for id in docker("network", "ls", "-q").split():
        for part in json.loads(docker("network", "inspect", id))[0]["IPAM"]["Config"] or []:
            taken.append(ipaddress.ip_network(part["Subnet"], strict=False))
    for line in pathlib.Path("/proc/net/route").read_text().splitlines()[1:]:
        words = line.split()
        address, mask = (int.from_bytes(bytes.fromhex(words[at]), "little") for at in (1, 7))
        if mask:
            taken.append(ipaddress.ip_network((address, bin(mask).count("1")), strict=False))
    for third in range(0, 256):
        network = ipaddress.ip_network(f"172.30.{third}.0/24")
        if not any(network.overlaps(other) for other in taken if other.version == 4):
            return f"172.30.{third}"
    raise Failed("no network is free")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def variables():
    names = ("SLOTCORE_IMAGE", "SLOTCORE_BUILD_IMAGE", "SLOTCORE_BASE_IMAGE", "SLOTCORE_PREBUILT")
    return {name: os.environ[name] for name in names if name in os.environ}


def test_image(prefix, _plan):
    profile = pathlib.Path(os.environ["ROOT"]) / "conf/seccomp-io_uring.json"
    for line in image.check(os.environ["SLOTCORE_IMAGE"], os.environ["SLOTCORE_BASE_IMAGE"], str(profile), prefix):
        say(line)


def test_fixed(prefix, plan):
    with tempfile.TemporaryDirectory() as folder:
        world = fixed.World(os.environ["ROOT"], folder, prefix, free_network(), free_ports(6), PASSWORD, variables())
        try:
            for line in fixed.bring_up(world):
                say(line)
            say(clients.from_here(("127.0.0.1", world.ports[0]), PASSWORD))
            say(clients.from_container(world.addresses()[0], PASSWORD, world.compose.network(), os.environ["SLOTCORE_BASE_IMAGE"]))
            fixed.run_drills(world, plan.rounds, plan.drills, say)
        except BaseException:
            say(f"what the containers logged is in {world.compose.keep_logs()}")
            raise
        finally:
            world.compose.down()


def test_scale(prefix, plan):
    for line in scaled.check_scale(os.environ["ROOT"], prefix, os.environ["SLOTCORE_BASE_IMAGE"], variables(), say, plan.is_short):
        say(line)


def test_nat(prefix, plan):
    socket_path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    base = os.environ["SLOTCORE_BASE_IMAGE"]
    for line in scaled.check_nat(os.environ["ROOT"], prefix, base, variables(), socket_path, say, plan.is_short):
        say(line)


class Plan:
    """How much of each part is to be done."""

    def __init__(self, rounds, drills, is_short):
        self.rounds, self.drills, self.is_short = rounds, drills, is_short


PARTS = {"image": test_image, "fixed": test_fixed, "scale": test_scale, "nat": test_nat}


def main():
    # Whoever is told to end takes away first what it has made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parts, rounds = sys.argv[1].split(","), int(sys.argv[2])
    drills = {int(number) for number in sys.argv[3].split(",") if number} if len(sys.argv) > 3 else set()
    is_short = sys.argv[4:] == ["short"]
    plan = Plan(rounds, drills or (fixed.SHORT_DRILLS if is_short else set()), is_short)
    unknown = [part for part in parts if part not in PARTS]
    if unknown or rounds < 1 or not drills <= set(range(1, len(fixed.DRILLS) + 1)):
        sys.exit(f"parts are {', '.join(PARTS)}; drills are 1 to {len(fixed.DRILLS)}")
    prefix = f"slotcore-test-{os.getpid()}"
    failed = []
    for part in parts:
        begun = time.monotonic()
        say(f"== {part}")
        try:
            PARTS[part](prefix, plan)
            say(f"{part}: passed in {time.monotonic() - begun:.0f} s")
        except Failed as failure:
            say(f"FAILED: {part}: {failure}")
            failed.append(part)
        except Exception:
            traceback.print_exc()
            failed.append(part)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
