//! Reads the assignments of a PHP start file: `$gateway = new Gateway('websocket://…')`, `$gateway->name = '…'`,
//! `Worker::$logFile = …`. It runs no code: a value is a literal, or made of literals; everything else is handed on
//! as code that was seen.

mod tokens;

use std::collections::HashMap;

use tokens::{Token, TokenKind};

/// How deep arrays and parentheses may be nested.
const DEEPEST: usize = 64;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PhpLiteral {
    Null,
    Switch(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// Its keys are texts where it has keys.
    Array(Vec<(Option<String>, PhpLiteral)>),
    /// A new object: its class without the namespace, and what its constructor gets.
    Object(String, Vec<PhpLiteral>),
    /// What only PHP can say.
    Code,
}

/// An assignment at the top level of a file, or in a block there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Assignment {
    pub(super) line: usize,
    pub(super) target: AssignedTo,
    pub(super) value: PhpLiteral,
}

/// What is assigned to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AssignedTo {
    /// `$name`
    Variable(String),
    /// `$name->property`
    Property(String, String),
    /// `Class::$property`, the class without its namespace.
    Static(String, String),
}

/// Returns the assignments of a file that is in `folder`.
///
/// # Errors
/// The line in which its text breaks off, and why.
pub(super) fn assignments(text: &str, folder: &str) -> Result<Vec<Assignment>, (usize, String)> {
    let tokens = tokens::tokens(text)?;
    let mut reader = StatementReader {
        tokens: &tokens,
        at: 0,
        folder,
        variables: HashMap::new(),
        aliases: HashMap::new(),
    };
    let mut found = Vec::new();
    while reader.at < tokens.len() {
        found.extend(reader.statement());
    }
    Ok(found)
}

struct StatementReader<'a> {
    tokens: &'a [Token],
    at: usize,
    /// `__DIR__`
    folder: &'a str,
    /// The values of variables, for those that are used further down.
    variables: HashMap<String, PhpLiteral>,
    /// `use A\B as C`
    aliases: HashMap<String, String>,
}

