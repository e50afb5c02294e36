"""What is kept in PostgreSQL: the tables, one module of queries per concern, the migrations."""
