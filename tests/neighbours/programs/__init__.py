"""Programs that use another library beside s3po. A test runs each as a process of its own.

Each does work of the other library before, during and after transfers of s3po, checks both, and prints `done`.
"""
