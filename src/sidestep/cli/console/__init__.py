"""The console: tables, JSON, notes and progress, as commands print them."""
