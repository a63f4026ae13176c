"""Prepares files for training by an Apache Beam pipeline, on this machine or on a cluster of any size.

An element is a chunk of an ndjson file, or a whole file in another format. A worker reads and parses it, and writes its
shard under a name that is unique to the attempt. Beam adds up counts, exact sums and names. When all chunks of a source
are written, its shards are renamed and its record is written. The process that started the pipeline writes the manifest
last. So work that is repeated, or was begun by a worker that died, leaves only a temporary file, which is removed at
the end. The result equals that of ``dataset.prepare``, byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import orjson
import xxhash

from .._hints import needs
from ..errors import DataError
from ..ndjson.blocks import FileBlocks
from ..ndjson.parser import ParserPool
from ..parse_report import MAX_REJECTS, checked_max_rejects, explain
from ..storage.archives import Member, open_member
from ..storage.class_names import label_of
from ..storage.digests import chunk_numbers
from ..storage.directories import PREPARED, output
from ..storage.files import Directory, only_writer, temporary_name
from ..storage.forms import ARCHIVES, BITMAPS, HEAD, Form, has_known_suffix, identify, is_certain
from ..storage.names import BITMAP_SUFFIX, SHARDS, Label, Recognized
from ..storage.source_files import SourceFile
from ..storage.streams import Peeked, is_read
from .manifest import (
    add_record,
    candidates,
    commit_source,
    describe_unchanged,
    is_intact,
    read_records,
    source_key,
    write_manifest,
)
from .prepare import regular_files
from .shard_writer import VALIDATION, PrepareOptions, Record, SourceSummary, strokes_of, write_shards

with needs("beam"):
    import apache_beam as beam
    from apache_beam.io.filesystem import BeamIOError, CompressionTypes
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.runners.runner import PipelineState


class BeamSource(NamedTuple):
    """A file on any file system that Beam knows.

    Attributes:
        number: its number among the sources.
        name: what messages call it.
        url: where it is.
        size: its bytes.
        form: what it is, without compression.
        member: of an archive, as a plain tuple.
    """

    number: int
    name: str
    url: str
    size: int
    form: Form = "ndjson"
    member: tuple[Any, ...] = ()

    @property
    def label(self) -> str:
        """The class that its name stands for."""
        return label_of(self.name)

    @property
    def key(self) -> Key:
        return tuple(self)

    @contextmanager
    def open(self) -> Iterator[SourceFile]:
        """The file, open for reading."""
        with ExitStack() as stack:
            file = stack.enter_context(_open(self.url))
            if self.member:
                file = stack.enter_context(open_member(file, Member(*self.member), self.url))
            yield SourceFile(file, self.name, self.label, "strokes", 0, self.form)


Key: TypeAlias = tuple[Any, ...]
"""A source as a plain tuple, which Beam encodes deterministically."""

Element: TypeAlias = "tuple[BeamSource, int | None]"
"""A source and the number of a chunk, or None for a whole file that is not ndjson."""

_CHUNKED = ("ndjson", "empty", "text", "refused")  # what is read as lines where it stands

Outcome: TypeAlias = "tuple[int, str, str]"
"""The number of a source, the key of its record and its log message; or no key and the error message."""


class BeamDirectory(Directory):
    """A directory on any file system that Beam knows."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _at(self, name: str) -> str:
        return str(FileSystems.join(self.url, name))

    def make(self) -> None:
        """Nothing to do: directories exist as soon as they have files."""

    def sizes(self) -> dict[str, int]:
        [found] = FileSystems.match([self._at("*")])
        return dict(sorted((FileSystems.split(f.path)[1], f.size_in_bytes) for f in found.metadata_list))

    def read(self, name: str) -> bytes:
        with _open(self._at(name)) as file:
            return bytes(file.read())

    def xxh3(self, name: str) -> str:
        return xxhash.xxh3_128_hexdigest(self.read(name))

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
            self.remove([new])  # some file systems, such as HDFS, do not replace files
            FileSystems.rename([self._at(name)], [self._at(new)])

    def remove(self, names: Iterable[str]) -> None:
        FileSystems.delete([path for name in names if FileSystems.exists(path := self._at(name))])

    def write(self, name: str, data: bytes) -> None:
        temporary = temporary_name()
        with self.create(temporary) as file:
            file.write(data)
        self.rename(temporary, name)


