"""The container engine and compose, as commands: what they print, and a failure that shows it."""

import json
import os
import pathlib
import subprocess
import time


# By how much this machine may be slower than what the limits here are made for.
PATIENCE = float(os.environ.get("PATIENCE", "1"))


class Failed(Exception):
    """A check or a command that failed; the text says which."""


def run(*words, cwd=None, env=None, may_fail=False, limit_s=300, told=None):
    """Runs a command and returns what it prints. A failure shows all of that."""
    done = subprocess.run(words, cwd=cwd, env=env, input=told, text=True, timeout=limit_s,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0 and not may_fail:
        raise Failed(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout.strip()}")
    return done.stdout.strip()


def docker(*words, **more):
    return run("docker", *words, **more)


def inspect(name):
    return json.loads(docker("inspect", name))[0]


def address_of(container):
    """The container's address on its one network; None while it has none, or when the container is no more."""
    found = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", container, may_fail=True).split()
    return found[0] if found and found[0][0].isdigit() else None


def wait_for(limit_s, what, condition, pause_s=0.1):
    """Waits until `condition` returns something true, which is returned; it may also say what is missing, as a `Missing`. The limit is
    stretched by PATIENCE."""
    limit_s *= PATIENCE
    end, last = time.monotonic() + limit_s, None
    while True:
        last = condition()
        if last and not isinstance(last, Missing):
            return last
        if time.monotonic() > end:
            why = f": {last}" if isinstance(last, Missing) else ""
            raise Failed(f"{what}: not within {limit_s} s{why}")
        time.sleep(pause_s)


class Missing(str):
    """What a condition still lacks."""


class Compose:
    """One compose file, or several, as one project."""

    def __init__(self, project, files, folder, variables):
        self.command = os.environ["COMPOSE"].split()
        self.project, self.files, self.folder = project, list(files), folder
        self.environment = {**os.environ, **variables, "COMPOSE_PROJECT_NAME": project}

    def __call__(self, *words, **more):
        files = [word for file in self.files for word in ("-f", file)]
        return run(*self.command, *files, *words, cwd=self.folder, env=self.environment, **more)

    def containers(self, service):
        """The ids of the service's containers, those that do not run too."""
        found = docker("ps", "-a", "-q", "--no-trunc", "--filter", f"label=com.docker.compose.project={self.project}",
                       "--filter", f"label=com.docker.compose.service={service}")
        return found.split()

    def container(self, service):
        ids = self.containers(service)
        if len(ids) != 1:
            raise Failed(f"{service} has {len(ids)} containers, not one")
        return ids[0]

    def networks(self):
        return docker("network", "ls", "-q", "--filter", f"label=com.docker.compose.project={self.project}").split()

    def has_network(self):
        return bool(self.networks())

    def network(self):
        found = self.networks()
        if len(found) != 1:
            raise Failed(f"the project {self.project} has {len(found)} networks, not one")
        return found[0]

    def keep_logs(self):
        """What the containers have logged, for whoever looks why a test failed; returns the file."""
        file = pathlib.Path(os.environ["WORK"]) / f"{self.project}.log"
        file.write_text(self("logs", "--no-color", "--timestamps", may_fail=True))
        return file

    def down(self):
        """Takes away everything that the project made, its data too."""
        return self("down", "-v", "--remove-orphans", "--timeout", "5", may_fail=True)
