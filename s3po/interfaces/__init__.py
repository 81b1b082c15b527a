"""Interfaces of other libraries, each on top of a Connection.

Only names, defaults and return types are defined here. Retries, signing, planning and connections are those of s3po.connection.

- `client`: handtruck's S3Client. `places` maps its names to buckets and keys, `responses` are its results.
- `storage`: keg_storage's S3Storage. `storage_files` has its files, `storage_base` the values and base classes of keg_storage.
- `streaming`: file objects that one side writes while the other one transfers them, without a disk; and an upload that is fed
  by send(). Both are built on s3po/body/pipes.py.
- `legacy`: S3-PO's Connection, with uploads in the background.
- `filesystem`: fsspec's file system, for pandas, pyarrow, dask and zarr. `entries` describes its files and directories, and
  `moves` has its batches, `opened` its files with a cache, and `keywords` its options.
"""
