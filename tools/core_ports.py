"""What a request costs with a port for each core: `tools/bench --only core-ports`.

slotcore nodes, each a cluster by itself: one core; two cores behind one port, where half of the requests are sent on to the other core; two
cores whose ports are used as a cluster client uses them; and, for what it costs that two threads share the processors with those who ask, two nodes
of one core. One redis-benchmark for each core, with keys of that core, runs against each. The CPU time of the processes is divided by the
requests; ratios are taken within a round, against the one core.

redis-benchmark --cluster does not do: it asks for CLUSTER NODES, which names base ports.
"""

import binascii
import contextlib
import statistics
import subprocess
import time

CORES = 2
REQUESTS = {1: 100_000, 16: 600_000}
CONNECTIONS = 25


def tag_of(core):
    """A hash tag whose slot that core has: stripes of 64 slots are dealt in turn."""
    return next(tag for tag in map(str, range(10_000)) if binascii.crc_hqx(tag.encode(), 0) % 16384 // 64 % CORES == core)


def drive(servers, ports, pipeline):
    """Nanoseconds of CPU per request, and the share of requests that were sent to another core."""
    before, hops_before = cpu_ns(servers), hops(servers)
    runs = []
    for core, port in enumerate(ports):
        words = f"redis-benchmark -p {port} -c {CONNECTIONS} -P {pipeline} -n {REQUESTS[pipeline]} -r 1000 -q".split()
        key = "{" + tag_of(core) + "}:__rand_int__"
        runs.append(subprocess.Popen(words + ["SET", key, "v" * 16], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        wait_until_connected(servers, runs)
    for run in runs:
        errors = run.communicate()[1]
        if run.returncode != 0:
            raise OSError(f"redis-benchmark ended with {run.returncode}: {errors.decode()}")
    count = REQUESTS[pipeline] * len(ports)
    return (cpu_ns(servers) - before) / count, (hops(servers) - hops_before) / count


def wait_until_connected(servers, runs):
    """One after the other, or the connections of a run might lie all on the core with its keys, or all on the other one."""
    while runs[-1].poll() is None:
        clients = [server.ask("INFO", "clients").decode() for server in servers]
        if sum(int(text.split("connected_clients:")[1].split()[0]) for text in clients) > CONNECTIONS * len(runs):
            return
        time.sleep(0.005)


def cpu_ns(servers):
    return sum(server.cpu_ns() for server in servers)


def hops(servers):
    lines = [line for server in servers for line in server.ask("INFO", "cores").decode().splitlines() if line.startswith("core")]
    fields = [field.split("=") for line in lines for field in line.split(":", 1)[1].split(",")]
    return sum(int(value) for name, value in fields if name == "hops_out")


def core_ports(start, servers, rounds):
    """A table of CPU per request for each way, and its rows."""
    template = next(template for name, template, _ in servers if name.startswith("slotcore")).rsplit(" --cores ", 1)[0]
    ways = [
        ("one core", 1, " --cores 1", lambda ports: ports * CORES),
        ("two cores", 1, f" --cores {CORES}", lambda ports: ports * CORES),
        ("two cores, core ports", 1, f" --cores {CORES} --core-ports yes", lambda ports: [ports[0] + 100 + core for core in range(CORES)]),
        ("two nodes of one core", CORES, " --cores 1", lambda ports: ports),
    ]
    measured = {(name, pipeline): [] for name, *_ in ways for pipeline in REQUESTS}
    for number in range(rounds):
        for name, nodes, options, ports in ways if number % 2 == 0 else ways[::-1]:
            with contextlib.ExitStack() as stack:
                running = [stack.enter_context(start("slotcore-ports", template + options, True)) for _ in range(nodes)]
                for pipeline in REQUESTS:
                    measured[name, pipeline].append(drive(running, ports([server.port for server in running]), pipeline))
    table, rows = [("", "way", "CPU us/request", "of one core's", "hops")], []
    for pipeline in REQUESTS:
        base = [cpu for cpu, _ in measured["one core", pipeline]]
        for name, *_ in ways:
            values = measured[name, pipeline]
            cpu = statistics.median(cpu for cpu, _ in values) / 1000
            ratio = statistics.median(ours / theirs for (ours, _), theirs in zip(values, base))
            share = statistics.median(share for _, share in values)
            table.append((f"SET P={pipeline}", name, f"{cpu:.3f}", f"{ratio:.2f}x", f"{share:.2%}"))
            rows.append({"test": "core-ports", "parameter": pipeline, "server": name, "cpu": cpu, "cpu_ratio": ratio, "hops": share})
    return table, rows
