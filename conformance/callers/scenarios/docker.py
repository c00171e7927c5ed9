"""What only Docker does."""

from __future__ import annotations

from conformance.callers.engines import Docker
from conformance.callers.scenarios.table import LOOP, on

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
    """run -v of a file onto a directory is told"""
    options = ["-v", f"{engine.work}/docker.json:/tmp"]
    result = engine.sandbox.run(*engine.command(), "run", "--rm", *options, *engine.image(), "true", env=engine.environment())
    assert result.says("/tmp", "directory").status in (125, 126, 127), result


@docker
def restart(engine: Docker) -> None:
    """restart, and stats of a running container"""
    with engine.container("sh", "-c", LOOP) as name:
        first = engine.pid(name)
        engine("restart", "-t", "5", name)
        assert engine.pid(name) != first
        engine("stats", "--no-stream", "--format", "{{.PIDs}}", name)
