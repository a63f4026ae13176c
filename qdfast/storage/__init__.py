"""Files and directories: names, source files, safe writing, digests, what a directory contains, progress."""