impl StatementReader<'_> {
    fn peek(&self, ahead: usize) -> Option<&TokenKind> {
        self.tokens.get(self.at + ahead).map(|token| &token.kind)
    }

    fn is_mark(&self, ahead: usize, mark: &str) -> bool {
        matches!(self.peek(ahead), Some(TokenKind::Mark(found)) if *found == mark)
    }

    fn skip_mark(&mut self, mark: &str) -> bool {
        let is = self.is_mark(0, mark);
        self.at += usize::from(is);
        is
    }

    /// Reads a statement, or goes on by a token where none that matters begins.
    fn statement(&mut self) -> Option<Assignment> {
        let line = self.tokens.get(self.at)?.line;
        if matches!(self.peek(0), Some(TokenKind::Word(word)) if word == "use") {
            self.alias();
            return None;
        }
        let Some((target, length)) = self.target() else {
            self.at += 1;
            return None;
        };
        self.at += length;
        let value = self.value();
        if let AssignedTo::Variable(name) = &target {
            self.variables.insert(name.clone(), value.clone());
        }
        Some(Assignment { line, target, value })
    }

    /// Returns what is assigned to here, if anything is, and how many tokens that takes.
    fn target(&self) -> Option<(AssignedTo, usize)> {
        match (self.peek(0)?, self.peek(1)?, self.peek(2), self.peek(3)) {
            (TokenKind::Variable(name), TokenKind::Mark("="), ..) => {
                Some((AssignedTo::Variable(name.clone()), 2))
            }
            (
                TokenKind::Variable(name),
                TokenKind::Mark("->"),
                Some(TokenKind::Word(property)),
                Some(TokenKind::Mark("=")),
            ) => Some((AssignedTo::Property(name.clone(), property.clone()), 4)),
            (
                TokenKind::Word(class),
                TokenKind::Mark("::"),
                Some(TokenKind::Variable(property)),
                Some(TokenKind::Mark("=")),
            ) => Some((AssignedTo::Static(self.class(class), property.clone()), 4)),
            _ => None,
        }
    }

    /// Reads `use A\B as C;`, and `use A\B;`.
    fn alias(&mut self) {
        self.at += 1;
        if let (
            Some(TokenKind::Word(class)),
            Some(TokenKind::Word(as_word)),
            Some(TokenKind::Word(name)),
        ) = (self.peek(0), self.peek(1), self.peek(2))
            && as_word == "as"
        {
            let (name, class) = (name.clone(), class.clone());
            self.aliases.insert(name, class);
            self.at += 3;
        }
    }

    /// Returns a class without its namespace.
    fn class(&self, name: &str) -> String {
        let name = self.aliases.get(name).map_or(name, |class| class);
        name.rsplit('\\').next().unwrap_or(name).to_owned()
    }

    /// Reads a value up to the `;` behind it. What is no literal is skipped, blocks and all.
    fn value(&mut self) -> PhpLiteral {
        let begin = self.at;
        let value = self.expression(0);
        if self.skip_mark(";") || self.at >= self.tokens.len() {
            return value;
        }
        self.at = begin;
        self.skip_code();
        PhpLiteral::Code
    }

    /// Skips to behind the next `;` that is in no brackets.
    fn skip_code(&mut self) {
        let mut depth = 0_usize;
        while let Some(kind) = self.peek(0) {
            match kind {
                TokenKind::Mark("(" | "[" | "{") => depth += 1,
                // The end of the block that the statement is in.
                TokenKind::Mark(")" | "]" | "}") if depth == 0 => return,
                TokenKind::Mark(")" | "]" | "}") => depth -= 1,
                TokenKind::Mark(";") if depth == 0 => {
                    self.at += 1;
                    return;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn expression(&mut self, depth: usize) -> PhpLiteral {
        if depth > DEEPEST {
            return PhpLiteral::Code;
        }
        let mut left = self.product(depth);
        loop {
            let join: fn(PhpLiteral, PhpLiteral) -> PhpLiteral = if self.skip_mark(".") {
                joined
            } else if self.skip_mark("+") {
                |one, other| of_integers(&one, &other, i64::checked_add)
            } else {
                return left;
            };
            let right = self.product(depth);
            left = join(left, right);
        }
    }

    fn product(&mut self, depth: usize) -> PhpLiteral {
        let mut left = self.term(depth);
        while self.skip_mark("*") {
            let right = self.term(depth);
            left = of_integers(&left, &right, i64::checked_mul);
        }
        left
    }

    fn term(&mut self, depth: usize) -> PhpLiteral {
        let Some(kind) = self.peek(0) else { return PhpLiteral::Code };
        match kind.clone() {
            TokenKind::Text(text) => {
                self.at += 1;
                PhpLiteral::Text(text)
            }
            TokenKind::Integer(number) => {
                self.at += 1;
                PhpLiteral::Integer(number)
            }
            TokenKind::Float(number) => {
                self.at += 1;
                PhpLiteral::Float(number)
            }
            TokenKind::Variable(name) => {
                self.at += 1;
                self.variables.get(&name).cloned().unwrap_or(PhpLiteral::Code)
            }
            TokenKind::Mark("-") => {
                self.at += 1;
                of_integers(&PhpLiteral::Integer(0), &self.term(depth + 1), i64::checked_sub)
            }
            TokenKind::Mark("(") => {
                self.at += 1;
                let value = self.expression(depth + 1);
                if self.skip_mark(")") { value } else { PhpLiteral::Code }
            }
            TokenKind::Mark("[") => {
                self.at += 1;
                self.array("]", depth)
            }
            TokenKind::Word(word) => self.word(&word, depth),
            TokenKind::Mark(_) => PhpLiteral::Code,
        }
    }

    fn word(&mut self, word: &str, depth: usize) -> PhpLiteral {
        self.at += 1;
        match &*word.to_ascii_lowercase() {
            "true" => PhpLiteral::Switch(true),
            "false" => PhpLiteral::Switch(false),
            "null" => PhpLiteral::Null,
            "__dir__" => PhpLiteral::Text(self.folder.to_owned()),
            "array" if self.skip_mark("(") => self.array(")", depth),
            "new" => {
                let Some(TokenKind::Word(class)) = self.peek(0) else { return PhpLiteral::Code };
                let class = self.class(class);
                self.at += 1;
                let arguments = if self.skip_mark("(") {
                    match self.array(")", depth) {
                        PhpLiteral::Array(arguments) => {
                            arguments.into_iter().map(|(_, value)| value).collect()
                        }
                        _ => return PhpLiteral::Code,
                    }
                } else {
                    Vec::new()
                };
                PhpLiteral::Object(class, arguments)
            }
            _ => PhpLiteral::Code,
        }
    }

    /// Reads the parts of an array, or of a call, up to the mark that ends it.
    fn array(&mut self, end: &str, depth: usize) -> PhpLiteral {
        let mut parts = Vec::new();
        while !self.skip_mark(end) {
            let first = self.expression(depth + 1);
            let part = if self.skip_mark("=>") {
                let key = match first {
                    PhpLiteral::Text(key) => key,
                    PhpLiteral::Integer(key) => key.to_string(),
                    _ => return PhpLiteral::Code,
                };
                (Some(key), self.expression(depth + 1))
            } else {
                (None, first)
            };
            parts.push(part);
            if !self.skip_mark(",") && !self.is_mark(0, end) {
                return PhpLiteral::Code;
            }
        }
        PhpLiteral::Array(parts)
    }
}

/// `.`
fn joined(one: PhpLiteral, other: PhpLiteral) -> PhpLiteral {
    match (text_of(one), text_of(other)) {
        (Some(one), Some(other)) => PhpLiteral::Text(one + &other),
        _ => PhpLiteral::Code,
    }
}

fn text_of(literal: PhpLiteral) -> Option<String> {
    match literal {
        PhpLiteral::Text(text) => Some(text),
        PhpLiteral::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

fn of_integers(
    one: &PhpLiteral,
    other: &PhpLiteral,
    join: fn(i64, i64) -> Option<i64>,
) -> PhpLiteral {
    match (one, other) {
        (PhpLiteral::Integer(one), PhpLiteral::Integer(other)) => {
            join(*one, *other).map_or(PhpLiteral::Code, PhpLiteral::Integer)
        }
        _ => PhpLiteral::Code,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> PhpLiteral {
        let file = format!("<?php\n$x = {text};\n$y = 1;");
        let mut found = assignments(&file, "/srv/app").unwrap();
        assert_eq!(found.len(), 2, "the value ends where it ends: {text}");
        found.remove(0).value
    }

    fn texts<const N: usize>(texts: [&str; N]) -> PhpLiteral {
        PhpLiteral::Array(texts.map(|text| (None, PhpLiteral::Text(text.to_owned()))).into())
    }

    #[test]
    fn literals_are_read_and_the_rest_is_code() {
        let text = |text: &str| PhpLiteral::Text(text.to_owned());
        assert_eq!(value("'it\\'s \\n'"), text("it's \\n"));
        assert_eq!(value(r#""a\n\"b\" \x41 \u{e9} \$c""#), text("a\n\"b\" A \u{e9} $c"));
        assert_eq!(value("0x10"), PhpLiteral::Integer(16));
        assert_eq!(value("1_000"), PhpLiteral::Integer(1000));
        assert_eq!(value("10 * 1024 + 5"), PhpLiteral::Integer(10_245));
        assert_eq!(value("-5"), PhpLiteral::Integer(-5));
        assert_eq!(value("2.5"), PhpLiteral::Float(2.5));
        assert_eq!(value("TRUE"), PhpLiteral::Switch(true));
        assert_eq!(value("__DIR__ . '/x.pem'"), text("/srv/app/x.pem"));
        assert_eq!(value("array('a', 'b',)"), texts(["a", "b"]));
        assert_eq!(value("['a', 'b']"), texts(["a", "b"]));
        for code in [
            "getenv('X')",
            "\"a $name\"",
            "$unknown",
            "function ($c) { $c->x = 1; foo(); }",
            "fn ($c) => $c->id",
            "1 ? 2 : 3",
            "['a' => $b]",
            "9223372036854775807 + 1",
            "$a['b']",
        ] {
            let found = value(code);
            let expected = if code.starts_with("['a'") {
                PhpLiteral::Array(vec![(Some("a".to_owned()), PhpLiteral::Code)])
            } else {
                PhpLiteral::Code
            };
            assert_eq!(found, expected, "{code}");
        }
    }

    #[test]
    fn what_is_assigned_to_is_told_with_its_line() {
        let file = "<?php // a comment with $x = 1;\n# another\n/* $y = 2;\n */\nuse \\GatewayWorker\\Gateway as G;\n\
                    $context = array('ssl' => array('local_cert' => 'a.pem'));\n\
                    $gateway = new G(\"websocket://0.0.0.0:443\", $context);\n\
                    $gateway->onConnect = function ($connection) {\n    $connection->maxSendBufferSize = 5;\n};\n\
                    if (!defined('GLOBAL_START')) {\n    Worker::$logFile = 'a.log';\n    Worker::runAll();\n}\n";
        let found = assignments(file, "/srv/app").unwrap();
        let targets: Vec<_> = found.iter().map(|found| (found.line, &found.target)).collect();
        let property = |name: &str| AssignedTo::Property("gateway".to_owned(), name.to_owned());
        let log = AssignedTo::Static("Worker".to_owned(), "logFile".to_owned());
        assert_eq!(
            targets,
            [
                (6, &AssignedTo::Variable("context".to_owned())),
                (7, &AssignedTo::Variable("gateway".to_owned())),
                (8, &property("onConnect")),
                (12, &log),
            ]
        );
        let PhpLiteral::Object(class, arguments) = &found[1].value else { panic!("{found:?}") };
        assert_eq!((&**class, arguments.len()), ("Gateway", 2));
        assert_eq!(arguments[1], found[0].value, "a variable stands for its value");
    }

    #[test]
    fn a_text_that_breaks_off_is_an_error_with_its_line() {
        for (file, line) in [("<?php\n\n$x = 'a", 3), ("<?php\n/* a", 2), ("<?php\n$x = \"a", 2)] {
            assert_eq!(assignments(file, "").unwrap_err().0, line, "{file}");
        }
        let deep = format!("<?php $x = {}1;", "[".repeat(100_000));
        assert_eq!(assignments(&deep, "").unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,60}") {
            for file in [format!("<?php {text}"), text] {
                if let Err((line, _)) = assignments(&file, "") {
                    prop_assert_eq!(line, 1);
                }
            }
        }

        #[test]
        fn tokens_in_any_order_are_read_to_their_end(
            parts in prop::collection::vec(prop::sample::select(vec![
                "$x", "=", "->", "name", "::", "new", "Gateway", "(", ")", "[", "]", "{", "}", ";", ",", "=>", "'a'", "1", ".", "*",
                "array", "use", "as",
            ]), 0..40)
        ) {
            let file = format!("<?php {}", parts.join(" "));
            prop_assert!(assignments(&file, "").is_ok());
        }
    }
}
