"""The import lines of the tools whose interfaces s3po offers."""
