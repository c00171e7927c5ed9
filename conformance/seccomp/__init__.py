"""Seccomp profiles by the hundred: what our filters decide, against libseccomp's, and in our containers as in runc's."""
