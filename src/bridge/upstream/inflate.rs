//! Answers that are compressed although the request asks for plain ones.

use std::io::Write;

use flate2::write::DeflateDecoder;
use flate2::write::MultiGzDecoder;
use flate2::write::ZlibDecoder;
use http::HeaderMap;
use http::header;

/// Compressed bytes that are decoded at a time. They become at most a thousand times as many, which
/// the bounds of the reader see before the next are decoded.
const STEP_BYTES: usize = 1024;

/// The decoder of a body, fed piece by piece.
pub(super) enum Inflate {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    /// `deflate`, of which the first byte tells whether it is zlib's form.
    Unknown,
    Zlib(Box<ZlibDecoder<Vec<u8>>>),
    Deflate(Box<DeflateDecoder<Vec<u8>>>),
}

impl Inflate {
    /// The decoder for the `Content-Encoding` of an answer. `None` if the answer is plain.
    ///
    /// # Errors
    /// The encoding, if it cannot be decoded.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, String> {
        let Some(encoding) = headers.get(header::CONTENT_ENCODING) else { return Ok(None) };
        let encoding = String::from_utf8_lossy(encoding.as_bytes()).trim().to_ascii_lowercase();
        match encoding.as_str() {
            "" | "identity" | "none" | "utf-8" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))))),
            "deflate" => Ok(Some(Self::Unknown)),
            _ => Err(encoding),
        }
    }

    /// Decodes a chunk in steps, each passed to `take`, until it returns false.
    ///
    /// # Errors
    /// The chunk is not of this encoding.
    pub(super) fn push(
        &mut self,
        chunk: &[u8],
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> std::io::Result<()> {
        for piece in chunk.chunks(STEP_BYTES) {
            if let (Self::Unknown, Some(first)) = (&*self, piece.first()) {
                *self = match first & 0x0f {
                    // The compression method of zlib's header (RFC 1950).
                    8 => Self::Zlib(Box::new(ZlibDecoder::new(Vec::new()))),
                    _ => Self::Deflate(Box::new(DeflateDecoder::new(Vec::new()))),
                };
            }
            let plain = match self {
                Self::Gzip(decoder) => {
                    decoder.write_all(piece)?;
                    // What is decoded so far must not wait for more.
                    decoder.flush()?;
                    std::mem::take(decoder.get_mut())
                }
                Self::Zlib(decoder) => {
                    decoder.write_all(piece)?;
                    decoder.flush()?;
                    std::mem::take(decoder.get_mut())
                }
                Self::Deflate(decoder) => {
                    decoder.write_all(piece)?;
                    decoder.flush()?;
                    std::mem::take(decoder.get_mut())
                }
                Self::Unknown => Vec::new(),
            };
            if !plain.is_empty() && !take(&plain) {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use flate2::write::GzEncoder;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn decoder(encoding: &str) -> Option<Inflate> {
        let headers = [(header::CONTENT_ENCODING, encoding.parse().unwrap())].into_iter().collect();
        Inflate::of(&headers).unwrap()
    }

    fn plain(encoding: &str, chunks: &[&[u8]]) -> std::io::Result<Vec<u8>> {
        let mut decoder = decoder(encoding).unwrap();
        let mut plain = Vec::new();
        for chunk in chunks {
            decoder.push(chunk, |bytes| {
                plain.extend_from_slice(bytes);
                true
            })?;
        }
        Ok(plain)
    }

    #[test]
    fn each_event_is_decoded_as_it_arrives() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut decoder = decoder("gzip").unwrap();
        for event in ["data: one\n\n", "data: two\n\n"] {
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let mut plain = Vec::new();
            let sent = std::mem::take(encoder.get_mut());
            let took = decoder.push(&sent, |bytes| {
                plain.extend_from_slice(bytes);
                true
            });
            took.unwrap();
            assert_eq!(plain, event.as_bytes());
        }
    }

    #[test]
    fn every_form_is_decoded_in_any_pieces() {
        let text = b"data: hello\n\n".repeat(500);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&text).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&text).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(&text).unwrap();
        for (encoding, sent) in [
            ("gzip", gzip.finish().unwrap()),
            ("X-GZIP", [].into()),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", raw.finish().unwrap()),
        ] {
            let expected = if sent.is_empty() { Vec::new() } else { text.clone() };
            for size in [1, 7, 100_000] {
                let chunks: Vec<&[u8]> = sent.chunks(size).collect();
                assert_eq!(plain(encoding, &chunks).unwrap(), expected, "{encoding}, {size}");
            }
        }
        assert!(plain("gzip", &[b"data: plain after all\n\n"]).is_err());
        assert!(decoder("identity").is_none());
        let headers = [(header::CONTENT_ENCODING, "br".parse().unwrap())].into_iter().collect();
        assert_eq!(Inflate::of(&headers).err().as_deref(), Some("br"));
    }

    /// A bomb is seen in small pieces, and decoding ends when the reader has enough.
    #[test]
    fn a_bomb_is_not_held_whole() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..64 {
            gzip.write_all(&vec![b'x'; 1 << 20]).unwrap();
        }
        let bomb = gzip.finish().unwrap();
        let (mut largest, mut total) = (0, 0);
        let decoded = decoder("gzip").unwrap().push(&bomb, |bytes| {
            largest = largest.max(bytes.len());
            total += bytes.len();
            total < 8 << 20
        });
        decoded.unwrap();
        assert!(largest <= 2 << 20 && total <= 10 << 20, "{largest} {total}");
    }
}
