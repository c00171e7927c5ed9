"""Limits as values: what is to be written where, and for which property of config.json.

The compilers (limits_v1, limits_v2) turn ``linux.resources`` into Settings without looking at the host; `write` carries
them out against the container's directories.
"""

from __future__ import annotations

from errno import EACCES, EBUSY, EINVAL, ENOENT, EPERM

from .. import errors
from ..kernel import os
from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from .change import Journal

RESOURCES = "linux.resources."
_MAX = (1 << 64) - 1


class Setting:
    """One value for one file of one controller.

    ``other`` is a second (file, value) for kernels without the first; ``optional`` lets go of a setting whose file is
    missing because its absence already means what was asked for; ``property`` is below ``linux.resources``.
    """

    __slots__ = ("controller", "file", "value", "property", "other", "optional")

    def __init__(
        self,
        controller: str,
        file: str,
        value: object,
        property: str,
        *,
        other: tuple[str, object] | None = None,
        optional: bool = False,
    ) -> None:
        self.controller = controller
        self.file = file
        self.value = str(value)
        self.property = RESOURCES + property
        if isinstance(value, int) and abs(value) > _MAX:
            # The kernel's parser would take what is left of it after an overflow.
            raise errors.ConfigError([(self.property, f"{value} does not fit into 64 bits")])
        self.other = (other[0], str(other[1])) if other else None
        self.optional = optional

    def __repr__(self) -> str:
        return f"{self.controller}: {self.file} = {self.value!r} ({self.property})"


def plain(value: object, property: str) -> str:
    """A string of the config that becomes a part of one written line. Raises ConfigError where it would become more."""
    text = str(value)
    if "\n" in text or "\0" in text:
        raise errors.ConfigError([(RESOURCES + property, f"{text!r} holds a newline or a NUL")])
    return text


def file_name(text: object, property: str) -> str:
    """A string of the config that becomes a file's name: nothing that leads to another directory or makes a hidden name."""
    name = plain(text, property)
    if not name or "/" in name or name.startswith("."):
        raise errors.ConfigError([(RESOURCES + property, f"{name!r} is no cgroup file's name")])
    return name


def page_size(text: object, property: str) -> str:
    """A huge page's size as it stands in hugetlb's file names, such as ``2MB`` (a free string here was runc#4103)."""
    size = plain(text, property)
    digits = size[:-2]
    if size[-2:] not in ("KB", "MB", "GB") or not digits.isascii() or not digits.isdigit() or digits[0] == "0":
        raise errors.ConfigError([(RESOURCES + property, f"{size!r} is no huge page size such as 64KB, 2MB or 1GB")])
    return size


def device_value(entry: Mapping[str, Any], value: int | str, property: str) -> str:
    """``major:minor value``, for files that hold a line for each block device."""
    numbers = entry["major"], entry["minor"]
    if not all(0 <= number < 1 << 32 for number in numbers):
        # The kernel's parser would wrap around and take another device.
        raise errors.ConfigError([(RESOURCES + property, f"{numbers[0]}:{numbers[1]} is no device number")])
    return f"{numbers[0]}:{numbers[1]} {value}"


def write(
    paths: Mapping[str, str], groups: Iterable[list[Setting]], *, absent: str, journal: Journal | None = None
) -> None:
    """Write every group in order, the settings of a group in whichever order the kernel accepts.

    A group holds values that bound each other (a memory limit and memory+swap, a quota and its period): which of them
    must go first depends on what is in force, so what is refused with EINVAL is tried again after the others.
    `absent` says why a controller may have no path; a `journal` is told before each write. Raises UnsupportedError for a
    missing controller or file and CgroupError for a value that the kernel refuses; both name the property.
    """
    for group in groups:
        waiting = group
        while waiting:
            last = len(waiting) == 1
            refused = [setting for setting in waiting if not _accepted(paths, setting, absent, journal, last=last)]
            if len(refused) == len(waiting):
                _accepted(paths, refused[0], absent, journal, last=True)
            waiting = refused


def _accepted(paths: Mapping[str, str], setting: Setting, absent: str, journal: Journal | None, *, last: bool) -> bool:
    """Write one setting; False for EINVAL that may yet be cured (`last` is unset)."""
    directory = paths.get(setting.controller)
    if directory is None:
        raise errors.UnsupportedError(f"{setting.property}: {absent.format(setting.controller)}", config_path=setting.property)
    file, value = setting.file, setting.value
    try:
        try:
            _write(directory, file, value, journal)
        except OSError as error:
            if error.errno != ENOENT or setting.other is None:
                raise
            file, value = setting.other
            _write(directory, file, value, journal)
    except OSError as error:
        if error.errno == ENOENT:
            if setting.optional and os.path.isdir(directory):
                return True
            raise _missing(directory, setting) from None
        if error.errno == EINVAL and not last:
            return False
        raise _refused(f"{directory}/{file}", value, setting, error) from None
    return True


def _write(directory: str, file: str, value: str, journal: Journal | None) -> None:
    if journal is not None:
        journal.note(directory, file, value)
    files.write(f"{directory}/{file}", value)


def _missing(directory: str, setting: Setting) -> errors.UnsupportedError | errors.CgroupError:
    if not os.path.isdir(directory):
        return errors.CgroupError(f"{setting.property}: cgroup {directory}", ENOENT, config_path=setting.property)
    names = setting.file if setting.other is None else f"{setting.file} or {setting.other[0]}"
    why = f"this kernel offers no {names} in {directory}"
    hint = None
    if os.path.exists(directory + "/cgroup.controllers"):
        controller = setting.file.partition(".")[0]
        hint = f"is the controller {controller} in {os.path.dirname(directory)}/cgroup.subtree_control?"
    return errors.UnsupportedError(f"{setting.property}: {why}", config_path=setting.property, hint=hint)


def _refused(path: str, value: str, setting: Setting, error: OSError) -> errors.CgroupError:
    what = f"{setting.property}: write {value!r} to {path}"
    hint = None
    if error.errno == EBUSY and (usage := _usage(path)):
        what += f" ({usage})"
    elif error.errno == EINVAL and path.endswith("/memory.limit_in_bytes"):
        hint = "memory and swap together (memory.swap) may be limited to less"
    elif error.errno in (EPERM, EACCES):
        hint = "a nested or unprivileged runtime must be allowed to write to its cgroups"
    return errors.CgroupError(what, error.errno or 0, syscall="write", hint=hint, config_path=setting.property)


def _usage(path: str) -> str:
    """What makes a v1 memory limit too small, for the message only."""
    try:
        current = files.read(os.path.dirname(path) + "/memory.usage_in_bytes").strip()
    except OSError:
        return ""
    return f"{current} bytes are in use"
