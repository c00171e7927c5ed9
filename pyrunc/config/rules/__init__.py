"""Rules beyond the schema: what makes a well-formed configuration wrong or impossible.

Everything here is pure and takes a configuration that the schema accepted; all faults are reported together. `container` judges
a whole configuration, `process` that of `exec`, which loads nothing else of this.
"""
