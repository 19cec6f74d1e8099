"""All SQL lives here: queries, migrations, the stores, and an embedded server for a bare laptop."""
