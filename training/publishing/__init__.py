"""Writing to the versioned bucket: publish, list, roll back. Reading while serving is `registry`.

The current object version of a model's key is its champion. Publishing is one PUT, conditional on
the ETag of the champion it was compared with; rolling back is one conditional COPY.
"""
