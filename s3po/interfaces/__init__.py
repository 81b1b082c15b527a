"""Other shapes of the same engine: faces that users of other libraries know, each over a Connection.

What may live here: names, defaults and shapes. No face has retries, signing, planning or connections of its own; what it needs
of these it gets from s3po.connection.

- `client`: handtruck's S3Client. `places` finds what its names mean, `answers` are what it gives.
- `storage`: keg_storage's S3Storage.
- `streaming`: files that one side writes while the other moves them, without a disk; and an upload that is fed by send().
  `pipes` is what these stand on.
- `legacy`: S3-PO's Connection, with uploads in the background.
- `filesystem`: fsspec's file system, for pandas, pyarrow, dask and zarr. `entries` are the files and directories it tells of.
"""
