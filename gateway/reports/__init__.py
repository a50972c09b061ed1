"""Month reports and their renderings."""
