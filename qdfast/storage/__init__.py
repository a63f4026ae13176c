"""Files and directories: safe writing, digests, what a directory holds, progress."""
