"""The database's versions, each with its way up and its way down."""
