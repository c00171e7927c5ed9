"""What only Docker does."""

from __future__ import annotations

from conformance.callers.docker import Docker
from conformance.callers.scenarios.table import LOOP, on, until

docker = on("docker")


@docker
def execute_missing_in_docker(engine: Docker) -> None:
    """exec: a missing command is told"""
    with engine.container("sleep", "100") as name:
        # 20.10 answers 126 to any failure to start an exec, later engines 127 to this one.
        result = engine.sandbox.run(*engine.command(), "exec", name, "/no/such", env=engine.environment())
        assert result.says("/no/such", "no such file or directory").status in (126, 127), result
        engine("exec", name, "echo", "alive").prints("alive")


@docker
def named_runtime(engine: Docker) -> None:
    """run --runtime, and as the default runtime"""
    engine.run("echo", "named", options=["--runtime", engine.runtime.name]).prints("named")
    engine("info", "--format", "{{.DefaultRuntime}}").prints(engine.runtime.name)
    with engine.container("sleep", "100") as name:
        engine("inspect", "--format", "{{.HostConfig.Runtime}}", name).prints(engine.runtime.name)


@docker
def mismatched_volume(engine: Docker) -> None:
    """run -v of a file onto a directory is told, with Docker's hint"""
    options = ["-v", f"{engine.work}/docker.json:/tmp"]
    result = engine.sandbox.run(*engine.command(), "run", "--rm", *options, *engine.image(), "true", env=engine.environment())
    result.says("/tmp", "not a directory", "Are you trying to mount a directory onto a file")
    assert result.status in (125, 127), result  # 20.10's answer, and that of later engines


@docker
def restart(engine: Docker) -> None:
    """restart, and stats of a running container"""
    with engine.container("sh", "-c", LOOP) as name:
        first = engine.pid(name)
        engine("restart", "-t", "5", name)
        assert engine.pid(name) != first
        engine("stats", "--no-stream", "--format", "{{.PIDs}}", name)


@docker
def restart_policy(engine: Docker) -> None:
    """run --restart on-failure:2, --ulimit"""
    with engine.container("sh", "-c", "echo run; exit 1", options=["--restart", "on-failure:2"]) as name:
        until(lambda: engine("inspect", "--format", "{{.RestartCount}} {{.State.Status}}", name).out.strip() == "2 exited")
        engine("logs", name).prints("run\nrun\nrun")
    engine.run("sh", "-c", "ulimit -n; ulimit -Hn", options=["--ulimit", "nofile=77:88"]).prints("77\n88")


@docker
def health(engine: Docker) -> None:
    """run --health-cmd: unhealthy, then healthy"""
    options = ["--health-cmd", "test -e /tmp/ok", "--health-interval", "200ms", "--health-retries", "1"]
    with engine.container("sleep", "100", options=options) as name:
        status = ("inspect", "--format", "{{.State.Health.Status}}", name)
        until(lambda: engine(*status).out.strip() == "unhealthy")
        engine("exec", name, "touch", "/tmp/ok")
        until(lambda: engine(*status).out.strip() == "healthy")