def _open(url: str) -> Any:
    return FileSystems.open(url, compression_type=CompressionTypes.UNCOMPRESSED)


def _is_remote(location: str) -> bool:
    return FileSystems.get_scheme(location) is not None


def _directory(location: str, *below: str) -> Directory:
    if _is_remote(location):
        return BeamDirectory(FileSystems.join(location, *below))
    return Directory(Path(os.path.abspath(location), *below))  # noqa: PTH100 - workers may have another working directory


def prepare(
    sources: Sequence[str],
    out: str,
    *,
    recognized: Recognized = "only",
    label: Label = "file",
    validation: float = VALIDATION,
    keep_split: bool = False,
    raw: bool = False,
    max_rejects: float = MAX_REJECTS,
    beam_args: Sequence[str] = (),
    log: Callable[[str], None] = lambda line: None,
) -> Record:
    """Prepare files of strokes for training by a Beam pipeline. The result is that of ``dataset.prepare``.

    If workers run on other machines, qdfast must be installed there, and ``sources`` and ``out`` must name the same
    files on all of them.

    Args:
        sources: as for ``dataset.prepare``, without bitmaps; or URLs of files, patterns or directories on a file system
            that Beam knows (``gs://bucket/drawings/*.ndjson``).
        out: a directory or URL. Only local directories are locked against other processes.
        recognized, label, validation, keep_split, raw, max_rejects, log: as for ``dataset.prepare``.
        beam_args: options of the pipeline, such as ``--runner=FlinkRunner``. The default runner is Beam's local one:
            ``--direct_running_mode=multi_processing`` and ``--direct_num_workers=N`` set its processes.

    Returns:
        The manifest.

    Raises:
        DataError: as for ``dataset.prepare``; bitmaps, a URL without files, or a pipeline that failed.
        OSError: this process cannot read or write a file.
    """
    options = PrepareOptions(recognized, label, validation, raw, keep_split)
    checked_max_rejects(max_rejects)
    pipeline_options = PipelineOptions(list(beam_args))
    standard = pipeline_options.view_as(StandardOptions)
    standard.runner = standard.runner or "FnApiRunner"  # DirectRunner would download another runner
    FileSystems.set_options(pipeline_options)
    found = _sources(sources, log)
    options.check_splits([(source.name, source.form) for source in found], log)
    target, shards = _directory(out), _directory(out, SHARDS)
    with ExitStack() as stack:
        if not _is_remote(out):
            stack.enter_context(only_writer(output(out, PREPARED), "preparing"))
        shards.make()
        target.clean()
        shards.clean()
        stack.callback(shards.clean)
        result = temporary_name()
        _run(pipeline_options, _Job(options, max_rejects, shards, read_records(shards, max_rejects), result), found)
        outcomes: list[Outcome] = sorted(orjson.loads(shards.read(result)))
        by_key = {record["key"]: record for record in read_records(shards)}
        records: dict[str, Record] = {}
        for number, key, said in outcomes:
            if not key:
                raise DataError(said)
            add_record(records, found[number].name, by_key[key], said, log)
        return write_manifest(target, shards, records.values(), options, "strokes", log)


def _sources(given: Sequence[str], log: Callable[[str], None]) -> list[BeamSource]:
    files: list[tuple[Any, ...]] = []
    for location in given:
        if not _is_remote(location):
            for file in regular_files(location, log):
                url, member = str(file.path.absolute()), tuple(file.member or ())
                files.append((file.name, url, file.size, file.form, member))
            continue
        pattern = location if has_known_suffix(location) else FileSystems.join(location, "*")
        [matched] = FileSystems.match([pattern])
        there = sorted((f.path, f.size_in_bytes) for f in matched.metadata_list)
        found = [(url, url, size, form) for url, size in there if (form := _remote_form(url))]
        if not found:
            raise DataError(f"{location}: no files of drawings there")
        urls = {url for url, *_ in found}
        if passed_over := [url for url, _ in there if url not in urls]:
            log(f"{location}: passed over: {', '.join(passed_over)}")
        files += found
    for name, _, _, form, *_ in files:
        if form in BITMAPS:
            raise DataError(f"{name}: only the local runner can prepare bitmaps")
    return [BeamSource(number, *file) for number, file in enumerate(files)]


