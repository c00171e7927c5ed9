"""Why a row of the table cannot be clean, and by what words it is told that this, and nothing else, is what failed."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.validation.trial import Trial

LAW, HOST, TEST, OURS = "contradicts", "host", "test", "ours"
"""The specification says otherwise today; the machine lacks it; the test cannot be passed; a decision of ours."""


@dataclass
class Reason:
    """`marks`: each reason that a trial gives has one of these texts in it."""

    kind: str
    text: str
    marks: tuple[str, ...]

    def covers(self, trial: Trial) -> bool:
        return all(any(mark in told for mark in self.marks) for told in trial.reasons)


MEMORY = ("memory kernel is set correctly", "memory kernelTCP is set correctly")
NO_NETWORK = Reason(
    HOST, "net_cls and net_prio are not mounted; --network-cgroups mounts them", ("net_cls", "net_prio", "exit status 1")
)
NO_WEIGHTS = Reason(HOST, "kernels have had no blkio.leaf_weight since 5.0", ("leaf_weight", "exit status 1"))
NO_KMEM = Reason(HOST, "kernels have had no limit of kernel memory since 6.1; runtimes ignore it", MEMORY)

EXPECTED = {
    "delete": Reason(
        OURS,
        "a container that was never started is deleted: containerd's shim counts on it, runc and crun do the same",
        ("a container that is not `stopped` MUST",),
    ),
    "hooks": Reason(
        TEST, "it waits for the text post-start1, where its hook writes 'post-start1 called'", ("Hooks MUST be called in the",)
    ),
    "hooks_stdin": Reason(
        LAW, "since 1.0.2 prestart hooks are told `creating`, not `created`", ('passed to "prestart" hook over stdin',)
    ),
    "linux_cgroups_blkio": NO_WEIGHTS,
    "linux_cgroups_relative_blkio": NO_WEIGHTS,
    "linux_cgroups_memory": NO_KMEM,
    "linux_cgroups_relative_memory": NO_KMEM,
    "linux_cgroups_network": NO_NETWORK,
    "linux_cgroups_relative_network": NO_NETWORK,
    "linux_mount_label": Reason(
        HOST, "the kernel has no SELinux; crun leaves out the label that was asked for", ("linux.mountLabel", "exit status 1")
    ),
    "linux_process_apparmor_profile": Reason(
        HOST, "the profile acme_secure_profile is loaded nowhere", ("process.apparmorProfile", "exit status 1")
    ),
    "misc_props": Reason(
        TEST, "it has no /runtimetest in its bundle and blames the annotation", ("if they encounter an unknown annotation key",)
    ),
    "pidfile": Reason(
        TEST, "it kills `true` after start, an error unless it is quicker than `true`", ("'--pid-file' option works",)
    ),
    "poststart_fail": Reason(LAW, "since 1.3 a poststart hook that fails is an error", ("if any poststart hook fails",)),
    "prestart": Reason(LAW, "since 1.0.2 prestart hooks run in `create`", ("MUST be called after the `start` operation",)),
    "process_capabilities": Reason(
        HOST, "root has no CAP_SYS_RESOURCE here, and the test asks for every capability", ("capability CAP_SYS_RESOURCE set",)
    ),
    "process_capabilities_fail": Reason(
        LAW,
        "since 1.1 an unknown capability is a warning, not an error",
        ("cannot be mapped to a relevant kernel interface MUST", "exit status 1"),
    ),
    "process_rlimits": Reason(
        TEST, "programs of Go 1.19 and newer raise their own soft limit of open files", ("has expected soft RLIMIT_NOFILE",)
    ),
    "start": Reason(LAW, "it wants a container without `process` to start, which MUST be an error", ("exit status 1",)),
}

RACES = ("poststart",)
"""What may fail though all is well: the program and the hook write to one file, and nobody keeps the program from being the
slower one. What is wrong fails each time."""
TRIES = 5


def lawful(name: str, trial: Trial) -> bool:
    """The test asks for what the specification has changed since, and that alone is missing."""
    reason = EXPECTED.get(name)
    return bool(reason and reason.kind == LAW and reason.covers(trial))
