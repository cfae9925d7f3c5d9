"""A run from its source to its folder: captions, the trace of how they came about, and a page that shows both.

The folder gets `captions/` with Parquet shards of rows as the builder of triplets writes them, `trace.jsonl`,
`report.html`, `README.md`, and `journal.jsonl`, which holds what is finished: a run that was cut, at whatever point,
goes on with the same command and ends in the same bytes.
"""