def _remote_form(url: str) -> Form | None:
    """What a file is; None if it holds no drawings. Most names tell without a look at the file."""
    name = FileSystems.split(url)[1]
    if name.startswith(".") or not has_known_suffix(name):
        return None
    if is_certain(name):
        return "npy" if name.endswith(BITMAP_SUFFIX) else "ndjson"
    with _open(url) as file:
        form, _ = is_read(Peeked(file), url)
    if form in ARCHIVES:
        raise DataError(f"{url}: an archive: unpack it there")
    return form


@dataclass(frozen=True)
class _Job:
    """What all steps need: options, the directory of shards, records of earlier runs, name of the file of outcomes."""

    options: PrepareOptions
    max_rejects: float
    shards: Directory
    known: list[Record]
    result: str

    def may_be_known(self, source: BeamSource) -> bool:
        return bool(candidates(self.known, source.size, self.options))

    def digest(self, element: Element) -> tuple[Key, SourceSummary]:
        """Read a chunk to compare its digest with earlier runs."""
        source, chunk = element
        with source.open() as file:
            blocks = FileBlocks(file, digest=True, chunk=chunk)
            for block in blocks:
                blocks.recycle(block)
        return source.key, SourceSummary(digests=blocks.digests)

    def write(self, element: Element) -> tuple[Key, SourceSummary]:
        """Read a chunk and write its shard."""
        source, chunk = element
        with source.open() as file, ParserPool(1) as pool:
            blocks = FileBlocks(file, digest=True, chunk=chunk, keep_split=self.options.keep_split)
            summary = write_shards(strokes_of(blocks, source.label, self.options, pool), self.shards, pool)
        return source.key, summary + SourceSummary(digests=blocks.digests)

    def look_up(self, whole: tuple[Key, SourceSummary]) -> Iterator[Any]:
        """The outcome of a source that was prepared before, or the source itself if it has changed."""
        source, summary = BeamSource(*whole[0]), whole[1]
        key = source_key(summary.xxh3, source.label, self.options)
        for record in self.known:
            if record["key"] == key and is_intact(record, self.shards):
                yield beam.pvalue.TaggedOutput("known", (source.number, key, describe_unchanged(record)))
                return
        yield source

    def commit(self, whole: tuple[Key, SourceSummary]) -> Outcome:
        """Commit a source when all of its chunks are written."""
        source, summary = BeamSource(*whole[0]), whole[1]
        try:
            record = commit_source(
                summary, source.name, source.size, source.label, self.options, self.shards, self.max_rejects
            )
        except DataError as e:
            return source.number, "", str(e)
        return source.number, record["key"], explain(summary.report)

    def report(self, outcomes: list[Outcome]) -> None:
        """Write the outcomes for the process that started the pipeline."""
        self.shards.write(self.result, orjson.dumps(outcomes))


class _Sum(beam.CombineFn):  # type: ignore[misc]
    """Adds the summaries of the chunks of a source."""

    def create_accumulator(self) -> SourceSummary:
        return SourceSummary()

    def add_input(self, summary: SourceSummary, other: SourceSummary) -> SourceSummary:
        return summary + other

    def merge_accumulators(self, parts: Iterable[SourceSummary]) -> SourceSummary:
        return sum(parts, SourceSummary())

    def extract_output(self, summary: SourceSummary) -> SourceSummary:
        return summary


def _elements(source: BeamSource) -> list[Element]:
    with _open(source.url) as file:
        plain = not source.member and identify(file.read(HEAD), source.name) in _CHUNKED
    return [(source, chunk) for chunk in chunk_numbers(source.size)] if plain else [(source, None)]


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
        raise DataError(f"the pipeline ended in state {state}")
