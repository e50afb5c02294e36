"""The commands of ingest that read cameras, one module for each way to name them."""
