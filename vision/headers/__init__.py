"""Headers of image files: format, size and kind, read before a decoder sees the file.

The parsers are small and our own, one module per format, because a decoder allocates what a header declares: 40 bytes
of WebP unpack to 16383 x 16383 pixels. Each parser reads no more than it needs, takes bounded time, and looks for every
size that the decoder behind it will trust. If a file could waste the decoder's time or memory in another way, the
parser rejects it, or does not call it plain; the reasons stand beside the limits. What the pixels do not depend on is
kept away from the decoder. `vision.decode.read_header` picks the parser.
"""
