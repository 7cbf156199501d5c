"""Where tracked clicks, conversions and members come from."""
