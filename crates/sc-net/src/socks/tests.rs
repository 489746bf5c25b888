//! The codec, values in and values out.
