//! JSON documents one after another, split from chunks of any size: a whole answer, lines of JSON,
//! or one array around the events of an answer.

/// The largest document; no provider sends more.
const MAX_DOCUMENT_BYTES: usize = 32 << 20;

/// An incremental splitter. It does not check the syntax of a document, only finds its end.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    document: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

/// A document exceeds [`MAX_DOCUMENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a document of more than {MAX_DOCUMENT_BYTES} bytes")]
pub(crate) struct TooLarge;

impl Splitter {
    /// Takes a chunk and returns the documents that it completes. An array at the top stands for
    /// its elements.
    ///
    /// # Errors
    /// A document is too large.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLarge> {
        let mut documents = Vec::new();
        for byte in bytes {
            if self.depth == 0 && *byte != b'{' {
                // Between documents: white space, commas, the brackets of the array around them,
                // and whatever else is no object.
                continue;
            }
            if self.document.len() >= MAX_DOCUMENT_BYTES {
                return Err(TooLarge);
            }
            self.document.push(*byte);
            match byte {
                _ if std::mem::take(&mut self.escaped) => {}
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
            if self.depth == 0 {
                let document = std::mem::take(&mut self.document);
                documents.push(String::from_utf8_lossy(&document).into_owned());
            }
        }
        Ok(documents)
    }

    /// Whether a document has begun and not ended.
    pub(crate) fn is_amid(&self) -> bool {
        self.depth > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_do_not_depend_on_chunks() {
        let text = "[{\"a\":\"}\\\"]\"},\r\n{\"b\":[{}]}]\n{\"é\":1}{\"c\":[";
        let expected = ["{\"a\":\"}\\\"]\"}", "{\"b\":[{}]}", "{\"é\":1}"];
        for size in 1..text.len() {
            let mut splitter = Splitter::default();
            let chunks = text.as_bytes().chunks(size);
            let found: Vec<String> =
                chunks.flat_map(|chunk| splitter.push(chunk).unwrap()).collect();
            assert_eq!(found, expected, "chunks of {size}");
            assert!(splitter.is_amid());
        }
    }

    #[test]
    fn an_endless_document_is_an_error() {
        let mut splitter = Splitter::default();
        splitter.push(b"{\"a\":\"").unwrap();
        let piece = vec![b'x'; 1 << 20];
        assert!((0..40).any(|_| splitter.push(&piece).is_err()));
    }
}
