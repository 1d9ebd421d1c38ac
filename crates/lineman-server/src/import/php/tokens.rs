//! The tokens of PHP, as far as assignments need them: comments and what stands outside of `<?php` are left out.

/// A token, and the line it begins in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) kind: TokenKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// `$name`, without the sign.
    Variable(String),
    /// A name, namespaces included.
    Word(String),
    /// A text in quotes whose value is known.
    Text(String),
    Integer(i64),
    Float(f64),
    /// A mark; an unknown one, and a text that only PHP can make, is `?`.
    Mark(&'static str),
}

/// The marks that matter, the longest first.
const MARKS: [&str; 19] = [
    "->", "=>", "::", "==", ".=", "+=", "=", ";", ",", "(", ")", "[", "]", "{", "}", ".", "*", "+",
    "-",
];

/// Returns the tokens of a file.
///
/// # Errors
/// The line in which a text or a comment begins that does not end.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, (usize, String)> {
    let mut scanner = Scanner { rest: text, line: 1 };
    let mut tokens = Vec::new();
    scanner.skip_to_code();
    while let Some(letter) = scanner.rest.chars().next() {
        let line = scanner.line;
        let kind = match letter {
            _ if letter.is_whitespace() => {
                scanner.skip(letter.len_utf8());
                continue;
            }
            _ if scanner.rest.starts_with("?>") => {
                scanner.skip_to_code();
                TokenKind::Mark(";")
            }
            _ if scanner.skip_comment()? => continue,
            '\'' => TokenKind::Text(scanner.single_quoted()?),
            '"' => scanner.double_quoted()?,
            '$' => scanner.variable(),
            '0'..='9' => scanner.number(),
            _ if is_word(letter) || letter == '\\' => TokenKind::Word(
                scanner.take_while(|letter| is_word(letter) || letter == '\\').to_owned(),
            ),
            _ => scanner.mark(letter),
        };
        tokens.push(Token { line, kind });
    }
    Ok(tokens)
}

fn is_word(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Scanner<'a> {
    /// Goes on by so many bytes, which end a letter.
    fn skip(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|letter| !is_part(letter)).unwrap_or(self.rest.len());
        self.skip(end)
    }

    /// Skips to behind the next `<?php`.
    fn skip_to_code(&mut self) {
        let end = self.rest.find("<?php").map_or(self.rest.len(), |at| at + "<?php".len());
        self.skip(end);
    }

    fn skip_comment(&mut self) -> Result<bool, (usize, String)> {
        if self.rest.starts_with("/*") {
            let end = self.rest.find("*/").ok_or((self.line, "a comment has no end".to_owned()))?;
            self.skip(end + 2);
            return Ok(true);
        }
        // `#[` begins an attribute, which ends in its line as well.
        let is_comment = self.rest.starts_with("//") || self.rest.starts_with('#');
        if is_comment {
            self.take_while(|letter| letter != '\n');
        }
        Ok(is_comment)
    }

    fn single_quoted(&mut self) -> Result<String, (usize, String)> {
        self.quoted('\'').map(|(inner, _)| {
            unescaped(inner, |letter| matches!(letter, '\'' | '\\').then_some(letter))
        })
    }

    fn double_quoted(&mut self) -> Result<TokenKind, (usize, String)> {
        let (inner, has_variables) = self.quoted('"')?;
        if has_variables {
            return Ok(TokenKind::Mark("?"));
        }
        let named = |letter| match letter {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            'e' => Some('\u{1b}'),
            '"' | '\\' | '$' => Some(letter),
            _ => None,
        };
        Ok(TokenKind::Text(unescaped(&numbered(inner), named)))
    }

    /// Returns what is between quotes, and whether a variable is in it.
    fn quoted(&mut self, quote: char) -> Result<(&'a str, bool), (usize, String)> {
        let (begin, text) = (self.line, self.rest.get(1..).unwrap_or_default());
        let (mut escaped, mut has_variables) = (false, false);
        let mut letters = text.char_indices().peekable();
        while let Some((at, letter)) = letters.next() {
            match letter {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '$' => {
                    has_variables |=
                        letters.peek().is_some_and(|(_, next)| is_word(*next) || *next == '{');
                }
                _ if letter == quote => {
                    self.skip(at + 2);
                    return Ok((text.get(..at).unwrap_or_default(), has_variables));
                }
                _ => {}
            }
        }
        Err((begin, format!("a text has no closing {quote}")))
    }

    fn variable(&mut self) -> TokenKind {
        self.skip(1);
        let name = self.take_while(is_word);
        if name.is_empty() { TokenKind::Mark("?") } else { TokenKind::Variable(name.to_owned()) }
    }

    fn number(&mut self) -> TokenKind {
        let digits = self.take_while(is_word).replace('_', "");
        if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            return i64::from_str_radix(hex, 16).map_or(TokenKind::Mark("?"), TokenKind::Integer);
        }
        let fraction = self
            .rest
            .strip_prefix('.')
            .filter(|rest| rest.starts_with(|next: char| next.is_ascii_digit()));
        if fraction.is_some() {
            self.skip(1);
            let number = format!("{digits}.{}", self.take_while(is_word));
            return number.parse().map_or(TokenKind::Mark("?"), TokenKind::Float);
        }
        let octal = digits.strip_prefix('0').filter(|rest| !rest.is_empty());
        let number = octal.map_or_else(|| digits.parse(), |octal| i64::from_str_radix(octal, 8));
        number.map_or(TokenKind::Mark("?"), TokenKind::Integer)
    }

    fn mark(&mut self, letter: char) -> TokenKind {
        let found = MARKS.into_iter().find(|mark| self.rest.starts_with(mark));
        self.skip(found.map_or(letter.len_utf8(), str::len));
        TokenKind::Mark(found.unwrap_or("?"))
    }
}

/// Puts letters for what a backslash stands before; one that says nothing stays.
fn unescaped(text: &str, named: impl Fn(char) -> Option<char>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, letters.clone().next().and_then(&named)) {
            ('\\', Some(meant)) => {
                out.push(meant);
                letters.next();
            }
            _ => out.push(letter),
        }
    }
    out
}

/// Puts letters for `\x41` and `\u{e9}`.
fn numbered(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (number, length) = if let Some(hex) = escape.strip_prefix("\\u{") {
            let digits = hex.split('}').next().unwrap_or_default();
            (digits, "\\u{}".len() + digits.len())
        } else if let Some(hex) = escape.strip_prefix("\\x") {
            let end =
                hex.find(|digit: char| !digit.is_ascii_hexdigit()).unwrap_or(hex.len()).min(2);
            let digits = hex.get(..end).unwrap_or_default();
            (digits, 2 + digits.len())
        } else {
            ("", 0)
        };
        let letter = u32::from_str_radix(number, 16).ok().and_then(char::from_u32);
        let taken =
            letter.map_or_else(|| 1 + escape.chars().nth(1).map_or(0, char::len_utf8), |_| length);
        match letter {
            // A backslash that is made so is no escape any more.
            Some('\\') => out.push_str("\\\\"),
            Some(letter) => out.push(letter),
            None => out.push_str(escape.get(..taken).unwrap_or_default()),
        }
        rest = escape.get(taken..).unwrap_or_default();
    }
    out + rest
}
