"""Files to a prepared directory by an Apache Beam pipeline: on this machine, or on a cluster of any size.

The element is a chunk of a source, or all of a gzip file. A worker reads it, parses it by the C kernels and writes its
shard under a name of this attempt alone; what Beam then adds up are counts, exact sums and names. When all chunks of a
source are there, its shards are renamed and its record is written; the manifest comes last, from the process that
started it all. So work that is done twice, or was begun by a worker that died, leaves nothing but a temporary file,
which is removed in the end, and the result is that of ``dataset.prepare``, byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import apache_beam as beam
import orjson
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineState

from ..errors import DataError
from ..ndjson.blocks import GZIP, FileBlocks
from ..ndjson.parser import ParserPool
from ..parse_report import explain
from ..storage.digests import chunk_numbers
from ..storage.directories import PREPARED, output
from ..storage.files import Directory, only_writer, temporary_name
from ..storage.names import SHARDS, SUFFIXES, Label, Recognized
from ..storage.source_files import is_bitmap_file, label_of
from .manifest import (
    add_record,
    candidates,
    commit_source,
    describe_unchanged,
    read_records,
    source_key,
    write_manifest,
)
from .prepare import regular_files
from .shard_writer import PrepareOptions, Record, SourceSummary, strokes_of, write_shards


class BeamSource(NamedTuple):
    """A file of drawings on any file system that Beam knows: its number among the sources, name, URL and bytes."""

    number: int
    name: str
    url: str
    size: int

    @property
    def label(self) -> str:
        """The class that its name stands for."""
        return label_of(self.name)

    @property
    def key(self) -> Key:
        return (self.number, self.name, self.url, self.size)


Key: TypeAlias = tuple[int, str, str, int]
"""A source as a plain tuple, which Beam encodes in the same way everywhere."""

Element: TypeAlias = "tuple[BeamSource, int | None]"
"""A chunk of a source by its number, or all of a gzip file."""

Outcome: TypeAlias = "tuple[int, str, str]"
"""The number of a source, the key of its record and what the log says of it; or no key and what is wrong with it."""


class BeamDirectory(Directory):
    """A directory on any file system that Beam knows."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _at(self, name: str) -> str:
        return str(FileSystems.join(self.url, name))

    def make(self) -> None:
        """Nothing: there is a directory where there are files."""

    def sizes(self) -> dict[str, int]:
        [found] = FileSystems.match([self._at("*")])
        return dict(sorted((FileSystems.split(f.path)[1], f.size_in_bytes) for f in found.metadata_list))

    def read(self, name: str) -> bytes:
        with _opened(self._at(name)) as file:
            return bytes(file.read())

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        with FileSystems.create(self._at(name), compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file

    def rename(self, name: str, new: str) -> None:
        try:
            FileSystems.rename([self._at(name)], [self._at(new)])
        except BeamIOError:
            if not FileSystems.exists(self._at(name)) or not FileSystems.exists(self._at(new)):
                raise
            self.remove([new])  # there are file systems that do not replace, such as HDFS
            FileSystems.rename([self._at(name)], [self._at(new)])

    def remove(self, names: Iterable[str]) -> None:
        FileSystems.delete([path for name in names if FileSystems.exists(path := self._at(name))])

    def write(self, name: str, data: bytes) -> None:
        temporary = temporary_name()
        with self.create(temporary) as file:
            file.write(data)
        self.rename(temporary, name)


def _opened(url: str) -> Any:
    return FileSystems.open(url, compression_type=CompressionTypes.UNCOMPRESSED)


def _is_remote(location: str) -> bool:
    return FileSystems.get_scheme(location) is not None


def _directory(location: str, *below: str) -> Directory:
    if _is_remote(location):
        return BeamDirectory(FileSystems.join(location, *below))
    return Directory(Path(os.path.abspath(location), *below))  # noqa: PTH100 - a worker may be elsewhere


def prepare(
    sources: Sequence[str],
    out: str,
    *,
    recognized: Recognized = "only",
    label: Label = "file",
    validation: float = 0.1,
    raw: bool = False,
    beam_args: Sequence[str] = (),
    log: Callable[[str], None] = lambda line: None,
) -> Record:
    """Prepare files of strokes for training, as ``dataset.prepare`` does, by a Beam pipeline; returns the manifest.

    Where the workers are other machines, qdfast must be installed there, and ``sources`` and ``out`` must mean the same
    files to all of them.

    Args:
        sources: as of ``dataset.prepare``, but for bitmaps; or URLs that Beam has a file system for, of files, patterns
            or directories (``gs://bucket/drawings/*.ndjson``).
        out: a directory or URL; only in a directory of this machine is it noticed if another process writes there, too.
        recognized, label, validation, raw, log: as of ``dataset.prepare``.
        beam_args: the options of the pipeline, such as ``--runner=FlinkRunner``. Without a runner: Beam's own in
            Python, for which ``--direct_running_mode=multi_processing`` and ``--direct_num_workers=N`` say how many
            processes there are.

    Raises:
        DataError: as of ``dataset.prepare``; bitmaps, or a URL without files; the pipeline failed.
        OSError: what cannot be read or written by this process.
    """
    options = PrepareOptions(recognized, label, validation, raw)
    pipeline_options = PipelineOptions(list(beam_args))
    standard = pipeline_options.view_as(StandardOptions)
    standard.runner = standard.runner or "FnApiRunner"  # DirectRunner would fetch another one from the Internet
    FileSystems.set_options(pipeline_options)
    found = _sources(sources)
    target, shards = _directory(out), _directory(out, SHARDS)
    with ExitStack() as stack:
        if not _is_remote(out):
            stack.enter_context(only_writer(output(out, PREPARED), "preparing"))
        shards.make()
        target.clean()
        shards.clean()
        stack.callback(shards.clean)
        result = temporary_name()
        _run(pipeline_options, _Job(options, shards, read_records(shards), result), found)
        outcomes: list[Outcome] = sorted(orjson.loads(shards.read(result)))
        by_key = {record["key"]: record for record in read_records(shards)}
        records: dict[str, Record] = {}
        for number, key, said in outcomes:
            if not key:
                raise DataError(said)
            add_record(records, found[number].name, by_key[key], said, log)
        return write_manifest(target, shards, records.values(), options, "strokes")


def _sources(given: Sequence[str]) -> list[BeamSource]:
    files: list[tuple[str, str, int]] = []
    for location in given:
        if not _is_remote(location):
            files += [(file.name, str(file.path.absolute()), file.size) for file in regular_files(location)]
            continue
        pattern = location if location.endswith(SUFFIXES) else FileSystems.join(location, "*")
        [matched] = FileSystems.match([pattern])
        there = sorted((f.path, f.size_in_bytes) for f in matched.metadata_list if f.path.endswith(SUFFIXES))
        if not there:
            raise DataError(f"{location}: no {' or '.join(SUFFIXES)} files there")
        files += [(url, url, size) for url, size in there]
    for name, _, _ in files:
        if is_bitmap_file(name):
            raise DataError(f"{name}: bitmaps are prepared by the local runner")
    return [BeamSource(number, *file) for number, file in enumerate(files)]


@dataclass(frozen=True)
class _Job:
    """What the steps have in common: options, where shards go, what was there before, where the outcomes go."""

    options: PrepareOptions
    shards: Directory
    known: list[Record]
    result: str

    def may_be_known(self, source: BeamSource) -> bool:
        return bool(candidates(self.known, source.size, self.options))

    def digest(self, element: Element) -> tuple[Key, SourceSummary]:
        """A chunk, read to see whether it is as it was."""
        source, chunk = element
        with _opened(source.url) as file:
            blocks = FileBlocks(file, digest=True, chunk=chunk)
            for block in blocks:
                blocks.recycle(block)
        return source.key, SourceSummary(digests=blocks.digests)

    def write(self, element: Element) -> tuple[Key, SourceSummary]:
        """A chunk, read and written."""
        source, chunk = element
        with _opened(source.url) as file, ParserPool(1) as pool:
            blocks = FileBlocks(file, digest=True, chunk=chunk)
            batches = strokes_of(blocks, source.label, self.options, pool)
            summary = write_shards(batches, self.options, self.shards, pool)
        return source.key, summary + SourceSummary(digests=blocks.digests)

    def look_up(self, whole: tuple[Key, SourceSummary]) -> Iterator[Any]:
        """The outcome of a source that was prepared before; the source itself if it was another then."""
        source, summary = BeamSource(*whole[0]), whole[1]
        key = source_key(summary.xxh3, source.label, self.options)
        for record in self.known:
            if record["key"] == key:
                yield beam.pvalue.TaggedOutput("known", (source.number, key, describe_unchanged(record)))
                return
        yield source

    def commit(self, whole: tuple[Key, SourceSummary]) -> Outcome:
        """A source of which all chunks are written."""
        source, summary = BeamSource(*whole[0]), whole[1]
        try:
            record = commit_source(summary, source.name, source.size, source.label, self.options, self.shards)
        except DataError as e:
            return source.number, "", str(e)
        return source.number, record["key"], explain(summary.report)

    def report(self, outcomes: list[Outcome]) -> None:
        """What the process that started it all waits for."""
        self.shards.write(self.result, orjson.dumps(outcomes))


class _Sum(beam.CombineFn):  # type: ignore[misc]
    """Parts of a source to all of it."""

    def create_accumulator(self) -> SourceSummary:
        return SourceSummary()

    def add_input(self, summary: SourceSummary, other: SourceSummary) -> SourceSummary:
        return summary + other

    def merge_accumulators(self, parts: Iterable[SourceSummary]) -> SourceSummary:
        return sum(parts, SourceSummary())

    def extract_output(self, summary: SourceSummary) -> SourceSummary:
        return summary


def _elements(source: BeamSource) -> list[Element]:
    with _opened(source.url) as file:
        zipped = file.read(len(GZIP)) == GZIP
    return [(source, None)] if zipped else [(source, chunk) for chunk in chunk_numbers(source.size)]


def _run(options: PipelineOptions, job: _Job, sources: Sequence[BeamSource]) -> None:
    old = [source for source in sources if job.may_be_known(source)]
    new = [source for source in sources if not job.may_be_known(source)]
    try:
        pipeline = beam.Pipeline(options=options)
        seen = (
            pipeline
            | "Sources of a size seen before" >> beam.Create(old)
            | "Chunks to compare" >> beam.FlatMap(_elements)
            | "Spread to compare" >> beam.Reshuffle()
            | "Digest" >> beam.Map(job.digest)
            | "Add up digests" >> beam.CombinePerKey(_Sum())
            | "Look up" >> beam.FlatMap(job.look_up).with_outputs("known", main="changed")
        )
        fresh = pipeline | "Other sources" >> beam.Create(new)
        written = (
            (fresh, seen.changed)
            | "All to prepare" >> beam.Flatten()
            | "Chunks" >> beam.FlatMap(_elements)
            | "Spread" >> beam.Reshuffle()
            | "Write shards" >> beam.Map(job.write)
            | "Add up" >> beam.CombinePerKey(_Sum())
            | "Commit" >> beam.Map(job.commit)
        )
        _ = (
            (written, seen.known)
            | "All outcomes" >> beam.Flatten()
            | "Gather" >> beam.combiners.ToList()
            | "Report" >> beam.Map(job.report)
        )
        state = pipeline.run().wait_until_finish()
    except Exception as e:  # whatever a runner raises
        lines = str(e).strip().splitlines() or [type(e).__name__]
        raise DataError(f"the pipeline failed: {lines[-1]}") from e
    if state != PipelineState.DONE:
        raise DataError(f"the pipeline ended as {state}")
