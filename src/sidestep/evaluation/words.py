"""What results say in words: settings, and how many rows and users there are."""


def value_in_words(value: object) -> str:
    """The value of a setting as people write it; one per level with commas between them."""
    if isinstance(value, tuple):
        return ",".join(map(value_in_words, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def rows_in_words(num_rows: int, num_users: int) -> str:
    """ "2,000 users", or "5,000 rows of 2,000 users" where some have several."""
    users = f"{num_users:,} users"
    return users if num_rows == num_users else f"{num_rows:,} rows of {users}"
