"""The formats that pictures are written in."""

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
LARGEST = {"JPEG": 65500, "WEBP": 16383}  # pixels of a side
