"""The `fusargpt` command."""
