"""Decoding encoded bytes to frames, on the CPU or a GPU. Headers are checked before pixels are decoded.

    decoding           Decoding: makes the decoders of all streams, and uploads their frames
    choice             chooses it when the server starts
    decoders           what a decoder is, and PictureDecoder: JPEG, PNG, raw
    picture_headers    sizes and kinds of JPEG and PNG files
    cpu_jpeg           JPEGs on the CPU
    jpeg_batches       JpegBatches: JPEGs on a GPU
    video              VideoDecoder: H.264 and H.265

Frames are decoded on the threads that `admission/decoding_shares.py` divides between callers.
"""
