"""Code that every agent with a model shares.

Model libraries are large: only a worker with a model loads them, for the first answer.
"""
