"""Reads files that somebody may have forged: what they announce is checked before it is believed.

A forger who has this code can give any file the right sha256. So neither a seal nor a footer says
that a file is small when it is decoded, or that its values are possible.
"""
