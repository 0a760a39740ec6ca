//! What stands in front of a value: anchors, aliases and tags; and directives, which say what tags
//! mean.

use super::reader::{is_blank_or_end, is_space_or_end};
use super::scanner::Scanner;
use super::tokens::{Directive, TagText, Token, TokenKind};
use super::{Result, fault};

const NO_TAG: &str = "a '!' that begins no tag: put the text in quotes";
const NO_DIRECTIVE: &str = "a '%' that begins no directive: put the text in quotes";

const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

const fn is_of_uri(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || {
        let signs = b"-;/?:@&=+$,_.!~*'()[]";
        let mut at = 0;
        while at < signs.len() && signs[at] != byte {
            at += 1;
        }
        at < signs.len()
    }
}

impl<'t> Scanner<'t> {
    pub(super) fn alias(&mut self) -> Result<Token<'t>> {
        let (line, name) = self.name_of_anchor()?;
        let kind = TokenKind::Alias(name);
        Ok(Token { line, kind })
    }

    pub(super) fn anchor(&mut self) -> Result<Token<'t>> {
        let (line, name) = self.name_of_anchor()?;
        let kind = TokenKind::Anchor(name);
        Ok(Token { line, kind })
    }

    fn name_of_anchor(&mut self) -> Result<(usize, &'t str)> {
        let line = self.reader.line;
        self.reader.forward();
        let name = self.reader.forward_while(is_of_name);
        let next = self.reader.peek();
        let is_end = is_blank_or_end(next) || "?:,]}%@`".contains(next);
        if name.is_empty() || !is_end {
            let reason = "a '*' or '&' without a name: put the text in quotes";
            return fault(line, reason);
        }
        Ok((line, name))
    }

    pub(super) fn tag(&mut self) -> Result<Token<'t>> {
        let line = self.reader.line;
        let next = self.reader.peek_over(1);
        let (handle, suffix) = if next == '<' {
            self.reader.forward_over(2);
            let suffix = self.uri()?;
            if self.reader.peek() != '>' {
                return fault(line, "a tag that is not closed by '>'");
            }
            self.reader.forward();
            (None, suffix)
        } else if is_blank_or_end(next) {
            self.reader.forward();
            (None, "!".to_owned())
        } else {
            let behind = &self.reader.rest()[1..];
            let word = behind.split(is_space_or_end).next().unwrap_or(behind);
            let handle = if word.contains('!') {
                self.tag_handle()?
            } else {
                self.reader.forward();
                "!"
            };
            (Some(handle), self.uri()?)
        };
        if !is_space_or_end(self.reader.peek()) {
            return fault(line, NO_TAG);
        }
        let kind = TokenKind::Tag(TagText { handle, suffix });
        Ok(Token { line, kind })
    }

    /// Passes `!`, `!!` or `!name!`.
    fn tag_handle(&mut self) -> Result<&'t str> {
        let (line, start) = (self.reader.line, self.reader.at());
        let mut is_handle = self.reader.peek() == '!';
        if is_handle {
            self.reader.forward();
            if self.reader.peek() != ' ' {
                self.reader.forward_while(is_of_name);
                is_handle = self.reader.peek() == '!';
                self.reader.forward();
            }
        }
        if is_handle {
            Ok(self.reader.slice(start, self.reader.at()))
        } else {
            fault(line, NO_TAG)
        }
    }

    fn uri(&mut self) -> Result<String> {
        let line = self.reader.line;
        let mut uri = String::new();
        loop {
            uri += self.reader.forward_while(is_of_uri);
            if self.reader.peek() != '%' {
                break;
            }
            uri += &self.uri_escapes()?;
        }
        if uri.is_empty() {
            return fault(line, "a tag without a name");
        }
        Ok(uri)
    }

    /// Passes `%XX`, as often as it stands there.
    fn uri_escapes(&mut self) -> Result<String> {
        let line = self.reader.line;
        let mut bytes = Vec::new();
        while self.reader.peek() == '%' {
            let digits = self.reader.rest().get(1..3);
            let is_hex = |digits: &&str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let byte = digits.filter(is_hex);
            let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let Some(byte) = byte else {
                return fault(line, "a '%' in a tag without two hexadecimal digits");
            };
            bytes.push(byte);
            self.reader.forward_over(3);
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_) => fault(line, "a tag that is not UTF-8"),
        }
    }

    pub(super) fn directive(&mut self) -> Result<Token<'t>> {
        let line = self.reader.line;
        self.reader.forward();
        let name = self.reader.forward_while(is_of_name);
        if name.is_empty() || !is_space_or_end(self.reader.peek()) {
            return fault(line, NO_DIRECTIVE);
        }
        let directive = match name {
            "YAML" => self.version()?,
            "TAG" => self.tag_directive()?,
            _ => {
                self.reader.forward_to_break();
                Directive::Other
            }
        };
        if !is_space_or_end(self.reader.peek()) {
            return fault(line, NO_DIRECTIVE);
        }
        self.reader.skip_spaces();
        self.end_of_line(NO_DIRECTIVE)?;
        let kind = TokenKind::Directive(directive);
        Ok(Token { line, kind })
    }

    fn version(&mut self) -> Result<Directive<'t>> {
        let line = self.reader.line;
        self.reader.skip_spaces();
        let major = self.reader.forward_while(|byte| byte.is_ascii_digit());
        let has_point = self.reader.peek() == '.';
        if has_point {
            self.reader.forward();
        }
        let minor = self.reader.forward_while(|byte| byte.is_ascii_digit());
        if major.is_empty() || !has_point || minor.is_empty() {
            return fault(line, "a %YAML without a version");
        }
        let is_one = major.trim_start_matches('0') == "1";
        Ok(Directive::Version { is_one })
    }

    fn tag_directive(&mut self) -> Result<Directive<'t>> {
        let line = self.reader.line;
        self.reader.skip_spaces();
        let handle = self.tag_handle()?;
        if self.reader.peek() != ' ' {
            return fault(line, "a %TAG without a prefix");
        }
        self.reader.skip_spaces();
        let prefix = self.uri()?;
        Ok(Directive::Tag { handle, prefix })
    }
}
