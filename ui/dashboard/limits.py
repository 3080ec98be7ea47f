"""What may be uploaded, on every page that takes films."""

from __future__ import annotations

#: Endings offered; what a file really is, is decided by its bytes.
TYPES = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "jp2", "j2k", "jls", "dcm")
#: Largest film, in MB; the server refuses more by itself (server.maxUploadSize).
FILE_MB = 20
