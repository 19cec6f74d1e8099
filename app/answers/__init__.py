"""Has it been answered? Stored answers on several levels, looked down and filled upwards."""
