"""The game of key frames: recorded clips as tables, environments over them, its optimum in hindsight.

Arrays in, arrays out: the tables are made of traces in `pipeline/traces/tables.py`.
"""
