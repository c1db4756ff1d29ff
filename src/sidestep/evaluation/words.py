"""Words for results: values of settings, and numbers of rows and users."""


def value_in_words(value: object) -> str:
    """Writes the value of a setting as people do; values of several levels with commas between."""
    if isinstance(value, tuple):
        return ",".join(map(value_in_words, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def rows_in_words(num_rows: int, num_users: int) -> str:
    """Writes "2,000 users", or "5,000 rows of 2,000 users" if some users have several rows."""
    users = f"{num_users:,} users"
    return users if num_rows == num_users else f"{num_rows:,} rows of {users}"
