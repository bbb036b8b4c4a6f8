"""The command line, a file a group of commands.

Commands import what they need when they run: keras takes seconds, which --help, an unknown option
or a listing should not wait for.
"""
