//! An installer's event as it arrives, in little memory however long it is.
//!
//! cloud-init and curtin send whole files with some events, and a step may fail with a long text.
//! What is wanted of an event are the first texts of a flat object. So values within values are
//! left out, and long texts lose their ends; what remains is JSON still.

/// Longest text that is kept, in bytes of JSON, where a byte may take six: more than what goes on
/// record of it.
const STRING_BYTES: usize = 32 * 1024;

/// Longest event that is kept. Of one with many fields the first ones remain.
const EVENT_BYTES: usize = 256 * 1024;

/// Bytes of an escape behind its backslash: `\u` has four digits.
const ESCAPE: u8 = 5;

/// What is kept of a text in JSON, which comes in parts.
#[derive(Debug, Default)]
pub struct Shortened {
    text: Vec<u8>,
    /// How many objects and lists the next byte is in.
    depth: usize,
    /// The length of the string that the next byte is in.
    string: Option<usize>,
    /// Whether the rest of that string is left out.
    is_cut: bool,
    /// How many bytes of an escape may follow.
    escape: u8,
}

impl Shortened {
    /// Takes the next part of the text.
    pub fn add(&mut self, part: &[u8]) {
        for &byte in part {
            match self.string {
                Some(length) => self.add_in_string(byte, length),
                None => self.add_between(byte),
            }
        }
    }

    /// What was kept.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    fn add_in_string(&mut self, byte: u8, length: usize) {
        let is_in_escape = self.escape > 0;
        self.escape = match (self.escape, byte) {
            (ESCAPE, b'u') => ESCAPE - 1,
            (ESCAPE, _) => 0,
            (0, b'\\') => ESCAPE,
            (left, _) => left.saturating_sub(1),
        };
        if byte == b'"' && !is_in_escape {
            self.string = None;
            self.keep(byte);
            return;
        }
        self.string = Some(length + 1);
        // Half an escape would be none.
        self.is_cut |= length >= STRING_BYTES && !is_in_escape;
        if !self.is_cut {
            self.keep(byte);
        }
    }

    fn add_between(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.string = Some(0);
                self.is_cut = false;
                self.keep(byte);
            }
            b'{' | b'[' => {
                self.depth += 1;
                self.keep(byte);
                if self.depth == 2 && self.text.len() < EVENT_BYTES {
                    self.text.extend_from_slice(b"null");
                }
            }
            b'}' | b']' => {
                self.keep(byte);
                self.depth = self.depth.saturating_sub(1);
            }
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth <= 1 && self.text.len() < EVENT_BYTES {
            self.text.push(byte);
        }
    }
}
