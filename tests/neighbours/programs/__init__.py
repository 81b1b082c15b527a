"""Programs that use another library together with s3po. A test runs each in its own process.

Each uses the other library before, during and after transfers of s3po, checks both, and prints `done`.
"""
